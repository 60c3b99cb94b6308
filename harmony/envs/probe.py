"""Environments with known answers, without a simulator: each finds one kind of fault in an agent.

All share one frame: `image` uint8 (image_size, image_size, 3), a Box (num_actions,) in [-1, 1] or,
with `discrete`, a Discrete (num_actions) action space, and episodes of `length` agent steps that
are truncated, or terminal with `terminates`.
"""

from typing import Any

import gymnasium
import numpy as np

from harmony.envs.arguments import check_positive

_WHITE = 255
_GRAY = 128


class _Probe(gymnasium.Env[Any, Any]):
    """The frame; a probe gives it an image and a reward."""

    def __init__(
        self,
        *,
        length: int = 20,
        image_size: int = 64,
        num_actions: int = 2,
        discrete: bool = False,
        terminates: bool = False,
        action_repeat: int = 1,
    ) -> None:
        check_positive(
            length=length,
            image_size=image_size,
            num_actions=num_actions,
            action_repeat=action_repeat,
        )
        self._length = length
        self._image_size = image_size
        self.action_repeat = action_repeat
        self._terminates = terminates
        self._discrete = discrete
        self._num_actions = num_actions
        self._t = 0
        image = gymnasium.spaces.Box(0, _WHITE, (image_size, image_size, 3), np.uint8)
        self.observation_space = gymnasium.spaces.Dict({"image": image})
        self.action_space = (
            gymnasium.spaces.Discrete(num_actions)
            if discrete
            else gymnasium.spaces.Box(-1.0, 1.0, (num_actions,), np.float32)
        )

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Begins an episode; `seed` decides it."""
        super().reset(seed=seed, options=options)
        self._t = 0
        return {"image": self._image(0.0)}, {}

    def step(
        self, action: np.ndarray | int
    ) -> tuple[dict[str, np.ndarray], float, bool, bool, dict[str, Any]]:
        """Takes one agent step; the reward is counted `action_repeat` times."""
        self._t += 1
        first = self._first(action)
        image = self._image(first)
        reward = self._reward(first) * self.action_repeat
        over = self._t >= self._length
        terminated = over and self._terminates
        truncated = over and not terminated
        return {"image": image}, reward, terminated, truncated, self._info(first)

    def _first(self, action: np.ndarray | int) -> float:
        """First entry of the action, in [-1, 1]; of a discrete one: 1 for action 0, else -1."""
        if self._discrete:
            return 1.0 if int(action) == 0 else -1.0
        return float(np.clip(np.asarray(action, np.float64)[0], -1.0, 1.0))

    def _image(self, first: float) -> np.ndarray:
        """The picture after the action; uint8 (image_size, image_size, 3)."""
        del first
        return np.full(self._image_shape, _GRAY, np.uint8)

    def _reward(self, first: float) -> float:
        raise NotImplementedError

    def _info(self, first: float) -> dict[str, Any]:
        del first
        return {}

    @property
    def _image_shape(self) -> tuple[int, int, int]:
        return (self._image_size, self._image_size, 3)


class CountingEnv(_Probe):
    """Each picture says when it is and what led to it, so any mix-up of order shows.

    Red is the agent step t (modulo 256), green the first entry of the action that led here
    (`encode_action`; of zeros at the first step), blue a number drawn from the seed. The reward is
    t.
    """

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Begins an episode; `seed` decides its blue."""
        if seed is not None:
            self._np_random, _ = gymnasium.utils.seeding.np_random(seed)
        self._blue = int(self.np_random.integers(_WHITE + 1))
        return super().reset(options=options)

    def _image(self, first: float) -> np.ndarray:
        image = np.empty(self._image_shape, np.uint8)
        image[:] = (self._t % (_WHITE + 1), encode_action(first), self._blue)
        return image

    def _reward(self, first: float) -> float:
        del first
        return float(self._t)


class ConstantReward(_Probe):
    """Every step gives the same reward: finds faults of the critic.

    The value of a state from which n steps remain is reward * (1 - discount**n) / (1 - discount).

    Args:
        reward: of each env step.
        **frame: length, image_size, num_actions, discrete, terminates, action_repeat.
    """

    def __init__(
        self,
        *,
        reward: float = 1.0,
        length: int = 20,
        image_size: int = 64,
        num_actions: int = 2,
        discrete: bool = False,
        terminates: bool = False,
        action_repeat: int = 1,
    ) -> None:
        super().__init__(
            length=length,
            image_size=image_size,
            num_actions=num_actions,
            discrete=discrete,
            terminates=terminates,
            action_repeat=action_repeat,
        )
        self._constant = reward

    def _reward(self, first: float) -> float:
        del first
        return self._constant


class ObservationReward(_Probe):
    """The picture is black or white at random and white gives 1: finds faults of encoder and heads.

    The reward belongs to the picture it comes with; no action changes anything.
    """

    def _image(self, first: float) -> np.ndarray:
        del first
        self._is_white = bool(self.np_random.integers(2))
        return np.full(self._image_shape, _WHITE * self._is_white, np.uint8)

    def _reward(self, first: float) -> float:
        del first
        return float(self._is_white)


class ActionReward(_Probe):
    """The reward is the first entry of the action: finds faults of the actor.

    The best return is length * action_repeat, by always answering 1 (discrete: action 0), and the
    worst is its negative. A step that answers above 0.9 is a success.
    """

    def _reward(self, first: float) -> float:
        return first

    def _info(self, first: float) -> dict[str, Any]:
        return {"success": first > 0.9}


def encode_action(first: float) -> int:
    """How `CountingEnv` paints an action's first entry: -1 is 0, 0 is 128, 1 is 255."""
    return int((first + 1.0) * _WHITE / 2.0 + 0.5)
