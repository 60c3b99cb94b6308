"""One process at a time, also across processes that start together."""

import errno
import fcntl
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

log = logging.getLogger(__name__)

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
            wait: Block until it is free.

        Returns:
            Whether the lock is held now.
        """
        if self._file is not None:
            return True
        self.path.parent.mkdir(parents=True, exist_ok=True)
        file = self.path.open("ab")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
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

    def release(self) -> None:
        """Frees the lock."""
        if self._file is None:
            return
        # A forked child may have inherited the descriptor: unlocking frees it, closing would not.
        fcntl.flock(self._file, fcntl.LOCK_UN)
        self._file.close()
        self._file = None


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Holds the lock on `path` within the block, waiting for it first."""
    lock = FileLock(path)
    lock.acquire(wait=True)
    try:
        yield
    finally:
        lock.release()
