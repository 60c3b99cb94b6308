"""The world file in this process, over the stand-in for Minecraft."""

import json
import os
import re
import sys
from pathlib import Path

import numpy as np
import pytest

from harmony.envs.minedojo_rules import FAST_RESET_COMMANDS, SIMULATOR_ACTION_COUNTS
from harmony.envs.worlds import minedojo as world_file
from tests.fakes import minedojo_world as meadow

GOLDEN = Path(__file__).parents[1] / "golden" / "minedojo"
STAY, ATTACK = [0, 0, 0, 12, 12, 0, 0, 0], [0, 0, 0, 12, 12, 3, 0, 0]
FORWARD = [1, *STAY[1:]]


@pytest.fixture
def world(monkeypatch):
    """A world after its first reset; the stand-in's package is gone afterwards."""
    for name in ("minedojo", "minedojo.sim", "minedojo.sim.inventory"):
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setenv("MINEDOJO_HEADLESS", "0")
    made = meadow.make(16)
    made.first = made.reset(7, 0, [])
    return made


def program(folder, name, text=""):
    path = folder / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A machine with nothing but what the test puts there."""
    monkeypatch.setenv("PATH", f"{tmp_path}")
    monkeypatch.delenv("JAVA_HOME", raising=False)
    return tmp_path


def test_the_lidar_has_27_rays():
    rays = world_file.settings(256)["lidar_rays"]
    assert len(rays) == 27
    assert rays[0] == (0.0, np.deg2rad(-60), 9999)
    assert rays[13] == (np.deg2rad(15), 0.0, 9999)
    assert rays[-1] == (np.deg2rad(30), np.deg2rad(60), 9999)
    for angle, count in ((0, 3), (1, 9)):
        steps = np.diff(sorted({ray[angle] for ray in rays}))
        assert len(steps) == count - 1
        np.testing.assert_allclose(steps, np.deg2rad(15))


def test_the_task_is_the_papers():
    settings = world_file.settings(256)
    del settings["lidar_rays"]
    assert settings == {
        "target_names": ["cow"],
        "target_quantities": 1,
        "reward_weights": {"cow": 200},
        "initial_mobs": ["cow", "pig", "sheep"],
        "initial_mob_spawn_range_low": (-7, 1, -7),
        "initial_mob_spawn_range_high": (7, 1, 7),
        "image_size": (256, 256),
        "world_seed": 1,
        "specified_biome": "sunflower_plains",
        "fast_reset": True,
        "fast_reset_random_teleport_range": None,
        "use_voxel": True,
        "use_lidar": True,
    }


def test_observations_are_plain_values_and_arrays(world):
    first = world.first
    assert list(first) == ["rgb", "entity_name", "entity_distance", "durability"]
    assert (first["rgb"].dtype, first["rgb"].shape) == (np.uint8, (3, 16, 16))
    assert (first["entity_distance"].dtype, first["entity_distance"].shape) == (np.float32, (27,))
    assert {type(name) for name in first["entity_name"]} == {str}
    assert first["durability"] == meadow.SWORD_DURABILITY
    told = world.step(STAY)
    assert list(told)[4:] == ["reward", "done", "success"]
    assert [type(told[key]) for key in list(told)[3:]] == [float, float, bool, bool]


def test_the_spaces_are_told(world):
    assert world.spaces() == {
        "action": list(SIMULATOR_ACTION_COUNTS),
        "rgb": [3, 16, 16],
        "entity_distance": [27],
        "cur_durability": [36],
    }


@pytest.mark.golden
def test_a_fast_reset_says_what_the_original_says(world):
    world._sim.said.clear()
    world.reset(None, 0, list(FAST_RESET_COMMANDS))
    expected = json.loads((GOLDEN / "commands.json").read_text())
    said = [re.sub(r"~-?\d+ ~1 ~-?\d+", "~X ~1 ~Z", text) for text in world._sim.said]
    assert said == expected


def test_a_new_world_is_generated_without_a_word_but_the_animals(world):
    world._sim.said.clear()
    world.reset(99, 0, list(FAST_RESET_COMMANDS))
    assert world._sim.world_seed == 99
    assert [text.split()[0] for text in world._sim.said] == ["/summon"] * 3
    assert world._fast_reset._info_prev_reset is None


def test_the_animals_stand_where_their_seed_says(world):
    def places(seed):
        world._sim.said.clear()
        world.reset(5, seed, [])
        return list(world._sim.said)

    assert places(1) == places(1) != places(2)
    assert all(
        abs(int(word[1:])) <= 7 for text in places(3) for word in (text.split()[2], text.split()[4])
    )


def test_a_kill_pays_200_and_ends_the_task_but_not_the_mission(world):
    world.command("/summon cow ~0 ~1 ~2")
    told = [world.step(ATTACK)]  # it flees out of reach
    told.extend(world.step(FORWARD) for _ in range(6))
    told.append(world.step(ATTACK))
    durability = [step["durability"] for step in told]
    assert durability == [1560.0] * 7 + [1559.0]
    assert [(step["reward"], step["done"], step["success"]) for step in told] == [
        *[(0.0, False, False)] * 7,
        (200.0, True, True),
    ]
    assert not world._sim.is_terminated
    world.reset(None, 0, list(FAST_RESET_COMMANDS))
    assert world.step(STAY)["success"] is False


def test_a_step_without_an_answer_is_an_error(world, tmp_path, monkeypatch):
    plan = tmp_path / "faults.json"
    plan.write_text('{"step": [[1, "lost"]]}')
    monkeypatch.setenv("FAKE_MINEDOJO_FAULTS", str(plan))
    with pytest.raises(RuntimeError, match="did not answer the step"):
        world.step(STAY)


def test_another_minedojo_is_refused(world):
    del world._fast_reset._server_start
    with pytest.raises(RuntimeError, match=r"no wrapper with '_server_start'; .* minedojo==0.1"):
        world_file.World(world._env)


def test_minecraft_draws_on_a_virtual_screen(world):
    assert os.environ["MINEDOJO_HEADLESS"] == "1"
    world.close()


def test_a_machine_without_a_virtual_screen_says_so(machine):
    with pytest.raises(RuntimeError, match="xvfb-run is missing; apt install xvfb"):
        world_file.check_machine()
    program(machine, "xvfb-run")
    with pytest.raises(RuntimeError, match=r"needs Java 8: .*; found no java"):
        world_file.check_machine()


@pytest.mark.parametrize(
    ("printed", "fault"),
    [('openjdk version "17.0.9" 2023', "is Java 17.0.9"), ("no idea", "is Java unknown")],
)
def test_another_java_says_so(machine, printed, fault):
    program(machine, "xvfb-run")
    program(machine, "java", f"echo '{printed}' >&2")
    with pytest.raises(RuntimeError, match=fault):
        world_file.check_machine()


def test_java_8_will_do_and_its_home_comes_first(machine, monkeypatch):
    program(machine, "xvfb-run")
    program(machine, "java", "echo 'openjdk version \"1.8.0_392\"' >&2")
    world_file.check_machine()
    monkeypatch.setenv("JAVA_HOME", str(machine / "nowhere"))
    with pytest.raises(RuntimeError, match=r"found .*nowhere/bin/java"):
        world_file.check_machine()


def test_a_missing_minedojo_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr(world_file, "check_machine", lambda: None)
    monkeypatch.setitem(sys.modules, "minedojo", None)
    with pytest.raises(
        RuntimeError, match=r"'minedojo' is missing .* -m pip install minedojo==0.1"
    ):
        world_file.make(16)
