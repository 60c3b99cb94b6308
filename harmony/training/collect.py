"""Stepping an environment with a policy."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import gymnasium
import numpy as np
import torch

from harmony.agent import DreamerAgent, Mode
from harmony.envs.stream import EpisodeStream, Record
from harmony.errors import ConfigError
from harmony.replay.store import Replay
from harmony.types import Carry, Latent

PREFILL_EPISODES = 20
"""Episodes after which a prefill that can't be sampled from is given up."""


class Episode(NamedTuple):
    """A finished episode.

    Attributes:
        reward_sum: its return.
        length: agent steps.
        success: whether any step was one, None where the suite knows none.
    """

    reward_sum: float
    length: int
    success: bool | None


def random_action(space: gymnasium.Space[Any], rng: np.random.Generator) -> np.ndarray:
    """A uniform action (A,): within the bounds; one-hot, or several, where one chooses."""
    if isinstance(space, gymnasium.spaces.Discrete):
        return _random_onehot(int(space.n), rng)
    if isinstance(space, gymnasium.spaces.MultiDiscrete):
        return np.concatenate([_random_onehot(n, rng) for n in space.nvec.tolist()])
    assert isinstance(space, gymnasium.spaces.Box)
    return rng.uniform(space.low, space.high).astype(np.float32)


def _random_onehot(size: int, rng: np.random.Generator) -> np.ndarray:
    onehot = np.zeros(size, np.float32)
    onehot[rng.integers(size)] = 1.0
    return onehot


class Player:
    """An agent and what it remembers of the open episode.

    Args:
        agent: chooses the actions.
        mode: train samples the policy, eval takes its mode.
        generator: random stream on the agent's device.
    """

    def __init__(self, agent: DreamerAgent, mode: Mode, generator: torch.Generator) -> None:
        self.agent = agent
        self.mode = mode
        self.generator = generator
        self.carry = agent.initial(1)

    def act(self, record: Record) -> np.ndarray:
        """(A,) float32, in answer to one record.

        A policy may draw beyond [-1, 1]; environment, replay and carry get what was cut there.
        One-hot actions lie within.
        """
        names = [*self.agent.world_model.encoder.images, *self.agent.world_model.encoder.vectors]
        obs = {
            name: torch.as_tensor(record[name], device=self.agent.device).unsqueeze(0)
            for name in [*names, "is_first"]
        }
        drawn, carry = self.agent.act(obs, self.carry, self.mode, self.generator)
        action = drawn.clamp(-1.0, 1.0)
        self.carry = carry._replace(action=action)
        array: np.ndarray = action[0].float().cpu().numpy()
        return array

    def state_dict(self) -> dict[str, object]:
        """The carry; the generator belongs to the agent."""
        latent, action = self.carry
        return {"deter": latent.deter, "stoch": latent.stoch, "action": action}

    def load_state_dict(self, state: Mapping[str, torch.Tensor]) -> None:
        """Restores `state_dict`."""
        deter, stoch, action = (
            state[name].to(self.agent.device) for name in ("deter", "stoch", "action")
        )
        self.carry = Carry(Latent(deter, stoch), action)


def collect_step(
    stream: EpisodeStream, replay: Replay, policy: Callable[[Record], np.ndarray]
) -> Episode | None:
    """One agent step into the replay; a new episode's first record comes before it.

    Returns:
        The episode that the step ended, if it did.
    """
    if stream.needs_reset:
        replay.add(stream.reset())
    assert stream.record is not None
    replay.add(stream.step(policy(stream.record)))
    return finished(stream) if stream.needs_reset else None


def can_sample(replay: Replay, stream: EpisodeStream, episodes: int) -> bool:
    """Whether the replay has something to sample from.

    Args:
        replay: asked.
        stream: has just ended an episode.
        episodes: ended so far.

    Raises:
        ConfigError: so many episodes were too short that none will ever do. Where none is too
            short, more episodes will do.
    """
    if replay.ready:
        return True
    if replay.sequences.min_length > 1 and episodes >= PREFILL_EPISODES:
        raise ConfigError(
            f"expected episodes of at least replay.min_length records, got none in {episodes} (the "
            f"last has {stream.episode_length + 1}): lower replay.batch_length or replay.min_length"
        )
    return False


def finished(stream: EpisodeStream) -> Episode:
    """The episode that a stream has just ended."""
    return Episode(stream.episode_return, stream.episode_length, stream.success)
