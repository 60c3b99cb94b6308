"""World file that runs the package's own one on the stand-ins for RLBench and PyRep.

python -m harmony env=rlbench env.world=tests/fakes/rlbench_world.py
"""

import importlib.util
import sys
from pathlib import Path

FAKES = Path(__file__).resolve().parent
REAL = FAKES.parents[1] / "harmony" / "envs" / "worlds" / "rlbench.py"


def make(**arguments):
    """As that of the package's world file."""
    sys.path.insert(0, str(FAKES))
    spec = importlib.util.spec_from_file_location("rlbench_world_file", REAL)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.make(**arguments)
