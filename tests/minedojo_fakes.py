"""Environments over the stand-in for Minecraft, in this process or with workers."""

import contextlib
import json
import sys

import pytest

from harmony.envs import minedojo
from harmony.envs.minedojo import MineDojo
from harmony.errors import SimulatorError
from tests.fakes import minedojo_world as meadow

WORLD = meadow.__file__


class Here:
    """What `Bridge` does, in this process."""

    def __init__(self, python, world, arguments, *, version, timeout_s, start_timeout_s, name):
        assert (world, name) == (WORLD, "minedojo")
        assert (python, version) == (sys.executable, "3.11")
        assert (timeout_s, start_timeout_s > timeout_s) == (600.0, True)
        self.asked, self.arguments = [], arguments
        self.restart()

    def restart(self):
        self.world = meadow.make(**self.arguments)
        self.running = True
        self.asked.append("restart")

    def call(self, method, *arguments, timeout_s=None):
        self.asked.append((method, timeout_s))
        try:
            return getattr(self.world, method)(*arguments)
        except Exception as error:  # as the worker does
            raise SimulatorError(f"env minedojo: {method}() raised {error}") from error

    def close(self):
        self.running = False


def make(**kwargs):
    """An environment of small pictures."""
    return MineDojo(task="hunt_cow", world=WORLD, **{"image_size": 8, **kwargs})


@contextlib.contextmanager
def in_this_process(lock):
    """Environments need no worker; the stand-in's package is gone afterwards.

    Args:
        lock: file for launches.
    """
    with pytest.MonkeyPatch.context() as patch:
        for name in ("minedojo", "minedojo.sim", "minedojo.sim.inventory"):
            patch.setitem(sys.modules, name, None)
        patch.setenv("MINEDOJO_HEADLESS", "0")
        patch.setattr(minedojo, "Bridge", Here)
        patch.setattr(minedojo, "_launch_lock", lambda: lock)
        yield make


def sim(env):
    """The meadow of an environment in this process."""
    return env._bridge.world._sim


def put_cow(env, ahead):
    """Summons a cow so many blocks ahead."""
    env._bridge.world.command(f"/summon cow ~0 ~1 ~{ahead}")


class Plan:
    """Faults of the stand-in that are to come."""

    def __init__(self, path):
        self.path = path
        self(reset=[], step=[])

    def __call__(self, **faults):
        self.path.write_text(json.dumps(faults))

    def left(self):
        return sum(len(faults) for faults in json.loads(self.path.read_text()).values())
