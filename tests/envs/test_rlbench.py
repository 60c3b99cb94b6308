"""RLBench through a strict stand-in: what is asked of it, and what is made of the answers."""

import inspect
import logging
import tempfile

import numpy as np
import pytest

from harmony.envs.rlbench import RLBench, check_task
from harmony.envs.worlds import rlbench as world_file
from harmony.errors import EnvError, SimulatorError
from tests.rlbench_fakes import FAKES, WORLD, importable

FAILURES = ("IKError", "ConfigurationPathError", "InvalidActionError")
NOTHING = np.zeros(8, np.float32)


@pytest.fixture(scope="module", autouse=True)
def logs(tmp_path_factory):
    """What workers printed before they failed lies apart."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tempfile, "tempdir", str(tmp_path_factory.mktemp("logs")))
        yield


@pytest.fixture
def make():
    """Makes environments, each with a worker, and ends them."""
    made = []

    def start(task="reach_target", **kwargs):
        made.append(RLBench(task=task, world=WORLD, **kwargs))
        return made[-1]

    yield start
    for env in made:
        env.close()


@pytest.fixture(scope="module")
def env():
    """An environment for tests that leave it as it was."""
    made = RLBench(task="reach_target", image_size=16, time_limit=3, world=WORLD)
    yield made
    made.close()


@pytest.fixture
def world():
    """Makes worlds in this process, one at a time."""
    made = []

    def start(task, image_size=16):
        made.append(world_file.make(task, image_size))
        return made[-1]

    with importable(FAKES):
        yield start
        for each in made:
            each.close()


def simulator():
    from pyrep.backend import sim

    return sim.running()


def towards(goal):
    """An action that brings the tip nearer to a place."""
    from pyrep.backend._sim_cffi import REACH

    angles = np.linalg.pinv(REACH) @ (goal - simulator().tip)
    return np.append(np.clip(angles, -1, 1), 1).astype(np.float32)


def random_actions(count, seed=0):
    return np.random.default_rng(seed).uniform(-1, 1, (count, 8)).astype(np.float32)


def test_tasks_are_known_by_name():
    for task in ("reach_target", "push_button"):
        check_task(task)
    with pytest.raises(EnvError, match=r"2 tasks of RLBench, got 'reach'; .* mean reach_target\?"):
        check_task("reach")


def test_wrong_arguments_are_one_line(make):
    with pytest.raises(EnvError, match="got 'fly'"):
        make("fly")
    with pytest.raises(EnvError, match=r"env\.time_limit: expected 1 or more, got 0"):
        make(time_limit=0)


def test_the_paper_settings_are_the_defaults():
    parameters = inspect.signature(RLBench).parameters
    assert {name: parameters[name].default for name in ("action_repeat", "image_size")} == {
        "action_repeat": 2,
        "image_size": 64,
    }
    assert parameters["time_limit"].default == 200


def test_the_reward_of_push_button_is_a_function_of_positions():
    reward = world_file.push_button_reward
    button, tip = np.array([0.1, 0.2, 0.3]), np.array([0.1, 0.5, 0.7])
    assert reward(button, tip, 0.01, 0.01) == pytest.approx(-0.5)
    assert reward(button, tip, 0.004, 0.01) == pytest.approx(-0.494)
    assert reward(button, tip, 0.016, 0.01) == pytest.approx(-0.494)
    assert reward(button, button, 0.0, 0.0) == 0.0
    assert type(reward(button.astype(np.float32), tip, 0.0, 0.0)) is float


def test_the_world_asks_for_the_papers_settings(world):
    made = world("reach_target", image_size=24)
    assert made.action_shape() == [8]
    assert made._env._headless
    assert made._env._shaped_rewards
    assert not made._env._obs_config.low_dim
    assert made._env._action_mode.arm_action_mode._absolute_mode is False
    image = made.reset(1)["image"]
    assert (image.shape, image.dtype) == ((24, 24, 3), np.uint8)


def test_the_reward_of_reach_target_is_minus_the_distance(world):
    made = world("reach_target")
    made.reset(3)
    target = made._task._task.target.get_position()
    told = made.step(random_actions(1)[0], 1)
    assert told["reward"] == pytest.approx(-np.linalg.norm(target - simulator().tip))


def test_push_button_is_the_stock_task_with_a_reward(world):
    made = world("push_button")
    task = made._task._task
    assert type(task).__name__ == "PushButton"  # RLBench finds its scene by this name
    assert task.get_name() == "push_button"
    made.reset(3)
    button, rest = task.target_button.get_position(), simulator().button_joint
    rewards = []
    for _ in range(60):
        told = made.step(towards(button), 1)
        pressed = abs(simulator().button_joint - rest)
        distance = np.linalg.norm(button - simulator().tip)
        assert told["reward"] == pytest.approx(pressed - distance, abs=1e-12)
        assert told["terminal"] == told["success"] == (pressed > 0.003)
        rewards.append(told["reward"])
        if told["terminal"]:
            break
    assert told["success"]
    assert 0.003 < pressed < 0.03
    assert rewards == sorted(rewards)


def test_the_stock_push_button_would_have_been_refused(world):
    made = world("push_button")
    from rlbench.tasks import PushButton

    task = made._env.get_task(PushButton)
    task.reset()
    with pytest.raises(RuntimeError, match="push_button has no reward"):
        task.step(NOTHING)


def test_actions_are_small_turns_of_the_joints_and_a_gripper(world):
    made = world("reach_target")
    made.reset(1)
    action = np.array([0.01, -0.02, 0.03, 0.0, 0.04, 1.0, -1.0, 0.4], np.float32)
    made.step(action, 1)
    np.testing.assert_allclose(
        simulator().joints, [0.01, -0.02, 0.03, 0.0, 0.04, 0.05, -0.05], atol=1e-8
    )
    assert simulator().gripper == 0
    made.step(np.append(action[:7], np.float32(0.6)), 1)
    np.testing.assert_allclose(simulator().joints[:3], [0.02, -0.04, 0.06], atol=1e-8)
    assert simulator().gripper == 1


def test_the_seed_decides_whatever_the_generator_was_before(world):
    made = world("reach_target")
    images = []
    for before in (1, 2):
        np.random.seed(before)  # noqa: NPY002  (RLBench uses it)
        images.append(
            [made.reset(7)["image"]] + [made.step(a, 2)["image"] for a in random_actions(3)]
        )
    np.testing.assert_array_equal(images[0], images[1])
    assert (made.reset(8)["image"] != images[0][0]).any()


def test_success_ends_the_repeat_and_the_episode(world, make):
    made = world("reach_target")
    made.reset(11)
    actions, told = [], {"terminal": False}
    while not told["terminal"]:
        actions.append(towards(made._task._task.target.get_position()))
        told = made.step(actions[-1], 2)
    assert told["success"]
    env = make(image_size=16)
    env.reset(seed=11)
    *before, last = [env.step(action) for action in actions]
    assert all(step[2:] == (False, False, {"success": False, "failures": 0}) for step in before)
    observation, reward, *ends = last
    assert ends == [True, False, {"success": True, "failures": 0}]
    assert reward == told["reward"]
    np.testing.assert_array_equal(observation["image"], told["image"])


def test_the_reward_is_the_sum_over_the_repeat(world):
    made, action = world("reach_target"), random_actions(1)[0]
    made.reset(5)
    steps = [made.step(action, 1) for _ in range(3)]
    made.reset(5)
    told = made.step(action, 3)
    assert told["reward"] == sum(step["reward"] for step in steps)
    np.testing.assert_array_equal(told["image"], steps[-1]["image"])


@pytest.mark.parametrize("kind", FAILURES)
def test_the_world_tells_what_cannot_be_carried_out(world, monkeypatch, kind):
    """In mid-repeat: the first half of the agent step is forgotten."""
    monkeypatch.setenv("FAKE_RLBENCH_FAIL", f"4:{kind}")
    made = world("reach_target")
    made.reset(2)
    assert made.step(NOTHING, 2)["failure"] == ""
    assert made.step(NOTHING, 2) == {"failure": f"{kind}: asked for at env step 4"}


def test_what_cannot_be_carried_out_ends_the_episode(make, monkeypatch, caplog):
    monkeypatch.setenv("FAKE_RLBENCH_FAIL", "4:IKError")
    env = make()
    env.reset(seed=2)
    before, first_reward, *_ = env.step(random_actions(1)[0])
    assert first_reward < 0
    with caplog.at_level(logging.INFO):
        observation, *rest = env.step(random_actions(2)[1])
    assert rest == [0.0, True, False, {"success": False, "failures": 1}]
    np.testing.assert_array_equal(observation["image"], before["image"])
    assert "IKError: asked for at env step 4" in caplog.text
    assert env.failures == 1
    first, _ = env.reset(seed=2)
    assert (first["image"] != before["image"]).any()
    env.step(NOTHING)
    env.step(NOTHING)
    assert env.failures == 2


def test_a_task_that_finds_no_place_is_placed_again_and_counted(make, monkeypatch, caplog):
    monkeypatch.setenv("FAKE_RLBENCH_MISPLACE", "2")
    env = make(image_size=16)
    with caplog.at_level(logging.INFO):
        _, info = env.reset(seed=2)
    assert info["failures"] == env.failures == 2
    assert "TaskEnvironmentError: Could not place the task in reset 2" in caplog.text
    again, _ = env.reset(seed=2)
    assert env.failures == 2
    monkeypatch.delenv("FAKE_RLBENCH_MISPLACE")
    np.testing.assert_array_equal(again["image"], make(image_size=16).reset(seed=2)[0]["image"])


def test_a_task_that_never_finds_a_place_is_a_failure_of_the_simulator(make, monkeypatch):
    monkeypatch.setenv("FAKE_RLBENCH_MISPLACE", "10")
    env = make()
    with pytest.raises(
        SimulatorError, match=r"reset\(\) raised .*Could not place the task"
    ) as lost:
        env.reset(seed=2)
    assert "TaskEnvironmentError" in lost.value.printed
    env.reset(seed=3)


def test_a_first_step_that_fails_shows_the_first_picture(env):
    image = env.reset(seed=2)[0]["image"]
    observation, *rest, info = env.step(np.zeros(6))  # a wrong shape is an InvalidActionError
    assert rest == [0.0, True, False]
    assert info == {"success": False, "failures": env.failures}
    np.testing.assert_array_equal(observation["image"], image)


def test_the_count_of_failures_outlives_episodes(env):
    env.reset(seed=2)
    env.step(np.zeros(6))
    count = env.failures
    assert count >= 1
    env.load_state_dict({"failures": 41})
    assert (env.failures, env.state_dict()) == (41, {"failures": 41})
    env.load_state_dict({"failures": count})


def test_other_errors_are_not_taken_for_ends(env):
    before = env.failures
    env.reset(seed=0)
    with pytest.raises(SimulatorError, match=r"step\(\) raised ValueError"):
        env.step(np.full(8, np.nan))
    assert env.failures == before


def test_the_time_limit_truncates(env):
    env.reset(seed=0)
    assert [env.step(NOTHING)[2:4] for _ in range(3)] == [(False, False)] * 2 + [(False, True)]
    env.reset(seed=0)
    assert env.step(NOTHING)[2:4] == (False, False)


def test_without_a_seed_the_generator_of_the_env_goes_on(env):
    images = []
    for _ in range(2):
        env.reset(seed=9)
        images.append([env.reset()[0]["image"] for _ in range(2)])
    np.testing.assert_array_equal(images[0], images[1])
    assert (images[0][0] != images[0][1]).any()


def test_two_environments_have_two_simulators(make, world):
    world("reach_target")
    with pytest.raises(RuntimeError, match="a process runs one simulator"):
        world("reach_target")
    first, second = make(), make("push_button")
    first.reset(seed=1)
    second.reset(seed=1)


def test_a_worker_that_is_gone_is_replaced_at_the_next_reset(env):
    image = env.reset(seed=4)[0]["image"]
    env._bridge._end()
    with pytest.raises(SimulatorError, match="its worker is gone"):
        env.step(NOTHING)
    np.testing.assert_array_equal(env.reset(seed=4)[0]["image"], image)
