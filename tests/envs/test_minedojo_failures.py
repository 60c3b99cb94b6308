"""What the hunt makes of a Minecraft that fails, and of a machine that has none."""

import logging
import os
import signal
import sys
import time
import types
from pathlib import Path

import numpy as np
import pytest

from harmony.envs.minedojo import MineDojo, check_packages, check_task
from harmony.envs.suite import check_suite
from harmony.errors import EnvError, SimulatorError
from harmony.filelock import FileLock
from tests import minedojo_fakes as fakes
from tests.fakes import minedojo_world as meadow
from tests.minedojo_fakes import WORLD, Here, Plan, in_this_process, sim

STAY, FORWARD = np.zeros(5, int), np.array([1, 0, 0, 0, 0])


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


def test_a_reset_that_fails_is_tried_again_in_another_world(make, plan, caplog):
    plan(reset=["raise", "raise"])
    env = make()
    with caplog.at_level(logging.WARNING):
        env.reset(seed=1)
    assert (env.failures, plan.left()) == (2, 0)
    assert env._bridge.asked.count("restart") == 3
    assert [r.getMessage().split(",")[0] for r in caplog.records] == [
        "failure 1 of Minecraft",
        "failure 2 of Minecraft",
    ]
    untroubled = make()
    untroubled.reset(seed=1)
    assert sim(env).world_seed != sim(untroubled).world_seed
    assert env.state_dict()["failures"] == 2


def test_too_many_failures_are_an_error(make, plan):
    plan(reset=["raise"] * 9)
    env = make(max_failures=3)
    with pytest.raises(SimulatorError) as caught:
        env.reset(seed=1)
    assert caught.value.final
    assert "Minecraft failed 3 times without finishing an episode" in str(caught.value)
    assert "env.max_failures; env minedojo: reset() raised Something went wrong" in str(
        caught.value
    )
    assert "\n" not in str(caught.value)
    assert plan.left() == 6


def test_failures_count_until_an_episode_comes_to_its_end(make, plan):
    env = make(max_failures=2, time_limit=3)
    for _ in range(3):
        plan(step=[[2, "lost"]])
        env.reset(seed=1)
        env.step(STAY)
        assert env.step(STAY)[2:4] == (False, True)
        env.reset(seed=1)
        assert [env.step(STAY)[3] for _ in range(3)] == [False, False, True]
    assert env.failures == 3
    plan(step=[[1, "lost"], [2, "lost"]])
    env.reset(seed=1)
    assert env.step(STAY)[3]
    env.reset(seed=1)
    env.step(STAY)
    with pytest.raises(SimulatorError, match="failed 2 times without finishing"):
        env.step(STAY)


@pytest.mark.parametrize("fault", ["lost", "raise"])
def test_a_step_that_fails_truncates_with_the_picture_before(make, plan, fault):
    plan(step=[[2, fault]])
    env = make()
    env.reset(seed=1)
    before, *_ = env.step(FORWARD)
    after, reward, terminated, truncated, info = env.step(FORWARD)
    np.testing.assert_array_equal(after["image"], before["image"])
    assert (reward, terminated, truncated, info) == (
        0.0,
        False,
        True,
        {"success": False, "failures": 1},
    )
    env.reset(seed=2)
    assert env.state_dict()["world_episodes"] == 1  # another world
    assert env.failures == 1


def test_only_a_launch_has_the_long_time(make):
    env = make(launch_timeout_s=900.0)
    for seed in range(6):
        env.reset(seed=seed)
    asked = [timeout for method, timeout in env._bridge.asked[2:] if method == "reset"]
    assert asked == [900.0, None, None, None, None, None]


def test_one_launch_at_a_time(make, tmp_path, monkeypatch):
    lock, held = FileLock(tmp_path / "lock"), []
    call = Here.call

    def watch(self, method, *arguments, timeout_s=None):
        free = lock.acquire(wait=False)
        lock.release()
        held.append((method, not free))
        return call(self, method, *arguments, timeout_s=timeout_s)

    monkeypatch.setattr(Here, "call", watch)
    env = make()
    for seed in (1, 2):
        env.reset(seed=seed)
    assert held == [("spaces", False), ("reset", True), ("reset", False)]


def test_a_worker_is_asked_the_same_and_answers_the_same(make, work):
    here, there = make(world_every_episodes=2), work(world_every_episodes=2)
    rng = np.random.default_rng(0)
    for seed in range(3):
        pair = [env.reset(seed=seed)[0]["image"] for env in (here, there)]
        np.testing.assert_array_equal(*pair)
        for _ in range(20):
            action = rng.integers(here.action_space.nvec)
            (one, *first), (other, *second) = here.step(action), there.step(action)
            np.testing.assert_array_equal(one["image"], other["image"])
            assert first == second


def test_a_worker_that_dies_truncates_and_another_goes_on(work, plan):
    plan(step=[[2, "exit"]])
    env = work()
    env.reset(seed=1)
    env.step(STAY)
    assert env.step(STAY)[2:4] == (False, True)
    env.reset(seed=2)
    assert env.step(STAY)[2:4] == (False, False)
    assert env.failures == 1


def test_a_worker_that_hangs_truncates_and_another_goes_on(work, plan):
    plan(reset=["exit"], step=[[1, "hang"]])
    env = work(timeout_s=1.0)
    env.reset(seed=1)  # the first try dies
    began = time.monotonic()
    assert env.step(STAY)[2:4] == (False, True)
    assert time.monotonic() - began < 8
    env.reset(seed=2)
    assert env.failures == 2


def test_a_killed_worker_is_a_failure_like_another(work):
    env = work()
    env.reset(seed=1)
    (child,) = [
        int(p.name)
        for p in Path("/proc").iterdir()
        if p.name.isdigit() and _parent(p) == env._bridge._worker._process.pid
    ]
    os.kill(child, signal.SIGKILL)
    assert env.step(STAY)[2:4] == (False, True)
    env.reset(seed=2)
    assert env.failures == 1


def _parent(process):
    try:
        return int((process / "stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return None


def test_no_interpreter_is_one_line(monkeypatch):
    monkeypatch.delenv("MINEDOJO_PYTHON", raising=False)
    for call in (lambda: MineDojo(task="hunt_cow"), lambda: check_packages({"task": "hunt_cow"})):
        with pytest.raises(
            EnvError, match=r"^env\.python: .* got none and no MINEDOJO_PYTHON; docs"
        ):
            call()
    with pytest.raises(EnvError, match=r"^env\.python"):
        check_suite("harmony.envs.minedojo.MineDojo", {"task": "hunt_cow", "python": None})
    check_packages({"python": "/opt/py39/bin/python"})
    check_packages({"world": WORLD})
    monkeypatch.setenv("MINEDOJO_PYTHON", "/nowhere/python3.9")
    with pytest.raises(EnvError, match=r"a Python 3.9 .* but /nowhere/python3.9 is not there"):
        MineDojo(task="hunt_cow")
    with pytest.raises(EnvError, match=r"a Python 3.9 .* is Python 3\.1"):
        MineDojo(task="hunt_cow", python=sys.executable)


def test_what_the_machine_lacks_is_one_line(tmp_path):
    world = tmp_path / "world.py"
    world.write_text(
        "def make(image_size):\n    raise RuntimeError('xvfb-run is missing; apt install xvfb')\n"
    )
    with pytest.raises(EnvError, match="xvfb-run is missing; apt install xvfb") as caught:
        MineDojo(task="hunt_cow", world=str(world))
    assert "\n" not in str(caught.value)


def test_another_release_is_refused(make, monkeypatch):
    spaces = {"action": [3, 3], "rgb": [3, 16, 16], "entity_distance": [27], "cur_durability": [36]}
    fake = types.SimpleNamespace(spaces=lambda: spaces)
    monkeypatch.setattr(meadow, "make", lambda **_: fake)
    with pytest.raises(EnvError, match=r"expected the spaces of minedojo 0\.1, .*; pip install"):
        make()


def test_wrong_arguments_are_one_line(make):
    with pytest.raises(
        EnvError, match="hunt_cow, the only task of MineDojo, got 'hunt_pig'; did you mean hunt_cow"
    ):
        check_task("hunt_pig")
    with pytest.raises(EnvError, match="got 'hunt_pig'"):
        MineDojo(task="hunt_pig")
    for key in ("time_limit", "world_every_episodes", "max_failures"):
        with pytest.raises(EnvError, match=rf"env\.{key}: expected 1 or more, got 0"):
            make(**{key: 0})
