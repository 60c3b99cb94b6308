"""How long it takes to submit a large sweep, dry and for real.

    python -m benchmarks.submission --runs 1000 --partition stopped

Submits to a partition that starts nothing, as ``stopped`` of a one-machine cluster, counts what
SLURM has got, and cancels it again. SLURM_CONF says which cluster.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path


def submit(root: Path, name: str, runs: int, partition: str, *, dry: bool) -> float:
    """Seconds that a submission takes, as a whole command.

    Args:
        root: directory of its runs.
        name: of the sweep.
        runs: of the sweep: seeds for two tasks, harmony on and off.
        partition: where to.
        dry: print only.
    """
    seeds = ",".join(str(seed) for seed in range(runs // 4))
    command = [
        sys.executable, "-m", "harmony", "-m", "hydra/launcher=slurm_dev", f"sweep={name}",
        f"seed={seeds}", "harmony=on,off", "env.task=cartpole_swingup,walker_walk", "tracking=none",
        f"hydra.launcher.partition={partition}", f"hydra.launcher.dry_run={str(dry).lower()}",
    ]  # fmt: skip
    began = time.monotonic()
    done = subprocess.run(
        command,
        env={**os.environ, "HARMONY_RUNS": str(root)},
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    took = time.monotonic() - began
    print("\n".join(done.stdout.splitlines()[-4:]))
    return took


def accounts(jobs: Sequence[str]) -> dict[str, int]:
    """Tasks that SLURM has of some arrays: in its queue, and in its accounts.

    Args:
        jobs: ids of arrays.
    """
    ids = ",".join(jobs)
    queue = _lines("squeue", "--noheader", "--array", "--format=%i", f"--jobs={ids}")
    stored = _lines("sacct", "--noheader", "-X", "-P", "--format=JobID,State", f"--jobs={ids}")
    return {"squeue --array": len(queue), "sacct": len(stored)}


def _lines(*command: str) -> list[str]:
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return done.stdout.splitlines()


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the benchmark.

    Args:
        argv: arguments after the program's name; those of the process by default.

    Returns:
        Exit code.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--partition", default="stopped")
    arguments = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="submission-") as folder:
        root = Path(folder)
        dry = submit(root, "many", arguments.runs, arguments.partition, dry=True)
        real = submit(root, "many", arguments.runs, arguments.partition, dry=False)
        again = submit(root, "many", arguments.runs, arguments.partition, dry=False)
        stored = json.loads((root / "many" / "sweep.json").read_text())
        jobs = sorted({job["id"].partition("_")[0] for job in stored["jobs"]})
        print(f"{arguments.runs} runs: dry {dry:.1f} s, real {real:.1f} s, again {again:.1f} s")
        print(f"arrays {', '.join(jobs)}: {accounts(jobs)}")
        subprocess.run(["scancel", *jobs], check=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
