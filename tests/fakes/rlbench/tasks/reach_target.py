import numpy as np
from pyrep.backend._sim_cffi import TIP_AT_REST
from pyrep.objects.object import Object

from rlbench.backend.conditions import NearCondition
from rlbench.backend.task import Task

_LOW, _HIGH = [0.15, -0.35, 0.85], [0.5, 0.35, 1.4]


class ReachTarget(Task):
    def init_task(self):
        self.target = Object("target")
        self.distractors = [Object("distractor0"), Object("distractor1")]
        self.register_success_conditions(
            [NearCondition(self.robot.arm.get_tip(), self.target, 0.04)]
        )

    def init_episode(self, index):
        for thing in [self.target, *self.distractors]:
            place = TIP_AT_REST
            while np.linalg.norm(place - TIP_AT_REST) < 0.2:
                place = np.random.uniform(_LOW, _HIGH)  # noqa: NPY002 - as the real one
            thing.set_position(place)
            thing.set_color(np.random.uniform(0, 0.8, 3))  # noqa: NPY002
        self.target.set_color((1.0, 0.02 * index, 0.0))
        return ["reach the target"]

    def variation_count(self):
        return 20

    def reward(self):
        apart = self.target.get_position() - self.robot.arm.get_tip().get_position()
        return -np.linalg.norm(apart)
