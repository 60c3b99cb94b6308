"""MineDojo's hunt for a cow, for a worker under Python 3.9 with minedojo 0.1.

Source of the task: thuml/HarmonyDream, `wmlib-torch/wmlib/envs/minedojo_utils/hunt_cow.py`.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

RAY_PITCHES = (0.0, 15.0, 30.0)
RAY_YAWS = (-60.0, -45.0, -30.0, -15.0, 0.0, 15.0, 30.0, 45.0, 60.0)
"""Of the lidar's rays, degrees from where the player looks."""
RAY_RANGE = 9999
"""Blocks."""
SPAWN_RANGE = 7
"""Blocks from the player along each axis: 10 over the square root of 2, cut."""
KILL_REWARD = 200


def make(image_size: int) -> World:
    """Makes the task; Minecraft itself starts with the first reset.

    Args:
        image_size: height and width of the picture, pixels.

    Raises:
        RuntimeError: this machine lacks something; says how to get it.
    """
    check_machine()
    os.environ["MINEDOJO_HEADLESS"] = "1"
    try:
        import minedojo
        from minedojo.sim.inventory import InventoryItem
    except ModuleNotFoundError as error:
        raise RuntimeError(
            f"module {error.name!r} is missing in this interpreter; "
            f"{sys.executable} -m pip install minedojo==0.1"
        ) from error
    sword = InventoryItem(slot=0, name="diamond_sword", variant=None, quantity=1)
    return World(minedojo.make("Combat", initial_inventory=[sword], **settings(image_size)))


def settings(image_size: int) -> dict[str, Any]:
    """Arguments of `minedojo.make` that are plain values."""
    return {
        "target_names": ["cow"],
        "target_quantities": 1,
        "reward_weights": {"cow": KILL_REWARD},
        "initial_mobs": ["cow", "pig", "sheep"],
        "initial_mob_spawn_range_low": (-SPAWN_RANGE, 1, -SPAWN_RANGE),
        "initial_mob_spawn_range_high": (SPAWN_RANGE, 1, SPAWN_RANGE),
        "image_size": (image_size, image_size),
        "world_seed": 1,  # each new world gets its own
        "specified_biome": "sunflower_plains",
        "fast_reset": True,
        "fast_reset_random_teleport_range": None,
        "use_voxel": True,
        "use_lidar": True,
        "lidar_rays": [
            (float(np.deg2rad(pitch)), float(np.deg2rad(yaw)), RAY_RANGE)
            for pitch in RAY_PITCHES
            for yaw in RAY_YAWS
        ],
    }


def check_machine() -> None:
    """Looks for what Minecraft needs and pip does not bring.

    Raises:
        RuntimeError: no X server for programs without a screen, or no Java 8.
    """
    if shutil.which("xvfb-run") is None:
        raise RuntimeError(
            "Minecraft needs a virtual screen: xvfb-run is missing; apt install xvfb"
        )
    home = os.environ.get("JAVA_HOME")
    java = str(Path(home, "bin", "java")) if home else shutil.which("java")
    wanted = "Minecraft needs Java 8: put its bin folder into PATH and its home into JAVA_HOME"
    if java is None or not Path(java).exists():
        raise RuntimeError(f"{wanted}; found {java or 'no java'}")
    told = subprocess.run([java, "-version"], stderr=subprocess.PIPE, check=False).stderr
    version = re.search(r'version "([^"]+)"', told.decode(errors="replace"))
    if version is None or not version[1].startswith("1.8."):
        raise RuntimeError(f"{wanted}; {java} is Java {version[1] if version else 'unknown'}")


class World:
    """What the other side of the bridge calls; it returns plain values and arrays.

    An observation is a dict: `rgb` uint8 (3, S, S), `entity_name` list of 27 str,
    `entity_distance` float32 (27,) in blocks, `durability` of the first slot, float.

    Args:
        env: of `minedojo.make`, with its fast reset.
    """

    def __init__(self, env: Any) -> None:  # noqa: ANN401 - MineDojo's
        self._env = env
        self._sim = env.unwrapped
        self._fast_reset = _layer(env, "_server_start")
        self._task = _layer(env, "_mob_spawn_range_space")

    def spaces(self) -> dict[str, list[int]]:
        """Counts of the choices of an action, and shapes of what is observed."""
        space = self._env.observation_space
        return {
            "action": [int(count) for count in self._env.action_space.nvec],
            "rgb": list(space["rgb"].shape),
            "entity_distance": list(space["rays"]["entity_distance"].shape),
            "cur_durability": list(space["inventory"]["cur_durability"].shape),
        }

    def reset(self, world_seed: int | None, spawn_seed: int, commands: list[str]) -> dict[str, Any]:
        """Begins an episode, in a new world or in the present one.

        Args:
            world_seed: of a new world; None stays in the present one.
            spawn_seed: of the places of the animals.
            commands: before a fast reset in the present one.

        Returns:
            The observation.
        """
        if world_seed is None:
            for text in commands:
                self.command(text)
        else:
            self._fast_reset._server_start = False
            self._fast_reset._info_prev_reset = None
            self._sim._sim_spec._world_generator_handlers[0].world_seed = world_seed
        self._task._mob_spawn_range_space.seed(spawn_seed)
        return _plain(self._env.reset())

    def step(self, action: list[int]) -> dict[str, Any]:
        """Takes one step.

        Args:
            action: one index for each of the eight choices.

        Returns:
            The observation, with the task's `reward` float, `success` bool (the cow is dead) and
            `done` bool (it is, or Minecraft has ended the mission).

        Raises:
            RuntimeError: Minecraft did not answer.
        """
        before = self._sim.prev_obs
        observation, reward, done, _ = self._env.step(np.array(action, np.int64))
        if self._sim.prev_obs is before:  # MineDojo gives the last picture again and says done
            raise RuntimeError("Minecraft did not answer the step")
        told = {"reward": float(reward), "done": bool(done)}
        return {**_plain(observation), **told, "success": bool(self._task.is_successful)}

    def command(self, text: str) -> None:
        """Lets the player say something in the chat.

        Args:
            text: such as "/time set 6000".
        """
        self._sim.execute_cmd(text)

    def close(self) -> None:
        """Ends Minecraft."""
        self._env.close()


def _layer(env: Any, attribute: str) -> Any:  # noqa: ANN401 - MineDojo's
    """The wrapper that owns an attribute; gym hides private ones of inner wrappers."""
    while attribute not in vars(env):
        env = getattr(env, "env", None)
        if env is None:
            raise RuntimeError(
                f"minedojo has no wrapper with {attribute!r}; "
                f"{sys.executable} -m pip install minedojo==0.1"
            )
    return env


def _plain(observation: dict[str, Any]) -> dict[str, Any]:
    rays = observation["rays"]
    return {
        "rgb": np.ascontiguousarray(observation["rgb"]),
        "entity_name": [str(name) for name in rays["entity_name"]],
        "entity_distance": np.asarray(rays["entity_distance"], np.float32),
        "durability": float(observation["inventory"]["cur_durability"][0]),
    }
