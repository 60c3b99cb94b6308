"""The simulator of this process."""

from pyrep.backend._sim_cffi import Simulator

_running = []


def launch():
    if _running:
        raise RuntimeError("a process runs one simulator, and this one has it already")
    _running.append(Simulator())


def shutdown():
    running().ended = True
    _running.clear()


def running():
    if not _running:
        raise RuntimeError("no simulator runs")
    return _running[0]
