"""Files of records: made, mapped, made durable, deleted."""

from __future__ import annotations

import errno
import mmap
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np

from harmony.errors import CheckpointError, RunDirectoryError
from harmony.replay.layout import file_header

NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Segments:
    """The segments that are open, by number.

    On disk a segment is a mapped file. Its blocks are allocated when it is made: a full disk is an
    error there and then, where a sparse file would kill the process with SIGBUS at some later
    write. In memory it is an ordinary array, and the file is written by `flush`.

    Attributes:
        segment_steps: records of a segment.
        storage: "disk" or "memory".
    """

    def __init__(
        self,
        directory: Path,
        dtype: np.dtype[Any],
        segment_steps: int,
        storage: Literal["disk", "memory"],
    ) -> None:
        self.directory = directory
        self.dtype = dtype
        self.segment_steps = segment_steps
        self.storage = storage
        self._header = file_header(dtype, segment_steps)
        self._arrays: dict[int, np.ndarray] = {}
        self._maps: dict[int, mmap.mmap] = {}
        self._files: set[int] = set()  # those in memory that have a file with their records
        self._new_names = False

    def __getitem__(self, number: int) -> np.ndarray:
        """The records of an open segment, structured, (segment_steps,)."""
        return self._arrays[number]

    def __contains__(self, number: int) -> bool:
        return number in self._arrays

    @property
    def file_bytes(self) -> int:
        """Size of one segment file."""
        return len(self._header) + self.segment_steps * self.dtype.itemsize

    def path(self, number: int) -> Path:
        """File of a segment."""
        return self.directory / f"segment-{number:06d}.npy"

    def on_disk(self) -> list[int]:
        """Numbers of the segments that have a file."""
        stems = (
            path.stem.removeprefix("segment-") for path in self.directory.glob("segment-*.npy")
        )
        return sorted(int(stem) for stem in stems if stem.isdecimal())

    def create(self, number: int) -> None:
        """Open an empty segment; a file of that number holds forgotten records and is replaced.

        Raises:
            RunDirectoryError: the disk is full.
        """
        if self.storage == "memory":
            self._arrays[number] = np.zeros(self.segment_steps, self.dtype)
            self._files.discard(number)
            return
        self._create_file(number)
        self._map(number)

    def open(self, number: int) -> None:
        """Open a segment that has a file.

        Raises:
            CheckpointError: the file is missing, cut, or laid out for other records.
        """
        self._check_file(number)
        if self.storage == "disk":
            self._map(number)
            return
        with self.path(number).open("rb") as file:
            file.seek(len(self._header))
            self._arrays[number] = np.fromfile(file, self.dtype, self.segment_steps)
        self._files.add(number)

    def read(self, position: int, length: int) -> Iterator[tuple[int, np.ndarray]]:
        """Consecutive records of open segments, cut where a segment ends.

        Args:
            position: of the first record.
            length: records.

        Yields:
            How many records came before, and the next ones, structured, (n,); no copy.
        """
        done = 0
        while done < length:
            number, offset = divmod(position + done, self.segment_steps)
            steps = min(length - done, self.segment_steps - offset)
            yield done, self._arrays[number][offset : offset + steps]
            done += steps

    def flush(self, first: int, stop: int) -> None:
        """Make the records at positions first..stop-1 durable.

        Segments that were closed in the meantime are left out: nothing refers to them.

        Raises:
            RunDirectoryError: the disk is full or fails.
        """
        for number in range(first // self.segment_steps, -(-stop // self.segment_steps)):
            if number not in self._arrays:
                continue
            offset = number * self.segment_steps
            begin, end = max(first - offset, 0), min(stop - offset, self.segment_steps)
            if self.storage == "memory":
                self._write(number, begin, end)
            else:
                with self._explained():
                    self._maps[number].flush()
        if self._new_names:
            with self._explained():
                sync_directory(self.directory)
            self._new_names = False

    def close(self, number: int) -> None:
        """Let go of a segment; its file stays."""
        # The mapping ends with its last reference: batches are copies, so that is here.
        self._arrays.pop(number, None)
        self._maps.pop(number, None)

    def close_all(self) -> None:
        """Let go of every segment."""
        self._arrays.clear()
        self._maps.clear()

    def close_others(self, wanted: set[int]) -> None:
        """Let go of the open segments that are not wanted."""
        for number in self._arrays.keys() - wanted:
            self.close(number)

    def delete(self, number: int) -> None:
        """Let go of a segment and remove its file."""
        self.close(number)
        self.path(number).unlink(missing_ok=True)

    def _create_file(self, number: int) -> None:
        path = self.path(number)
        with self._explained():
            # Removed, not cut: whoever still maps the old file would die when reading it.
            path.unlink(missing_ok=True)
            try:
                with path.open("xb", buffering=0) as file:
                    allocate(file.fileno(), self.file_bytes)
                    os.pwrite(file.fileno(), self._header, 0)
            except OSError:
                path.unlink(missing_ok=True)
                raise
        self._new_names = True

    def _map(self, number: int) -> None:
        with self.path(number).open("r+b") as file:
            mapped = mmap.mmap(file.fileno(), self.file_bytes)
        self._maps[number] = mapped
        self._arrays[number] = np.frombuffer(
            mapped, self.dtype, self.segment_steps, len(self._header)
        )

    def _write(self, number: int, begin: int, end: int) -> None:
        """Write records begin..end-1 of a segment in memory to its file."""
        if number not in self._files:
            self._create_file(number)
            self._files.add(number)
        records = memoryview(self._arrays[number].view(np.uint8).data)[
            begin * self.dtype.itemsize : end * self.dtype.itemsize
        ]
        with self._explained(), self.path(number).open("r+b", buffering=0) as file:
            file.seek(len(self._header) + begin * self.dtype.itemsize)
            while records:
                records = records[file.write(records) :]
            os.fsync(file.fileno())

    def _check_file(self, number: int) -> None:
        path = self.path(number)
        if not path.is_file():
            raise CheckpointError(
                f"expected the replay segment {path}, which the checkpoint refers to, but it is "
                "missing: restore it, or start again in a new run_dir"
            )
        with path.open("rb") as file:
            header = file.read(len(self._header))
        size = path.stat().st_size
        if header != self._header or size != self.file_bytes:
            raise CheckpointError(
                f"expected {self.segment_steps} records of {self.dtype.itemsize} bytes in {path}, "
                f"got another layout ({size} bytes): resume with the run's own configuration"
            )

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if error.errno not in NO_SPACE:
                raise RunDirectoryError(
                    f"the replay can't write to {self.directory} ({error.strerror}): check the disk"
                ) from error
            raise RunDirectoryError(
                f"expected {self.file_bytes / 1e9:.3g} GB free for the next replay segment in "
                f"{self.directory}, but the disk or quota is full: free space and start again, "
                "the run resumes from its last checkpoint"
            ) from error


def allocate(descriptor: int, size: int) -> None:
    """Give an empty file its blocks, so that writing to a mapping of it can't run out of space.

    Raises:
        OSError: ENOSPC where there is no room.
    """
    reserve = getattr(os, "posix_fallocate", None)  # not on macOS
    if reserve is not None:
        reserve(descriptor, 0, size)
        return
    chunk = bytes(1 << 20)
    for offset in range(0, size, len(chunk)):
        os.pwrite(descriptor, chunk[: size - offset], offset)


def sync_directory(directory: Path) -> None:
    """Make the names of new files durable."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
