import numpy as np
from pyrep.objects.joint import Joint
from pyrep.objects.object import Object

from rlbench.backend.conditions import JointCondition
from rlbench.backend.task import Task


class PushButton(Task):
    """As the stock one, it has no dense reward."""

    def init_task(self):
        self.target_button = Object("push_button_target")
        self.joint = Joint("target_button_joint")
        self.goal_condition = JointCondition(self.joint, 0.003)

    def init_episode(self, index):
        place = [*np.random.uniform([0.2, -0.3], [0.5, 0.3]), 0.78]  # noqa: NPY002
        self.target_button.set_position(np.array(place))
        self.target_button.set_color((0.8, 0.1 * (index % 4), 0.0))
        self.register_success_conditions([self.goal_condition])
        return ["push the button"]

    def variation_count(self):
        return 18
