"""Many trackers that start together against one store: is each point there, once?

    python -m benchmarks.tracking --store http://HOST:5000 --jobs 64 --rows 200
    python -m benchmarks.tracking --store sqlite:////tmp/fresh.db --jobs 8 --slurm

Each tracker is a process of its own, with rows of metrics and without torch. With ``--slurm`` they
are the tasks of a job array, of the cluster that SLURM_CONF names. Prints what was found and ends
with exit code 1 if a run is missing, doubled, not FINISHED, or has other points than it wrote.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from harmony.tracking.base import METRICS_FILE, RunInfo
from harmony.tracking.jsonl import MetricsLog
from harmony.tracking.mlflow import MLflowTracker
from harmony.tracking.store import connect

EXPERIMENT = "benchmark-tracking"
KEYS = 10


def write(store: str, root: Path, number: int, rows: int, seconds: float) -> None:
    """One tracker: writes rows over some seconds and sends them.

    Args:
        store: address of the store.
        root: directory of all runs.
        number: of this one.
        rows: to write.
        seconds: that the writing takes.
    """
    run_dir = root / f"run{number:03d}"
    run_dir.mkdir()
    tracker = MLflowTracker(tracking_uri=store, flush_seconds=2.0, finish_seconds=300.0)
    log = MetricsLog(run_dir / METRICS_FILE, None)
    values = random.Random(number)
    key = f"{root.name}-{number}"
    tracker.start(RunInfo(run_dir, key, key, EXPERIMENT, {"number": number}, sweep=root.name))
    for step in range(rows):
        row: dict[str, float] = {f"loss/part{k}": values.random() for k in range(KEYS)}
        log.write({"env_step": step, "time": time.time(), **row})
        if step % 10 == 9 or step == rows - 1:
            tracker.commit(log.flush())
        time.sleep(seconds / rows)
    log.close()
    tracker.finish("FINISHED")


def start_together(arguments: argparse.Namespace, root: Path) -> None:
    """Starts all trackers at once and waits for them.

    Args:
        arguments: of the command.
        root: directory of their runs.

    Raises:
        subprocess.CalledProcessError: one has failed.
    """
    command = [
        sys.executable, "-m", "benchmarks.tracking", "--store", arguments.store,
        "--rows", str(arguments.rows), "--seconds", str(arguments.seconds), "--root", str(root),
    ]  # fmt: skip
    if arguments.slurm:
        script = f"#!/bin/bash\nexec {' '.join(command)} --write $SLURM_ARRAY_TASK_ID\n"
        options = [f"--array=0-{arguments.jobs - 1}", "--wait", "--mem=200", "--cpus-per-task=1"]
        output = f"--output={root}/%a.log"
        subprocess.run(["sbatch", *options, output], input=script, text=True, check=True)
        return
    children = [
        subprocess.Popen([*command, "--write", str(number)]) for number in range(arguments.jobs)
    ]
    for child in children:
        if child.wait():
            raise subprocess.CalledProcessError(child.returncode, child.args)


def check(store: str, root: Path, jobs: int, rows: int) -> list[str]:
    """What is wrong in the store; nothing if all is there once.

    Args:
        store: address of the store.
        root: directory of the runs.
        jobs: trackers that there were.
        rows: that each wrote.
    """
    client = connect(store)
    experiment = client.get_experiment_by_name(EXPERIMENT)
    wrong = []
    runs = client.search_runs([experiment.experiment_id], f"tags.`harmony.sweep` = '{root.name}'")
    children = [run for run in runs if "number" in run.data.params]
    parents = client.search_runs(
        [experiment.experiment_id], f"tags.`harmony.sweep_parent` = '{root.name}'"
    )
    if len(children) != jobs or len(parents) != 1:
        wrong.append(f"{len(children)} runs and {len(parents)} parents, expected {jobs} and 1")
    for run in children:
        number = int(run.data.params["number"])
        values = random.Random(number)
        expected = [[values.random() for _ in range(KEYS)] for _ in range(rows)]
        if run.info.status != "FINISHED":
            wrong.append(f"run {number} is {run.info.status}")
        for k in range(KEYS):
            found = client.get_metric_history(run.info.run_id, f"loss/part{k}")
            points = sorted((p.step, p.value) for p in found)
            if points != [(step, expected[step][k]) for step in range(rows)]:
                wrong.append(f"run {number}, part {k}: {len(points)} points, expected {rows}")
    return wrong


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the benchmark, or one of its trackers.

    Args:
        argv: arguments after the program's name; those of the process by default.

    Returns:
        Exit code.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--store", required=True)
    parser.add_argument("--jobs", type=int, default=64)
    parser.add_argument("--rows", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=60.0, help="that a tracker writes for")
    parser.add_argument("--slurm", action="store_true")
    parser.add_argument("--root", type=Path)
    parser.add_argument("--write", type=int)
    arguments = parser.parse_args(argv)
    if arguments.write is not None:
        write(arguments.store, arguments.root, arguments.write, arguments.rows, arguments.seconds)
        return 0
    root = arguments.root or Path(tempfile.mkdtemp(prefix="trackers-"))
    began = time.monotonic()
    start_together(arguments, root)
    took = time.monotonic() - began
    wrong = check(arguments.store, root, arguments.jobs, arguments.rows)
    points = arguments.jobs * arguments.rows * KEYS
    print(
        f"{arguments.jobs} trackers, {points:,} points, {took:.0f} s: {wrong or 'all there, once'}"
    )
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
