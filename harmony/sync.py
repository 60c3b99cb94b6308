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
from harmony.tracking.base import METRICS_FILE
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
        outbox = _outbox(list(sys.argv[1:] if argv is None else argv))
    except UserError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    try:
        count = _send(outbox)
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


def _outbox(arguments: Sequence[str]) -> Outbox:
    """The outbox of the run, owned by this process."""
    run_dirs = [argument for argument in arguments if not argument.startswith((_URI, _LOCATION))]
    if len(run_dirs) != 1:
        got = " ".join(arguments) or "nothing"
        raise ConfigError(f"expected RUN_DIR [{_URI}URI] [{_LOCATION}PATH], got {got}")
    run_dir = Path(run_dirs[0])
    stored = read_ledger(run_dir)
    if stored is None or not (run_dir / METRICS_FILE).exists():
        raise RunDirectoryError(
            f"expected a run directory with {METRICS_FILE} and {LEDGER_FILE}, got {run_dir}: check "
            "the path (tracking=none leaves nothing to send; resume the run with another tracking)"
        )
    destination = _destination(stored.destination, arguments)
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


def _send(outbox: Outbox) -> int:
    if outbox.progress.status == "RUNNING":  # its process is dead, or the outbox were not ours
        outbox.end("KILLED", int(outbox.metrics.stat().st_mtime * 1000))
    sink = MLflowSink(outbox.destination)
    sink.open(outbox)
    count = drain(sink, outbox)
    sink.close(outbox)
    outbox.closed()
    return count


if __name__ == "__main__":
    sys.exit(main())
