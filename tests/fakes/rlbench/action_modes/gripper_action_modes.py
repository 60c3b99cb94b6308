import numpy as np
from pyrep.backend import sim

from rlbench.backend.exceptions import InvalidActionError


class Discrete:
    def __init__(self, attach_grasped_objects=True, detach_before_open=True):
        self._options = (attach_grasped_objects, detach_before_open)

    def action(self, scene, action):
        if np.shape(action) != self.action_shape(scene):
            raise InvalidActionError(f"expected 1 number, got {np.shape(action)}")
        sim.running().gripper = float(action[0] > 0.5)

    def action_shape(self, scene):
        return (1,)
