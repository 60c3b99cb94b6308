"""Environments with known answers, without a simulator: each finds one kind of fault in an agent.

A probe shows one colour at a time, as an `image` uint8 (image_size, image_size, 3) or as a `vector`
float32 (4,), and it looks at one number of the action, its `answer` in [-1, 1]: the first entry of
a vector; where the action is a choice, or several, the first one counts: 1 for 0, -1 for any other.

Returns are those of an episode. A random policy is uniform; where it has one of n choices, its
answer is `2 / n - 1` on average, and of a vector 0.
"""

from dataclasses import dataclass
from typing import Any, Literal

import gymnasium
import numpy as np

from harmony.envs.arguments import check_positive
from harmony.errors import EnvError

Color = tuple[int, int, int]
"""Red, green and blue, 0 to 255."""

_WHITE = 255
_GRAY = 128


@dataclass(kw_only=True, eq=False)
class _Probe(gymnasium.Env[Any, Any]):
    """The frame; a probe gives it colours and rewards.

    Attributes:
        length: agent steps in an episode.
        image_size: height and width, pixels.
        num_actions: entries of the action, or number of choices.
        discrete: choose one of `num_actions`.
        nvec: choose one of `nvec[i]` for each i; `num_actions` has no meaning then.
        observation: what shows the colour: the image, the vector of its red, green, blue and their
            mean, each from 0 to 1, or both.
        terminates: episodes end as terminal instead of being truncated.
        action_repeat: the reward counts this many times a step.
    """

    length: int = 20
    image_size: int = 64
    num_actions: int = 2
    discrete: bool = False
    nvec: list[int] | None = None
    observation: Literal["image", "vector", "both"] = "image"
    terminates: bool = False
    action_repeat: int = 1

    def __post_init__(self) -> None:
        """Refuses what can't be meant; makes the spaces."""
        check_positive(
            length=self.length,
            image_size=self.image_size,
            num_actions=self.num_actions,
            action_repeat=self.action_repeat,
        )
        self._t = 0
        self._last_answer = 0.0
        self.action_space = self._make_action_space()
        sides = (self.image_size, self.image_size, 3)
        spaces: dict[str, gymnasium.Space[Any]] = {
            "image": gymnasium.spaces.Box(0, _WHITE, sides, np.uint8),
            "vector": gymnasium.spaces.Box(0.0, 1.0, (4,), np.float32),
        }
        self._shown = list(spaces) if self.observation == "both" else [self.observation]
        self.observation_space = gymnasium.spaces.Dict({name: spaces[name] for name in self._shown})

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Begins an episode; `seed` decides it."""
        super().reset(seed=seed, options=options)
        self._t = 0
        self._last_answer = 0.0
        self._begin()
        return self._show(self._color(0.0)), {}

    def step(
        self, action: np.ndarray | int
    ) -> tuple[dict[str, np.ndarray], float, bool, bool, dict[str, Any]]:
        """Takes one agent step; the reward is counted `action_repeat` times."""
        self._t += 1
        answer = self._last_answer = self._answer(action)
        observation = self._show(self._color(answer))
        reward = self._reward(answer) * self.action_repeat
        over = self._t >= self.length
        terminated = over and self.terminates
        truncated = over and not terminated
        return observation, reward, terminated, truncated, self._info(answer)

    def state(self) -> dict[str, np.ndarray]:
        """What is true of the agent step, float64 (1,) by name: `step`, `answer` that led here."""
        state = {"step": self._t, "answer": self._last_answer} | self._kept()
        return {name: np.array([value], np.float64) for name, value in state.items()}

    def _kept(self) -> dict[str, float]:
        """What an episode keeps, for `state`."""
        return {}

    def _make_action_space(self) -> gymnasium.Space[Any]:
        if self.nvec is None:
            if self.discrete:
                return gymnasium.spaces.Discrete(self.num_actions)
            return gymnasium.spaces.Box(-1.0, 1.0, (self.num_actions,), np.float32)
        if self.discrete or min(self.nvec, default=0) < 1:
            raise EnvError(
                "env.nvec: expected one or more counts of 1 or more, and env.discrete=false, got "
                f"{list(self.nvec)} and {self.discrete}"
            )
        return gymnasium.spaces.MultiDiscrete(self.nvec)

    def _answer(self, action: np.ndarray | int) -> float:
        if self.discrete or self.nvec is not None:
            return 1.0 if int(np.ravel(action)[0]) == 0 else -1.0
        return float(np.clip(np.asarray(action, np.float64)[0], -1.0, 1.0))

    def _show(self, color: Color) -> dict[str, np.ndarray]:
        image = np.empty((self.image_size, self.image_size, 3), np.uint8)
        image[:] = color
        vector = np.array([*color, sum(color) / 3], np.float32) / np.float32(_WHITE)
        both: dict[str, np.ndarray] = {"image": image, "vector": vector}
        return {name: both[name] for name in self._shown}

    def _begin(self) -> None:
        """Draws what an episode keeps."""

    def _color(self, answer: float) -> Color:
        """What is seen after the answer; at the first step, after none, the answer is 0."""
        del answer
        return (_GRAY, _GRAY, _GRAY)

    def _reward(self, answer: float) -> float:
        raise NotImplementedError

    def _info(self, answer: float) -> dict[str, Any]:
        del answer
        return {}


class CountingEnv(_Probe):
    """Each picture says when it is and what led to it, so any mix-up of order shows.

    Red is the agent step t (modulo 256), green the answer that led here (`encode_action`; of 0 at
    the first step), blue a number drawn from the seed. The reward is t, so every policy's return is
    `action_repeat * length * (length + 1) / 2`.
    """

    def _begin(self) -> None:
        self._blue = int(self.np_random.integers(_WHITE + 1))

    def _kept(self) -> dict[str, float]:
        return {"blue": self._blue}

    def _color(self, answer: float) -> Color:
        return (self._t % (_WHITE + 1), encode_action(answer), self._blue)

    def _reward(self, answer: float) -> float:
        del answer
        return float(self._t)


@dataclass(kw_only=True, eq=False)
class ConstantReward(_Probe):
    """Every step gives the same reward: finds faults of the critic.

    The value of a state from which n steps remain is reward * (1 - discount**n) / (1 - discount),
    and every policy's return is `reward * length * action_repeat`.

    Attributes:
        reward: of each env step.
    """

    reward: float = 1.0

    def _reward(self, answer: float) -> float:
        del answer
        return self.reward


class ObservationReward(_Probe):
    """The picture is black or white at random and white gives 1: finds faults of encoder and heads.

    The reward belongs to the picture it comes with; no action changes anything. Every policy's
    return is `length * action_repeat / 2` on average.
    """

    def _color(self, answer: float) -> Color:
        del answer
        self._is_white = bool(self.np_random.integers(2))
        return _uniform(_WHITE * self._is_white)

    def _reward(self, answer: float) -> float:
        del answer
        return float(self._is_white)


class ActionReward(_Probe):
    """The reward is the answer: finds faults of the actor.

    The best return is `length * action_repeat`, by always answering 1, and the worst its negative;
    a random policy's is `length * action_repeat` times its mean answer. A step that answers above
    0.9 is a success.
    """

    def _reward(self, answer: float) -> float:
        return answer

    def _info(self, answer: float) -> dict[str, Any]:
        return {"success": answer > 0.9}


@dataclass(kw_only=True, eq=False)
class DelayedReward(_Probe):
    """The first answer is paid later: finds faults of returns, discounts and the recurrent state.

    The first picture is white, all others are gray. The reward is 0 but for agent step 1 + delay,
    where it is the answer of step 1. The best return is `action_repeat`, by answering 1 at the
    first step, and the worst its negative; a random policy's is `action_repeat` times its mean
    answer. An episode whose first answer was above 0.9 is a success when it is paid.

    Attributes:
        delay: agent steps between the first answer and its reward, 1 to length - 1.
    """

    delay: int = 5

    def __post_init__(self) -> None:
        """Refuses what can't be meant."""
        super().__post_init__()
        _check_fits("delay", self.delay, self.length)

    def _begin(self) -> None:
        self._owed = 0.0

    def _color(self, answer: float) -> Color:
        del answer
        return _uniform(_WHITE if self._t == 0 else _GRAY)

    def _reward(self, answer: float) -> float:
        if self._t == 1:
            self._owed = answer
        return self._owed if self._is_paid else 0.0

    def _info(self, answer: float) -> dict[str, Any]:
        del answer
        return {"success": self._is_paid and self._owed > 0.9}

    @property
    def _is_paid(self) -> bool:
        return self._t == 1 + self.delay


@dataclass(kw_only=True, eq=False)
class MemoryReward(_Probe):
    """The first picture asks what only the end may answer: finds faults of the recurrent state.

    It is white or black at random, all others are gray. At each of the last `recall_steps` agent
    steps the reward is the answer where it was white, and its negative where it was black; before,
    it is 0. The best return is `recall_steps * action_repeat`. A random policy's is 0 on average,
    and so is that of every policy that does not remember. A paid step whose reward is above 0.9 an
    env step is a success.

    Attributes:
        recall_steps: agent steps at the end that are paid, 1 to length - 1.
    """

    recall_steps: int = 1

    def __post_init__(self) -> None:
        """Refuses what can't be meant."""
        super().__post_init__()
        _check_fits("recall_steps", self.recall_steps, self.length)

    def _begin(self) -> None:
        self._cue = 1 if self.np_random.integers(2) else -1

    def _kept(self) -> dict[str, float]:
        return {"cue": self._cue}

    def _color(self, answer: float) -> Color:
        del answer
        if self._t:
            return _uniform(_GRAY)
        return _uniform(_WHITE if self._cue > 0 else 0)

    def _reward(self, answer: float) -> float:
        return self._cue * answer if self._t > self.length - self.recall_steps else 0.0

    def _info(self, answer: float) -> dict[str, Any]:
        return {"success": self._reward(answer) > 0.9}


def encode_action(answer: float) -> int:
    """How `CountingEnv` paints an answer: -1 is 0, 0 is 128, 1 is 255."""
    return int((answer + 1.0) * _WHITE / 2.0 + 0.5)


def _uniform(brightness: int) -> Color:
    return (brightness, brightness, brightness)


def _check_fits(key: str, steps: int, length: int) -> None:
    if not 1 <= steps < length:
        raise EnvError(f"env.{key}: expected 1 to {length - 1} (env.length - 1), got {steps}")
