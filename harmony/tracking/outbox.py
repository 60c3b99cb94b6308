"""The ledger of a run in the hands of the one process that may send for it."""

import logging
import threading
from pathlib import Path

from harmony.filelock import FileLock
from harmony.tracking.base import METRICS_FILE, Status
from harmony.tracking.jsonl import read_rows
from harmony.tracking.ledger import LEDGER_FILE, Artifact, Ledger, Progress, read_ledger

log = logging.getLogger(__name__)


class Outbox:
    """Keeps a run's ledger in memory and, once this process owns it, in mlflow.json. Thread-safe.

    Args:
        ledger: The run, its destination, and what this process knows of its progress.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._mutex = threading.RLock()
        self._lock = FileLock(ledger.info.run_dir / f".{LEDGER_FILE}.lock")
        self.info = ledger.info
        self.destination = ledger.destination

    @property
    def metrics(self) -> Path:
        """The run's metrics.jsonl."""
        return self.info.run_dir / METRICS_FILE

    @property
    def progress(self) -> Progress:
        """How far the sending has come; to be changed by the methods below only."""
        return self._ledger.progress

    def own(self, *, new_attempt: bool) -> bool:
        """Takes mlflow.json over if no other process holds it, and continues from what it says.

        Args:
            new_attempt: The run starts again (True), or only its rows are being sent (False).

        Returns:
            Whether this process owns the file now.
        """
        with self._mutex:
            if self._lock.held:
                return True
            if not self._lock.acquire(wait=False):
                return False
            stored = read_ledger(self.info.run_dir)
            if stored is not None and stored.info.run_key == self.info.run_key:
                self._continue_from(stored, new_attempt=new_attempt)
            self._rewind(self.metrics.stat().st_size if self.metrics.exists() else 0)
            self._save()
            return True

    def release(self) -> None:
        """Gives mlflow.json back."""
        with self._mutex:
            self._lock.release()

    def commit(self, offset: int) -> None:
        """Rows before `offset` may be sent; if it lies behind the cursor, the file was cut back."""
        with self._mutex:
            self._rewind(offset)
            self.progress.committed = offset
            self._save()

    def found(self, run_id: str) -> None:
        """The store knows the run as `run_id`."""
        with self._mutex:
            self.progress.run_id = run_id
            self._save()

    def lost(self) -> None:
        """The store has lost the run, or somebody has deleted it there."""
        with self._mutex:
            self.progress.forget_store()
            self._save()

    def _rewind(self, size: int) -> None:
        behind = size < self.progress.cursor
        rows = sum(1 for _ in read_rows(self.metrics, 0, size)) if behind else 0
        self.progress.rewind(size, rows)

    def advance(self, cursor: int, rows: int) -> None:
        """Rows before `cursor`, `rows` of them, are in the store."""
        with self._mutex:
            self.progress.cursor, self.progress.rows = cursor, rows
            self.progress.sent_rows = max(self.progress.sent_rows, rows)
            self._save()

    def add(self, path: Path, folder: str) -> None:
        """Adds a file to send; one that was sent before is sent again."""
        path, run_dir = path.absolute(), self.info.run_dir.absolute()
        name = str(path.relative_to(run_dir) if path.is_relative_to(run_dir) else path)
        with self._mutex:
            others = [a for a in self.progress.artifacts if (a.path, a.folder) != (name, folder)]
            self.progress.artifacts = [*others, Artifact(name, folder)]
            self._save()

    def unsent(self) -> list[Artifact]:
        """Files to send."""
        with self._mutex:
            return [artifact for artifact in self.progress.artifacts if not artifact.sent]

    def sent(self, artifact: Artifact) -> None:
        """The store has the file."""
        with self._mutex:
            artifact.sent = True
            self._save()

    def end(self, status: Status, now: int) -> None:
        """The run has ended at `now` (unix milliseconds)."""
        with self._mutex:
            self.progress.status, self.progress.ended, self.progress.closed = status, now, False
            self._save()

    def closed(self) -> None:
        """The store knows that the run has ended."""
        with self._mutex:
            self.progress.closed = True
            self._save()

    def complete(self) -> bool:
        """Whether the store has everything that may be sent."""
        with self._mutex:
            progress = self.progress
            ended = progress.status == "RUNNING" or progress.closed
            return ended and progress.cursor >= progress.committed and not self.unsent()

    def _continue_from(self, stored: Ledger, *, new_attempt: bool) -> None:
        new, old = self.progress, stored.progress
        self._ledger.progress = old
        if stored.destination.tracking_uri != self.destination.tracking_uri:
            old.forget_store()
        if new_attempt:
            old.attempt += 1
            old.status, old.ended, old.closed = new.status, new.ended, False
        if new.committed:  # said before the file was ours
            self._rewind(new.committed)
            old.committed = new.committed
        for artifact in new.artifacts:
            self.add(self.info.run_dir / artifact.path, artifact.folder)

    def _save(self) -> None:
        if not self._lock.held:
            return
        try:
            self._ledger.write()
        except (
            OSError
        ) as error:  # the sending can begin again from an older ledger; training goes on
            log.warning("%s can't be written: %s", self.info.run_dir / LEDGER_FILE, error)
