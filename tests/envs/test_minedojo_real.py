"""The hunt on the real minedojo 0.1, Minecraft itself stubbed; where MINEDOJO_PYTHON names one."""

import json
import os
import re
from pathlib import Path

import numpy as np
import pytest

from harmony.envs.minedojo import PYTHON, MineDojo
from harmony.envs.minedojo_rules import ACTION_COUNTS

pytestmark = [
    pytest.mark.skipif(PYTHON not in os.environ, reason=f"{PYTHON} names no interpreter"),
    pytest.mark.slow,
]

STUBS = Path(__file__).parents[1] / "fakes" / "minedojo_stubs.py"
GOLDEN = Path(__file__).parents[1] / "golden" / "minedojo"
STAY = np.zeros(5, int)


@pytest.fixture(scope="module")
def env():
    made = MineDojo(task="hunt_cow", python=os.environ[PYTHON], world=str(STUBS))
    made.reset(seed=1)
    yield made
    made.close()


@pytest.fixture
def call(env):
    """Calls the world behind the bridge; what was told before is forgotten."""
    env._bridge.call("told")
    return env._bridge.call


def test_the_layers_are_those_that_the_stand_in_has(call):
    assert call("layers") == [
        "ARNNWrapper", "DeltaInventoryWrapper", "ARMasksWrapper", "NNActionSpaceWrapper",
        "CombatMeta", "FastResetWrapper", "MineDojoSim",
    ]  # fmt: skip


def test_a_new_world_and_then_a_fast_reset(env, call):
    env.load_state_dict({"world_seed": 4711, "world_episodes": 3, "failures": 0})
    env.reset(seed=2)
    first, *summons = call("told")["said"]
    assert re.fullmatch(r'<BiomeGenerator .*seed="4711" biome="129"/>', first)
    assert [text.split()[1] for text in summons] == ["cow", "pig", "sheep"]
    env.reset(seed=3)
    said = [re.sub(r"~-?\d+ ~1 ~-?\d+", "~X ~1 ~Z", text) for text in call("told")["said"]]
    assert said == json.loads((GOLDEN / "commands.json").read_text())


def test_the_seed_places_the_animals(env, call):
    places = []
    for seed in (5, 5, 6):
        env.load_state_dict({"world_seed": 1, "world_episodes": 1, "failures": 0})
        env.reset(seed=seed)
        places.append(call("told")["said"][-3:])
    assert places[0] == places[1] != places[2]


def test_every_action_reaches_the_game(env, call):
    env.reset(seed=1)
    call("told")
    words = (("forward", "back"), ("left", "right"), ("jump", "sneak", "sprint"))
    camera = ([0.0, 0.0], [-15.0, 0.0], [15.0, 0.0], [0.0, -15.0], [0.0, 15.0])
    for action in np.random.default_rng(0).integers(ACTION_COUNTS, size=(60, 5)):
        env.step(action)
        expected = {names[i - 1]: 1 for names, i in zip(words, action, strict=False) if i}
        expected |= {"camera": camera[action[3]]} if action[3] else {}
        expected |= {("use", "attack")[action[4] - 1]: 1} if action[4] else {}
        assert call("told")["done"] == [expected]


def test_rewards_and_ends(env, call):
    env.reset(seed=1)
    call("show", {"cow": 4.0})
    observation, *rest = env.step(STAY)
    assert env.observation_space.contains(observation)
    assert rest == [1.0, False, False, {"success": False, "failures": 0}]
    call("show", {"cow": None, "durability": 1560.0, "kills": 1})
    assert env.step(STAY)[1:] == (205.0, True, False, {"success": True, "failures": 0})
    env.reset(seed=2)
    assert env.step(STAY)[1:] == (0.0, False, False, {"success": False, "failures": 0})
    call("show", {"ended": True})
    assert env.step(STAY)[1:] == (0.0, True, False, {"success": False, "failures": 0})
    call("show", {"ended": False})
    env.reset(seed=3)
    assert call("told")["said"][-4].startswith("<BiomeGenerator")
    call("show", {"answers": False})
    assert env.step(STAY)[1:] == (0.0, False, True, {"success": False, "failures": 1})
