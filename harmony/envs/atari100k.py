"""Atari 100K: 26 games of the Arcade Learning Environment, 400,000 frames each.

Source: https://github.com/Farama-Foundation/Arcade-Learning-Environment, with the protocol of the
JAX original of HarmonyDream.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import gymnasium
import numpy as np

from harmony.envs.arguments import check_name, check_positive
from harmony.envs.scores import ALIASES, RANDOM_AND_HUMAN, human_normalized
from harmony.errors import EnvError

if TYPE_CHECKING:
    from ale_py import ALEInterface

REQUIRES = {"ale_py": "atari", "cv2": "atari"}
"""Packages, with the extras that bring them."""
TASKS = tuple(RANDOM_AND_HUMAN)
"""Names of the games."""

_NOOP = 0
_NUM_STARTS = 16


class Atari100K(gymnasium.Env[Any, Any]):
    """One game.

    Observation: `image` uint8 (image_size, image_size, 3), RGB: the maximum over the last two raw
    frames, pixel by pixel and channel by channel, made smaller by averaging areas. Action: one of
    those that the game knows. The reward is the game's own, unclipped, summed over the repeat; no
    action ever sticks. The end of the game is terminal, the loss of a life is nothing; `max_frames`
    truncates. An episode begins with 0 to `max_noops` raw frames without action, which neither
    reward nor count; a game that is over before they are begins again.

    As in the original, the first picture is one raw frame alone, and a game that is over too early
    in the repeat for a new frame before the last keeps that of the agent step before.
    Differs: the original calls the truncation terminal as well, and it draws the frames without
    action, and the console's timer and memory at the start, from what went on before; here the seed
    of the episode decides them, the latter among 16.

    Args:
        task: name of the game, e.g. ms_pacman; james_bond is an alias.
        action_repeat: raw frames in one agent step.
        image_size: height and width of the picture, pixels.
        max_frames: raw frames after which the episode is truncated, at the end of an agent step.
        max_noops: most raw frames without action at the start.

    Raises:
        EnvError: unknown game, wrong count, or a package is missing.
    """

    def __init__(
        self,
        *,
        task: str,
        action_repeat: int = 4,
        image_size: int = 64,
        max_frames: int = 108_000,
        max_noops: int = 29,
    ) -> None:
        check_task(task)
        check_positive(action_repeat=action_repeat, image_size=image_size, max_frames=max_frames)
        _check_noops(max_noops)
        self.task = ALIASES.get(task, task)
        self.action_repeat = action_repeat
        self.image_size = image_size
        self.max_frames = max_frames
        self.max_noops = max_noops
        self._ale = _load(self.task)
        self._starts = _starts(self._ale)
        self._actions = self._ale.getMinimalActionSet()
        self._frames = 0
        self._last, self._before = np.zeros((2, *self._ale.getScreenDims(), 3), np.uint8)
        self.action_space = gymnasium.spaces.Discrete(len(self._actions))
        image = gymnasium.spaces.Box(0, 255, (image_size, image_size, 3), np.uint8)
        self.observation_space = gymnasium.spaces.Dict({"image": image})

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Begins an episode; the seed decides it completely.

        Args:
            seed: not negative; None goes on with the generator as it is.
            options: not used.
        """
        super().reset(seed=seed, options=options)
        noops = int(self.np_random.integers(self.max_noops + 1))
        self._ale.restoreState(self._starts[self.np_random.integers(len(self._starts))])
        self._ale.reset_game()
        for _ in range(noops):
            self._ale.act(_NOOP)
            if self._ale.game_over():
                self._ale.reset_game()
        self._frames = 0
        self._before.fill(0)
        self._ale.getScreenRGB(self._last)
        return {"image": self._draw()}, {}

    def step(self, action: int) -> tuple[dict[str, np.ndarray], float, bool, bool, dict[str, Any]]:
        """Takes the action for `action_repeat` raw frames, or until the game is over.

        Args:
            action: index of the action among the game's own.
        """
        chosen, reward, over = self._actions[action], 0, False
        for left in range(self.action_repeat - 1, -1, -1):
            reward += self._ale.act(chosen)
            self._frames += 1
            if left == 1:
                self._ale.getScreenRGB(self._before)
            over = self._ale.game_over()
            if over:
                break
        self._ale.getScreenRGB(self._last)
        truncated = self._frames >= self.max_frames and not over
        return {"image": self._draw()}, float(reward), over, truncated, {}

    def scores(
        self, returns: Sequence[float], infos: Sequence[Mapping[str, Any]]
    ) -> dict[str, float]:
        """Metrics of some finished episodes: the human-normalised mean of their returns.

        Args:
            returns: of the episodes.
            infos: of their last steps.
        """
        del infos
        return {"eval/human_normalized": human_normalized(self.task, float(np.mean(returns)))}

    def _draw(self) -> np.ndarray:
        """The picture of the last two frames; `_last` becomes their maximum."""
        import cv2

        side = (self.image_size, self.image_size)
        np.maximum(self._last, self._before, out=self._last)
        image: np.ndarray = cv2.resize(self._last, side, interpolation=cv2.INTER_AREA)
        return image


def check_task(task: str) -> None:
    """Says whether the game is one of the 26, without importing the simulator.

    Args:
        task: as in `Atari100K`.

    Raises:
        EnvError: it is not; names the nearest ones.
    """
    check_name(task, TASKS, "Atari 100K", aliases=ALIASES, env="atari100k")


def tags(arguments: Mapping[str, Any]) -> dict[str, str]:
    """What results must have in common to be compared.

    Args:
        arguments: of the constructor.

    Returns:
        Raw frames in an agent step, whether actions stick, and for the runs of one game the raw
        frames after which an episode is truncated: the paper has others for one of them.
    """
    return {
        "action_repeat": str(arguments["action_repeat"]),
        "sticky_actions": "no",
        "task.max_frames": str(arguments["max_frames"]),
    }


def _check_noops(max_noops: int) -> None:
    if max_noops < 0:
        raise EnvError(f"env.max_noops: expected 0 or more, got {max_noops}")


def _starts(ale: "ALEInterface") -> list[Any]:
    """States before the first resets: each draws another value of the console's timer.

    The timer's generator and the memory go on from episode to episode, and games take their chances
    from them, so a reset alone would depend on all that was played before.
    """
    starts = []
    for _ in range(_NUM_STARTS):
        starts.append(ale.cloneState(include_rng=True))
        ale.reset_game()
    return starts


def _load(task: str) -> "ALEInterface":
    """The simulator with the game in it; it says nothing but errors."""
    try:
        import cv2  # noqa: F401 - the pictures need it: better told now than at the first
        from ale_py import ALEInterface, LoggerMode, roms
    except ModuleNotFoundError as error:
        raise EnvError(
            f"env atari100k: package {error.name!r} is missing; pip install 'harmony-dream[atari]'"
        ) from error
    ALEInterface.setLoggerMode(LoggerMode.Error)
    ale = ALEInterface()
    ale.setFloat("repeat_action_probability", 0.0)
    rom = roms.get_rom_path(task)
    assert rom is not None  # the package brings all 26
    ale.loadROM(rom)
    return ale
