"""RLBench's reach_target and push_button, for a worker under the Python that has RLBench.

Source: https://github.com/stepjam/RLBench, version 1.2.0, and thuml/HarmonyDream,
`wmlib-torch/wmlib/envs/rlbench.py` and `rb/push_button.py`.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
import sys
import time
from collections.abc import Mapping
from importlib.machinery import EXTENSION_SUFFIXES, ModuleSpec, PathFinder
from pathlib import Path
from typing import Any

import numpy as np

LIBRARY = "libcoppeliaSim.so"
"""Of CoppeliaSim, in its folder."""
ROOT = "COPPELIASIM_ROOT"
LIBRARIES = "LD_LIBRARY_PATH"
PLUGINS = "QT_QPA_PLATFORM_PLUGIN_PATH"
"""Environment variables that name this folder."""

ATTEMPTS = 10
"""Of a reset to place the task, each of which RLBench makes of many of its own; ours."""

_TRIES, _PAUSE_S = 3, 0.2
_DOCS = "docs/rlbench.md"
_RLBENCH = "git+https://github.com/stepjam/RLBench.git"
_PYREP = "git+https://github.com/stepjam/PyRep.git"


def make(task: str, image_size: int) -> World:
    """Starts CoppeliaSim with a task in it.

    Args:
        task: reach_target or push_button.
        image_size: height and width of the picture, pixels.

    Raises:
        RuntimeError: this interpreter or this machine lacks something; says how to get it.
    """
    fault = missing_package() or missing_machine(os.environ)
    if fault:
        raise RuntimeError(fault)
    return World(task, image_size)


def missing_package() -> str:
    """What this interpreter lacks, and how to get it; "" where nothing. Imports none of it."""
    pip = f"{sys.executable} -m pip install"
    if find_module("rlbench") is None or find_module("pyrep") is None:
        name = "pyrep" if find_module("rlbench") else "rlbench"
        return (
            f"package {name!r} is missing in {sys.executable}; install CoppeliaSim 4.1.0, then "
            f"{pip} {_RLBENCH}, which brings PyRep (PyPI has neither): {_DOCS}"
        )
    place = _place(find_module("pyrep"))
    if find_module("pyrep.backend") is None:
        return (
            f"the package 'pyrep' in {place} is an unrelated one of PyPI; "
            f"{sys.executable} -m pip uninstall pyrep, then {pip} {_PYREP}: {_DOCS}"
        )
    if find_module("pyrep.backend._sim_cffi") is None:
        return (
            f"PyRep in {place} has no compiled part; set {ROOT}, then "
            f"{pip} --force-reinstall {_PYREP}: {_DOCS}"
        )
    return ""


def missing_machine(environ: Mapping[str, str]) -> str:
    """What PyRep needs besides Python and does not find, and what to do; "" where nothing.

    A PyRep whose binding to the simulator is compiled is linked to CoppeliaSim, which ends the
    process in many words when its plugins or a display are not there. One whose binding is written
    in Python brings its simulator along and needs neither.

    Args:
        environ: environment variables.
    """
    binding = find_module("pyrep.backend._sim_cffi")
    if binding is None or not str(binding.origin).endswith(tuple(EXTENSION_SUFFIXES)):
        return ""
    return _missing_coppeliasim(environ) or _missing_display(environ.get("DISPLAY", ""))


def find_module(name: str) -> ModuleSpec | None:
    """Finds a module without importing it or the packages around it.

    Args:
        name: dotted.
    """
    package, *rest = name.split(".")
    spec = importlib.util.find_spec(package)
    for part in rest:
        if spec is None or spec.submodule_search_locations is None:
            return None
        package = f"{package}.{part}"
        spec = PathFinder.find_spec(package, list(spec.submodule_search_locations))
    return spec


def _place(spec: ModuleSpec | None) -> str:
    return ", ".join((spec and spec.submodule_search_locations) or ["an unknown place"])


def _missing_coppeliasim(environ: Mapping[str, str]) -> str:
    root = environ.get(ROOT, "")
    if not root:
        return f"{ROOT} is not set; unpack CoppeliaSim 4.1.0 and export {ROOT}=its folder: {_DOCS}"
    if not Path(root, LIBRARY).is_file():
        return f"{ROOT} must be the folder of CoppeliaSim 4.1.0, but {root} has no {LIBRARY}"
    paths = environ.get(LIBRARIES, "").split(":")
    if Path(root).resolve() not in [Path(path).resolve() for path in paths if path]:
        return f"{LIBRARIES} must name {root}; export {LIBRARIES}=${LIBRARIES}:${ROOT}"
    if not Path(environ.get(PLUGINS) or "/nowhere").is_dir():
        return f"{PLUGINS} must name {root}; export {PLUGINS}=${ROOT}"
    return ""


def _missing_display(display: str) -> str:
    cure = f"Xvfb :99 -noreset -screen 0 1280x1024x24 & export DISPLAY=:99, or see {_DOCS}"
    if not display:
        return f"CoppeliaSim draws on an X display, and DISPLAY is not set; {cure}"
    try:
        x11 = ctypes.CDLL("libX11.so.6")
    except OSError:
        return "CoppeliaSim draws on an X display, and libX11.so.6 is missing; apt install libx11-6"
    x11.XOpenDisplay.restype = ctypes.c_void_p
    x11.XCloseDisplay.argtypes = [ctypes.c_void_p]
    for _ in range(_TRIES):
        if opened := x11.XOpenDisplay(display.encode()):
            x11.XCloseDisplay(opened)
            return ""
        time.sleep(_PAUSE_S)  # a server whose last client has just left begins anew
    return f"CoppeliaSim draws on an X display, and DISPLAY={display} can't be opened; {cure}"


def push_button_reward(
    button: np.ndarray, tip: np.ndarray, joint: float, joint_at_rest: float
) -> float:
    """Dense reward of push_button: the nearer and the deeper, the better.

    Args:
        button: position of the button, (3,), metres.
        tip: position of the arm's tip, (3,), metres.
        joint: position of the button's joint, metres.
        joint_at_rest: likewise, before anything has pressed it.

    Returns:
        Minus the distance, plus the displacement of the joint; both weigh the same.

    Source: thuml/HarmonyDream, `wmlib-torch/wmlib/envs/rb/push_button.py`.
    """
    return abs(joint - joint_at_rest) - float(np.linalg.norm(np.subtract(button, tip)))


def push_button_class() -> Any:  # noqa: ANN401 - RLBench has no types
    """RLBench's PushButton with a dense reward, which the stock one lacks.

    RLBench finds the scene of a task by the name of its class, so this one has the same.
    """
    from rlbench.tasks import PushButton as Stock

    class PushButton(Stock):  # type: ignore[misc]  # no types
        def init_task(self) -> None:
            super().init_task()
            self._joint_at_rest = self.joint.get_joint_position()

        def reward(self) -> float:
            return push_button_reward(
                self.target_button.get_position(),
                self.robot.arm.get_tip().get_position(),
                self.joint.get_joint_position(),
                self._joint_at_rest,
            )

    return PushButton


class World:
    """What the other side of the bridge calls; it returns plain values and arrays.

    RLBench draws its randomness from NumPy's global generator. The process is the simulator's own,
    so a reset seeds that generator, and whatever is drawn until the next reset follows from it.
    What CoppeliaSim draws itself, when it looks whether a place can be reached, nobody can seed.

    Args:
        task: reach_target or push_button.
        image_size: height and width of the picture, pixels.
    """

    def __init__(self, task: str, image_size: int) -> None:
        from pyrep.errors import ConfigurationPathError, IKError
        from rlbench.backend.exceptions import InvalidActionError, TaskEnvironmentError
        from rlbench.tasks import ReachTarget

        self._failures = (IKError, ConfigurationPathError, InvalidActionError)
        self._misplaced = TaskEnvironmentError
        self._env = _launch(image_size)
        made = {"reach_target": lambda: ReachTarget, "push_button": push_button_class}[task]()
        self._task = self._env.get_task(made)

    def action_shape(self) -> list[int]:
        """Of an action."""
        return [int(side) for side in self._env.action_shape]

    def reset(self, seed: int) -> dict[str, Any]:
        """Begins an episode that the seed decides.

        Where RLBench finds no place for the task, what the generator gives next decides instead;
        the last of the attempts raises.

        Args:
            seed: in [0, 2**32).

        Returns:
            `image`: the picture, uint8 (S, S, 3). `failures`: what RLBench said of each attempt
            before.
        """
        np.random.seed(seed)  # noqa: NPY002 - RLBench has no other
        failures: list[str] = []
        while True:
            try:
                _, observation = self._task.reset()
            except self._misplaced as error:
                failures.append(f"{type(error).__name__}: {error}")
                if len(failures) == ATTEMPTS:
                    raise
            else:
                return {"image": _picture(observation), "failures": failures}

    def step(self, action: np.ndarray, repeat: int) -> dict[str, Any]:
        """Takes up to `repeat` env steps, until one is the last.

        Args:
            action: float32 (8,): changes of seven joint angles, radians; the gripper opens above
                0.5.
            repeat: env steps.

        Returns:
            `failure`: "", or what the planner said; then nothing else is told. `image`, `reward`
            float, `terminal` and `success` bool.
        """
        reward, success = 0.0, False
        for _ in range(repeat):
            try:
                observation, step_reward, terminal = self._task.step(action)
            except self._failures as error:
                return {"failure": f"{type(error).__name__}: {error}"}
            reward += float(step_reward)
            success = bool(self._task._task.success()[0])
            if terminal:
                break
        told = {"reward": reward, "terminal": bool(terminal), "success": success}
        return {"failure": "", "image": _picture(observation), **told}

    def close(self) -> None:
        """Ends CoppeliaSim."""
        self._env.shutdown()


def _launch(image_size: int) -> Any:  # noqa: ANN401 - RLBench has no types
    """RLBench with the front camera alone, joint steps, and dense rewards."""
    from rlbench.action_modes.action_mode import MoveArmThenGripper
    from rlbench.action_modes.arm_action_modes import JointPosition
    from rlbench.action_modes.gripper_action_modes import Discrete
    from rlbench.environment import Environment
    from rlbench.observation_config import ObservationConfig

    seen = ObservationConfig()
    seen.set_all(False)
    seen.front_camera.rgb = True
    seen.front_camera.image_size = (image_size, image_size)
    mode = MoveArmThenGripper(
        arm_action_mode=JointPosition(absolute_mode=False), gripper_action_mode=Discrete()
    )
    env = Environment(action_mode=mode, obs_config=seen, headless=True, shaped_rewards=True)
    env.launch()
    return env


def _picture(observation: Any) -> np.ndarray:  # noqa: ANN401 - RLBench's
    return np.ascontiguousarray(observation.front_rgb, np.uint8)
