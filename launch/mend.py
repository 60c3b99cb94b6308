"""Mends what a dead process has left: a run that nobody trains must not be shown as running."""

import json
import logging
from pathlib import Path

from harmony.config.run_dir import RunDirectory
from harmony.config.run_files import RECORD_FILE
from harmony.errors import UserError
from harmony.sync import outbox_of, ship
from harmony.tracking.base import METRICS_FILE, Status
from harmony.tracking.ledger import LEDGER_FILE, read_ledger
from harmony.tracking.shipper import first_line

log = logging.getLogger(__name__)


def mend(run_dir: Path, status: Status) -> bool:
    """Says in the directory and in the tracker how a run ended that could not say so itself.

    Args:
        run_dir: of a run that no process owns.
        status: how it ended; it takes the place of SCHEDULED, and of nothing else.

    Returns:
        Whether something was to mend and the tracker, where there is one, was reached.
    """
    if not (run_dir / RECORD_FILE).is_file():
        return False
    try:
        run = RunDirectory.load(run_dir)
        ended = run.record["attempts"][-1].get("ended")
        if ended is None or ended["status"] == "SCHEDULED":
            run.end(status)
    except (UserError, OSError) as error:  # other runs are to be looked after all the same
        log.warning("%s: can't say how it has ended: %s", run_dir, error)
        return False
    ledger = read_ledger(run_dir)
    if ledger is None or not (run_dir / METRICS_FILE).exists():
        return ended is None
    if ledger.progress.closed and ledger.progress.status != "SCHEDULED":
        return False
    return _tell_tracker(run_dir, status)


def _tell_tracker(run_dir: Path, status: Status) -> bool:
    try:
        outbox = outbox_of(run_dir)
    except UserError as error:
        log.warning("%s", error)
        return False
    try:
        if outbox.progress.status in ("RUNNING", "SCHEDULED"):
            outbox.end(status, int((run_dir / METRICS_FILE).stat().st_mtime * 1000))
        ship(outbox)
    except Exception as error:  # a store raises anything; the next status mends
        uri, kind = outbox.destination.tracking_uri, type(error).__name__
        log.warning("%s: can't tell %s (%s: %s)", run_dir, uri, kind, first_line(error))
        return False
    finally:
        outbox.release()
    return True


def is_stale(run_dir: Path) -> bool:
    """Whether the files of a run say that it runs or will go on; needs no store.

    Args:
        run_dir: may not exist.
    """
    try:
        record = json.loads((run_dir / RECORD_FILE).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return False  # no run, or one that can't be mended
    try:
        progress = json.loads((run_dir / LEDGER_FILE).read_text(encoding="utf-8"))["progress"]
    except (FileNotFoundError, ValueError):
        progress = {"status": "FINISHED", "closed": True}
    ended = record["attempts"][-1].get("ended")
    shown = progress["status"] in ("RUNNING", "SCHEDULED") or not progress["closed"]
    return ended is None or ended["status"] == "SCHEDULED" or shown
