import sys

import numpy as np
import pytest

from harmony.envs.dmc import DMC, TASKS, check_task
from harmony.envs.render import RenderQuality
from harmony.errors import EnvError

pytestmark = pytest.mark.sim

FAST = RenderQuality(0, 0, cast_shadows=False, reflection=False)


def make(task="cartpole_swingup", **kwargs):
    return DMC(task=task, render=FAST, **kwargs)


def test_the_list_of_tasks_is_the_suites_own():
    from dm_control import suite

    assert set(TASKS.values()) == set(suite.ALL_TASKS)
    assert len(TASKS) == len(suite.ALL_TASKS) == 51


def test_check_task_knows_names_and_aliases():
    for task in ("walker_walk", "ball_in_cup_catch", "cup_catch", "humanoid_CMU_run"):
        check_task(task)
    with pytest.raises(
        EnvError, match="51 tasks of dm_control, got 'walker_fly'; did you mean walker_"
    ):
        check_task("walker_fly")
    with pytest.raises(EnvError, match="got 'cheeta_run'; did you mean cheetah_run"):
        check_task("cheeta_run")


def test_cup_catch_is_an_alias_of_ball_in_cup_catch():
    short, full = make("cup_catch"), make("ball_in_cup_catch")
    np.testing.assert_array_equal(short.reset(seed=1)[0]["image"], full.reset(seed=1)[0]["image"])


def test_wrong_arguments_are_one_line():
    with pytest.raises(EnvError, match="got 'walker_fly'"):
        make("walker_fly")
    with pytest.raises(
        EnvError, match=r"env\.camera: expected 0 to \d for cartpole_swingup, got 9"
    ):
        make(camera=9)
    with pytest.raises(EnvError, match=r"env\.action_repeat: expected 1 or more, got 0"):
        make(action_repeat=0)


def test_a_missing_package_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "dm_control", None)
    with pytest.raises(EnvError, match=r"pip install 'harmony-dream\[dmc\]'"):
        make()


def test_the_picture_is_upright():
    """The pole of the swing-up begins hanging down from its cart in the middle."""
    image = make("cartpole_swingup").reset(seed=0)[0]["image"].astype(int)
    rows = (image[..., 0] > image[..., 2] + 30).any(axis=1).nonzero()[0]
    assert 28 <= rows.min() <= 34
    assert rows.max() >= 44


def test_the_picture_is_dm_controls_own():
    env = make("cartpole_swingup", camera=1)
    image = env.reset(seed=3)[0]["image"]
    reference = _draw_apart("cartpole", "swingup", camera=1, seed=3)
    np.testing.assert_array_equal(image, reference)


def _draw_apart(domain, task, camera, seed):
    """What `physics.render` draws; in a process of its own, since it disturbs other contexts."""
    import subprocess
    import tempfile
    from pathlib import Path

    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "image.npy"
        code = f"""
import numpy as np
from dm_control import suite
env = suite.load({domain!r}, {task!r}, task_kwargs=dict(random={seed}))
model = env.physics.model
model.vis.quality.shadowsize = model.vis.quality.offsamples = 0
model.light_castshadow[:] = 0
model.mat_reflectance[:] = 0
env.reset()
np.save({str(path)!r}, env.physics.render(64, 64, camera_id={camera}))
"""
        subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
        return np.load(path)


def test_the_reward_is_the_sum_over_the_repeat():
    action = np.array([0.7], np.float32)
    single, repeated = make(action_repeat=1), make(action_repeat=4)
    single.reset(seed=5)
    repeated.reset(seed=5)
    expected = sum(single.step(action)[1] for _ in range(4))
    observation, reward, *_ = repeated.step(action)
    assert reward == expected
    assert reward > 0
    np.testing.assert_array_equal(observation["image"], single._observe({})["image"])


def test_the_time_limit_of_1000_env_steps_truncates():
    env = make(action_repeat=60)
    env.reset(seed=0)
    flags = [env.step(np.zeros(1))[2:4] for _ in range(17)]  # 16 x 60 + 40 = 1000
    assert flags == [(False, False)] * 16 + [(False, True)]


def test_discount_zero_terminates_and_ends_the_repeat():
    env = make(action_repeat=3)
    env.reset(seed=0)
    env._env.task.get_termination = lambda physics: 0.0 if physics.time() > 0.025 else None
    rewards = []
    get_reward = env._env.task.get_reward
    env._env.task.get_reward = lambda physics: rewards.append(get_reward(physics)) or rewards[-1]
    _, reward, terminated, truncated, _ = env.step(np.zeros(1))
    assert (terminated, truncated, len(rewards)) == (True, False, 3)
    assert reward == sum(rewards)
    env.reset(seed=0)
    assert env.step(np.zeros(1))[2]
    env._env.task.get_termination = lambda _: 0.0
    env.reset(seed=0)
    rewards.clear()
    env.step(np.zeros(1))
    assert len(rewards) == 1


def test_actions_are_stretched_to_the_bounds_of_the_task():
    env = make("fish_swim")
    spec = env._env.action_spec()
    seen = []
    step = env._env.step
    env._env.step = lambda control: (seen.append(control), step(control))[1]
    env.reset(seed=0)
    for value in (-1.0, 0.0, 1.0):
        env.step(np.full(5, value, np.float32))
    np.testing.assert_allclose(seen[0], spec.minimum, rtol=1e-15)
    np.testing.assert_allclose(seen[2], (spec.minimum + spec.maximum) / 2, rtol=1e-15)
    np.testing.assert_allclose(seen[4], spec.maximum, rtol=1e-15)


def test_controls_without_bounds_take_the_action_as_it_is():
    env = make("lqr_lqr_2_1")
    assert (env._center.tolist(), env._scale.tolist()) == ([0.0], [1.0])


def test_proprio_is_dm_controls_observations_flattened():
    env = make("walker_walk", observation="both")
    observation, _ = env.reset(seed=2)
    assert list(env.observation_space.spaces) == ["image", "proprio"]
    assert env.observation_space["proprio"].shape == (24,)
    reference = env._env.task.get_observation(env._env.physics)
    expected = np.concatenate([np.ravel(value) for value in reference.values()])
    np.testing.assert_array_equal(observation["proprio"], expected.astype(np.float32))


def test_the_vector_alone_draws_nothing(monkeypatch):
    def draw(*_: object, **__: object) -> None:
        raise AssertionError("made a camera")

    monkeypatch.setattr("harmony.envs.offscreen.Offscreen", draw)
    env = make("walker_walk", observation="vector")
    observation, _ = env.reset(seed=2)
    assert list(observation) == list(env.observation_space.spaces) == ["proprio"]
    env.step(np.zeros(6))
    env.close()


def test_the_state_is_that_of_the_physics_by_joint():
    env = make("cartpole_swingup")
    env.reset(seed=1)
    env.step(np.ones(1))
    state = env.state()
    position, velocity = env._env.physics.data.qpos, env._env.physics.data.qvel
    assert list(state) == [
        "qpos/slider", "qpos/hinge_1", "qvel/slider", "qvel/hinge_1",
        "observation/position", "observation/velocity",
    ]  # fmt: skip
    assert state["qpos/slider"] == position[0]
    # The hinge has no limits, so its angle is told without turns.
    assert state["qpos/hinge_1"].tolist() == [np.cos(position[1]), np.sin(position[1])]
    assert state["qvel/hinge_1"] == velocity[1]
    observed = env._env.task.get_observation(env._env.physics)
    np.testing.assert_array_equal(state["observation/position"], observed["position"])


@pytest.mark.filterwarnings("ignore:`in1d` is deprecated:DeprecationWarning")  # quadruped's code
def test_limited_hinges_are_angles_and_free_joints_are_split():
    env = make("quadruped_walk")
    env.reset(seed=1)
    state, data = env.state(), env._env.physics.data
    np.testing.assert_array_equal(state["qpos/root/position"], data.qpos[:3])
    np.testing.assert_array_equal(state["qpos/root/quaternion"], data.qpos[3:7])
    np.testing.assert_array_equal(state["qvel/root/linear"], data.qvel[:3])
    np.testing.assert_array_equal(state["qvel/root/angular"], data.qvel[3:6])
    assert state["qpos/yaw_front_left"] == data.qpos[7]
    assert state["qvel/yaw_front_left"] == data.qvel[6]
    assert sum(len(x) for name, x in state.items() if name[:5] == "qpos/") == len(data.qpos)


def test_a_state_that_was_told_stays_as_it_was():
    env = make()
    env.reset(seed=1)
    state = env.state()
    before = {name: value.copy() for name, value in state.items()}
    env.step(np.ones(1))
    assert all((state[name] == before[name]).all() for name in state)


def test_quadruped_is_seen_by_camera_2_unless_told_otherwise():
    assert make("quadruped_walk")._camera._camera.fixedcamid == 2
    assert make("quadruped_walk", camera=1)._camera._camera.fixedcamid == 1
    assert make("walker_walk")._camera._camera.fixedcamid == 0


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:`in1d` is deprecated:DeprecationWarning")  # quadruped's code
@pytest.mark.parametrize("task", list(TASKS))
def test_every_task_resets_and_steps_and_repeats_itself(task):
    def episode(env):
        images = [env.reset(seed=11)[0]["image"]]
        rng, total = np.random.default_rng(0), 0.0
        for _ in range(3):
            observation, reward, *_ = env.step(rng.uniform(-1, 1, env.action_space.shape))
            images.append(observation["image"])
            total += reward
        return np.stack(images), total

    used, fresh = make(task), make(task)
    used.reset(seed=10)
    used.step(np.ones(used.action_space.shape))
    (images, total), (others, other_total) = episode(used), episode(fresh)
    for one, other in zip(used.state().items(), fresh.state().items(), strict=True):
        assert one[0] == other[0]
        np.testing.assert_array_equal(one[1], other[1])
        assert one[1].ndim == 1
    np.testing.assert_array_equal(images, others)
    assert total == other_total
    assert np.isfinite(total)
    assert images.std() > 5
    used.close()
    fresh.close()
