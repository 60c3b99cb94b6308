import math
import sys

import numpy as np
import pytest

from harmony.envs.crafter import ACHIEVEMENTS, TASKS, Crafter, check_task, crafter_score
from harmony.errors import EnvError

pytestmark = pytest.mark.sim

SLEEP = 6


@pytest.fixture(scope="module")
def env():
    return Crafter()


def test_achievements_and_actions_are_crafters_own(env):
    from crafter import constants

    assert list(ACHIEVEMENTS) == constants.achievements
    assert env.action_space.n == len(constants.actions) == 17
    assert constants.actions[SLEEP] == "sleep"


def test_pictures_and_rewards_are_crafters_own(env):
    """Until the tenth step, from which on creatures vanish in another order."""
    import crafter

    theirs = crafter.Env(seed=5)
    np.testing.assert_array_equal(env.reset(seed=5)[0]["image"], theirs.reset())
    for action in np.random.default_rng(0).integers(17, size=9):
        observation, reward, terminated, truncated, info = env.step(action)
        image, expected, done, told = theirs.step(action)
        np.testing.assert_array_equal(observation["image"], image)
        assert (reward, terminated or truncated) == (expected, done)
        assert info == {"achievements": told["achievements"]}


def test_the_seed_decides_nights_with_many_creatures(env):
    """Creatures come and go in the dark: their order is what memory addresses would decide."""

    def play(player):
        images, left = [player.reset(seed=2)[0]["image"]], []
        player._env._step = 170  # dusk
        for _ in range(120):
            player._env._player.health = 9
            images.append(player.step(0)[0]["image"])
            left.append(len(player._env._world.objects))
        return np.stack(images), left

    used, fresh = play(env), play(Crafter())
    np.testing.assert_array_equal(used[0], fresh[0])
    assert used[1] == fresh[1]
    changes = np.diff(used[1])
    assert (changes > 0).any()
    assert (changes < 0).any()


def test_creatures_stand_in_the_order_of_their_coming(env):
    env.reset(seed=0)
    world = env._env._world
    ranks = {id(thing): rank for rank, thing in enumerate(world.objects)}
    for things in world.chunks.values():
        found = [ranks[id(thing)] for thing in things]
        assert found == sorted(found)
    things = next(things for things in world.chunks.values() if len(things) > 1)
    first, *rest = list(things)
    world.remove(first)
    assert list(things) == rest


def test_without_a_seed_the_next_world_comes(env):
    def worlds():
        pictures = [env.reset(seed=3)[0]["image"], env.reset()[0]["image"]]
        return np.stack(pictures)

    first, again = worlds(), worlds()
    np.testing.assert_array_equal(first, again)
    assert (first[0] != first[1]).any()


def test_the_picture_is_upright_and_in_red_green_blue(env):
    """Grass around the player, and below it the inventory on black."""
    image = env.reset(seed=0)[0]["image"].astype(int)
    red, green, blue = np.moveaxis(image, -1, 0)
    assert (green[15:36, 20:42] > np.maximum(red, blue)[15:36, 20:42]).mean() > 0.6
    assert image[:48].min(axis=2).any(axis=1).mean() > 0.9
    assert not image[57:].any()
    health = image[49:56, :7].sum(axis=(0, 1))
    assert health[0] > health[1]


def test_death_is_terminal():
    env = Crafter(time_limit=5)
    env.reset(seed=0)
    for left in range(5, 0, -1):
        env._env._player.health = 9 if left > 1 else 0
        _, reward, terminated, truncated, _ = env.step(0)
    assert (terminated, truncated) == (True, False)  # at the time limit, too
    assert reward == pytest.approx(-0.9)


def test_the_time_limit_truncates():
    env = Crafter(time_limit=3)
    for _ in range(2):
        env.reset(seed=0)
        flags = [env.step(0)[2:4] for _ in range(3)]
        assert flags == [(False, False)] * 2 + [(False, True)]


def test_achievements_are_counted_and_rewarded_once(env):
    _, info = env.reset(seed=0)
    assert info == {"achievements": dict.fromkeys(ACHIEVEMENTS, 0)}
    player = env._env._player
    rewards = []
    for _ in range(2):
        player.achievements["collect_wood"] += 1
        _, reward, *_, info = env.step(0)
        rewards.append(reward)
    assert rewards == [1.0, 0.0]
    assert info["achievements"] == {**dict.fromkeys(ACHIEVEMENTS, 0), "collect_wood": 2}
    player.achievements["collect_wood"] += 1
    assert info["achievements"]["collect_wood"] == 2


def test_no_rewards_on_request():
    env = Crafter(task="noreward")
    env.reset(seed=0)
    env._env._player.achievements["collect_wood"] += 1
    _, reward, *_, info = env.step(0)
    assert (reward, info["achievements"]["collect_wood"]) == (0.0, 1)


def test_the_score_by_hand():
    assert crafter_score([0.0] * 22) == 0.0
    assert crafter_score([1.0] * 22) == pytest.approx(100.0)
    assert crafter_score([1.0, 0.0]) == pytest.approx(math.sqrt(101) - 1)
    # Percentages 1, 3 and 7: the cube root of 2 * 4 * 8 is 4.
    assert crafter_score([0.01, 0.03, 0.07]) == pytest.approx(3.0)


def test_scores_of_an_evaluation(env):
    nothing = dict.fromkeys(ACHIEVEMENTS, 0)
    infos = [
        {"achievements": nothing},
        {"achievements": {**nothing, "collect_wood": 3, "wake_up": 1}},
        {"achievements": {**nothing, "collect_wood": 1}},
        {"achievements": {**nothing, "collect_wood": 1}},
    ]
    scores = env.scores([0.0] * 4, infos)
    assert len(scores) == 23
    assert scores["achievement/collect_wood"] == 0.75
    assert scores["achievement/wake_up"] == 0.25
    assert scores["achievement/eat_cow"] == 0.0
    assert scores["eval/crafter_score"] == pytest.approx((76 * 26) ** (1 / 22) - 1)


def test_the_last_step_of_an_episode_tallies_its_achievements():
    env = Crafter(time_limit=2)
    env.reset(seed=0)
    env._env._player.achievements["collect_wood"] += 2
    assert "tally" not in env.step(0)[-1]
    tally = env.step(0)[-1]["tally"]
    assert tally == {**dict.fromkeys(ACHIEVEMENTS, 0.0), "collect_wood": 1.0}


def test_the_published_score_is_that_of_all_episodes():
    # One in a hundred: an evaluation of ten would see none, mostly.
    means = {**dict.fromkeys(ACHIEVEMENTS, 0.0), "collect_wood": 0.01, "wake_up": 0.25}
    score = Crafter.tally_scores(means)
    assert score == {"crafter_score": pytest.approx((2 * 26) ** (1 / 22) - 1)}


def test_wrong_arguments_are_one_line():
    for task in TASKS:
        check_task(task)
    with pytest.raises(EnvError, match=r"2 tasks of Crafter, got 'rewards'; did you mean reward"):
        Crafter(task="rewards")
    with pytest.raises(EnvError, match=r"env\.image_size: expected 18 or more, got 16"):
        Crafter(image_size=16)
    with pytest.raises(EnvError, match=r"env\.time_limit: expected 1 or more, got 0"):
        Crafter(time_limit=0)


def test_the_smallest_picture_shows_numbers():
    env = Crafter(image_size=18)
    assert env.reset(seed=0)[0]["image"].shape == (18, 18, 3)


def test_a_missing_package_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "crafter", None)
    with pytest.raises(EnvError, match=r"pip install 'harmony-dream\[crafter\]'"):
        Crafter()
