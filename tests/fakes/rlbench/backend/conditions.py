class JointCondition:
    def __init__(self, joint, position):
        self._joint, self._position = joint, position
        self._before = joint.get_joint_position()

    def condition_met(self):
        return abs(self._joint.get_joint_position() - self._before) > self._position, False


class NearCondition:
    """What a proximity sensor of the real scene sees."""

    def __init__(self, tip, target, distance):
        self._tip, self._target, self._distance = tip, target, distance

    def condition_met(self):
        apart = self._tip.get_position() - self._target.get_position()
        return (apart**2).sum() < self._distance**2, False
