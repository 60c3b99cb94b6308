"""RLBench: tasks of a robot arm in CoppeliaSim, from pixels, with dense rewards.

Source: thuml/HarmonyDream, `wmlib-torch/wmlib/envs/rlbench.py`, on RLBench
(https://github.com/stepjam/RLBench), whose native API is used in `worlds/rlbench.py`.
"""

import logging
import os
import sys
from collections.abc import Mapping
from typing import Any

import gymnasium
import numpy as np

from harmony.envs.arguments import check_name, check_positive
from harmony.envs.bridge import Bridge
from harmony.envs.worlds import rlbench as world_file
from harmony.errors import EnvError

log = logging.getLogger(__name__)

TASKS = ("push_button", "reach_target")
"""Names of the tasks: those with a dense reward in the paper's code."""
PYTHON = "RLBENCH_PYTHON"
"""Environment variable with the path of the interpreter that has RLBench."""

_SEEDS = 2**32
_ACTION_SHAPE = (8,)


class RLBench(gymnasium.Env[Any, np.ndarray]):
    """One task of RLBench.

    Observation: `image` uint8 (image_size, image_size, 3) of the front camera. Action: float32 (8,)
    in [-1, 1]: changes of the seven joint angles, radians, and the gripper, which opens above 0.5.
    The dense reward is summed over the repeat. An episode terminates when the task is solved, and
    when RLBench can't carry an action out (IKError, ConfigurationPathError, InvalidActionError):
    then with reward 0, the picture before, and no success. The time limit truncates.
    `info["success"]` says that the task is solved, `info["failures"]` how often an action could not
    be carried out, or the task not be placed, which a reset tries again.

    A process can run one CoppeliaSim, so each environment has its own, which a bridge reaches. A
    seed decides the episode as far as RLBench lets it, see `worlds/rlbench.py`. CoppeliaSim does
    not promise to do the same again, so an open episode may not come back on resume.

    Args:
        task: reach_target or push_button.
        action_repeat: env steps in one agent step; the end of the episode ends it early.
        image_size: height and width of the picture, pixels.
        time_limit: agent steps after which the episode is truncated.
        timeout_s: seconds that an agent step or a reset may take.
        launch_timeout_s: seconds that CoppeliaSim may take to start.
        python: the interpreter that has RLBench: a path or a command; None means $RLBENCH_PYTHON,
            or else the one that runs this.
        world: file to run there in place of ours, such as a stand-in.

    Attributes:
        failures: actions that RLBench could not carry out, and resets where it could not place
            the task; outlives an episode.

    Raises:
        EnvError: unknown task, or RLBench, PyRep, CoppeliaSim or a display are missing.
    """

    def __init__(
        self,
        *,
        task: str,
        action_repeat: int = 2,
        image_size: int = 64,
        time_limit: int = 200,
        timeout_s: float = 120.0,
        launch_timeout_s: float = 300.0,
        python: str | None = None,
        world: str | None = None,
    ) -> None:
        check_task(task)
        check_positive(action_repeat=action_repeat, image_size=image_size, time_limit=time_limit)
        _check_machine(python, world)
        self.action_repeat = action_repeat
        self.failures = 0
        self._time_limit = time_limit
        self._agent_steps = 0
        self._image = np.zeros((image_size, image_size, 3), np.uint8)
        self.action_space = gymnasium.spaces.Box(-1.0, 1.0, _ACTION_SHAPE, np.float32)
        image = gymnasium.spaces.Box(0, 255, self._image.shape, np.uint8)
        self.observation_space = gymnasium.spaces.Dict({"image": image})
        self._bridge = Bridge(
            _interpreter(python) or sys.executable,
            world or world_file.__file__,
            {"task": task, "image_size": image_size},
            version=None,
            timeout_s=timeout_s,
            start_timeout_s=launch_timeout_s,
            name="rlbench",
        )

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Begins an episode; the seed decides it as far as RLBench lets it.

        Args:
            seed: in [0, 2**32); None goes on with the generator as it is.
            options: not used.

        Raises:
            SimulatorError: the simulator failed; the next reset starts another.
        """
        super().reset(seed=seed, options=options)
        if not self._bridge.running:
            self._bridge.restart()
        drawn = int(self.np_random.integers(_SEEDS))
        told = self._bridge.call("reset", drawn if seed is None else seed)
        for failure in told["failures"]:
            self.failures += 1
            log.info("failure %d, a task that can't be placed: %s", self.failures, failure)
        self._image = told["image"]
        self._agent_steps = 0
        return {"image": self._image}, self._info(False)

    def step(
        self, action: np.ndarray
    ) -> tuple[dict[str, np.ndarray], float, bool, bool, dict[str, Any]]:
        """Applies the action `action_repeat` times, or until the episode ends.

        Args:
            action: (8,) in [-1, 1].

        Raises:
            SimulatorError: the simulator failed; the next reset starts another.
        """
        told = self._bridge.call("step", np.asarray(action, np.float32), self.action_repeat)
        self._agent_steps += 1
        if told["failure"]:
            self.failures += 1
            log.info("action %d that can't be carried out: %s", self.failures, told["failure"])
            return {"image": self._image}, 0.0, True, False, self._info(False)
        self._image = told["image"]
        terminated = bool(told["terminal"])
        truncated = not terminated and self._agent_steps >= self._time_limit
        info = self._info(bool(told["success"]))
        return {"image": self._image}, float(told["reward"]), terminated, truncated, info

    def state_dict(self) -> dict[str, object]:
        """The count of failures, which outlives an episode."""
        return {"failures": self.failures}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on with the count.

        Args:
            state: of `state_dict`.
        """
        self.failures = int(state["failures"])

    def close(self) -> None:
        """Ends CoppeliaSim and its process."""
        self._bridge.close()

    def _info(self, success: bool) -> dict[str, Any]:
        return {"success": success, "failures": self.failures}


def check_task(task: str) -> None:
    """Says whether there is such a task.

    Args:
        task: as in `RLBench`.

    Raises:
        EnvError: there is not.
    """
    check_name(task, TASKS, "RLBench", env="rlbench")


def check_packages(arguments: Mapping[str, Any]) -> None:
    """Says whether RLBench and PyRep are there, where this interpreter is to run them.

    Args:
        arguments: of `RLBench`.

    Raises:
        EnvError: they are not; says how to get them.
    """
    if _runs_here(arguments.get("python"), arguments.get("world")):
        _refuse(world_file.missing_package())


def _check_machine(python: str | None, world: str | None) -> None:
    """Looks for all that RLBench needs here; another interpreter looks for itself."""
    if _runs_here(python, world):
        _refuse(world_file.missing_package() or world_file.missing_machine(os.environ))


def _refuse(fault: str) -> None:
    if fault:
        raise EnvError(f"env rlbench: {fault}")


def _runs_here(python: str | None, world: str | None) -> bool:
    return world is None and _interpreter(python) is None


def _interpreter(python: str | None) -> str | None:
    """Another interpreter that was named for RLBench."""
    return python or os.environ.get(PYTHON)
