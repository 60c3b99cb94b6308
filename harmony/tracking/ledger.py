"""mlflow.json: what a run has to send to its store, and how far the sending has come."""

import json
import logging
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from harmony.tracking.base import RunInfo

LEDGER_FILE = "mlflow.json"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Destination:
    """Where metrics go, and which.

    Attributes:
        tracking_uri: Address of the store.
        artifact_location: Where files are kept, if the store doesn't decide that itself.
        keys: Patterns of the metric keys to send.
    """

    tracking_uri: str
    artifact_location: str | None
    keys: Sequence[str]


@dataclass
class Artifact:
    """A file to send.

    Attributes:
        path: Relative to the run directory if it lies there, so that the directory can be moved.
        folder: Where to file it in the store; "" is the top.
        sent: Whether the store has it.
    """

    path: str
    folder: str
    sent: bool = False


@dataclass
class Progress:
    """How far the sending has come.

    Attributes:
        run_id: The run's id in the store, once it exists there.
        attempt: Number of starts of the run, 1 for the first.
        started: When the run began, unix milliseconds.
        ended: When it ended; None while it runs.
        status: RUNNING, or how it ended.
        closed: Whether the store knows that it has ended.
        committed: Rows before this byte of metrics.jsonl are covered by a checkpoint.
        cursor: Rows before this byte are in the store.
        rows: Rows before the cursor.
        sent_rows: Rows that the store has; more than `rows` after metrics.jsonl was cut back behind
            the cursor.
        artifacts: Files, sent or not.
    """

    run_id: str | None = None
    attempt: int = 1
    started: int = 0
    ended: int | None = None
    status: str = "RUNNING"
    closed: bool = False
    committed: int = 0
    cursor: int = 0
    rows: int = 0
    sent_rows: int = 0
    artifacts: list[Artifact] = field(default_factory=list)

    def rewind(self, size: int, rows: int) -> None:
        """Follows metrics.jsonl when it was cut back to `size` bytes, which hold `rows` rows.

        The cut can lie behind the cursor when the newest checkpoint was damaged and the one before
        it was resumed. The run then writes rows that the store has; they are not sent again.
        """
        if size < self.cursor:
            self.cursor, self.rows = size, rows
        self.committed = min(self.committed, size)

    def forget_store(self) -> None:
        """Begins again with a store that has nothing of this run."""
        self.run_id, self.cursor, self.rows, self.sent_rows = None, 0, 0, 0
        self.closed = False
        for artifact in self.artifacts:
            artifact.sent = False


@dataclass
class Ledger:
    """The content of mlflow.json.

    Attributes:
        info: The run.
        destination: Where its metrics go.
        progress: How far they have come.
    """

    info: RunInfo
    destination: Destination
    progress: Progress

    def write(self) -> None:
        """Replaces mlflow.json in the run directory, whole or not at all."""
        path = self.info.run_dir / LEDGER_FILE
        content = {"info": asdict(self.info), "destination": asdict(self.destination)}
        del content["info"]["run_dir"]
        content["progress"] = asdict(self.progress)
        partial = path.with_name(f".{LEDGER_FILE}.partial")
        with partial.open("w") as file:
            json.dump(content, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)


def read_ledger(run_dir: Path) -> Ledger | None:
    """Reads mlflow.json of a run directory.

    Returns:
        None if there is none, or if it is damaged (logged): the run is then found again in the
        store by its run key, and rows that are sent twice are stored once.
    """
    path = run_dir / LEDGER_FILE
    try:
        content = json.loads(path.read_text())
        progress = Progress(**content["progress"])
        progress.artifacts = [Artifact(**artifact) for artifact in content["progress"]["artifacts"]]
        info = RunInfo(run_dir=run_dir, **content["info"])
        return Ledger(info, Destination(**content["destination"]), progress)
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError) as error:
        log.warning("%s is damaged (%s); the run is looked up in the store by its key", path, error)
        return None
