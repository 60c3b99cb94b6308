"""One simulator a process, as the real one."""

from pyrep.backend import sim


class PyRep:
    def __init__(self):
        self._launched = False

    def launch(self, scene_file="", headless=False):
        if not headless:
            raise RuntimeError("the stand-in has no window")
        sim.launch()
        self._launched = True

    def shutdown(self):
        if not self._launched:
            raise RuntimeError("not launched")
        sim.shutdown()
        self._launched = False
