import re

import numpy as np


class Task:
    def __init__(self, pyrep, robot, name=None):
        self.pyrep, self.robot = pyrep, robot
        self.name = name or re.sub("(?<!^)(?=[A-Z])", "_", type(self).__name__).lower()
        self._success_conditions = []

    def init_task(self):
        raise NotImplementedError

    def init_episode(self, index):
        raise NotImplementedError

    def variation_count(self):
        raise NotImplementedError

    def reward(self):
        return None

    def get_name(self):
        return self.name

    def register_success_conditions(self, condition):
        self._success_conditions = condition

    def success(self):
        met = np.all([condition.condition_met()[0] for condition in self._success_conditions])
        return met, met
