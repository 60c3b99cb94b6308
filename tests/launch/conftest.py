import json
import os
import platform
import signal
import time

import pytest

from launch.sweep import SubmittedJob, Sweep, SweepRun
from tests.launch.fake_slurm import FakeSlurm


@pytest.fixture(autouse=True)
def signals_as_in_a_terminal():
    """What runs in the background of a script, or under a nohup, ignores some."""
    own = {signal.SIGINT: signal.default_int_handler, signal.SIGHUP: signal.SIG_DFL}
    before = {number: signal.signal(number, handler) for number, handler in own.items()}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """A cluster that is not there, first on the path; nothing of an outer job is left."""
    for name in os.environ:
        if name.startswith(("SLURM_", "SBATCH_", "SUBMITIT_")):
            monkeypatch.delenv(name)
    fake = FakeSlurm(tmp_path / "slurm")
    monkeypatch.setenv("PATH", f"{fake.path}{os.pathsep}{os.environ['PATH']}")
    return fake


@pytest.fixture
def runs_root(tmp_path, monkeypatch):
    """Where runs lie; the working directory is another one, and empty."""
    root = tmp_path / "runs"
    monkeypatch.setenv("HARMONY_RUNS", str(root))
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    return root


@pytest.fixture
def make_run():
    """Writes the directory of a run by hand.

    `ended` has for each attempt how it ended, None for one that did not say; `rows` are of
    metrics.jsonl, `ago` is when the last attempt ended, seconds before now.
    """

    def make(path, ended=(), rows=(), ago=0.0, config=None):
        path.mkdir(parents=True, exist_ok=True)
        attempts = [{"host": f"n{i}", "pid": 1, "changes": {}} for i, _ in enumerate(ended)]
        for attempt, status in zip(attempts, ended, strict=True):
            if status is not None:
                attempt["ended"] = {"status": status, "time": time.time() - ago}
        record = {"run_key": "key", "name": path.name, "choices": {}, "attempts": attempts}
        (path / "run.json").write_text(json.dumps(record))
        (path / "config.yaml").write_text(json.dumps(config or {"seed": 0}))
        if rows:
            (path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        return path

    return make


@pytest.fixture
def make_sweep(tmp_path):
    """Makes a sweep of so many runs of 100 steps, one job for each list of runs.

    Jobs whose ids begin with local are of this machine.
    """

    def make(count=2, jobs=None, launcher="slurm", params=None, written=True):
        root = tmp_path / "runs" / "walk"
        runs = [SweepRun(i, str(root / f"r{i}"), [f"seed={i}"], 100, "test") for i in range(count)]
        jobs = {} if jobs is None else jobs
        made = Sweep(root, ["seed=0,1", "sweep=walk"], launcher, params or {}, runs)
        made.jobs = [SubmittedJob(job, list(held)) for job, held in jobs.items()]
        for job in made.jobs:
            job.host = platform.node() if job.id.startswith("local") else ""
        if written:
            made.write()
        return made

    return make


@pytest.fixture
def no_git(monkeypatch):
    """Copies of the code hold a file only; the real ones have their own tests."""

    def snapshot(target):
        if not target.exists():
            target.mkdir(parents=True)
            (target / "copied").touch()

    monkeypatch.setattr("launch.prepare.take_snapshot", snapshot)


@pytest.fixture
def runs(runs_root, capsys):
    """A sweep to submit, see `tests.launch.submitting`."""
    from tests.launch.submitting import Runs  # Hydra, which most tests don't need

    return Runs(runs_root, capsys.readouterr)
