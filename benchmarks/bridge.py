"""What a bridge to another Python costs, and MuJoCo 2.1 through one.

    python -m benchmarks.bridge [PYTHON ...] [--mujoco-py PYTHON]

Each PYTHON is an interpreter with NumPy, besides this one; that of --mujoco-py has mujoco-py too.
"""

import argparse
import sys
import time
from pathlib import Path

import numpy as np

from harmony.envs.bridge import Bridge

WORLDS = Path(__file__).parent / "worlds"
CALLS = 3000
SIZE = 64


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("pythons", nargs="*", default=[], metavar="PYTHON")
    parser.add_argument("--mujoco-py", default=None, metavar="PYTHON")
    arguments = parser.parse_args()
    for python in [sys.executable, *arguments.pythons]:
        print(measure_calls(python))
    if arguments.mujoco_py:
        for line in try_mujoco(arguments.mujoco_py):
            print(line)


def measure_calls(python: str) -> str:
    """Time of a call that answers with a picture, and of a start."""
    begun = time.perf_counter()
    bridge = _open(python, "picture")
    start = time.perf_counter() - begun
    action, times = np.zeros(4, np.float32), []
    for _ in range(CALLS):
        begun = time.perf_counter()
        bridge.call("step", action)
        times.append(1e6 * (time.perf_counter() - begun))
    bridge.close()
    low, middle, high = np.percentile(times, [5, 50, 95])
    return (
        f"{python}: start {start:.2f} s; a call that returns {SIZE} x {SIZE} x 3 bytes: "
        f"{middle:.0f} us (5 % below {low:.0f}, 5 % above {high:.0f})"
    )


def try_mujoco(python: str) -> list[str]:
    """Steps and draws a pendulum; a worker that was restarted must do the same."""
    begun = time.perf_counter()
    bridge = _open(python, "mujoco_py")
    lines = [f"start {time.perf_counter() - begun:.1f} s; {bridge.call('versions')}"]
    first, angles, step_s, draw_s = _swing(bridge)
    lines.append(f"picture {first.shape} {first.dtype}, mean {first.mean():.2f}")
    lines.append(f"500 steps: {step_s:.2f} s; 1 s later the angle is {angles[-1]:.6f} rad")
    lines.append(f"100 pictures: {draw_s:.2f} s")
    bridge.restart()
    again, other_angles, *_ = _swing(bridge)
    same = bool((first == again).all()) and angles == other_angles
    lines.append(f"a restarted worker does the same, bit for bit: {same}")
    bridge.close()
    return lines


def _swing(bridge: Bridge) -> tuple[np.ndarray, list[float], float, float]:
    first = bridge.call("reset")
    begun = time.perf_counter()
    angles = [bridge.call("step", 0.1) for _ in range(500)]
    middle = time.perf_counter()
    for _ in range(100):
        bridge.call("draw")
    return first, angles, middle - begun, time.perf_counter() - middle


def _open(python: str, world: str) -> Bridge:
    return Bridge(
        python,
        str(WORLDS / f"{world}.py"),
        {"size": SIZE},
        version=None,
        timeout_s=60.0,
        start_timeout_s=900.0,
        name=world,
    )


if __name__ == "__main__":
    main()
