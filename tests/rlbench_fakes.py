"""The stand-ins for RLBench and PyRep: where they are, and how a test imports them."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

FAKES = Path(__file__).parent / "fakes"
WORLD = str(FAKES / "rlbench_world.py")
"""World file that runs on them."""


def is_rlbench(module: str) -> bool:
    """Whether a module belongs to RLBench or PyRep, real or not."""
    return module.partition(".")[0] in ("rlbench", "pyrep")


@contextmanager
def importable(folder: Path | None) -> Iterator[None]:
    """Imports RLBench and PyRep anew, from a folder where one is given, and forgets them after."""
    kept = {name: sys.modules.pop(name) for name in list(sys.modules) if is_rlbench(name)}
    path = sys.path[:]
    if folder is not None:
        sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path[:] = path
        for name in filter(is_rlbench, list(sys.modules)):
            del sys.modules[name]
        sys.modules.update(kept)
