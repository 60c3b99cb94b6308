"""Meta-World: 50 manipulation tasks of one robot arm, from pixels, with a new goal every episode.

Source: https://github.com/Farama-Foundation/Metaworld, version 3. The paper used version 2;
version 3 has the same rewards and horizon on a newer MuJoCo.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import gymnasium
import numpy as np

from harmony.envs.arguments import check_name, check_positive
from harmony.envs.opengl import choose_backend
from harmony.envs.render import RenderQuality
from harmony.errors import EnvError

if TYPE_CHECKING:
    from metaworld.sawyer_xyz_env import SawyerXYZEnv

REQUIRES = {"metaworld": "metaworld"}
"""Packages, with the extras that bring them."""
TASKS = (
    "assembly",
    "basketball",
    "bin_picking",
    "box_close",
    "button_press",
    "button_press_topdown",
    "button_press_topdown_wall",
    "button_press_wall",
    "coffee_button",
    "coffee_pull",
    "coffee_push",
    "dial_turn",
    "disassemble",
    "door_close",
    "door_lock",
    "door_open",
    "door_unlock",
    "drawer_close",
    "drawer_open",
    "faucet_close",
    "faucet_open",
    "hammer",
    "hand_insert",
    "handle_press",
    "handle_press_side",
    "handle_pull",
    "handle_pull_side",
    "lever_pull",
    "peg_insert_side",
    "peg_unplug_side",
    "pick_out_of_hole",
    "pick_place",
    "pick_place_wall",
    "plate_slide",
    "plate_slide_back",
    "plate_slide_back_side",
    "plate_slide_side",
    "push",
    "push_back",
    "push_wall",
    "reach",
    "reach_wall",
    "shelf_place",
    "soccer",
    "stick_pull",
    "stick_push",
    "sweep",
    "sweep_into",
    "window_close",
    "window_open",
)
"""Names of the tasks, without Meta-World's version suffix."""
CAMERAS = ("topview", "corner", "corner2", "corner3", "corner4", "behindGripper", "gripperPOV")
"""Cameras of every task."""

_CORNER2_POSITION = (0.75, 0.075, 0.7)  # where the paper's code puts corner2, metres


class MetaWorld(gymnasium.Env[Any, np.ndarray]):
    """One task of Meta-World.

    Observation: `image` uint8 (image_size, image_size, 3). Its rows run as in the paper's inputs:
    upright for the corner cameras, which hang upside down, and therefore mirrored left to right.
    Action: float32 (4,) in [-1, 1]: hand x, y, z, and gripper. The dense reward, 0 to 10 an env
    step, is summed over the repeat. Episodes never terminate, not even on success: they are
    truncated.
    `info["success"]` holds at each step where the task is solved.

    Args:
        task: name of the task with underscores and without version, e.g. lever_pull.
        action_repeat: env steps in one agent step; success ends it early, as in the paper's code.
        image_size: height and width of the picture, pixels.
        camera: name of the camera.
        time_limit: agent steps after which the episode is truncated.
        render: quality of the picture.

    Raises:
        EnvError: unknown task or camera, Meta-World missing, or the machine can't draw.
    """

    def __init__(
        self,
        *,
        task: str,
        action_repeat: int = 1,
        image_size: int = 64,
        camera: str = "corner",
        time_limit: int = 500,
        render: RenderQuality,
    ) -> None:
        check_task(task)
        check_positive(action_repeat=action_repeat, image_size=image_size, time_limit=time_limit)
        _check_camera(camera)
        self.action_repeat = action_repeat
        self.time_limit = time_limit
        self._agent_steps = 0
        self._env = _load(task)
        # The simulator refuses steps after its own limit of 500 env steps; ours alone decides.
        self._env.max_path_length = time_limit * action_repeat + 1
        index = CAMERAS.index(camera)
        if camera == "corner2":
            self._env.model.cam_pos[index] = _CORNER2_POSITION
        render.apply(self._env.model)
        from harmony.envs.offscreen import Offscreen

        self._camera = Offscreen(self._env.model, self._env.data, camera=index, size=image_size)
        self.action_space = gymnasium.spaces.Box(-1.0, 1.0, (4,), np.float32)
        image = gymnasium.spaces.Box(0, 255, (image_size, image_size, 3), np.uint8)
        self.observation_space = gymnasium.spaces.Dict({"image": image})

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Begins an episode with a new goal; the seed decides it completely.

        Args:
            seed: not negative; None goes on with the generator as it is.
            options: not used.
        """
        super().reset(seed=seed, options=options)
        if seed is not None:
            self._env.seed(seed)  # Meta-World ignores the seed of reset
        self._env.reset()
        self._agent_steps = 0
        return {"image": self._camera.draw()}, {"success": False}

    def step(
        self, action: np.ndarray
    ) -> tuple[dict[str, np.ndarray], float, bool, bool, dict[str, Any]]:
        """Applies the action `action_repeat` times, or until the task is solved.

        Args:
            action: (4,) in [-1, 1].
        """
        reward, success = 0.0, False
        for _ in range(self.action_repeat):
            _, env_reward, _, _, info = self._env.step(action)
            reward += float(env_reward)
            success = bool(info["success"])
            if success:
                break
        self._agent_steps += 1
        truncated = self._agent_steps >= self.time_limit
        # OpenGL's bottom-up rows are the paper's order: see the class.
        return {"image": self._camera.draw()}, reward, False, truncated, {"success": success}

    def state(self) -> dict[str, np.ndarray]:
        """What the simulator knows, float64 (n,) by quantity; reading it changes nothing.

        Positions in metres: `hand/position`, `object/position`, `second_object/position` (zeros in
        tasks without one) and `goal/position`; `gripper/opening` from 0 (closed) to 1. They are
        entries of Meta-World's 39-vector, which also holds the quaternions and the step before.
        """
        now = self._env._get_curr_obs_combined_no_goal()
        parts = {
            "hand/position": now[:3],
            "gripper/opening": now[3:4],
            "object/position": now[4:7],
            "second_object/position": now[11:14],
            "goal/position": self._env._get_pos_goal(),
        }
        return {name: np.array(value, np.float64) for name, value in parts.items()}

    def close(self) -> None:
        """Frees the rendering context."""
        self._camera.close()
        self._env.close()


def check_task(task: str) -> None:
    """Says whether Meta-World has the task, without importing it.

    Args:
        task: as in `MetaWorld`.

    Raises:
        EnvError: it has not; names the nearest ones.
    """
    check_name(task, TASKS, "Meta-World", env="metaworld")


def tags(arguments: Mapping[str, Any]) -> dict[str, str]:
    """What results must have in common to be compared.

    Args:
        arguments: of the constructor.

    Returns:
        Meta-World's version, that of its rewards, and env steps in an episode.
    """
    horizon = arguments["time_limit"] * arguments["action_repeat"]
    return {"version": "v3", "reward_version": "v2", "horizon": str(horizon)}


def _check_camera(camera: str) -> None:
    if camera not in CAMERAS:
        raise EnvError(
            f"env.camera: expected one of {', '.join(CAMERAS)}, got {camera!r}; "
            "the paper's is corner"
        )


def _load(task: str) -> "SawyerXYZEnv":
    """Makes the simulator, with the goal visible to nobody and drawn anew at every reset."""
    choose_backend()
    try:
        from metaworld.env_dict import ENV_CLS_MAP
    except ModuleNotFoundError as error:
        raise EnvError(
            f"env metaworld: package {error.name!r} is missing; "
            "pip install 'harmony-dream[metaworld]'"
        ) from error
    env = ENV_CLS_MAP[f"{task.replace('_', '-')}-v3"]()
    env._partially_observable = False
    env._set_task_called = True  # no Task object: it would freeze the goal
    env._freeze_rand_vec = False
    env.seeded_rand_vec = True
    env.__dict__.pop("sawyer_observation_space", None)  # cached while partially observable
    return env
