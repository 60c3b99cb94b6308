"""Sends committed rows of metrics.jsonl to a store from a thread that never gives up."""

import fnmatch
import logging
import random
import threading
from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

from harmony.tracking.jsonl import Row, read_rows
from harmony.tracking.outbox import Outbox

MAX_POINTS = 1000
"""Most points in one batch; MLflow takes no more."""

_LONGEST_PAUSE = 300.0
_PAUSE_AT_THE_END = 2.0

log = logging.getLogger(__name__)


class Point(NamedTuple):
    """One value of one metric.

    A point with the same four fields is stored once, however often it is sent: the time is the
    row's, not that of the sending.

    Attributes:
        key: Metric key.
        value: Finite.
        time: Unix milliseconds of the row.
        step: The row's env_step.
    """

    key: str
    value: float
    time: int
    step: int


class Sink(Protocol):
    """A store. Every method may raise when the store has trouble; it is then called again later."""

    def open(self, outbox: Outbox) -> None:
        """Connects, finds or makes the run, and says there that it runs. Called before others."""
        ...

    def send(self, points: Sequence[Point]) -> None:
        """Stores points."""
        ...

    def upload(self, path: str, folder: str) -> None:
        """Stores a file."""
        ...

    def close(self, outbox: Outbox) -> None:
        """Says how and when the run ended."""
        ...


class Batch(NamedTuple):
    """Points that are sent together.

    Attributes:
        points: At most `MAX_POINTS`.
        cursor: Rows before this byte are in the store when this batch is.
        rows: Rows before the cursor.
    """

    points: list[Point]
    cursor: int
    rows: int


def points_of(row: Row, keys: Sequence[str]) -> list[Point]:
    """The numbers of a row whose key matches one of the patterns `keys`."""
    time, step = round(float(row.get("time", 0)) * 1000), int(row["env_step"])
    return [
        Point(key, float(value), time, step)
        for key, value in row.items()
        if key not in ("time", "env_step")
        and not isinstance(value, str)
        and any(fnmatch.fnmatchcase(key, pattern) for pattern in keys)
    ]


def batches(outbox: Outbox) -> Iterator[Batch]:
    """Cuts the rows between cursor and committed offset into batches, in file order."""
    progress = outbox.progress
    cursor, rows = progress.cursor, progress.rows
    points: list[Point] = []
    for end, row in read_rows(outbox.metrics, progress.cursor, progress.committed):
        if rows >= progress.sent_rows:
            new = points_of(row, outbox.destination.keys)
            if len(points) + len(new) > MAX_POINTS:
                yield Batch(points, cursor, rows)
                points = []
            while len(new) > MAX_POINTS:  # the row is in the store only when its last part is
                yield Batch(new[:MAX_POINTS], cursor, rows)
                new = new[MAX_POINTS:]
            points += new
        cursor, rows = end, rows + 1
    if cursor > progress.cursor:
        yield Batch(points, cursor, rows)


def drain(sink: Sink, outbox: Outbox) -> int:
    """Sends everything that may be sent; `sink` must be open.

    Returns:
        Number of points sent.

    Raises:
        Exception: Whatever the store raises. What was stored before is recorded in the outbox. A
            file that can't be uploaded doesn't hold up the others.
    """
    count = 0
    for batch in batches(outbox):
        if batch.points:
            sink.send(batch.points)
        count += len(batch.points)
        outbox.advance(batch.cursor, batch.rows)
    failure: Exception | None = None
    for artifact in outbox.unsent():
        path = outbox.info.run_dir / artifact.path
        try:
            if path.exists():
                sink.upload(str(path), artifact.folder)
            else:
                log.warning("%s is gone and can't be sent to the store", path)
            outbox.sent(artifact)
        except Exception as error:  # raised below, when the others are through
            failure = error
    if failure is not None:
        raise failure
    return count


class Shipper(threading.Thread):
    """Drains an outbox every `flush_seconds`, and once more at the end.

    Trouble with the store is logged once, retried with growing pauses, and logged again when over.

    Args:
        sink: The store.
        outbox: What to send.
        flush_seconds: Pause between two rounds.
    """

    def __init__(self, sink: Sink, outbox: Outbox, flush_seconds: float) -> None:
        super().__init__(name="tracking", daemon=True)
        self._sink = sink
        self._outbox = outbox
        self._flush_seconds = flush_seconds
        self._wake = threading.Event()
        self._ending = threading.Event()
        self._abandoned = threading.Event()
        self._opened = False
        self._failures = 0
        # Its own stream: jitter must not move the random numbers of the training.
        self._random = random.Random()

    def run(self) -> None:
        """Sends until `finish`."""
        while not self._abandoned.is_set():
            ending = self._ending.is_set()  # asked before the round: what comes later needs another
            if self._round(ending) and ending:
                break
            self._wake.wait(self._pause())
            self._wake.clear()
        self._outbox.release()

    def finish(self, seconds: float) -> None:
        """Makes a last round and waits for it, `seconds` at most."""
        self._ending.set()
        self._wake.set()
        self.join(seconds)
        self._abandoned.set()
        self._wake.set()

    def _round(self, ending: bool) -> bool:
        try:
            if not self._outbox.own(new_attempt=True):
                raise TimeoutError("another process is sending the rows of this run")
            if not self._opened:
                self._sink.open(self._outbox)
                self._opened = True
            drain(self._sink, self._outbox)
            if ending:
                self._sink.close(self._outbox)
                self._outbox.closed()
        except Exception as error:  # a store raises anything; none of it may end the training
            self._failed(error)
            return False
        self._recovered()
        return True

    def _failed(self, error: Exception) -> None:
        self._failures += 1
        if self._failures == 1:
            log.warning(
                "can't send to %s (%s: %s); rows stay in metrics.jsonl and are sent when it works",
                self._outbox.destination.tracking_uri,
                type(error).__name__,
                first_line(error),
            )

    def _recovered(self) -> None:
        if self._failures:
            log.info("sending to %s works again", self._outbox.destination.tracking_uri)
        self._failures = 0

    def _pause(self) -> float:
        """Seconds to the next round, with jitter so that the runs of a sweep don't come at once."""
        longest = _PAUSE_AT_THE_END if self._ending.is_set() else _LONGEST_PAUSE
        seconds = min(self._flush_seconds * 2.0 ** min(self._failures, 10), longest)
        return seconds * self._random.uniform(0.8, 1.2)


def first_line(error: Exception) -> str:
    """The first line of an error's text, at most 300 characters."""
    return (str(error).splitlines() or [""])[0][:300]
