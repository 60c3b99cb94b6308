"""When things happen."""

import pytest

from harmony.errors import ConfigError
from harmony.training.schedule import (
    CheckpointSchedule,
    EvaluationSchedule,
    Progress,
    TrainingSchedule,
    crossed,
    next_multiple,
)


def test_next_multiple_is_above():
    assert [next_multiple(step, 10) for step in (0, 9, 10, 11)] == [10, 10, 20, 20]


def test_crossed_is_open_at_the_left():
    assert crossed(8, 10, 10)
    assert crossed(9, 12, 10)
    assert not crossed(10, 12, 10)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"env_steps": 0}, "training.env_steps must be at least 1, got 0"),
        ({"pretrain_updates": -1}, "training.pretrain_updates must be at least 0, got -1"),
        ({"train_every_agent_steps": 0}, "training.train_every_agent_steps must be at least 1"),
    ],
)
def test_training_refuses_nonsense(change, message):
    values = {
        "env_steps": 10,
        "prefill_agent_steps": 1,
        "pretrain_updates": 0,
        "train_every_agent_steps": 1,
    }
    with pytest.raises(ConfigError, match=message):
        TrainingSchedule(**values | change)


def test_the_other_sections_refuse_nonsense():
    with pytest.raises(ConfigError, match=r"evaluation\.episodes must be at least 1, got 0"):
        EvaluationSchedule(every_env_steps=10, episodes=0)
    with pytest.raises(ConfigError, match=r"checkpoint\.keep must be at least 2, got 1"):
        CheckpointSchedule(keep=1)
    with pytest.raises(ConfigError, match=r"checkpoint\.every_minutes must be above 0"):
        CheckpointSchedule(every_minutes=0)


def test_progress_roundtrip():
    progress = Progress(agent_step=3, env_step=6, prefilled=True, best_return=1.5)
    other = Progress()
    other.load_state_dict(progress.state_dict())
    assert other == progress
