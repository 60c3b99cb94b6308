"""Meta-World version 2 over a stand-in for its sources."""

from pathlib import Path

WORLD = str(Path(__file__).parent / "fakes" / "metaworld_v2_world.py")
