"""Which files a run began with, in one number that checkpoints hold."""

import functools
import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

_BYTES = 2**16  # of each file; videos are large


def file_digest(paths: Iterable[Path], root: Path | None) -> int:
    """A number from the name, the size and the first 64 KiB of each file.

    Args:
        paths: of the files, in any order.
        root: folder that their names begin in; None: the name alone counts.

    Returns:
        Below 2**60; the same wherever the folder lies.
    """
    files = []
    for path in paths:
        name = path.name if root is None else path.relative_to(root).as_posix()
        about = path.stat()
        files.append((name, about.st_size, _beginning(path, about.st_size, about.st_mtime_ns)))
    return int(hashlib.sha256(json.dumps(sorted(files)).encode()).hexdigest()[:15], 16)


@functools.cache  # by what says that a file is another one: every environment asks
def _beginning(path: Path, size: int, mtime_ns: int) -> str:
    del size, mtime_ns
    with path.open("rb") as file:
        return hashlib.sha256(file.read(_BYTES)).hexdigest()
