"""Whole runs in this process, and one that gets a signal in another."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from harmony import train
from harmony.agent import DreamerAgent
from harmony.config.compose import compose
from harmony.envs.pool import EnvLost, EnvPool
from harmony.errors import CheckpointError, ConfigError, RunDirectoryError
from harmony.training.checkpoint import CheckpointStore, read_checkpoint
from harmony.training.loop import Trainer
from tests import tiny
from tests.integration.test_kills import assert_same

ROOT = Path(__file__).parents[1]


def composed(path, *overrides):
    return compose(tiny.overrides_of(*overrides, f"run_dir={path}"))


def run(path, *overrides):
    """What `python -m harmony` does after it has composed."""
    given = composed(path, *overrides)
    train.check(given)
    return train.run(given)


def newest(path):
    return CheckpointStore(path / "checkpoints").load_latest()


def kill_at(monkeypatch, update, signum=signal.SIGTERM):
    """Sends this process a signal in the middle of an update."""
    original = DreamerAgent.update

    def updated(self, batch):
        if self.updates == update:
            os.kill(os.getpid(), signum)
        return original(self, batch)

    monkeypatch.setattr(DreamerAgent, "update", updated)


def begin_with(monkeypatch):
    """The weights with which each trainer begins to run, in a list that fills."""
    found = []
    original = Trainer.run

    def watched(self):
        found.append({name: value.clone() for name, value in self.agent.state_dict().items()})
        return original(self)

    monkeypatch.setattr(Trainer, "run", watched)
    return found


def test_a_smoke_run_leaves_what_it_promises(tmp_path):
    small = (
        "training.env_steps=120",
        "training.pretrain_updates=1",
        "evaluation.every_env_steps=60",
    )
    given = compose(
        ["env=probe", "debug=smoke", "tracking=none", "device=cpu", *small, f"run_dir={tmp_path}/r"]
    )
    train.check(given)
    assert train.run(given) == 0
    path = tmp_path / "r"
    assert {entry.name for entry in path.iterdir()} == {
        "config.yaml", "run.json", "run.lock", "provenance.json", "uncommitted.diff",
        "metrics.jsonl", "checkpoints", "checkpoints.json", "replay", "videos",
    }  # fmt: skip
    assert {entry.name for entry in (path / "videos").iterdir()} == {
        f"{kind}_{step:09d}.mp4" for kind in ("evaluation", "open_loop") for step in (60, 120)
    }
    assert all(entry.stat().st_size > 0 for entry in (path / "videos").iterdir())
    names = {entry.name for entry in (path / "checkpoints").iterdir()}
    assert names == {"best.ckpt", "last.ckpt", "checkpoint-000000000120.ckpt"}
    index = json.loads((path / "checkpoints.json").read_text())
    assert {Path(entry["file"]).name for entry in index} == names
    assert newest(path)[1]["progress"]["env_step"] == 120
    assert tiny.rows(path)[-1]["env_step"] == 120
    assert json.loads((path / "run.json").read_text())["choices"]["debug"] == "smoke"


def test_a_signal_in_mid_run_and_a_resume_equal_a_calm_run(tmp_path, monkeypatch):
    assert run(tmp_path / "calm") == 0
    with monkeypatch.context() as patch:
        kill_at(patch, 6)
        assert run(tmp_path / "run") == 143
    step, state = newest(tmp_path / "run")
    # Updates 0 to 2 are the pretraining, 3 to 6 come at steps 24 to 36; that step is finished.
    assert (step, state["agent"]["updates"]) == (36, 7)
    assert not (tmp_path / "run" / "checkpoints" / "last.ckpt").exists()
    assert run(tmp_path / "run") == 0
    assert tiny.rows(tmp_path / "run") == tiny.rows(tmp_path / "calm")
    weights = [
        read_checkpoint(tmp_path / name / "checkpoints" / "last.ckpt") for name in ("run", "calm")
    ]
    assert_same(*weights)
    attempts = json.loads((tmp_path / "run" / "run.json").read_text())["attempts"]
    assert len(attempts) == 2


def test_an_interrupt_exits_with_130(tmp_path, monkeypatch):
    kill_at(monkeypatch, 5, signal.SIGINT)
    assert run(tmp_path / "run") == 130
    assert newest(tmp_path / "run")[1]["agent"]["updates"] == 6


def test_a_grown_run_goes_on_and_a_shrunk_one_is_refused(tmp_path):
    path = tmp_path / "run"
    assert run(path) == 0
    assert run(path, "training.env_steps=140") == 0
    _, state = newest(path)
    assert state["progress"]["env_step"] == 140
    assert state["agent"]["updates"] == 10 + 5
    steps = [row["env_step"] for row in tiny.rows(path)]
    assert steps == sorted(steps)
    assert steps[-1] == 140
    assert [row["env_step"] for row in tiny.rows(path) if "eval/return" in row] == [
        40, 60, 90, 100, 120, 140,
    ]  # fmt: skip
    with pytest.raises(RunDirectoryError, match="can only grow, it was 140, got 100"):
        run(path)


def test_a_finished_run_that_is_started_again_adds_nothing(tmp_path):
    assert run(tmp_path / "run") == 0
    rows = tiny.rows(tmp_path / "run")
    assert run(tmp_path / "run") == 0
    assert tiny.rows(tmp_path / "run") == rows


def test_init_from_begins_with_those_weights_and_new_everything_else(tmp_path, monkeypatch):
    assert run(tmp_path / "old") == 0
    begun = begin_with(monkeypatch)
    assert run(tmp_path / "new", f"init_from={tmp_path / 'old'}", "seed=1") == 0
    last = read_checkpoint(tmp_path / "old" / "checkpoints" / "last.ckpt")["modules"]
    assert_same(begun[0], last)
    rows = tiny.rows(tmp_path / "new")
    assert [row["env_step"] for row in rows if "updates" in row] == [60, 80, 100]
    ended = read_checkpoint(tmp_path / "new" / "checkpoints" / "last.ckpt")["modules"]
    assert any(not torch.equal(ended[name], last[name]) for name in last)


def test_a_continued_run_does_not_begin_again_with_init_from(tmp_path, monkeypatch):
    assert run(tmp_path / "old") == 0
    source = f"init_from={tmp_path / 'old'}"
    with monkeypatch.context() as patch:
        kill_at(patch, 5)
        assert run(tmp_path / "new", source) == 143
    stopped = newest(tmp_path / "new")[1]["agent"]["modules"]
    begun = begin_with(monkeypatch)
    assert run(tmp_path / "new", source) == 0
    assert_same(begun[0], stopped)
    trained = read_checkpoint(tmp_path / "old" / "checkpoints" / "last.ckpt")["modules"]
    assert any(not torch.equal(stopped[name], trained[name]) for name in trained)


@pytest.mark.parametrize(
    ("overrides", "kind", "message"),
    [
        (("init_from=nowhere",), CheckpointError, "init_from=nowhere does not exist"),
        (("env.image_size=16",), ConfigError, "give images of side 8, the env has 16"),
        (("replay.batch_size=0",), ConfigError, "batch_size"),
        (("device=cuda:99",), ConfigError, "device=cuda:99 needs a CUDA device"),
    ],
)
def test_a_start_that_is_refused_leaves_no_directory(tmp_path, overrides, kind, message):
    with pytest.raises(kind, match=message) as caught:
        run(tmp_path / "run", *overrides)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_another_run_in_the_same_directory_is_refused_and_harms_nothing(tmp_path):
    path = tmp_path / "run"
    assert run(path) == 0
    before = (path / "metrics.jsonl").read_bytes()
    with pytest.raises(RunDirectoryError, match=r"algorithm\.rssm\.cell\.deter"):
        run(path, "algorithm.rssm.cell.deter=9")
    assert (path / "metrics.jsonl").read_bytes() == before


def test_replay_keep_none_leaves_no_data_of_a_finished_run_only(tmp_path, monkeypatch):
    path = tmp_path / "run"
    with monkeypatch.context() as patch:
        kill_at(patch, 6)
        assert run(path, "replay.keep=none") == 143
    assert list((path / "replay").glob("*.npy"))
    assert run(path, "replay.keep=none") == 0
    assert list((path / "replay").glob("*.npy")) == []


def test_bad_numbers_end_the_run_with_1_and_the_evidence(tmp_path, monkeypatch):
    original = DreamerAgent.update

    def updated(self, batch):
        return original(self, {**batch, "reward": torch.full_like(batch["reward"], np.nan)})

    monkeypatch.setattr(DreamerAgent, "update", updated)
    code = run(tmp_path / "run", "training.nonfinite_limit=5", "training.train_every_agent_steps=1")
    assert code == 1
    assert (tmp_path / "run" / "checkpoints" / "bad_batch.ckpt").is_file()
    assert "10 updates in a row" in (tmp_path / "run" / "error.txt").read_text()


def test_an_error_in_the_run_is_written_down_and_raised(tmp_path, monkeypatch):
    def broken(_self, _batch):
        raise ZeroDivisionError("it broke")

    monkeypatch.setattr(DreamerAgent, "update", broken)
    with pytest.raises(ZeroDivisionError):
        run(tmp_path / "run")
    assert "it broke" in (tmp_path / "run" / "error.txt").read_text()


def test_a_launcher_without_multirun_is_refused(tmp_path):
    given = composed(tmp_path / "run")
    with pytest.raises(ConfigError, match="starts sweeps only; add -m"):
        train.run(type(given)(given.config, given.choices, given.overrides, "slurm"))
    assert not (tmp_path / "run").exists()


def test_a_process_that_is_terminated_saves_and_exits_with_143(tmp_path):
    path = tmp_path / "run"
    command = [
        sys.executable, "-m", "harmony", *tiny.overrides_of(), "training.env_steps=1_000_000",
        "checkpoint.every_env_steps=1_000_000", "evaluation.every_env_steps=1_000_000",
        f"run_dir={path}",
    ]  # fmt: skip
    threads = {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    with (tmp_path / "output.txt").open("w") as output:
        process = subprocess.Popen(
            command, cwd=tmp_path, env={**os.environ, **threads}, stdout=output, stderr=output
        )
        deadline = time.monotonic() + 120
        while not (path / "metrics.jsonl").exists() or not any(
            "updates" in row for row in tiny.rows(path)
        ):
            assert process.poll() is None, (tmp_path / "output.txt").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.1)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 143
    text = (tmp_path / "output.txt").read_text()
    assert "stopped by SIGTERM and saved" in text
    assert "Traceback" not in text
    # The checkpoint is the one of the signal: none was due.
    (step,) = CheckpointStore(path / "checkpoints").steps()
    assert 2 * step >= tiny.rows(path)[-1]["env_step"]


def test_a_simulator_that_is_lost_before_the_start_ends_the_run_truthfully(
    monkeypatch, tmp_path, capsys
):
    def lost(*_):
        raise EnvLost("env 0 can't be made: its worker died (SIGKILL)")

    monkeypatch.setattr(train, "build_trainer", lost)
    assert run(tmp_path / "run") == 1
    assert "env 0 can't be made: its worker died (SIGKILL)" in capsys.readouterr().err
    assert "EnvLost" in (tmp_path / "run" / "error.txt").read_text()
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert [attempt["ended"]["status"] for attempt in record["attempts"]] == ["FAILED"]


def test_a_start_that_fails_closes_its_simulators(monkeypatch, tmp_path):
    closed = []

    def fail(_):
        raise CheckpointError("none is whole")

    monkeypatch.setattr(Trainer, "prepare", fail)
    monkeypatch.setattr(EnvPool, "close", lambda _: closed.append("pool"))
    with pytest.raises(CheckpointError, match="none is whole"):
        run(tmp_path / "run")
    assert closed == ["pool", "pool"]  # of training, of evaluations
