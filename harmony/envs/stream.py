"""Episodes as a stream of records: one dictionary of arrays a step, in one convention."""

from collections.abc import Callable, Mapping
from typing import Any

import gymnasium
import numpy as np

from harmony.errors import EnvError

Record = dict[str, np.ndarray]
"""Observation keys, then `action` float32 (A,), `reward` float32 (), and `is_first`, `is_last`,
`is_terminal` bool (). The action is the one that LED to this observation and reward; zeros at
`is_first`."""


class EpisodeStream:
    """Runs the episodes of one environment and remembers how to run the open one again.

    Episode k is reset with `seed_of(k)`, which decides it completely, so a stream that is loaded
    from `state_dict` continues as the one that was saved.

    Args:
        env: Dict observation space; Box (A,), Discrete (A) or MultiDiscrete action space, the
            latter with A choices in all. An env whose state outlives an episode has `state_dict()`
            and `load_state_dict(state)`.
        seed_of: gives the seed of episode k, in [0, 2**32).

    Attributes:
        observation_space: the env's own.
        action_space: the env's own; `step` takes one-hot vectors where it is Discrete, one for
            each component, concatenated, where it is MultiDiscrete.
        record_spec: key -> dtype and shape of everything in a record.
        episode: index of the open episode, or of the next one when none is open.
        needs_reset: no episode is open.
        episode_return: sum of the rewards of the open or last episode.
        episode_length: agent steps of the open or last episode.
        success: any step so far was a success; None where the suite doesn't say.
        info: what the env said of the last step.
        record: the last record, from which an agent goes on; None when no episode is open.
    """

    def __init__(self, env: gymnasium.Env[Any, Any], seed_of: Callable[[int], int]) -> None:
        self.env = env
        self.seed_of = seed_of
        self.episode = 0
        self.needs_reset = True
        self.episode_return = 0.0
        self.episode_length = 0
        self.success: bool | None = None
        self.info: Mapping[str, Any] = {}
        self.record: Record | None = None
        self._seed = 0
        self._actions: list[np.ndarray] = []
        self._env_state = self._save_env()
        if not isinstance(env.observation_space, gymnasium.spaces.Dict):
            raise TypeError(f"expected a Dict observation space, got {env.observation_space}")
        self.observation_space = env.observation_space
        self.action_space = env.action_space
        self._num_actions = _num_actions(env.action_space)
        self.record_spec = _record_spec(env.observation_space, self._num_actions)

    @property
    def action_repeat(self) -> int:
        """Env steps in one agent step."""
        return int(getattr(self.env.unwrapped, "action_repeat", 1))

    def reset(self) -> Record:
        """Begins the next episode; an open one is given up.

        Returns:
            The first record: `is_first`, action zeros, reward 0.
        """
        if not self.needs_reset:
            self.episode += 1
        return self._begin(self.seed_of(self.episode))

    def step(self, action: np.ndarray) -> Record:
        """Takes one agent step.

        Args:
            action: float (A,), in [-1, 1]; one-hot, or several, where the action space is made
                of choices.

        Returns:
            The record that the action led to; `is_last` when the episode ended or its time was up,
            `is_terminal` only when it ended.

        Raises:
            RuntimeError: no episode is open.
            ValueError: the action has another shape, or is not finite.
        """
        if self.needs_reset:
            raise RuntimeError("expected reset() before step(): no episode is open")
        action = np.array(action, np.float32)
        if action.shape != (self._num_actions,) or not np.isfinite(action).all():
            raise ValueError(
                f"expected {self._num_actions} finite action values, got {action.tolist()}"
            )
        observation, reward, terminated, truncated, info = self.env.step(self.to_env(action))
        self.info = info
        self._actions.append(action)
        self.episode_return += float(reward)
        self.episode_length += 1
        if "success" in info:
            self.success = bool(self.success) or bool(info["success"])
        last = bool(terminated or truncated)
        record = self._make(observation, action.copy(), float(reward))
        record["is_last"], record["is_terminal"] = np.array(last), np.array(bool(terminated))
        self.record = None if last else record
        if last:
            self._finish()
        return record

    def state_dict(self) -> dict[str, object]:
        """Everything that a stream needs to continue here: numbers and arrays only."""
        # An open episode that can be played again begins with the state before its reset.
        env = self._env_state if self._repeats else self._save_env()
        return {
            "episode": self.episode,
            "open": not self.needs_reset,
            "seed": 0 if self.needs_reset else self._seed,
            "actions": np.array(self._actions, np.float32).reshape(-1, self._num_actions),
            "episode_return": 0.0 if self.needs_reset else self.episode_return,
            "env": env if env is not None else {},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Brings an open episode back: resets with its seed and takes its actions again.

        Args:
            state: from `state_dict` of a stream over the same environment.

        Raises:
            EnvError: the actions gave another return, so the simulator is not deterministic across
                these machines; or the env's `deterministic` is False, then nothing was tried. The
                stream then stands before the next episode and can be used.
        """
        self.episode, self.needs_reset = int(state["episode"]), True
        self.episode_return, self.episode_length, self.success = 0.0, 0, None
        self._seed, self._actions, self.record = 0, [], None
        if state["env"]:
            self._load_env(state["env"])
        self._env_state = self._save_env()
        if not state["open"]:
            return
        if not self._repeats:
            self._finish()
            raise EnvError(
                f"episode {state['episode']} can't be brought back: its simulator does not repeat "
                "itself, so close the episode as truncated"
            )
        self._begin(int(state["seed"]))
        for action in np.asarray(state["actions"], np.float32):
            if self.needs_reset:
                break
            self.step(action)
        steps, expected = len(state["actions"]), float(state["episode_return"])
        if not self.needs_reset and (self.episode_length, self.episode_return) == (steps, expected):
            return
        got, length = self.episode_return, self.episode_length
        if not self.needs_reset:
            self._finish()
        raise EnvError(
            f"episode {state['episode']} can't be brought back: expected return {expected!r} "
            f"after {steps} steps, got {got!r} after {length}; the simulator differs from the one "
            "it began on, so close the episode as truncated"
        )

    def give_up(self) -> None:
        """Ends the episode where it is, begun or not: the environment was lost in it."""
        self._finish()

    def close(self) -> None:
        """Closes the environment."""
        self.env.close()

    def _begin(self, seed: int) -> Record:
        self._env_state = self._save_env()
        self._seed, self._actions = seed, []
        observation, _ = self.env.reset(seed=seed)
        self.needs_reset = False
        self.episode_return, self.episode_length, self.success = 0.0, 0, None
        self.record = self._make(observation, np.zeros(self._num_actions, np.float32), 0.0)
        self.record["is_first"] = np.array(True)
        return self.record

    def _finish(self) -> None:
        self.needs_reset, self.record = True, None
        self.episode += 1
        self._actions = []
        self._env_state = self._save_env()

    def _make(
        self, observation: Mapping[str, np.ndarray], action: np.ndarray, reward: float
    ) -> Record:
        record = {
            key: np.array(observation[key], space.dtype, order="C")
            for key, space in self.observation_space.items()
        }
        record["action"] = action
        record["reward"] = np.array(reward, np.float32)
        for flag in ("is_first", "is_last", "is_terminal"):
            record[flag] = np.array(False)
        return record

    def to_env(self, action: np.ndarray) -> np.ndarray | int:
        """The action (A,) as the environment's `step` takes it."""
        space = self.action_space
        if isinstance(space, gymnasium.spaces.Discrete):
            return int(action.argmax()) + int(space.start)
        if isinstance(space, gymnasium.spaces.MultiDiscrete):
            onehots = np.split(action, np.cumsum(space.nvec)[:-1])
            return np.array([onehot.argmax() for onehot in onehots], np.int64) + space.start
        return action

    @property
    def _repeats(self) -> bool:
        """Whether the simulator can play an episode again."""
        return bool(getattr(self.env.unwrapped, "deterministic", True))

    def _save_env(self) -> dict[str, object] | None:
        """State of the env that outlives an episode, as it is before the episode's reset."""
        save = getattr(self.env.unwrapped, "state_dict", None)
        return dict(save()) if save is not None else None

    def _load_env(self, state: Mapping[str, object]) -> None:
        load = getattr(self.env.unwrapped, "load_state_dict", None)
        if load is None:
            raise EnvError(
                "the stored episode needs an environment with load_state_dict(); "
                f"got {type(self.env.unwrapped).__name__}; use the env that the run began with"
            )
        load(state)


def _num_actions(space: gymnasium.Space[Any]) -> int:
    if isinstance(space, gymnasium.spaces.Discrete):
        return int(space.n)
    if isinstance(space, gymnasium.spaces.MultiDiscrete) and space.nvec.ndim == 1:
        return int(space.nvec.sum())
    if isinstance(space, gymnasium.spaces.Box) and len(space.shape) == 1:
        return int(space.shape[0])
    raise TypeError(
        f"expected a Box (A,), Discrete or one-dimensional MultiDiscrete action space, got {space}"
    )


def _record_spec(
    observation_space: gymnasium.spaces.Dict, num_actions: int
) -> dict[str, tuple[np.dtype, tuple[int, ...]]]:
    """Key, dtype and shape of everything in a record, in the record's order."""
    spec: dict[str, tuple[np.dtype, tuple[int, ...]]] = {}
    for key, space in observation_space.items():
        if space.dtype is None or space.shape is None:
            raise TypeError(f"expected arrays as observations, got {space} for {key!r}")
        spec[key] = (np.dtype(space.dtype), tuple(space.shape))
    spec["action"] = (np.dtype(np.float32), (num_actions,))
    spec["reward"] = (np.dtype(np.float32), ())
    for flag in ("is_first", "is_last", "is_terminal"):
        spec[flag] = (np.dtype(np.bool_), ())
    return spec
