"""Whole runs of every algorithm: they end, and stopping changes nothing in them."""

import numpy as np
import pytest
import torch

from harmony.training.checkpoint import read_checkpoint
from harmony.training.signals import Stopped
from tests import tiny
from tests.integration.test_kills import assert_same

KINDS = {
    "continuous": (),
    "choices": ("env.nvec=[2,3]", "env.observation=both", "env.terminates=true"),
    "probed": ("probe=decoder", "env.observation=both", "evaluation.video=true"),
}
STOPS = {"in the pretraining": 23, "in training": 52}


@pytest.fixture(autouse=True)
def quick_and_closed(monkeypatch):
    # No power fails here, so nothing needs to reach the disk.
    monkeypatch.setattr("os.fsync", lambda _: None)
    yield
    tiny.close()


def run(run_dir, *overrides, stop=None):
    trainer = tiny.trainer(run_dir, *overrides, stop=stop)
    trainer.run()
    return trainer


def final_state(trainer):
    """Weights, optimizers, random streams, metrics, and what the replay gives."""
    rows = tiny.rows(trainer.journal.run_dir)
    last = read_checkpoint(trainer.checkpoints.directory / "last.ckpt")
    batches = [trainer.replay.sample(np.random.default_rng(i)) for i in range(3)]
    return {"agent": trainer.agent.snapshot(), "rows": rows, "last": last, "batches": batches}


@pytest.mark.parametrize("algorithm", tiny.ALGORITHMS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_run_ends_with_finite_numbers(tmp_path, algorithm, kind):
    trainer = run(tmp_path, f"algorithm={algorithm}", *KINDS[kind])
    assert trainer.progress.env_step == 100
    assert trainer.agent.updates == 10
    assert trainer.agent.bad_steps() == (0, 0)
    assert all(torch.isfinite(weight).all() for weight in trainer.agent.parameters())
    videos = [path.name for path in tmp_path.glob("videos/*open_loop*")]
    assert bool(videos) is (kind == "probed")


@pytest.mark.parametrize("algorithm", [name for name in tiny.ALGORITHMS if name != "dreamerv2"])
def test_stopped_and_continued_equals_calm_bit_for_bit(tmp_path, algorithm):
    """DreamerV2 is stopped in more places by the tests of the loop."""
    overrides = (f"algorithm={algorithm}", "probe=decoder")
    calm = final_state(run(tmp_path / "calm", *overrides))
    for place, count in STOPS.items():
        run_dir = tmp_path / place
        with pytest.raises(Stopped):
            run(run_dir, *overrides, stop=tiny.StopAt(count))
        assert_same(final_state(run(run_dir, *overrides)), calm)


def test_train_ratios_and_streams_continue_too(tmp_path):
    """What the presets of DreamerV3 have."""
    overrides = ("algorithm=dreamerv3", "training.train_ratio=3.0", "replay.sequences=stream")
    calm = run(tmp_path / "calm", *overrides)
    # Of 50 agent steps 12 are prefill, on to the end of the second episode; 3 / 8 updates each.
    assert calm.agent.updates == 3 + sum(
        int(3 * step / 8) - int(3 * (step - 1) / 8) for step in range(21, 51)
    )
    with pytest.raises(Stopped):
        run(tmp_path / "stopped", *overrides, stop=tiny.StopAt(52))
    assert_same(final_state(run(tmp_path / "stopped", *overrides)), final_state(calm))
