"""One process at a time, also across processes that start together."""

import contextlib
import errno
import fcntl
import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

log = logging.getLogger(__name__)

_SILENT_SECONDS = 2.0
_PAUSE_SECONDS = 0.02
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP}


class FileLock:
    """An advisory lock on a file, freed by the kernel when its process dies.

    Args:
        path: The lock file; it is made when missing and stays behind, empty.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: IO[bytes] | None = None

    @property
    def held(self) -> bool:
        """Whether this object holds the lock."""
        return self._file is not None

    def acquire(self, *, wait: bool) -> bool:
        """Takes the lock.

        Args:
            wait: Block until it is free; a long wait is said in a line.

        Returns:
            Whether the lock is held now.
        """
        if self._file is not None:
            return True
        self.path.parent.mkdir(parents=True, exist_ok=True)
        file = self.path.open("ab")
        try:
            if wait:
                self._wait_for(file)
            else:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            return False
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                file.close()
                raise
            log.warning("%s: the file system has no locks (%s); going on without", self.path, error)
        self._file = file
        return True

    def _wait_for(self, file: IO[bytes]) -> None:
        until = time.monotonic() + _SILENT_SECONDS
        while time.monotonic() < until:
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            time.sleep(_PAUSE_SECONDS)
        log.warning(
            "another process is at work in %s (%s); this one waits for it",
            self.path.parent, self.path.name,
        )  # fmt: skip
        fcntl.flock(file, fcntl.LOCK_EX)

    def release(self) -> None:
        """Frees the lock."""
        if self._file is None:
            return
        # A forked child may have inherited the descriptor: unlocking frees it, closing would not.
        fcntl.flock(self._file, fcntl.LOCK_UN)
        self._file.close()
        self._file = None


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Holds the lock on `path` within the block, waiting for it first."""
    lock = FileLock(path)
    lock.acquire(wait=True)
    try:
        yield
    finally:
        lock.release()
