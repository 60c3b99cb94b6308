import sys

import numpy as np
import pytest

from harmony.envs.metaworld import CAMERAS, TASKS, MetaWorld, check_task
from harmony.envs.render import RenderQuality
from harmony.errors import EnvError

pytestmark = pytest.mark.sim

FAST = RenderQuality(0, 0, cast_shadows=False, reflection=False)


def make(task="lever_pull", **kwargs):
    return MetaWorld(task=task, render=FAST, **kwargs)


def goal(env):
    return env._env._target_pos.tolist()


def test_the_list_of_tasks_is_metaworlds_own():
    make().close()
    from metaworld.env_dict import ENV_CLS_MAP

    assert {f"{task.replace('_', '-')}-v3" for task in TASKS} == set(ENV_CLS_MAP)
    assert len(TASKS) == 50
    assert list(TASKS) == sorted(TASKS)


@pytest.mark.parametrize("name", ["lever-pull", "lever_pul", "lever-pull-v2"])
def test_other_spellings_are_told_the_right_one(name):
    with pytest.raises(EnvError, match=f"50 tasks of Meta-World, got '{name}'; .*lever_pull"):
        check_task(name)


def test_all_tasks_are_known_by_name():
    for task in TASKS:
        check_task(task)


def test_wrong_arguments_are_one_line():
    with pytest.raises(EnvError, match="got 'fly'"):
        make("fly")
    with pytest.raises(
        EnvError, match=r"env\.camera: .*corner2.* got 'front'; the paper's is corn"
    ):
        make(camera="front")
    with pytest.raises(EnvError, match=r"env\.time_limit: expected 1 or more, got 0"):
        make(time_limit=0)


def test_a_missing_package_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "metaworld.env_dict", None)
    with pytest.raises(EnvError, match=r"pip install 'harmony-dream\[metaworld\]'"):
        make()


def test_every_camera_has_its_index():
    env = make()
    import mujoco

    names = [
        mujoco.mj_id2name(env._env.model, mujoco.mjtObj.mjOBJ_CAMERA, index)
        for index in range(env._env.model.ncam)
    ]
    assert names == list(CAMERAS)


def test_the_picture_is_upright():
    """The gray wall is above the wooden table, seen from the corner."""
    image = make().reset(seed=0)[0]["image"].astype(int)
    redness = image[..., 0] - image[..., 2]
    assert redness[:8, 48:].mean() < 8  # wall
    assert redness[36:44, 24:40].mean() > 15  # table
    assert redness[:16, 16:24].mean() > 30  # the arm reaches down from above


def test_corner2_hangs_where_the_papers_code_put_it():
    moved, reference = make(camera="corner2"), make(camera="corner4")
    np.testing.assert_array_equal(
        moved.reset(seed=4)[0]["image"], reference.reset(seed=4)[0]["image"]
    )


def test_the_seed_decides_the_goal_and_each_episode_has_another():
    env = make()
    goals = []
    for seed in (1, 2, 1):
        env.reset(seed=seed)
        goals.append(goal(env))
    assert goals[0] == goals[2]
    assert goals[0] != goals[1]
    env.reset()
    assert goal(env) != goals[2]


def test_the_global_generator_is_neither_used_nor_touched():
    env = make()
    state = np.random.get_state()[1].copy()  # noqa: NPY002  (the point is the legacy generator)
    env.reset(seed=1)
    first = goal(env)
    np.testing.assert_array_equal(np.random.get_state()[1], state)  # noqa: NPY002
    np.random.seed(1)  # noqa: NPY002
    env.reset(seed=1)
    assert goal(env) == first


def test_the_reward_is_the_sum_over_the_repeat():
    action = np.array([0.2, -0.3, 0.4, 1.0], np.float32)
    single, repeated = make(action_repeat=1), make(action_repeat=3)
    single.reset(seed=5)
    repeated.reset(seed=5)
    steps = [single.step(action) for _ in range(3)]
    observation, reward, *_ = repeated.step(action)
    assert reward == sum(step[1] for step in steps)
    np.testing.assert_array_equal(observation["image"], steps[-1][0]["image"])


def test_success_ends_the_repeat_but_not_the_episode():
    env = make(action_repeat=4)
    _, info = env.reset(seed=0)
    assert info == {"success": False}
    calls = []

    def step(action):
        calls.append(action)
        return None, 1.5, False, False, {"success": float(len(calls) == 2)}

    env._env.step = step
    _, reward, terminated, truncated, info = env.step(np.zeros(4))
    assert (reward, terminated, truncated, info) == (3.0, False, False, {"success": True})
    _, reward, _, _, info = env.step(np.zeros(4))
    assert (reward, info) == (6.0, {"success": False})


@pytest.mark.parametrize("time_limit", [3, 5])
def test_the_time_limit_counts_agent_steps_and_truncates(time_limit):
    env = make(action_repeat=2, time_limit=time_limit)
    for _ in range(2):
        env.reset(seed=0)
        flags = [env.step(np.zeros(4))[2:4] for _ in range(time_limit)]
        assert flags == [(False, False)] * (time_limit - 1) + [(False, True)]


def test_a_time_limit_beyond_the_simulators_own_holds():
    env = make(action_repeat=60, time_limit=10)  # 600 env steps; the simulator's own limit is 500
    env.reset(seed=0)
    flags = [env.step(np.zeros(4))[3] for _ in range(10)]
    assert flags == [False] * 9 + [True]


def test_the_state_is_part_of_the_39_vector():
    env = make("lever_pull")
    env.reset(seed=2)
    for _ in range(3):
        env.step(np.array([0.5, -0.5, 0.5, 1.0]))
    state, vector = env.state(), env._env._get_obs()
    np.testing.assert_array_equal(state["hand/position"], vector[:3])
    np.testing.assert_array_equal(state["gripper/opening"], vector[3:4])
    np.testing.assert_array_equal(state["object/position"], vector[4:7])
    np.testing.assert_array_equal(state["second_object/position"], np.zeros(3))
    np.testing.assert_array_equal(state["goal/position"], vector[36:])
    assert state["goal/position"].tolist() == goal(env)


@pytest.mark.slow
@pytest.mark.parametrize("task", TASKS)
def test_every_task_resets_and_steps_and_repeats_itself(task):
    def episode(env):
        images = [env.reset(seed=11)[0]["image"]]
        rng, total = np.random.default_rng(0), 0.0
        for _ in range(3):
            observation, reward, *_ = env.step(rng.uniform(-1, 1, 4))
            images.append(observation["image"])
            total += reward
        return np.stack(images), total

    used, fresh = make(task), make(task)
    used.reset(seed=10)
    used.step(np.ones(4))
    (images, total), (others, other_total) = episode(used), episode(fresh)
    for name, value in used.state().items():
        np.testing.assert_array_equal(value, fresh.state()[name])
        assert len(value) == (1 if name == "gripper/opening" else 3)
    np.testing.assert_array_equal(images, others)
    assert total == other_total
    assert images.std() > 20
    used.close()
    fresh.close()
