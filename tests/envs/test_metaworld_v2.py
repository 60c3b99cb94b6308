"""Version 2 through the real bridge, over a stand-in for its sources."""

import functools
import os
import re
import shutil
import signal
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest

from harmony.envs import metaworld, metaworld_v2
from harmony.envs.metaworld_v2 import CAMERAS, MetaWorldV2, check_task, tags
from harmony.envs.render import RenderQuality
from harmony.envs.suite import check_suite
from harmony.errors import EnvError
from tests.metaworld_v2_fakes import WORLD

CHECKOUT = str(Path(WORLD).parent / "metaworld_v2")
FAITHFUL = RenderQuality(512, 4, cast_shadows=True, reflection=True)


start = functools.partial(
    MetaWorldV2,
    task="lever_pull",
    world=WORLD,
    timeout_s=20.0,
    launch_timeout_s=60.0,
    render=FAITHFUL,
)


@pytest.fixture(autouse=True)
def _logs(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


@pytest.fixture
def make():
    """Makes environments that are closed in the end."""
    made = []

    def opened(**arguments):
        made.append(start(**arguments))
        return made[-1]

    yield opened
    for env in made:
        env.close()


def toward(env, scale=1.0):
    """An action that moves the hand to the object."""
    state = env.state()
    return np.append(
        np.clip(scale * 10 * (state["object/position"] - state["hand/position"]), -1, 1), 0.0
    ).astype(np.float32)


def test_the_picture_comes_as_the_simulator_gives_it(make):
    env = make(image_size=16)
    image = env.reset(seed=0)[0]["image"]
    assert (image.shape, image.dtype) == ((16, 16, 3), np.uint8)
    assert env.observation_space["image"].contains(image)
    assert (image[:8, :, 0] == 200).all()  # upright
    assert not image[8:, :, 0].any()


def test_the_quality_and_the_camera_reach_the_model(make):
    faithful = make(camera="corner2").reset(seed=0)[0]["image"]
    assert faithful[-1, :7, 2].tolist() == [75, 7, 70, 16, 4, 3, 50]
    fast = RenderQuality(0, 0, cast_shadows=False, reflection=False)
    plain = make(render=fast, camera="corner").reset(seed=0)[0]["image"]
    assert plain[-1, :7, 2].tolist() == [100, 100, 100, 0, 0, 0, 0]


def test_the_first_picture_shows_the_object_where_it_is(make):
    env = make()
    for seed in (1, 2, 1):
        image = env.reset(seed=seed)[0]["image"]
        assert image[5, 5, 1] == int(255 * env.state()["object/position"][0])


def test_without_a_seed_the_generator_goes_on(make):
    first, second = make(), make()
    goals = []
    for env in (first, second):
        env.reset(seed=5)
        env.reset()
        goals.append(env.state()["goal/position"].tolist())
        env.reset()
        goals.append(env.state()["goal/position"].tolist())
    assert goals[:2] == goals[2:]
    assert goals[0] != goals[1]


def test_the_largest_seed_is_taken(make):
    make().reset(seed=2**32 - 1)


def test_success_ends_the_repeat_but_not_the_episode(make):
    single, repeated = make(), make(action_repeat=30)
    single.reset(seed=3)
    repeated.reset(seed=3)
    action, rewards = toward(single), []
    for _ in range(30):
        _, reward, terminated, truncated, info = single.step(action)
        rewards.append(reward)
        assert (terminated, truncated) == (False, False)
        if info["success"]:
            break
    assert 1 < len(rewards) < 30
    _, reward, terminated, truncated, info = repeated.step(action)
    assert reward == sum(rewards)
    assert (terminated, truncated, info) == (False, False, {"success": True})
    assert repeated.step(toward(repeated))[4]["success"]


def test_the_time_limit_counts_agent_steps_beyond_the_simulators_own(make):
    env = make(action_repeat=60, time_limit=10)  # 600 env steps; the simulator's own limit is 500
    for _ in range(2):
        env.reset(seed=0)
        flags = [env.step(-np.ones(4, np.float32))[3] for _ in range(10)]
        assert flags == [False] * 9 + [True]


def test_the_state_has_the_quantities_of_version_3(make):
    env = make()
    env.reset(seed=0)
    state = env.state()
    assert {name: len(value) for name, value in state.items()} == {
        "hand/position": 3,
        "gripper/opening": 1,
        "object/position": 3,
        "second_object/position": 3,
        "goal/position": 3,
    }


def test_a_simulator_that_died_is_one_line_and_the_next_reset_starts_another(make):
    env = make()
    before = env.reset(seed=4)[0]["image"]
    keeper = env._bridge._worker._process
    os.kill(keeper.pid, signal.SIGKILL)
    keeper.wait()  # the worker dies with it
    with pytest.raises(EnvError, match=r"^env metaworld_v2: in step\(\) its worker ended with .*"):
        env.step(np.zeros(4, np.float32))
    np.testing.assert_array_equal(env.reset(seed=4)[0]["image"], before)


def test_wrong_arguments_are_one_line():
    with pytest.raises(EnvError, match=r"50 tasks of Meta-World, got 'lever_pul'; .*lever_pull"):
        start(task="lever_pul")
    with pytest.raises(EnvError, match=r"env\.camera: .*got 'corner4'; the paper's is corner"):
        start(camera="corner4")
    with pytest.raises(EnvError, match=r"env\.time_limit: expected 1 or more, got 0"):
        start(time_limit=0)


def check(**arguments):
    check_suite("harmony.envs.metaworld_v2.MetaWorldV2", {"task": "lever_pull", **arguments})


@pytest.mark.parametrize("ask", [check, functools.partial(start, world=None)])
def test_what_must_be_installed_is_looked_for_before_a_run(ask, tmp_path, monkeypatch):
    monkeypatch.delenv("METAWORLD_V2_PYTHON", raising=False)
    monkeypatch.delenv("METAWORLD_V2_CHECKOUT", raising=False)
    for checkout in (None, str(tmp_path)):
        with pytest.raises(EnvError, match=r"env\.checkout: .*a0009ed.* got .*docs/bridge\.md"):
            ask(checkout=checkout)
    with pytest.raises(EnvError, match=r"env\.python must be a Python 3\.10 .*, got none; docs/"):
        ask(checkout=CHECKOUT)
    found = f"{sys.version_info.major}.{sys.version_info.minor}"
    monkeypatch.setenv("METAWORLD_V2_CHECKOUT", CHECKOUT)
    with pytest.raises(EnvError, match=rf"must be a Python 3\.10 .*is Python {found}; docs/bri"):
        ask(python=sys.executable)
    monkeypatch.setenv("METAWORLD_V2_PYTHON", "/nowhere/python")
    with pytest.raises(EnvError, match=r"but /nowhere/python is not there; docs/bridge"):
        ask()


def test_a_stand_in_needs_nothing(monkeypatch):
    monkeypatch.setenv("METAWORLD_V2_PYTHON", "/nowhere/python")
    check(world=WORLD)
    with pytest.raises(EnvError, match="got 'lever_pul'"):
        check(world=WORLD, task="lever_pul")


def test_a_task_that_this_checkout_lacks_is_one_line():
    with pytest.raises(EnvError, match=r"make\(\) raised KeyError: 'hammer-v2-goal-observable'"):
        start(task="hammer")


def test_tasks_and_cameras_are_those_of_version_3_but_for_the_new_camera():
    assert set(CAMERAS) == set(metaworld.CAMERAS) - {"corner4"}
    for task in metaworld.TASKS:
        check_task(task)


@pytest.fixture
def sources(tmp_path, monkeypatch):
    """A copy of the stand-in's sources, which passes for the commit's."""
    monkeypatch.delenv("METAWORLD_V2_CHECKOUT", raising=False)
    copy = tmp_path / "sources"
    shutil.copytree(CHECKOUT, copy, ignore=shutil.ignore_patterns("__pycache__"))
    (copy / "metaworld" / "envs" / "arm.xml").write_text("<mujoco/>\n")
    monkeypatch.setattr(metaworld_v2, "_DIGEST", metaworld_v2._digest(copy))
    return copy / "metaworld" / "envs"


def source(envs, **arguments):
    found = {"task": "lever_pull", "time_limit": 9, "action_repeat": 1}
    found |= {"checkout": str(envs.parents[1]), **arguments}
    return tags(found).get("source")


def test_the_tag_says_whether_the_sources_are_those_of_the_commit(sources, monkeypatch):
    assert source(sources) == "a0009ed"
    monkeypatch.setenv("METAWORLD_V2_CHECKOUT", str(sources.parents[1]))
    assert source(sources, checkout=None) == "a0009ed"
    assert source(sources, world=WORLD) is None
    assert source(sources, checkout="/nowhere") is None
    text = (sources / "__init__.py").read_text()
    (sources / "__init__.py").write_text(f"{text}REWARD = 11.0\n")
    changed = source(sources)
    assert re.fullmatch(r"modified \([0-9a-f]{8}\)", changed)
    (sources / "__init__.py").write_text(text)
    (sources / "arm.xml").write_text("<mujoco model='arm'/>\n")
    assert source(sources) not in ("a0009ed", changed)


def test_line_ends_and_what_version_2_does_not_read_change_no_tag(sources):
    lines = (sources / "__init__.py").read_bytes().splitlines()
    (sources / "__init__.py").write_bytes(b" \r\n".join(lines))
    (sources / "assets_v1").mkdir()
    (sources / "assets_v1" / "arm.xml").write_text("<mujoco/>")
    (sources / "__pycache__").mkdir()
    (sources / "__pycache__" / "__init__.pyc").write_bytes(b"x")
    assert source(sources) == "a0009ed"
    (sources / "more.py").write_text("")
    assert source(sources) != "a0009ed"


def test_changed_sources_are_a_warning_before_a_run(sources, monkeypatch, caplog):
    monkeypatch.setattr(metaworld_v2, "_VERSION", None)
    arguments = {"checkout": str(sources.parents[1]), "python": sys.executable}
    check(**arguments)
    assert caplog.messages == []
    (sources / "more.py").write_text("")
    check(**arguments)
    (message,) = caplog.messages
    assert "is not Meta-World at a0009ed" in message
    assert message.endswith(f"suite.source={source(sources)}")


@pytest.mark.skipif("METAWORLD_V2_CHECKOUT" not in os.environ, reason="no checkout of the sources")
def test_the_real_sources_are_those_of_the_commit():
    assert tags({"time_limit": 9, "action_repeat": 1})["source"] == "a0009ed"


def test_the_two_versions_tell_themselves_apart(monkeypatch):
    monkeypatch.delenv("METAWORLD_V2_CHECKOUT", raising=False)
    arguments = {"task": "hammer", "time_limit": 250, "action_repeat": 2}
    assert tags(arguments) == {"version": "v2", "reward_version": "v2", "horizon": "500"}
    assert metaworld.tags(arguments) == tags(arguments) | {"version": "v3"}
