import numpy as np

from rlbench.backend.exceptions import TaskEnvironmentError
from rlbench.inject import fail_where_asked, misplace_where_asked


class TaskEnvironment:
    def __init__(
        self,
        pyrep,
        robot,
        scene,
        task,
        action_mode,
        dataset_root,
        obs_config,
        static_positions=False,
        attach_grasped_objects=True,
        shaped_rewards=False,
    ):
        self._scene, self._task, self._action_mode = scene, task, action_mode
        self._shaped_rewards = shaped_rewards
        self._variation_number = 0
        self._env_steps = None
        self._resets = 0
        scene.load(task)

    def set_variation(self, v):
        if v >= self.variation_count():
            raise TaskEnvironmentError(f"there are {self.variation_count()} variations")
        self._variation_number = v

    def variation_count(self):
        return self._task.variation_count()

    def reset(self, demo=None):
        assert demo is None
        descriptions = self._scene.begin(self._variation_number)
        self._resets += 1
        misplace_where_asked(self._resets)
        self._env_steps = 0
        return descriptions, self._scene.get_observation()

    def step(self, action):
        if self._env_steps is None:
            raise RuntimeError("step before reset")
        if not isinstance(action, np.ndarray) or action.dtype.kind != "f":
            raise TypeError("the stand-in takes arrays of floats")
        if not np.isfinite(action).all() or abs(action).max() > 1:
            raise ValueError("the stand-in takes actions in [-1, 1]")
        self._env_steps += 1
        fail_where_asked(self._env_steps)
        self._action_mode.action(self._scene, action)
        success, terminate = self._task.success()
        reward = float(success)
        if self._shaped_rewards:
            reward = self._task.reward()
            if reward is None:
                raise RuntimeError(f"{self._task.get_name()} has no reward()")
        return self._scene.get_observation(), reward, terminate
