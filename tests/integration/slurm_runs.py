"""Sweeps on a real one-machine SLURM, driven the way a person drives them."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from launch.dev_cluster import DevCluster

ROOT = Path(__file__).parents[2]
RUN = [
    "debug=smoke", "env.observation=vector", "env.task=cartpole_swingup", "device=cpu",
    "training.train_every_agent_steps=5", "training.log_every_env_steps=500",
    "evaluation.every_env_steps=2000", "checkpoint.every_env_steps=500",
    "tracking.flush_seconds=1", "tracking.finish_seconds=120",
]  # fmt: skip
PATIENCE = 600.0


class Cluster:
    """A cluster with a root for runs, and what one does there."""

    def __init__(self, root: Path, cluster: DevCluster, code: Path = ROOT) -> None:
        self.root, self.cluster, self.code = root, cluster, code
        self.extra: dict[str, str] = {}

    @property
    def environment(self) -> dict[str, str]:
        path = f"{self.code}{os.pathsep}{ROOT / 'tests' / 'integration'}"
        own = {"PYTHONPATH": path, "PYTHONSAFEPATH": "1", "OMP_NUM_THREADS": "1"}
        runs = {"HARMONY_RUNS": str(self.root / "runs")}
        return {**os.environ, **own, **runs, **self.cluster.environment(), **self.extra}

    def call(self, *command: str) -> str:
        done = subprocess.run(
            command, cwd=self.root, env=self.environment, capture_output=True, text=True,
            timeout=PATIENCE, check=False,
        )  # fmt: skip
        assert done.returncode in (0, 1), f"{command}: {done.stdout}\n{done.stderr}"
        return done.stdout

    def submit(self, sweep: str, *overrides: str) -> str:
        launcher = ["hydra/launcher=slurm_dev", f"sweep={sweep}", "hydra.launcher.mem_gb=1"]
        return self.call(sys.executable, "-m", "harmony", "-m", *launcher, *RUN, *overrides)

    def launch(self, *words: str) -> str:
        return self.call(sys.executable, "-m", "launch", *words)

    def rows(self, sweep: str) -> list[dict[str, Any]]:
        return json.loads(self.launch("status", sweep, "--json"))

    def directory(self, sweep: str) -> Path:
        return self.root / "runs" / sweep

    def run_dir(self, sweep: str, index: int = 0) -> Path:
        return Path(self.sweep(sweep)["runs"][index]["run_dir"])

    def sweep(self, sweep: str) -> dict[str, Any]:
        return json.loads((self.directory(sweep) / "sweep.json").read_text())

    def record(self, sweep: str, index: int = 0) -> dict[str, Any]:
        path = self.run_dir(sweep, index) / "run.json"
        return json.loads(path.read_text()) if path.exists() else {"attempts": []}

    def attempts(self, sweep: str, index: int = 0) -> int:
        return len(self.record(sweep, index)["attempts"])

    def checkpoints(self, sweep: str, index: int = 0) -> list[int]:
        found = (self.run_dir(sweep, index) / "checkpoints").glob("checkpoint-*.ckpt")
        return sorted(int(path.stem.partition("-")[2]) for path in found)

    def wait_for_step(self, sweep: str, agent_step: int, index: int = 0) -> None:
        wait(lambda: max(self.checkpoints(sweep, index), default=0) >= agent_step)

    def worker(self, sweep: str, index: int = 0) -> int:
        """The process that trains a run now."""
        pid = json.loads((self.run_dir(sweep, index) / "run.lock").read_text())["pid"]
        assert psutil.pid_exists(pid)
        return pid

    def supervisor(self, sweep: str) -> int:
        jobs = str(self.directory(sweep) / "jobs")
        for process in psutil.process_iter(["cmdline"]):
            words = process.info["cmdline"] or []
            if "submitit.core._submit" in words and jobs in words:
                return process.pid
        raise AssertionError(f"no supervisor of {sweep}")

    def job(self, sweep: str, index: int = 0) -> str:
        return next(j["id"] for j in reversed(self.sweep(sweep)["jobs"]) if index in j["runs"])

    def log(self, sweep: str, index: int) -> str:
        (path,) = (self.directory(sweep) / "logs").glob(f"{index:05d}-*.log")
        return path.read_text()

    def wait_for_end(self, sweep: str) -> list[dict[str, Any]]:
        """Rows, once the scheduler has no job of the sweep any more."""
        jobs = self.jobs(sweep)
        wait(lambda: not self.call("squeue", "-h", "-o", "%i", "-j", jobs).strip(), 1.0)
        return self.rows(sweep)

    def jobs(self, sweep: str) -> str:
        return ",".join(job["id"] for job in self.sweep(sweep)["jobs"])

    def final_accounts(self, sweep: str) -> dict[str, str]:
        """What sacct says of each job, once it has heard of its end."""
        found: dict[str, str] = {}

        def ended() -> bool:
            text = self.call("sacct", "-XnPo", "JobID,State", "-j", self.jobs(sweep))
            found.update(line.split("|") for line in text.splitlines())
            return bool(found) and not {"PENDING", "RUNNING"} & set(found.values())

        wait(ended, 1.0)
        return found


def wait(check: Callable[[], bool], every: float = 0.5) -> None:
    until = time.monotonic() + PATIENCE
    while not check():
        assert time.monotonic() < until, "it has not come about"
        time.sleep(every)


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
