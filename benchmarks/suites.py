"""Trains a small agent on every suite for 300 env steps after its prefill, and prints a table.

    python -m benchmarks.suites
    python -m benchmarks.suites --suites dmc atari100k

RLBench, MineDojo and Meta-World 2 by their stand-ins. Each row is a run of its own, from the
command line to its last evaluation. It must make updates whose losses are finite, and the
harmonizer's scales must move. Ends with exit code 1 where one does not.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[1]
STAND_INS = {
    "metaworld_v2": "tests/fakes/metaworld_v2_world.py",
    "minedojo": "tests/fakes/minedojo_world.py",
    "rlbench": "tests/fakes/rlbench_world.py",
}
"""Files that take the place of simulators which no package index has."""
LIMITS = {
    "atari100k": ("env.max_frames=200",),
    "crafter": ("env.time_limit=60",),
    "metaworld": ("env.time_limit=60",),
    "metaworld_v2": ("env.time_limit=60",),
    "minedojo": ("env.time_limit=60",),
    "rlbench": ("env.time_limit=30",),
}
"""Shorter episodes, where a suite lets one choose; those of dm_control have 1,000 env steps."""
SUITES = ("atari100k", "crafter", "dmc", "dmc_remastered", "metaworld", "metaworld_v2", "minedojo",
          "natural_background", "probe", "rlbench")  # fmt: skip
TRAINED = 300  # env steps
FIXED = (
    "algorithm=dreamerv3", "harmony=on", "debug=smoke", "render=fast", "device=cpu",
    "tracking=none", "training.prefill_agent_steps=30", "training.train_every_agent_steps=4",
    "training.log_every_env_steps=100", "evaluation.every_env_steps=100_000",
    "evaluation.random_episodes=0", "checkpoint.every_env_steps=100_000",
)  # fmt: skip


class Row(NamedTuple):
    """What one run did.

    Attributes:
        suite: its name.
        seconds: from the command line to the end.
        rows: of its metrics.
        faults: what is wrong; empty where all is well.
    """

    suite: str
    seconds: float
    rows: list[dict[str, Any]]
    faults: list[str]


def train(suite: str, directory: Path) -> Row:
    """Runs one training in a process of its own."""
    limits = LIMITS.get(suite, ())
    world = [f"env.world={ROOT / STAND_INS[suite]}"] if suite in STAND_INS else []
    prefill = 1000 if suite in ("dmc", "dmc_remastered", "natural_background") else 200
    steps = f"training.env_steps={prefill + TRAINED}"
    words = [f"env={suite}", *FIXED, *limits, *world, steps, f"run_dir={directory / 'run'}"]
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "harmony", *words],
        cwd=ROOT, capture_output=True, text=True, timeout=1200, check=False,
    )  # fmt: skip
    seconds = time.perf_counter() - start
    if done.returncode:
        last = (done.stderr.splitlines() or ["nothing printed"])[-1]
        return Row(suite, seconds, [], [f"exit code {done.returncode}: {last}"])
    text = (directory / "run" / "metrics.jsonl").read_text(encoding="utf-8")
    rows = [json.loads(line) for line in text.splitlines()]
    return Row(suite, seconds, rows, find_faults(rows))


def find_faults(rows: Sequence[dict[str, Any]]) -> list[str]:
    """What is wrong with a run.

    Args:
        rows: of its metrics, in order.
    """
    learned = [row for row in rows if "loss/total" in row]
    if not learned:
        return ["no updates"]
    bad = sorted(
        {
            key
            for row in rows
            for key, value in row.items()
            if isinstance(value, float) and not math.isfinite(value)
        }
    )
    faults = [f"{', '.join(bad)} not finite"] if bad else []
    scales = [key for key in learned[-1] if key.startswith("harmony/sigma/")]
    if not scales or any(learned[-1][key] == 1.0 for key in scales):
        faults.append("a scale of the harmonizer has not moved")
    if not any("eval/return" in row for row in rows):
        faults.append("no evaluation")
    return faults


def markdown(row: Row) -> str:
    """One line of the table."""
    learned = [r for r in row.rows if "loss/total" in r]
    first, last = (f"{learned[i]['loss/total']:.4g}" if learned else "" for i in (0, -1))
    steps = f"{row.rows[-1]['env_step']:,}" if row.rows else ""
    how = "stand-in" if row.suite in STAND_INS else "real"
    verdict = "; ".join(row.faults) or "ok"
    return f"| {row.suite} | {how} | {steps} | {row.seconds:.0f} | {first} | {last} | {verdict} |"


def main(arguments: Sequence[str] | None = None) -> int:
    """Trains and prints; 1 where a row has a fault."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--suites", nargs="+", choices=SUITES, default=SUITES)
    given = parser.parse_args(arguments)
    print(
        "| suite | simulator | env steps | seconds | first total | last total | verdict |\n"
        "|---|---|---|---|---|---|---|"
    )
    failed = 0
    for suite in given.suites:
        with tempfile.TemporaryDirectory() as directory:
            row = train(suite, Path(directory))
        print(markdown(row), flush=True)
        failed += bool(row.faults)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
