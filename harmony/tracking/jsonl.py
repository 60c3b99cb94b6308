"""metrics.jsonl: one JSON object a line, the source of truth for every metric of a run."""

import json
import logging
import math
import os
import time
from collections.abc import Iterator, Mapping
from numbers import Integral
from pathlib import Path
from typing import SupportsFloat, cast

from harmony.errors import RunDirectoryError

Row = dict[str, float | int | str]

log = logging.getLogger(__name__)


class MetricsLog:
    """Appends metric rows to a file and cuts the file back on resume.

    Args:
        path: The file; its directory must exist.
        offset: Size in bytes that the checkpoint to resume from has recorded (what `flush`
            returned). Later rows are dropped, since the resumed run writes them again. None starts
            a new run: rows of an attempt that left no checkpoint are dropped.

    Raises:
        RunDirectoryError: The file can't be written, is shorter than `offset`, or `offset` cuts a
            row in two.
    """

    def __init__(self, path: Path, offset: int | None) -> None:
        self.path = path
        offset = offset or 0
        if offset:
            _check_cut(path, offset)
        try:
            self._file = path.open("r+b" if path.exists() else "w+b")
            self._file.truncate(offset)
            self._file.seek(offset)
            _sync_directory(path.parent)
        except OSError as error:
            raise _unwritable(path, error) from error

    def write(self, row: Mapping[str, float | int | str]) -> None:
        """Adds one row.

        The key `time` (unix seconds, rounded to milliseconds) is added when missing. NaN and
        infinities are left out; `nonfinite/<key>` is 1 in their place.

        Args:
            row: Metric key -> number or string; must have `env_step`.

        Raises:
            ValueError: No `env_step`.
            RunDirectoryError: The disk is full or the file has become unwritable.
        """
        if "env_step" not in row:
            raise ValueError(f"expected a row with the key env_step, got {sorted(row)}")
        clean = _finite({"time": round(time.time(), 3), **row})
        line = json.dumps(clean, allow_nan=False, separators=(",", ":")) + "\n"
        try:
            self._file.write(line.encode())
            self._file.flush()  # to the operating system: a killed process loses no row
        except OSError as error:
            raise _unwritable(self.path, error) from error

    def flush(self) -> int:
        """Makes all rows durable.

        Returns:
            Size of the file in bytes: the offset to store in the checkpoint.
        """
        try:
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise _unwritable(self.path, error) from error
        return self._file.tell()

    def close(self) -> None:
        """Closes the file; rows are kept."""
        self._file.close()


def read_rows(
    path: Path, start_offset: int = 0, end_offset: int | None = None
) -> Iterator[tuple[int, Row]]:
    """Reads complete rows in file order.

    Args:
        path: A metrics.jsonl; a missing file has no rows.
        start_offset: First byte to read; the beginning of a row.
        end_offset: Rows that end after this byte are not read. None reads to the last complete row.

    Yields:
        (offset of the byte after the row, the row).
    """
    if not path.exists():
        return
    with path.open("rb") as file:
        file.seek(start_offset)
        offset = start_offset
        for line in file:
            begin, offset = offset, offset + len(line)
            if not line.endswith(b"\n") or (end_offset is not None and offset > end_offset):
                return
            row = _parse(line)
            if row is None:
                log.warning("%s: the line at byte %d is no metric row; skipped", path, begin)
                continue
            yield offset, row


def _parse(line: bytes) -> Row | None:
    try:
        row = json.loads(line)
    except ValueError:
        return None
    return row if isinstance(row, dict) and "env_step" in row else None


def _finite(row: Mapping[str, float | int | str]) -> Row:
    clean: Row = {}
    for key, value in row.items():
        if isinstance(value, str) or math.isfinite(value):
            clean[key] = _plain(value)
        else:
            clean[f"nonfinite/{key}"] = 1
    return clean


def _plain(value: object) -> float | int | str:
    """NumPy and torch scalars as Python's own; an integer stays one."""
    if isinstance(value, str):
        return value
    return int(value) if isinstance(value, Integral) else float(cast(SupportsFloat, value))


def _check_cut(path: Path, offset: int) -> None:
    size = path.stat().st_size if path.exists() else 0
    if size < offset:
        raise RunDirectoryError(
            f"expected the {offset} bytes that the checkpoint covers in {path}, got {size}: "
            "restore the file or start a new run directory"
        )
    with path.open("rb") as file:
        file.seek(offset - 1)
        if file.read(1) != b"\n":
            raise RunDirectoryError(
                f"expected a row to end at byte {offset} of {path}, got the middle of one: "
                "restore the file or start a new run directory"
            )


def _sync_directory(directory: Path) -> None:
    """Makes the file's name durable, not only its bytes."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _unwritable(path: Path, error: OSError) -> RunDirectoryError:
    return RunDirectoryError(
        f"expected to write metrics to {path}, got: {error.strerror or error}: "
        "free space or check permissions, then start the run again"
    )
