from pyrep.backend import sim
from pyrep.objects.object import Object


class Arm:
    def get_tip(self):
        return Object("Panda_tip")

    def get_joint_positions(self):
        return sim.running().joints.tolist()
