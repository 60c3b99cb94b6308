from pyrep.backend import sim

from rlbench.backend.observation import Observation


class Scene:
    def __init__(self, pyrep, robot, obs_config):
        self.pyrep, self.robot, self._obs_config = pyrep, robot, obs_config
        self._task, self._has_task = None, False

    def load(self, task):
        # RLBench finds a task's scene by the name of its class.
        if task.get_name() not in ("push_button", "reach_target"):
            raise FileNotFoundError(f"no scene task_ttms/{task.get_name()}.ttm")
        self._task, self._has_task = task, False

    def begin(self, variation):
        sim.running().reset()
        if not self._has_task:
            self._task.init_task()
            self._has_task = True
        return self._task.init_episode(variation)

    def get_observation(self):
        front = self._obs_config.front_camera
        unused = [c for c in self._obs_config.cameras() if c is not front]
        if any(c.rgb or c.depth or c.mask for c in unused) or front.depth or front.mask:
            raise RuntimeError("the stand-in has a front camera for colours alone")
        height, width = front.image_size
        if height != width:
            raise RuntimeError("the stand-in draws squares")
        return Observation(sim.running().draw(height) if front.rgb else None)
