"""World file with a pendulum in MuJoCo 2.1, through mujoco-py."""

from __future__ import annotations

import importlib
import platform
from typing import Any

import numpy as np

PENDULUM = """
<mujoco>
  <asset>
    <texture name="sky" type="skybox" builtin="gradient" rgb1=".3 .5 .7" rgb2="0 0 .1"
             width="64" height="64"/>
  </asset>
  <worldbody>
    <light pos="0 -1 3" dir="0 .3 -1"/>
    <camera name="front" pos="0 -3 1" xyaxes="1 0 0 0 0 1"/>
    <geom type="plane" size="3 3 .1" rgba=".4 .6 .3 1"/>
    <body pos="0 0 1.5">
      <joint name="hinge" type="hinge" axis="0 1 0" damping=".05"/>
      <geom type="capsule" fromto="0 0 0 .8 0 0" size=".06" rgba=".9 .2 .2 1"/>
    </body>
  </worldbody>
  <actuator><motor joint="hinge" gear="2"/></actuator>
</mujoco>
"""


class World:
    """The pendulum, released where it is horizontal."""

    def __init__(self, size: int) -> None:
        self._mujoco_py: Any = importlib.import_module("mujoco_py")
        self._sim = self._mujoco_py.MjSim(self._mujoco_py.load_model_from_xml(PENDULUM))
        self._size = size
        self.draw()  # makes the context

    def versions(self) -> dict[str, str]:
        """Of Python, NumPy and mujoco-py."""
        return {
            "python": platform.python_version(),
            "numpy": np.__version__,
            "mujoco_py": self._mujoco_py.__version__,
        }

    def reset(self) -> np.ndarray:
        """Back to the start; returns the picture."""
        self._sim.reset()
        self._sim.forward()
        return self.draw()

    def step(self, torque: float) -> float:
        """Takes a simulator step of 2 ms; returns the angle in rad."""
        self._sim.data.ctrl[0] = torque
        self._sim.step()
        return float(self._sim.data.qpos[0])

    def draw(self) -> np.ndarray:
        """The picture, its first row on top."""
        size = self._size
        image: np.ndarray = self._sim.render(size, size, mode="offscreen", camera_name="front")
        return image[::-1]


make = World
