"""The hunt over a stand-in for Minecraft, which strictly refuses what the real one would."""

import json

import numpy as np
import pytest

from harmony.envs.minedojo_rules import halved
from harmony.envs.stream import EpisodeStream
from harmony.errors import EnvError
from tests import minedojo_fakes as fakes
from tests.fakes import minedojo_world as meadow
from tests.minedojo_fakes import Plan, in_this_process, put_cow, sim

STAY, ATTACK, FORWARD = np.zeros(5, int), np.array([0, 0, 0, 0, 2]), np.array([1, 0, 0, 0, 0])


@pytest.fixture
def make(tmp_path):
    """Makes environments without workers."""
    with in_this_process(tmp_path / "lock") as made:
        yield made


@pytest.fixture
def work():
    """Makes environments with workers, and ends them."""
    made = []

    def start(**kwargs):
        made.append(fakes.make(**kwargs))
        return made[-1]

    yield start
    for env in made:
        env.close()


@pytest.fixture
def plan(monkeypatch, tmp_path):
    """Plans faults of the stand-in."""
    monkeypatch.setenv("FAKE_MINEDOJO_FAULTS", str(tmp_path / "faults.json"))
    return Plan(tmp_path / "faults.json")


def test_spaces_and_pictures(make):
    env = make()
    observation, info = env.reset(seed=1)
    assert env.action_space.nvec.tolist() == [3, 3, 4, 5, 3]
    assert env.observation_space["image"].shape == (8, 8, 3)
    assert env.observation_space.contains(observation)
    assert info == {"success": False, "failures": 0}
    assert sim(env)._side == 16
    np.testing.assert_array_equal(observation["image"], halved(sim(env).prev_obs["rgb"]))


def test_the_picture_is_upright(make):
    """The sky is above, and a cow to the right is on the right."""
    env = make(image_size=64)
    env.reset(seed=1)
    env._bridge.world.command("/summon cow ~-4 ~1 ~4")  # south is ahead, west is right
    image = env.step(STAY)[0]["image"].astype(int)
    assert (image[0] == (120, 160, 250)).all()
    brown = (image == (90, 60, 40)).all(axis=2)
    assert brown[:, 32:].any()
    assert not brown[:, :32].any()


def test_a_hunt_is_paid_and_ends_as_terminal(make):
    env = make()
    env.reset(seed=1)
    put_cow(env, 4)
    env.step(STAY)
    assert env.step(FORWARD)[1] == 0.25
    steps = [env.step(FORWARD) for _ in range(6)]
    assert [step[1] for step in steps] == [0.25] * 6
    assert env.step(ATTACK)[1] == 5.0  # hit; the cow flees to 4.25 blocks
    assert env.step(FORWARD)[1] == 0.0
    steps = [env.step(FORWARD) for _ in range(4)]
    assert [step[1] for step in steps] == [0.25] * 4
    _, reward, terminated, truncated, info = env.step(ATTACK)
    assert (reward, terminated, truncated, info) == (
        205.0,
        True,
        False,
        {"success": True, "failures": 0},
    )


def test_the_reward_is_the_sum_over_the_repeat_which_an_end_cuts(make):
    env = make(action_repeat=3)
    env.reset(seed=1)
    put_cow(env, 4)
    assert env.action_repeat == 3
    env.step(STAY)
    assert env.step(FORWARD)[1] == 0.75
    put_cow(env, 2)
    sim(env).health = 1
    before = len(env._bridge.asked)
    assert env.step(ATTACK)[2:4] == (True, False)
    assert len(env._bridge.asked) - before == 1


def test_the_time_limit_truncates(make):
    env = make(time_limit=4)
    for seed in (1, 2):
        env.reset(seed=seed)
        flags = [env.step(STAY)[2:4] for _ in range(4)]
        assert flags == [(False, False)] * 3 + [(False, True)]


def test_a_kill_at_the_time_limit_is_terminal(make):
    env = make(time_limit=1)
    env.reset(seed=1)
    put_cow(env, 2)
    sim(env).health = 1
    assert env.step(ATTACK)[2:4] == (True, False)


def test_death_takes_the_sword_and_goes_on(make, plan):
    plan(step=[[2, "death"]])
    env = make()
    env.reset(seed=1)
    sim(env).cow = None
    assert [env.step(STAY)[1:4] for _ in range(3)] == [(0.0, False, False)] * 3
    assert sim(env).durability == 0.0
    assert plan.left() == 0
    env.reset(seed=2)
    assert sim(env).durability == meadow.SWORD_DURABILITY


def test_a_mission_that_minecraft_ends_is_terminal_and_the_next_is_another(make, plan):
    plan(step=[[2, "end"]])
    env = make()
    env.reset(seed=1)
    first = sim(env).world_seed
    env.step(STAY)
    _, _, terminated, truncated, info = env.step(STAY)
    assert (terminated, truncated, info) == (True, False, {"success": False, "failures": 0})
    env.reset(seed=2)
    assert sim(env).world_seed == first  # made again: the mission is gone, the world lasts
    assert env.state_dict() == {"world_seed": first, "world_episodes": 2, "failures": 0}
    assert env._bridge.asked.count("restart") == 1


def test_a_world_lasts_five_episodes_and_one_in_evaluations(make):
    for evaluation, expected in ((False, [5, 5, 2]), (True, [1] * 12)):
        env, seeds = make(evaluation=evaluation), []
        for seed in range(12):
            env.reset(seed=seed)
            seeds.append(sim(env).world_seed)
        assert [seeds.count(seed) for seed in dict.fromkeys(seeds)] == expected


def test_the_seed_decides_the_world_and_the_animals(make):
    def told(seed, **kwargs):
        env = make(**kwargs)
        image = env.reset(seed=seed)[0]["image"]
        return sim(env).world_seed, list(sim(env).said), image.tolist()

    assert told(3) == told(3)
    assert told(3) == told(3, evaluation=True)
    assert told(3)[0] != told(4)[0]
    assert told(3)[1] != told(4)[1]


def test_the_count_of_a_world_outlives_the_process(make):
    env = make(world_every_episodes=3)
    for seed in (1, 2):
        env.reset(seed=seed)
    state = env.state_dict()
    assert (state["world_seed"], state["world_episodes"]) == (sim(env).world_seed, 2)
    other = make(world_every_episodes=3)
    other.load_state_dict(json.loads(json.dumps(state)))
    assert other.state_dict() == state
    other.reset(seed=3)
    assert (sim(other).world_seed, other.state_dict()["world_episodes"]) == (state["world_seed"], 3)
    other.reset(seed=4)
    assert sim(other).world_seed != state["world_seed"]
    fresh = make()
    fresh.load_state_dict(make().state_dict())
    fresh.reset(seed=1)
    assert fresh.state_dict()["world_episodes"] == 1


def test_an_open_episode_is_not_brought_back(make):
    stream = EpisodeStream(make(), lambda k: 40 + k)
    stream.reset()
    stream.step(np.eye(18, dtype=np.float32)[[0, 3, 6, 10, 15]].sum(axis=0))
    loaded = EpisodeStream(make(), lambda k: 40 + k)
    with pytest.raises(EnvError, match="episode 0 can't be brought back: its simulator does not"):
        loaded.load_state_dict(stream.state_dict())
    assert (loaded.episode, loaded.needs_reset) == (1, True)
    assert bool(loaded.reset()["is_first"])
