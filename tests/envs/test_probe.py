import numpy as np
import pytest

from harmony.envs.probe import (
    ActionReward,
    ConstantReward,
    CountingEnv,
    ObservationReward,
    encode_action,
)
from harmony.errors import EnvError


def test_counting_env_paints_time_action_and_seed():
    env = CountingEnv(length=3, image_size=4)
    first, _ = env.reset(seed=7)
    blue = first["image"][0, 0, 2]
    assert first["image"].shape == (4, 4, 3)
    assert first["image"][2, 3].tolist() == [0, 128, blue]
    for t, (value, green) in enumerate([(-1.0, 0), (1.0, 255), (0.0, 128)], start=1):
        observation, reward, terminated, truncated, _ = env.step(np.array([value, 0.3]))
        assert observation["image"][0, 0].tolist() == [t, green, blue]
        assert reward == t
        assert (terminated, truncated) == (False, t == 3)


def test_counting_env_blue_follows_the_seed():
    env = CountingEnv(image_size=1)
    blues = [int(env.reset(seed=seed)[0]["image"][0, 0, 2]) for seed in (1, 2, 3, 1)]
    assert blues[0] == blues[3]
    assert len(set(blues)) == 3


@pytest.mark.parametrize(("first", "value"), [(-1.0, 0), (-0.5, 64), (0.0, 128), (1.0, 255)])
def test_encode_action(first, value):
    assert encode_action(first) == value


def test_constant_reward_counts_the_repeat_and_can_terminate():
    env = ConstantReward(reward=0.25, length=2, action_repeat=3, terminates=True)
    env.reset(seed=0)
    assert env.step(np.zeros(2))[1:4] == (0.75, False, False)
    assert env.step(np.zeros(2))[1:4] == (0.75, True, False)


def test_observation_reward_is_the_brightness_of_its_own_picture():
    env = ObservationReward(length=40, image_size=2)
    env.reset(seed=0)
    steps = [env.step(np.zeros(2)) for _ in range(40)]
    rewards = [step[1] for step in steps]
    assert rewards == [float(step[0]["image"].min() == 255) for step in steps]
    assert rewards == [float(step[0]["image"].max() == 255) for step in steps]
    assert 8 < sum(rewards) < 32


def test_action_reward_pays_the_first_entry():
    env = ActionReward(length=2)
    env.reset(seed=0)
    _, reward, _, _, info = env.step(np.array([0.5, -1.0]))
    assert (reward, info["success"]) == (0.5, False)
    _, reward, _, truncated, info = env.step(np.array([3.0, 0.0]))
    assert (reward, truncated, info["success"]) == (1.0, True, True)


def test_discrete_action_zero_pays_and_the_others_cost():
    env = ActionReward(discrete=True, num_actions=3)
    env.reset(seed=0)
    assert [env.step(action)[1] for action in (0, 1, 2)] == [1.0, -1.0, -1.0]


def test_a_length_of_zero_is_refused():
    with pytest.raises(EnvError, match=r"env\.length: expected 1 or more, got 0"):
        CountingEnv(length=0)
