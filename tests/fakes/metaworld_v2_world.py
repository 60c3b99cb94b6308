"""The package's own world file over a stand-in for Meta-World's sources; any Python runs it."""

import importlib.util
from pathlib import Path

HERE = Path(__file__).resolve().parent
OURS = HERE.parents[1] / "harmony" / "envs" / "worlds" / "metaworld_v2.py"


def make(**arguments):
    spec = importlib.util.spec_from_file_location("ours", OURS)
    ours = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(ours)
    return ours.make(**{**arguments, "checkout": str(HERE / "metaworld_v2")})
