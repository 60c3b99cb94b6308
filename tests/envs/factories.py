"""What the tests of `tests/envs/test_contract.py` are run with: one or more of each suite."""

import functools

import pytest

from harmony.envs.atari100k import Atari100K
from harmony.envs.crafter import Crafter
from harmony.envs.dmc import DMC
from harmony.envs.metaworld import MetaWorld
from harmony.envs.metaworld_v2 import MetaWorldV2
from harmony.envs.minedojo import MineDojo
from harmony.envs.natural_background import NaturalBackground
from harmony.envs.probe import (
    ActionReward,
    ConstantReward,
    CountingEnv,
    DelayedReward,
    MemoryReward,
    ObservationReward,
)
from harmony.envs.remastered import DMCRemastered
from harmony.envs.render import RenderQuality
from harmony.envs.rlbench import RLBench
from tests.grid_world import GridWorld
from tests.metaworld_v2_fakes import WORLD as FAKE_METAWORLD_V2
from tests.minedojo_fakes import WORLD as FAKE_MINEDOJO
from tests.rlbench_fakes import WORLD as FAKE_RLBENCH

FAST = RenderQuality(0, 0, cast_shadows=False, reflection=False)
SIM = pytest.mark.sim


def factory(make, *marks, ends=("truncated",), **kwargs):
    """One environment for all tests here.

    Args:
        make: its class.
        *marks: of the tests with it.
        ends: how its episodes may end: "truncated", "terminated", or both.
        **kwargs: for its constructor.
    """
    space = next((kind for kind in ("discrete", "nvec") if kind in kwargs), "box")
    fake = "-fake" if "world" in kwargs else ""
    name = f"{make.__name__}{fake}-{kwargs.get('task', space)}-{kwargs.get('observation', 'image')}"
    made = functools.partial(make, **kwargs)
    made.ends = set(ends)
    return pytest.param(made, marks=marks, id=name)


FACTORIES = [
    factory(DMC, SIM, task="cartpole_swingup", render=FAST),
    factory(DMC, SIM, task="walker_walk", render=FAST, observation="both"),
    factory(DMC, SIM, task="walker_walk", render=FAST, observation="vector"),
    factory(DMC, SIM, pytest.mark.slow, task="ball_in_cup_catch", render=FAST, action_repeat=4),
    factory(NaturalBackground, SIM, task="cartpole_swingup", render=FAST, num_frames=20),
    factory(NaturalBackground, SIM, task="reacher_easy", render=FAST, num_frames=20, new_clip=True),
    factory(DMCRemastered, SIM, task="cheetah_run", render=FAST),
    factory(
        DMCRemastered, SIM, task="hopper_stand", render=FAST, seeds="disjoint", evaluation=True
    ),
    factory(MetaWorld, SIM, task="lever_pull", render=FAST, time_limit=9),
    factory(MetaWorldV2, task="lever_pull", world=FAKE_METAWORLD_V2, render=FAST, action_repeat=2),
    factory(RLBench, task="reach_target", world=FAKE_RLBENCH, action_repeat=2, time_limit=9),
    factory(RLBench, task="push_button", world=FAKE_RLBENCH, action_repeat=1, image_size=32),
    factory(Atari100K, SIM, task="breakout", action_repeat=4),
    factory(Atari100K, SIM, task="pong", action_repeat=2, max_frames=16, image_size=32),
    factory(Crafter, SIM, time_limit=9),
    # One world an episode: with more, what a seed gives depends on the episodes before.
    factory(
        MineDojo,
        task="hunt_cow",
        world=FAKE_MINEDOJO,
        world_every_episodes=1,
        time_limit=9,
        image_size=16,
    ),
    factory(CountingEnv, length=7, image_size=8),
    factory(ConstantReward, length=7, image_size=8, terminates=True, ends=["terminated"]),
    factory(ObservationReward, length=7, image_size=8),
    factory(ActionReward, length=7, image_size=8, discrete=True, num_actions=3),
    factory(ActionReward, length=7, image_size=8, nvec=[3, 3, 4, 5, 3]),
    factory(CountingEnv, length=7, observation="vector", nvec=[2, 3]),
    factory(DelayedReward, length=7, image_size=8, delay=2),
    factory(MemoryReward, length=7, image_size=8, observation="both"),
    # Most episodes are over within four steps.
    factory(GridWorld, size=2, time_limit=5, ends=["terminated", "truncated"]),
    factory(GridWorld, size=4, ends=["terminated", "truncated"]),
]
# Their pictures depend on nothing, or on the actions alone.
UNSEEDED = (ConstantReward, ActionReward, DelayedReward)
