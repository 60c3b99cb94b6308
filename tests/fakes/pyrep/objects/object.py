from pyrep.backend import sim


class Object:
    def __init__(self, name_or_handle):
        if not isinstance(name_or_handle, str):
            raise TypeError("the stand-in knows objects by name")
        self._name = name_or_handle

    def get_position(self, relative_to=None):
        if relative_to is not None:
            raise NotImplementedError("the stand-in knows the world's frame alone")
        simulator = sim.running()
        place = simulator.tip if self._name == "Panda_tip" else simulator.positions[self._name]
        return place.copy()

    def set_position(self, position):
        sim.running().positions[self._name] = position

    def set_color(self, color):
        sim.running().colors[self._name] = tuple(color)
