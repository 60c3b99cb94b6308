"""Meta-World version 2, the paper's own, through a bridge to the Python that it needs.

Source: https://github.com/Farama-Foundation/Metaworld, commit a0009ed, which is on no package
index: the user names a checkout. For comparisons with old papers; else take version 3.
Differs: the simulator is reset twice a time (see `worlds/metaworld_v2.py`), since in the original
the first picture of an episode depends on the episode before.
"""

import dataclasses
import hashlib
import logging
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np

from harmony.envs import metaworld
from harmony.envs.arguments import check_positive
from harmony.envs.bridge import Bridge
from harmony.envs.interpreter import find_interpreter
from harmony.envs.render import RenderQuality
from harmony.errors import EnvError

CAMERAS = ("topview", "corner", "corner2", "corner3", "behindGripper", "gripperPOV")
"""Cameras of every task."""
TASKS = metaworld.TASKS
"""Names as in version 3."""
PYTHON, CHECKOUT = "METAWORLD_V2_PYTHON", "METAWORLD_V2_CHECKOUT"
"""Environment variables that stand in for the keys `python` and `checkout`."""

log = logging.getLogger(__name__)

_COMMIT = "a0009ed"
# Of that commit's sources, as `_digest` makes it.
_DIGEST = "789b34dba240f975ae28abf478db802e595d769a0df01597c176926c84127fa6"
_VERSION = "3.10"
_WORLD = Path(__file__).parent / "worlds" / "metaworld_v2.py"
_ENTRY = Path("metaworld", "envs", "__init__.py")
_SOURCES = (".py", ".xml")
_UNUSED = "assets_v1"  # models of version 1


class MetaWorldV2(gymnasium.Env[Any, np.ndarray]):
    """One task of Meta-World version 2.

    Observation: `image` uint8 (image_size, image_size, 3), rows as in the paper's inputs. Action:
    float32 (4,) in [-1, 1]: hand x, y, z, and gripper. The dense reward, 0 to 10 an env step, is
    summed over the repeat. Episodes never terminate, not even on success: they are truncated.
    `info["success"]` holds at each step where the task is solved.

    Args:
        task: name of the task as in version 3, e.g. lever_pull.
        python: interpreter with mujoco-py: a path, or a command in PATH; None is the environment
            variable METAWORLD_V2_PYTHON.
        checkout: folder of Meta-World's sources at commit a0009ed; None is METAWORLD_V2_CHECKOUT.
        action_repeat: env steps in one agent step; success ends it early, as in the paper's code.
        image_size: height and width of the picture, pixels.
        camera: name of the camera.
        time_limit: agent steps after which the episode is truncated.
        timeout_s: seconds that a step or a reset may take.
        launch_timeout_s: seconds that the start may take; mujoco-py compiles at its first one.
        world: file to run there in place of ours, such as a stand-in: any Python does for it, this
            one if none is named, and it needs no checkout.
        render: quality of the picture.

    Raises:
        EnvError: unknown task or camera, no such interpreter or checkout, or the simulator failed.
    """

    def __init__(
        self,
        *,
        task: str,
        python: str | None = None,
        checkout: str | None = None,
        action_repeat: int = 1,
        image_size: int = 64,
        camera: str = "corner",
        time_limit: int = 500,
        timeout_s: float = 60.0,
        launch_timeout_s: float = 900.0,
        world: str | None = None,
        render: RenderQuality,
    ) -> None:
        check_task(task)
        check_positive(action_repeat=action_repeat, image_size=image_size, time_limit=time_limit)
        if camera not in CAMERAS:
            raise EnvError(
                f"env.camera: expected one of {', '.join(CAMERAS)}, got {camera!r}; "
                "the paper's is corner"
            )
        self.action_repeat = action_repeat
        self.time_limit = time_limit
        self._agent_steps = 0
        arguments = {
            "checkout": _find_checkout(checkout, world),
            "task": f"{task.replace('_', '-')}-v2",
            "camera": camera,
            "image_size": image_size,
            "horizon": time_limit * action_repeat + 1,
            "quality": dataclasses.asdict(render),
        }
        self._bridge = Bridge(
            _find_python(python, world),
            world or str(_WORLD),
            arguments,
            version=_version(world),
            timeout_s=timeout_s,
            start_timeout_s=launch_timeout_s,
            name="metaworld_v2",
        )
        self.action_space = gymnasium.spaces.Box(-1.0, 1.0, (4,), np.float32)
        image = gymnasium.spaces.Box(0, 255, (image_size, image_size, 3), np.uint8)
        self.observation_space = gymnasium.spaces.Dict({"image": image})

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Begins an episode with a new goal; a simulator that died is started again.

        Args:
            seed: decides the episode, below 2**32; None goes on with the generator as it is.
            options: not used.
        """
        super().reset(seed=seed, options=options)
        if not self._bridge.running:
            self._bridge.restart()
        if seed is None:
            seed = int(self.np_random.integers(2**32))
        self._agent_steps = 0
        return {"image": self._bridge.call("reset", seed)}, {"success": False}

    def step(
        self, action: np.ndarray
    ) -> tuple[dict[str, np.ndarray], float, bool, bool, dict[str, Any]]:
        """Applies the action `action_repeat` times, or until the task is solved.

        Args:
            action: (4,) in [-1, 1].
        """
        image, reward, success = self._bridge.call("step", action, self.action_repeat)
        self._agent_steps += 1
        truncated = self._agent_steps >= self.time_limit
        return {"image": image}, reward, False, truncated, {"success": success}

    def state(self) -> dict[str, np.ndarray]:
        """What the simulator knows: the quantities of `MetaWorld.state`."""
        now, goal = self._bridge.call("state")
        return {
            "hand/position": now[:3],
            "gripper/opening": now[3:4],
            "object/position": now[4:7],
            "second_object/position": now[11:14],
            "goal/position": goal,
        }

    def close(self) -> None:
        """Ends the simulator's process."""
        self._bridge.close()


def check_task(task: str) -> None:
    """Says whether Meta-World has the task, without starting anything.

    Args:
        task: as in `MetaWorldV2`.

    Raises:
        EnvError: it has not; names the nearest ones.
    """
    metaworld.check_task(task)


def tags(arguments: Mapping[str, Any]) -> dict[str, str]:
    """What results must have in common to be compared.

    `source` is the commit of the checkout, or "modified" with the beginning of another digest where
    its tasks, rewards or models are not those of the commit. Without a checkout there is none.

    Args:
        arguments: of the constructor.
    """
    source = _source(arguments.get("checkout"), arguments.get("world"))
    told = {"source": source} if source else {}
    return metaworld.tags(arguments) | {"version": "v2"} | told


def check_packages(arguments: Mapping[str, Any]) -> None:
    """Says whether interpreter and sources are there, without starting anything.

    A warning says so where the sources are not those of the commit.

    Args:
        arguments: of `MetaWorldV2`.

    Raises:
        EnvError: one is missing, or the wrong one; says how to get it.
    """
    world = arguments.get("world")
    checkout = _find_checkout(arguments.get("checkout"), world)
    _find_python(arguments.get("python"), world)
    source = _source(checkout, world)
    if source not in (None, _COMMIT):
        log.warning(
            "%s: what is in metaworld/envs is not Meta-World at %s, so results may not be "
            "comparable: they are tagged suite.source=%s",
            checkout, _COMMIT, source,
        )  # fmt: skip


def _version(world: str | None) -> str | None:
    return None if world else _VERSION


def _find_python(python: str | None, world: str | None) -> str:
    default = sys.executable if world else os.environ.get(PYTHON)
    return find_interpreter(python or default, _version(world), "metaworld_v2")


def _find_checkout(checkout: str | None, world: str | None) -> str:
    checkout = checkout or os.environ.get(CHECKOUT)
    if world:
        return checkout or ""
    if checkout and (Path(checkout).expanduser() / _ENTRY).is_file():
        return str(Path(checkout).expanduser().resolve())
    raise EnvError(
        f"env.checkout: expected a folder with Meta-World's sources at {_COMMIT}, with {_ENTRY} "
        f"in it, got {checkout}; docs/bridge.md tells how to get it"
    )


def _source(checkout: str | None, world: str | None) -> str | None:
    """The tag of the sources; None for a stand-in, and where there are none."""
    folder = Path(checkout or os.environ.get(CHECKOUT) or "").expanduser()
    if world or not (folder / _ENTRY).is_file():
        return None
    digest = _digest(folder)
    return _COMMIT if digest == _DIGEST else f"modified ({digest[:8]})"


def _digest(folder: Path) -> str:
    """SHA-256 of tasks, rewards and models; line ends and spaces before them don't count."""
    digest = hashlib.sha256()
    envs = (folder / _ENTRY).parent
    found = [path for suffix in _SOURCES for path in envs.rglob(f"*{suffix}")]
    for name, path in sorted((path.relative_to(envs).as_posix(), path) for path in found):
        if name.startswith(f"{_UNUSED}/"):
            continue
        lines = [line.rstrip() for line in path.read_bytes().splitlines()]
        digest.update(b"\n".join([name.encode(), *lines, b""]))
    return digest.hexdigest()
