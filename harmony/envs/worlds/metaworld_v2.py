"""Meta-World version 2 as its own interpreter sees it: Python 3.10, mujoco-py, gym 0.21.

A world file of the bridge: it imports nothing of this package, and runs under the old Python.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

CORNER2_POSITION = (0.75, 0.075, 0.7)  # where the paper's code puts corner2, metres


class World:
    """One task, with a new goal at every reset.

    Args:
        checkout: folder of Meta-World's sources.
        task: as Meta-World spells it, e.g. lever-pull-v2.
        camera: name of the camera.
        image_size: height and width of the picture, pixels.
        horizon: env steps that an episode may have.
        quality: `shadow_size`, `samples`, `cast_shadows` and `reflection` of the picture.
    """

    def __init__(
        self,
        checkout: str,
        task: str,
        camera: str,
        image_size: int,
        horizon: int,
        quality: dict[str, Any],
    ) -> None:
        sys.path.insert(0, checkout)
        from metaworld.envs import ALL_V2_ENVIRONMENTS_GOAL_OBSERVABLE

        self._env: Any = ALL_V2_ENVIRONMENTS_GOAL_OBSERVABLE[f"{task}-goal-observable"]()
        self._env._freeze_rand_vec = False
        self._env.max_path_length = horizon  # its own limit, 500, would raise
        self._camera, self._size = camera, image_size
        model = self._env.model
        if camera == "corner2":
            model.cam_pos[model.camera_name2id(camera)] = CORNER2_POSITION
        model.vis.quality.shadowsize = quality["shadow_size"]
        model.vis.quality.offsamples = quality["samples"]
        if not quality["cast_shadows"]:
            model.light_castshadow[:] = 0
        if not quality["reflection"]:
            model.mat_reflectance[:] = 0
        self._draw()  # the first picture alone moves bodies on, by less than a millimetre

    def reset(self, seed: int) -> np.ndarray:
        """Begins an episode; returns its first picture.

        Goals come from NumPy's global generator. The first of the two resets moves the objects, the
        second one places hand and picture by them: after one alone, the picture shows an object
        where the episode before had it.
        """
        for _ in range(2):
            np.random.seed(seed)  # noqa: NPY002 - version 2 knows no other generator
            self._env.reset()
        return self._draw()

    def step(self, action: np.ndarray, repeat: int) -> tuple[np.ndarray, float, bool]:
        """Applies an action until the repeat is over or the task solved.

        Returns:
            Picture, sum of the rewards, success.
        """
        total, success = 0.0, False
        for _ in range(repeat):
            _, reward, _, info = self._env.step(action)
            total += float(reward)
            success = bool(info["success"])
            if success:
                break
        return self._draw(), total, success

    def state(self) -> list[np.ndarray]:
        """Hand (3) and gripper (1), then the objects (14), and the goal (3)."""
        return [self._env._get_curr_obs_combined_no_goal(), self._env._get_pos_goal()]

    def _draw(self) -> np.ndarray:
        # mujoco-py gives the rows bottom-up: for cameras that hang upside down this is upright.
        size = self._size
        image: np.ndarray = self._env.sim.render(
            size, size, mode="offscreen", camera_name=self._camera
        )
        return image


make = World
