from pyrep import PyRep
from pyrep.robots.arms.arm import Arm

from rlbench.action_modes.action_mode import ActionMode
from rlbench.backend.robot import Robot
from rlbench.backend.scene import Scene
from rlbench.backend.task import Task
from rlbench.observation_config import ObservationConfig
from rlbench.task_environment import TaskEnvironment


class Environment:
    def __init__(
        self,
        action_mode,
        dataset_root="",
        obs_config=ObservationConfig(),
        headless=False,
        static_positions=False,
        robot_setup="panda",
        randomize_every=None,
        frequency=1,
        visual_randomization_config=None,
        dynamics_randomization_config=None,
        attach_grasped_objects=True,
        shaped_rewards=False,
        arm_max_velocity=1.0,
        arm_max_acceleration=4.0,
    ):
        if not isinstance(action_mode, ActionMode) or not isinstance(obs_config, ObservationConfig):
            raise TypeError("expected an ActionMode and an ObservationConfig")
        self._action_mode, self._obs_config = action_mode, obs_config
        self._headless, self._shaped_rewards = headless, shaped_rewards
        self._pyrep = self._robot = self._scene = None

    def launch(self):
        if self._pyrep is not None:
            raise RuntimeError("launched already")
        self._pyrep = PyRep()
        self._pyrep.launch("task_design.ttt", headless=self._headless)
        self._robot = Robot(Arm(), None)
        self._scene = Scene(self._pyrep, self._robot, self._obs_config)

    def shutdown(self):
        if self._pyrep is not None:
            self._pyrep.shutdown()
        self._pyrep = None

    def get_task(self, task_class):
        if not issubclass(task_class, Task):
            raise TypeError(f"{task_class} is no task")
        if self._pyrep is None:
            self.launch()
        return TaskEnvironment(
            self._pyrep,
            self._robot,
            self._scene,
            task_class(self._pyrep, self._robot),
            self._action_mode,
            "",
            self._obs_config,
            shaped_rewards=self._shaped_rewards,
        )

    @property
    def action_shape(self):
        return (self._action_mode.action_shape(self._scene),)
