"""When things happen."""

import math

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


def training(**changes):
    values = {
        "env_steps": 10,
        "prefill_agent_steps": 1,
        "pretrain_updates": 0,
        "train_every_agent_steps": 1,
    }
    return TrainingSchedule(**values | changes)


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
        ({"train_ratio": 0}, "training.train_ratio must be above 0, or null, got 0"),
        ({"train_ratio": -1.5}, "training.train_ratio must be above 0, or null, got -1.5"),
        ({"train_ratio": math.nan}, "training.train_ratio must be above 0, or null, got nan"),
        ({"train_ratio": math.inf}, "training.train_ratio must be above 0, or null, got inf"),
    ],
)
def test_training_refuses_nonsense(change, message):
    with pytest.raises(ConfigError, match=message):
        training(**change)


def due(schedule, steps, batch_steps):
    return [schedule.updates_due(step, batch_steps) for step in range(1, steps + 1)]


def test_updates_come_at_multiples_without_a_ratio():
    schedule = training(train_every_agent_steps=3, updates_per_train=2)
    assert due(schedule, 7, 16 * 64) == [0, 0, 2, 0, 0, 2, 0]


@pytest.mark.parametrize(
    ("ratio", "batch_steps", "expected"),
    [
        (1024, 16 * 64, [1, 1, 1, 1, 1, 1]),
        (1024.0, 16 * 64, [1, 1, 1, 1, 1, 1]),
        (512, 16 * 64, [0, 1, 0, 1, 0, 1]),
        (500, 50 * 50, [0, 0, 0, 0, 1, 0]),
        (2560, 16 * 64, [2, 3, 2, 3, 2, 3]),  # two and a half
        (2, 3, [0, 1, 1, 0, 1, 1]),
    ],
)
def test_updates_keep_the_ratio_of_replayed_steps(ratio, batch_steps, expected):
    # The other two keys have no say.
    schedule = training(train_ratio=ratio, train_every_agent_steps=4, updates_per_train=7)
    assert due(schedule, 6, batch_steps) == expected


def test_a_ratio_that_no_float_holds_is_exact():
    # A tenth as a float is a little more, and 3 * 0.1 / 0.3 a little above 1.
    assert due(training(train_ratio=0.1), 40, 1) == ([0] * 9 + [1]) * 4
    assert sum(due(training(train_ratio=0.3), 1000, 3)) == 100
    # Far into a run, where a sum of floats would have drifted.
    assert training(train_ratio=0.7).updates_due(10**12, 7) == 1
    assert training(train_ratio=0.7).updates_due(10**12 + 1, 7) == 0


def test_what_is_due_in_all_follows_from_the_step_alone():
    schedule = training(train_ratio=37)
    total = 0
    for step in range(1, 500):
        total += schedule.updates_due(step, 100)
        assert total == step * 37 // 100


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


def test_tallies_are_summed_over_the_episodes_that_have_one():
    progress = Progress()
    for tally in ({"wood": 1.0, "coal": 0}, {}, {"wood": 1}):
        progress.count_episode(tally)
    assert (progress.episodes, progress.tallied) == (3, 2)
    assert progress.tallies == {"wood": 2.0, "coal": 0.0}
    other = Progress()
    other.load_state_dict(progress.state_dict())
    assert other == progress
    other.count_episode({"wood": 1.0})
    assert progress.tallies["wood"] == 2.0


def test_progress_of_an_older_version_has_no_tallies():
    state = Progress(agent_step=3, episodes=2).state_dict()
    del state["tallied"], state["tallies"]
    progress = Progress(tallied=5, tallies={"wood": 4.0})
    progress.load_state_dict(state)
    assert progress == Progress(agent_step=3, episodes=2)
