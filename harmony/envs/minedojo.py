"""MineDojo: hunting a cow in Minecraft, from pixels.

Source: thuml/HarmonyDream, `wmlib-torch/wmlib/envs/minecraft.py`, on MineDojo 0.1
(https://github.com/MineDojo/MineDojo), which runs under Python 3.9 behind a bridge.
"""

import logging
import os
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np

from harmony.envs.arguments import check_name, check_positive
from harmony.envs.bridge import Bridge
from harmony.envs.minedojo_rules import (
    ACTION_COUNTS,
    FAST_RESET_COMMANDS,
    SIMULATOR_ACTION_COUNTS,
    WORLD_SEEDS,
    Sight,
    World,
    begin_hunt,
    halved,
    hunt_reward,
    nearest_cow,
    next_world,
    simulator_action,
)
from harmony.envs.worlds import minedojo as world_file
from harmony.errors import EnvError, SimulatorError
from harmony.filelock import locked

log = logging.getLogger(__name__)

TASKS = ("hunt_cow",)
"""Names of the tasks."""
PYTHON = "MINEDOJO_PYTHON"
"""Environment variable with the path of the interpreter that has minedojo."""

_VERSION = "3.9"
_SPAWN_SEEDS = 2**31


class MineDojo(gymnasium.Env[Any, np.ndarray]):
    """The hunt for a cow.

    Observation: `image` uint8 (image_size, image_size, 3), drawn twice as large and halved. Action:
    MultiDiscrete([3, 3, 4, 5, 3]), see `minedojo_rules`. The dense reward is summed over the
    repeat. An episode terminates when the cow is dead, or when Minecraft ended the mission; the
    time limit truncates. `info["success"]` says that the cow is dead, `info["failures"]` how often
    Minecraft has failed.

    Minecraft is not deterministic: the seed of a reset decides what it can, the terrain of a new
    world and where the animals are put, so an open episode can't be brought back. A new world takes
    long, so one lasts some episodes; the count outlives them and is in `state_dict`.

    A reset that fails is tried again in a new world and a new Minecraft; a step that fails
    truncates the episode. Differs: the original calls the latter a terminal end, and tries resets
    for ever.

    Args:
        task: hunt_cow.
        action_repeat: env steps in one agent step.
        image_size: height and width of the picture, pixels.
        time_limit: agent steps after which the episode is truncated.
        world_every_episodes: episodes in a world.
        evaluation_world_every_episodes: likewise, where the episodes are evaluations.
        max_failures: resets and steps that Minecraft may fail before an episode comes to its end.
        timeout_s: seconds that a step or a reset may take.
        launch_timeout_s: seconds that the first reset of a Minecraft may take; the very first of a
            machine compiles it.
        python: Python 3.9 with minedojo: a path or a command; None means $MINEDOJO_PYTHON.
        world: file to run there in place of ours, such as a stand-in; if python is None, it runs
            under the interpreter that runs this.
        evaluation: the episodes are evaluations.

    Attributes:
        failures: resets and steps that Minecraft has failed.
        deterministic: False, as said above.

    Raises:
        EnvError: unknown task, no interpreter of that version, or minedojo,
            a virtual screen or Java 8 are missing.
    """

    deterministic = False

    def __init__(
        self,
        *,
        task: str,
        action_repeat: int = 1,
        image_size: int = 128,
        time_limit: int = 500,
        world_every_episodes: int = 5,
        evaluation_world_every_episodes: int = 1,
        max_failures: int = 5,
        timeout_s: float = 600.0,
        launch_timeout_s: float = 1800.0,
        python: str | None = None,
        world: str | None = None,
        evaluation: bool = False,
    ) -> None:
        check_task(task)
        check_positive(
            action_repeat=action_repeat,
            image_size=image_size,
            time_limit=time_limit,
            world_every_episodes=world_every_episodes,
            evaluation_world_every_episodes=evaluation_world_every_episodes,
            max_failures=max_failures,
        )
        self.action_repeat = action_repeat
        self.failures = 0
        self._failures_in_row = 0
        self._max_failures = max_failures
        self._time_limit = time_limit
        self._every = evaluation_world_every_episodes if evaluation else world_every_episodes
        self._launch_timeout_s = launch_timeout_s
        self._world: World | None = None
        self._has_mission = self._has_minecraft = False
        self._agent_steps = 0
        self._image = np.zeros((image_size, image_size, 3), np.uint8)
        self._hunt = begin_hunt(Sight(None, 0.0))
        self.action_space = gymnasium.spaces.MultiDiscrete(list(ACTION_COUNTS))
        image = gymnasium.spaces.Box(0, 255, self._image.shape, np.uint8)
        self.observation_space = gymnasium.spaces.Dict({"image": image})
        self._bridge = _open_bridge(python, world, 2 * image_size, timeout_s, launch_timeout_s)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Begins an episode; the seed decides what it can.

        Args:
            seed: not negative; None goes on with the generator as it is.
            options: not used.

        Raises:
            SimulatorError: Minecraft failed too often.
        """
        super().reset(seed=seed, options=options)
        while True:
            self._world = next_world(self._world, self._every, self._draw(*WORLD_SEEDS))
            try:
                told = self._begin(self._world, self._draw(0, _SPAWN_SEEDS))
                break
            except SimulatorError as error:
                self._fail(error)
        self._agent_steps = 0
        self._hunt = begin_hunt(_sight(told))
        self._image = halved(told["rgb"])
        return {"image": self._image}, self._info(success=False)

    def step(
        self, action: np.ndarray
    ) -> tuple[dict[str, np.ndarray], float, bool, bool, dict[str, Any]]:
        """Applies the action `action_repeat` times, or until the episode ends.

        Args:
            action: (5,) indices.

        Raises:
            SimulatorError: Minecraft failed too often.
        """
        choices = simulator_action(action)
        reward, done, success = 0.0, False, False
        self._agent_steps += 1
        for _ in range(self.action_repeat):
            try:
                told = self._bridge.call("step", choices)
            except SimulatorError as error:
                self._fail(error)
                return {"image": self._image}, reward, False, True, self._info(success=False)
            step_reward, self._hunt = hunt_reward(self._hunt, _sight(told), told["reward"])
            reward += step_reward
            done, success = told["done"], told["success"]
            self._image = halved(told["rgb"])
            if done:
                break
        self._has_mission = success or not done
        truncated = not done and self._agent_steps >= self._time_limit
        if done or truncated:
            self._failures_in_row = 0
        return {"image": self._image}, reward, done, truncated, self._info(success=success)

    def state_dict(self) -> dict[str, object]:
        """The world and the count of failures, which outlive an episode."""
        world = self._world or World(0, 0)
        return {
            "world_seed": world.seed,
            "world_episodes": world.episodes,
            "failures": self.failures,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on in a world; the next reset makes its terrain again.

        Args:
            state: of `state_dict`.
        """
        world = World(int(state["world_seed"]), int(state["world_episodes"]))
        self._world = world if world.episodes else None
        self._has_mission = False
        self.failures = int(state["failures"])

    def close(self) -> None:
        """Ends Minecraft and the worker."""
        self._bridge.close()

    def _info(self, *, success: bool) -> dict[str, Any]:
        return {"success": success, "failures": self.failures}

    def _draw(self, low: int, high: int) -> int:
        return int(self.np_random.integers(low, high))

    def _begin(self, world: World, spawn_seed: int) -> dict[str, Any]:
        """Asks for an episode; in the present world where the mission of the last goes on."""
        stays = self._has_mission and world.episodes > 1
        arguments = (None if stays else world.seed, spawn_seed, list(FAST_RESET_COMMANDS))
        told: dict[str, Any]
        if self._has_minecraft:
            told = self._bridge.call("reset", *arguments)
        else:
            with locked(_launch_lock()):
                if not self._bridge.running:
                    self._bridge.restart()
                told = self._bridge.call("reset", *arguments, timeout_s=self._launch_timeout_s)
        self._has_minecraft = self._has_mission = True
        return told

    def _fail(self, error: SimulatorError) -> None:
        """Counts a failure and lets go of Minecraft, so that the next reset starts another.

        Raises:
            SimulatorError: it was one too many.
        """
        self.failures += 1
        self._failures_in_row += 1
        self._world = None
        self._has_mission = self._has_minecraft = False
        if self._failures_in_row >= self._max_failures:
            self._bridge.close()
            raise SimulatorError(
                f"env minedojo: Minecraft failed {self._failures_in_row} times without finishing "
                f"an episode, so check it (docs/minedojo.md) or raise env.max_failures; {error}",
                error.printed,
                final=True,
            ) from error
        log.warning("failure %d of Minecraft, starting another: %s", self.failures, error)
        self._bridge.restart()


def check_task(task: str) -> None:
    """Says whether there is such a task.

    Args:
        task: as in `MineDojo`.

    Raises:
        EnvError: there is not.
    """
    check_name(task, TASKS, "MineDojo", env="minedojo")


def check_packages(arguments: Mapping[str, Any]) -> None:
    """Says whether an interpreter was named; what it has is seen when it starts.

    Args:
        arguments: of `MineDojo`.

    Raises:
        EnvError: none was.
    """
    _interpreter(arguments.get("python"), arguments.get("world"))


def _open_bridge(
    python: str | None, world: str | None, side: int, timeout_s: float, launch_timeout_s: float
) -> Bridge:
    """A worker with the task in it; Minecraft itself starts with the first reset."""
    interpreter, version = _interpreter(python, world)
    bridge = Bridge(
        interpreter,
        world or world_file.__file__,
        {"image_size": side},
        version=version,
        timeout_s=timeout_s,
        start_timeout_s=launch_timeout_s,
        name="minedojo",
    )
    try:
        _check_spaces(bridge.call("spaces"), side)
    except EnvError:
        bridge.close()
        raise
    return bridge


def _check_spaces(told: dict[str, list[int]], side: int) -> None:
    """Refuses another MineDojo than the one whose actions and observations are known."""
    expected = {
        "action": list(SIMULATOR_ACTION_COUNTS),
        "rgb": [3, side, side],
        "entity_distance": [len(world_file.RAY_PITCHES) * len(world_file.RAY_YAWS)],
        "cur_durability": [SIMULATOR_ACTION_COUNTS[-1]],
    }
    if told != expected:
        raise EnvError(
            f"env minedojo: expected the spaces of minedojo 0.1, {expected}, got {told}; "
            "pip install minedojo==0.1 under env.python"
        )


def _interpreter(python: str | None, world: str | None) -> tuple[str, str]:
    """The interpreter for the world file and the version that it must have.

    Raises:
        EnvError: none was named.
    """
    if python is None and world is not None:
        return sys.executable, f"{sys.version_info.major}.{sys.version_info.minor}"
    python = python or os.environ.get(PYTHON)
    if not python:
        raise EnvError(
            f"env.python: expected the path of a Python {_VERSION} with minedojo 0.1, got none and "
            f"no {PYTHON}; docs/minedojo.md tells how to make one"
        )
    return python, _VERSION


def _launch_lock() -> Path:
    """One Minecraft of a user starts at a time: they look for free ports and then take them."""
    return Path(tempfile.gettempdir()) / f"harmony_minedojo_{os.getuid()}.lock"


def _sight(told: dict[str, Any]) -> Sight:
    cow = nearest_cow(told["entity_name"], told["entity_distance"])
    return Sight(cow, told["durability"])
