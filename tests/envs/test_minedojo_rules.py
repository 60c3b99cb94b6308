"""The rules of the hunt against tables; where they come from: tests/golden/minedojo/README.md."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from harmony.envs.minedojo_rules import (
    ACTION_COUNTS,
    SIMULATOR_ACTION_COUNTS,
    Hunt,
    Sight,
    World,
    begin_hunt,
    halved,
    hunt_reward,
    nearest_cow,
    next_world,
    simulator_action,
)

GOLDEN = Path(__file__).parents[1] / "golden" / "minedojo"
ACTIONS = json.loads((GOLDEN / "actions.json").read_text())
HUNTS = json.loads((GOLDEN / "rewards.json").read_text())


@pytest.mark.golden
@pytest.mark.parametrize("name", ACTIONS)
def test_actions_are_those_of_the_table(name):
    action, expected = ACTIONS[name]
    assert simulator_action(np.array(action)) == expected


def test_every_action_is_one_of_the_simulator_and_no_two_are_the_same():
    found = {tuple(simulator_action(action)) for action in np.ndindex(*ACTION_COUNTS)}
    assert len(found) == math.prod(ACTION_COUNTS) == 540
    assert all((np.array(action) < SIMULATOR_ACTION_COUNTS).all() for action in found)


@pytest.mark.parametrize("action", [[0, 0, 0, 5, 0], [-1, 0, 0, 0, 0], [0, 0, 0, 0], [3] * 5])
def test_other_actions_are_refused(action):
    with pytest.raises(ValueError, match=r"below each of \(3, 3, 4, 5, 3\)"):
        simulator_action(action)


@pytest.mark.golden
@pytest.mark.parametrize("name", HUNTS)
def test_rewards_are_those_of_the_table(name):
    hunt = begin_hunt(Sight(*HUNTS[name]["first"]))
    for cow, durability, task_reward, expected in HUNTS[name]["steps"]:
        reward, hunt = hunt_reward(hunt, Sight(cow, durability), task_reward)
        assert reward == expected


def test_what_a_hunt_remembers():
    """The least distance begins afresh with a hit; the last two stay."""
    assert begin_hunt(Sight(None, 7.0)) == Hunt(math.inf, (0.0,), 7.0)
    hunt = begin_hunt(Sight(5.0, 9.0))
    assert hunt == Hunt(5.0, (5.0,), 9.0)
    _, hunt = hunt_reward(hunt, Sight(4.0, 9.0), 0.0)
    assert hunt == Hunt(4.0, (5.0, 4.0), 9.0)
    _, unseen = hunt_reward(hunt, Sight(None, 9.0), 0.0)
    assert unseen == hunt
    _, hit = hunt_reward(hunt, Sight(4.0, 8.0), 0.0)
    assert hit == Hunt(math.inf, (4.0, 4.0), 8.0)


def test_a_reward_changes_nothing_that_it_was_given():
    hunt = begin_hunt(Sight(5.0, 9.0))
    first, second = (hunt_reward(hunt, Sight(3.0, 8.0), 0.0) for _ in range(2))
    assert first == second
    assert first[0] == 7.0


def test_only_cows_count_and_the_nearest_of_them():
    distances = np.array([-1, 2, 7.5, 6.25, 1], np.float32)
    assert nearest_cow(["null", "pig", "cow", "cow", "sheep"], distances) == 6.25
    assert nearest_cow(["null", "pig", "null", "null", "sheep"], distances) is None
    with pytest.raises(ValueError, match="zip"):
        nearest_cow(["cow"], distances)


def test_a_world_lasts_some_episodes():
    world, seen = None, []
    for new_seed in range(11, 23):
        world = next_world(world, 5, new_seed)
        seen.append((world.seed, world.episodes))
    assert seen == [
        *((11, k) for k in range(1, 6)),
        *((16, k) for k in range(1, 6)),
        (21, 1),
        (21, 2),
    ]
    assert next_world(World(3, 1), 1, 8) == World(8, 1)


def test_a_picture_is_halved_by_the_mean_of_four():
    picture = np.zeros((3, 4, 4), np.uint8)
    picture[0, :2, :2] = [[1, 2], [3, 4]]  # 2.5 rounds up
    picture[1, :2, 2:] = [[1, 0], [0, 0]]  # 0.25 rounds down
    picture[2, 2:, 2:] = 255
    image = halved(picture)
    assert (image.shape, image.dtype, image.flags.c_contiguous) == ((2, 2, 3), np.uint8, True)
    assert image[0, 0].tolist() == [3, 0, 0]
    assert image[0, 1].tolist() == [0, 0, 0]
    assert image[1, 1].tolist() == [0, 0, 255]


def test_halving_is_opencvs_bilinear_interpolation():
    cv2 = pytest.importorskip("cv2")
    picture = np.random.default_rng(0).integers(0, 256, (3, 64, 64), dtype=np.uint8)
    expected = cv2.resize(picture.transpose(1, 2, 0), (32, 32), interpolation=cv2.INTER_LINEAR)
    np.testing.assert_array_equal(halved(picture), expected)
