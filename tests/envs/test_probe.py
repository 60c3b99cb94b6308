import itertools

import gymnasium
import numpy as np
import pytest

from harmony.envs.probe import (
    ActionReward,
    ConstantReward,
    CountingEnv,
    DelayedReward,
    MemoryReward,
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


def play(env, answers, seed=0):
    """First observation, rewards and successes of an episode with these first entries."""
    first, _ = env.reset(seed=seed)
    steps = [env.step(np.array([answer, 0.0])) for answer in answers]
    assert [step[3] for step in steps] == [False] * (len(steps) - 1) + [True]
    return first, [step[1] for step in steps], [step[4].get("success") for step in steps]


def test_choice_zero_of_the_first_component_counts():
    env = ActionReward(nvec=[3, 2], num_actions=7, image_size=2)
    assert env.action_space == gymnasium.spaces.MultiDiscrete([3, 2])
    env.reset(seed=0)
    pairs = list(itertools.product(range(3), range(2)))
    rewards = [env.step(np.array(pair))[1] for pair in pairs]
    assert rewards == [1.0, 1.0, -1.0, -1.0, -1.0, -1.0]


@pytest.mark.parametrize("given", [{"nvec": []}, {"nvec": [3, 0]}, {"nvec": [2], "discrete": True}])
def test_choices_that_can_not_be_meant_are_refused(given):
    with pytest.raises(EnvError, match=r"env\.nvec: expected one or more counts") as caught:
        ActionReward(**given)
    assert "\n" not in str(caught.value)


def test_vector_and_image_show_the_same():
    envs = [CountingEnv(observation=kind, image_size=2) for kind in ("image", "vector", "both")]
    assert [list(env.observation_space) for env in envs] == [
        ["image"],
        ["vector"],
        ["image", "vector"],
    ]
    for take in (
        lambda env: env.reset(seed=3)[0],
        lambda env: env.step(np.array([0.5, 0.0]))[0],
    ):
        image, vector, both = (take(env) for env in envs)
        np.testing.assert_array_equal(image["image"], both["image"], strict=True)
        np.testing.assert_array_equal(vector["vector"], both["vector"], strict=True)
        assert both["vector"].dtype == np.float32
        color = both["image"][0, 0].astype(np.float64)
        expected = [*(color / 255), color.mean() / 255]
        assert both["vector"].tolist() == pytest.approx(expected, abs=1e-6)
        assert envs[2].observation_space.contains(both)


def test_the_first_answer_is_paid_after_the_delay():
    env = DelayedReward(length=5, delay=2, image_size=2, action_repeat=3)
    first, rewards, success = play(env, [0.5, -1.0, 1.0, 1.0, 1.0])
    assert first["image"].min() == 255
    assert rewards == [0.0, 0.0, 1.5, 0.0, 0.0]
    assert not any(success)
    assert play(env, [1.0, 0.0, 0.0, 0.0, 0.0])[1:] == (
        [0.0, 0.0, 3.0, 0.0, 0.0],
        [False, False, True, False, False],
    )


def test_the_delay_may_last_to_the_end():
    env = DelayedReward(length=4, delay=3, image_size=2)
    assert play(env, [-1.0, 1.0, 1.0, 1.0])[1] == [0.0, 0.0, 0.0, -1.0]


def test_only_the_first_picture_of_the_delay_is_white():
    env = DelayedReward(length=4, delay=1, image_size=2)
    env.reset(seed=0)
    assert {int(env.step(np.ones(2))[0]["image"].max()) for _ in range(4)} == {128}


def cues(env, seeds):
    return [1 if env.reset(seed=seed)[0]["image"].max() == 255 else -1 for seed in seeds]


def test_the_end_is_paid_where_it_matches_the_cue():
    env = MemoryReward(length=4, recall_steps=2, image_size=2, action_repeat=2)
    for seed, cue in enumerate(cues(env, range(6))):
        first, rewards, success = play(env, [-cue, cue, 0.5 * cue, cue], seed)
        assert first["image"].min() == (255 if cue > 0 else 0)
        assert rewards == [0.0, 0.0, 1.0, 2.0]
        assert success == [False, False, False, True]
        assert play(env, [cue, cue, -cue, -cue], seed)[1] == [0.0, 0.0, -2.0, -2.0]


def test_only_the_first_picture_tells_the_cue():
    env = MemoryReward(length=4, image_size=2)
    for seed in range(4):
        env.reset(seed=seed)
        pictures = [env.step(np.ones(2))[0]["image"] for _ in range(4)]
        assert {int(value) for picture in pictures for value in picture.flat} == {128}


def test_cues_are_even_and_follow_the_seed():
    env = MemoryReward(image_size=1)
    drawn = cues(env, range(400))
    assert abs(sum(drawn)) < 4 * 400**0.5
    assert cues(env, range(400)) == drawn


def test_the_best_return_and_that_of_a_random_policy():
    """As the docstrings say."""
    rng = np.random.default_rng(0)

    def random_return(env, episodes=300):
        total = 0.0
        for seed in range(episodes):
            env.action_space.seed(int(rng.integers(2**31)))
            env.reset(seed=seed)
            over = False
            while not over:
                _, reward, _, over, _ = env.step(env.action_space.sample())
                total += reward
        return total / episodes

    frame = {"length": 6, "image_size": 1, "action_repeat": 2}
    for make, best in ((ActionReward, 12.0), (DelayedReward, 2.0), (MemoryReward, 2.0)):
        given = frame | ({"delay": 3} if make is DelayedReward else {})
        env = make(**given)
        cue = cues(env, [5])[0] if make is MemoryReward else 1
        assert sum(play(env, [cue] * 6, 5)[1]) == best
        mean = 0.0 if make is MemoryReward else best * (2 / 4 - 1)
        assert random_return(make(**given, nvec=[4, 3])) == pytest.approx(
            mean, abs=0.1 * best + 0.3
        )
        assert random_return(env) == pytest.approx(0.0, abs=0.1 * best + 0.3)


@pytest.mark.parametrize(
    ("make", "key"), [(DelayedReward, "delay"), (MemoryReward, "recall_steps")]
)
def test_steps_that_do_not_fit_an_episode_are_refused(make, key):
    for steps in (0, 4):
        message = rf"env\.{key}: expected 1 to 3 \(env\.length - 1\), got {steps}"
        with pytest.raises(EnvError, match=message):
            make(length=4, **{key: steps})
