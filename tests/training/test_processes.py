"""Runs of two real processes: they equal one, survive what one survives, and die together."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from harmony.peers import ALONE
from harmony.place import Place
from harmony.training import processes
from harmony.training.checkpoint import CheckpointStore, read_checkpoint
from tests import tiny
from tests.integration.test_kills import assert_same

ROOT = Path(__file__).parents[2]
SMOKE = [
    "debug=smoke", "env=probe", "env.observation=vector", "tracking=none", "device=cpu",
    "training.env_steps=600", "training.train_every_agent_steps=5", "evaluation.video=false",
    "checkpoint.every_env_steps=100", "training.log_every_env_steps=100",
]  # fmt: skip
PATIENCE = 240.0
slow = pytest.mark.slow


def test_one_process_is_told_nothing_and_meets_nobody(monkeypatch):
    monkeypatch.setattr(processes, "_meet", None)
    assert (
        processes.run_together(Place(), "cpu", lambda peers: 7 if peers is ALONE else 8, None) == 7
    )


class Run:
    """The processes of one start of a run."""

    def __init__(self, root, *overrides, size=2):
        self.path = root / "run"
        meeting = root / f"meeting-{time.monotonic_ns()}"
        self.logs = [root / f"output-{rank}.txt" for rank in range(size)]
        self.processes = []
        for rank, log in enumerate(self.logs):
            own = {"HARMONY_WORLD_SIZE": str(size), "HARMONY_RANK": str(rank)}
            where = {"HARMONY_RENDEZVOUS": f"file://{meeting}", "OMP_NUM_THREADS": "1"}
            environment = {**os.environ, **own, **where, "PYTHONPATH": str(ROOT)}
            command = [sys.executable, "-m", "harmony", *SMOKE, *overrides, f"run_dir={self.path}"]
            with log.open("ab") as output:
                self.processes.append(
                    subprocess.Popen(
                        command, cwd=root, env=environment, stdout=output, stderr=output
                    )
                )

    def codes(self):
        """Exit codes by rank; nothing is left running."""
        try:
            return [process.wait(PATIENCE) for process in self.processes]
        finally:
            for process in self.processes:
                process.kill()

    def wait_for_step(self, agent_step):
        store, end = self.path / "checkpoints", time.monotonic() + PATIENCE
        while max((int(p.stem[-12:]) for p in store.glob("check*.ckpt")), default=0) < agent_step:
            assert time.monotonic() < end, self.said(0)
            assert self.processes[0].poll() is None, self.said(0)
            time.sleep(0.05)

    def said(self, rank):
        return self.logs[rank].read_text()


def state(path):
    _, found = CheckpointStore(path / "checkpoints").load_latest()
    del found["metrics_offset"]
    return found


@pytest.fixture(scope="module")
def calm(tmp_path_factory):
    """A run of two that nothing disturbs."""
    root = tmp_path_factory.mktemp("calm")
    run = Run(root)
    assert run.codes() == [0, 0], run.said(0) + run.said(1)
    assert "2 processes share the batch of each update" in run.said(0)
    return run.path


@slow
def test_two_equal_one(calm, tmp_path):
    assert Run(tmp_path, size=1).codes() == [0]
    weights = [
        read_checkpoint(path / "checkpoints" / "last.ckpt")["modules"]
        for path in (calm, tmp_path / "run")
    ]
    torch.testing.assert_close(*weights, rtol=1e-5, atol=1e-5)
    for left, right in zip(tiny.rows(calm), tiny.rows(tmp_path / "run"), strict=True):
        assert left == pytest.approx(right, rel=1e-3, abs=1e-5, nan_ok=True)


@slow
@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGUSR2])
def test_a_signal_to_all_saves_and_the_run_goes_on_bit_for_bit(calm, tmp_path, signum):
    run = Run(tmp_path)
    run.wait_for_step(100)
    for process in run.processes:
        process.send_signal(signum)
    # Only the first says how the run ended: the scheduler takes the largest code.
    assert run.codes() == [128 + signum, 0], run.said(0) + run.said(1)
    assert Run(tmp_path).codes() == [0, 0]
    assert_same(state(run.path), state(calm))
    assert tiny.rows(run.path) == tiny.rows(calm)


@slow
def test_a_process_that_dies_ends_the_other_and_the_run_goes_on_bit_for_bit(calm, tmp_path):
    run = Run(tmp_path)
    run.wait_for_step(100)
    run.processes[1].kill()
    assert run.codes() == [1, -signal.SIGKILL]
    assert "a process of this run has died" in (run.path / "error.txt").read_text()
    run = Run(tmp_path)
    run.wait_for_step(150)
    run.processes[0].kill()
    assert run.codes() == [-signal.SIGKILL, 1]
    assert "a process of this run has died" in run.said(1)
    assert Run(tmp_path).codes() == [0, 0]
    assert_same(state(run.path), state(calm))
    assert tiny.rows(run.path) == tiny.rows(calm)


@slow
@pytest.mark.parametrize(
    ("overrides", "codes", "said"),
    [
        (["replay.batch_size=3"], [2, 2], "batch_size=3 can't be divided among 2 processes"),
        (["init_from=nowhere"], [2, 0], "nowhere"),
    ],
)
def test_refusals_end_both(tmp_path, overrides, codes, said):
    run = Run(tmp_path, *overrides)
    assert run.codes() == codes, run.said(0) + run.said(1)
    assert said in run.said(0)
    assert not run.path.exists()
