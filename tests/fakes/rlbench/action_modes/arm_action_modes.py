import numpy as np
from pyrep.backend import sim

from rlbench.backend.exceptions import InvalidActionError


class JointPosition:
    def __init__(self, absolute_mode=True):
        self._absolute_mode = absolute_mode

    def action(self, scene, action):
        if np.shape(action) != self.action_shape(scene):
            raise InvalidActionError(f"expected 7 angles, got {np.shape(action)}")
        now = (
            np.zeros(7) if self._absolute_mode else np.array(scene.robot.arm.get_joint_positions())
        )
        sim.running().move(now + action)

    def action_shape(self, scene):
        return (7,)
