"""Sends what a run could not send to MLflow: `python -m harmony.sync RUN_DIR`.

Reads metrics.jsonl and mlflow.json of the run directory. Sending twice stores once. The store can
be another one than the run had: `python -m harmony.sync RUN_DIR tracking.tracking_uri=URI`.
"""

import dataclasses
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from harmony.errors import ConfigError, RunDirectoryError, UserError
from harmony.tracking.base import METRICS_FILE, Status
from harmony.tracking.ledger import LEDGER_FILE, Destination, Ledger, read_ledger
from harmony.tracking.mlflow import MLflowSink
from harmony.tracking.outbox import Outbox
from harmony.tracking.shipper import drain, first_line
from harmony.tracking.uri import absolute_location, checked_uri

_URI = "tracking.tracking_uri="
_LOCATION = "tracking.artifact_location="


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command.

    Args:
        argv: Arguments after the program's name; those of the process by default.

    Returns:
        Exit code: 0 sent, 1 the store has trouble, 2 wrong arguments.
    """
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(message)s")
    try:
        outbox = outbox_of(*_arguments(list(sys.argv[1:] if argv is None else argv)))
    except UserError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    try:
        count = ship(outbox)
    except Exception as error:  # a store raises anything; the user gets one line
        uri, kind = outbox.destination.tracking_uri, type(error).__name__
        sys.stderr.write(f"can't send to {uri}: {kind}: {first_line(error)}: try again later\n")
        return 1
    finally:
        outbox.release()
    progress, uri = outbox.progress, outbox.destination.tracking_uri
    sys.stdout.write(
        f"sent {count} points to {uri}: run {progress.run_id} has {progress.rows} rows, "
        f"{len(progress.artifacts)} files, status {progress.status}\n"
    )
    return 0


def _arguments(arguments: Sequence[str]) -> tuple[Path, list[str]]:
    """The run directory and where else to send."""
    elsewhere = [argument for argument in arguments if argument.startswith((_URI, _LOCATION))]
    run_dirs = [argument for argument in arguments if argument not in elsewhere]
    if len(run_dirs) != 1:
        got = " ".join(arguments) or "nothing"
        raise ConfigError(f"expected RUN_DIR [{_URI}URI] [{_LOCATION}PATH], got {got}")
    return Path(run_dirs[0]), elsewhere


def outbox_of(run_dir: Path, elsewhere: Sequence[str] = ()) -> Outbox:
    """The outbox of a run, owned by this process.

    Args:
        run_dir: of a run whose process has ended.
        elsewhere: overrides of where it sends to.

    Raises:
        UserError: nothing to send lies there, or the process lives.
    """
    stored = read_ledger(run_dir)
    if stored is None or not (run_dir / METRICS_FILE).exists():
        raise RunDirectoryError(
            f"expected a run directory with {METRICS_FILE} and {LEDGER_FILE}, got {run_dir}: check "
            "the path (tracking=none leaves nothing to send; resume the run with another tracking)"
        )
    destination = _destination(stored.destination, elsewhere)
    outbox = Outbox(Ledger(stored.info, destination, stored.progress))
    if not outbox.own(new_attempt=False):
        raise RunDirectoryError(
            f"expected a run that has ended, got {run_dir}, whose process lives and sends by "
            "itself: wait for its end"
        )
    return outbox


def _destination(stored: Destination, arguments: Sequence[str]) -> Destination:
    for argument in arguments:
        value = argument.partition("=")[2]
        if argument.startswith(_URI):
            stored = dataclasses.replace(stored, tracking_uri=checked_uri(value))
        if argument.startswith(_LOCATION):
            stored = dataclasses.replace(stored, artifact_location=absolute_location(value))
    return stored


def ship(outbox: Outbox, dead: Status = "KILLED") -> int:
    """Sends everything that has not been sent, and how the run ended.

    Args:
        outbox: owned by this process.
        dead: the status of a run that was killed without a word.

    Returns:
        Number of points sent.

    Raises:
        Exception: whatever the store raises.
    """
    if outbox.progress.status == "RUNNING":  # its process is dead, or the outbox were not ours
        outbox.end(dead, int(outbox.metrics.stat().st_mtime * 1000))
    sink = MLflowSink(outbox.destination)
    sink.open(outbox)
    count = drain(sink, outbox)
    sink.close(outbox)
    outbox.closed()
    return count


if __name__ == "__main__":
    sys.exit(main())
