"""Mends what a dead process has left: a run that nobody trains must not be shown as running."""

import json
import logging
from pathlib import Path

from harmony.config.run_dir import RunDirectory
from harmony.config.run_files import LOCK_FILE, RECORD_FILE
from harmony.errors import UserError
from harmony.filelock import FileLock
from harmony.sync import outbox_of, ship
from harmony.tracking.base import METRICS_FILE, Status
from harmony.tracking.ledger import LEDGER_FILE, read_ledger
from harmony.tracking.shipper import first_line

log = logging.getLogger(__name__)


def mend(run_dir: Path, status: Status, away: set[str] | None = None) -> bool:
    """Says in the directory and in the tracker how a run ended that could not say so itself.

    Args:
        run_dir: of a run; where a living process owns it, nothing is done.
        status: how it ended; it takes the place of SCHEDULED, and of nothing else.
        away: addresses of trackers that were not reached; they are not asked again, and one that
            is not reached now is added.

    Returns:
        Whether something was to mend and the tracker, where there is one, was reached.
    """
    if not (run_dir / RECORD_FILE).is_file():
        return False
    owned = FileLock(run_dir / LOCK_FILE)
    if not owned.acquire(wait=False):
        return False
    try:
        run = RunDirectory.load(run_dir)
        ended = run.record["attempts"][-1].get("ended")
        if ended is None or ended["status"] == "SCHEDULED":
            run.end(status)
    except (UserError, OSError) as error:  # other runs are to be looked after all the same
        log.warning("%s: can't say how it has ended: %s", run_dir, error)
        return False
    finally:
        owned.release()
    ledger = read_ledger(run_dir)
    if ledger is None or not (run_dir / METRICS_FILE).exists():
        return ended is None
    if ledger.progress.closed and ledger.progress.status != "SCHEDULED":
        return False
    return _tell_tracker(run_dir, status, set() if away is None else away)


def _tell_tracker(run_dir: Path, status: Status, away: set[str]) -> bool:
    try:
        outbox = outbox_of(run_dir)
    except UserError as error:
        log.warning("%s", error)
        return False
    uri = outbox.destination.tracking_uri
    try:
        if uri in away:
            return False
        if outbox.progress.status in ("RUNNING", "SCHEDULED"):
            outbox.end(status, int((run_dir / METRICS_FILE).stat().st_mtime * 1000))
        ship(outbox)
    except Exception as error:  # a store raises anything; the next status mends
        away.add(uri)
        kind = type(error).__name__
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
