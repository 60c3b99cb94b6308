from pyrep.backend import sim
from pyrep.objects.object import Object


class Joint(Object):
    def get_joint_position(self):
        return float(sim.running().button_joint)
