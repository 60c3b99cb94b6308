"""The loop when numbers go bad: skip, go back once, give up with the evidence."""

import math

import numpy as np
import pytest

from harmony.training.checkpoint import read_checkpoint
from harmony.training.loop import Diverged
from tests import tiny


@pytest.fixture(autouse=True)
def quick_and_closed(monkeypatch):
    # No power fails here, so nothing needs to reach the disk.
    monkeypatch.setattr("os.fsync", lambda _: None)
    yield
    tiny.close()


class SpoiltSamples:
    """Rewards of NaN in the batches while it is on."""

    def __init__(self, trainer, monkeypatch):
        self.on = True
        original = trainer.replay.sample

        def sample(rng):
            found = original(rng)
            if self.on:
                found["reward"][:] = np.nan
            return found

        monkeypatch.setattr(trainer.replay, "sample", sample)


FREQUENT = (
    "training.train_every_agent_steps=1", "training.nonfinite_limit=10", "training.env_steps=140",
)  # fmt: skip


def test_bad_batches_are_skipped_and_counted(tmp_path, monkeypatch):
    trainer = tiny.trainer(tmp_path, *FREQUENT)
    spoilt = SpoiltSamples(trainer, monkeypatch)
    original = trainer.agent.update

    def update(batch):
        found = original(batch)
        spoilt.on = trainer.agent.updates < 7
        return found

    monkeypatch.setattr(trainer.agent, "update", update)
    trainer.run()
    rows = [row for row in tiny.rows(tmp_path) if "updates" in row]
    assert trainer.agent.bad_steps() == (7, 0)
    assert rows[-1]["nonfinite/skipped_updates"] == 7
    # The means are those of the updates that were not skipped.
    assert all(math.isfinite(value) for row in rows for value in row.values())
    assert not any(key.startswith("nonfinite/loss") for key in rows[-1])
    assert trainer.progress.restores == 0


def test_bad_numbers_that_stay_restore_once_and_then_end_the_run(tmp_path, monkeypatch):
    trainer = tiny.trainer(tmp_path, *FREQUENT)
    spoilt = SpoiltSamples(trainer, monkeypatch)
    spoilt.on = False
    restored = []
    original = trainer.load_state_dict

    def load_state_dict(state):
        restored.append((trainer.progress.agent_step, state["progress"]["agent_step"]))
        original(state)

    monkeypatch.setattr(trainer, "load_state_dict", load_state_dict)
    monkeypatch.setattr(
        trainer.stop, "check", lambda: setattr(spoilt, "on", trainer.agent.updates >= 20)
    )
    with pytest.raises(Diverged, match=r"^10 updates in a row") as caught:
        trainer.run()

    # Updates 21 to 30 are bad: agent step 47 (three in the pretraining), checkpoint of 38.
    assert restored == [(47, 38)]
    assert trainer.progress.restores == 1
    assert trainer.journal.display.messages == [
        "10 updates in a row had losses or gradients that are not finite: went back to env step 76"
    ]
    path = tmp_path / "checkpoints" / "bad_batch.ckpt"
    assert str(path) in str(caught.value)
    found = read_checkpoint(path)
    assert found["batch"]["reward"].isnan().all()
    assert found["batch"]["image"].shape == (2, 4, 8, 8, 3)
    assert set(found["modules"]) == set(trainer.agent.state_dict())
    # Weights never took a bad step.
    assert all(value.isfinite().all() for value in found["modules"].values())


def test_bad_numbers_without_a_checkpoint_end_the_run(tmp_path, monkeypatch):
    trainer = tiny.trainer(
        tmp_path, "training.pretrain_updates=50", "training.nonfinite_limit=10",
        "checkpoint.every_env_steps=1000",
    )  # fmt: skip
    SpoiltSamples(trainer, monkeypatch)
    with pytest.raises(Diverged, match="10 updates in a row"):
        trainer.run()
    assert trainer.progress.restores == 0


def test_a_restore_in_the_pretraining_repeats_all_of_it(tmp_path, monkeypatch):
    # The checkpoint of agent step 13 lies in the prefill; all fifty updates come after it again.
    trainer = tiny.trainer(
        tmp_path, "training.pretrain_updates=50", "training.nonfinite_limit=10",
        "training.env_steps=42",
    )  # fmt: skip
    spoilt = SpoiltSamples(trainer, monkeypatch)
    after = []
    original = trainer.agent.update

    def update(batch):
        spoilt.on = trainer.progress.restores == 0
        after.append(trainer.progress.restores)
        return original(batch)

    monkeypatch.setattr(trainer.agent, "update", update)
    trainer.run()
    assert trainer.progress.restores == 1
    assert after.count(1) == 50
