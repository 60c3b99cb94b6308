"""Stepping an environment with a policy."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import gymnasium
import numpy as np
import torch

from harmony.agent import DreamerAgent, Mode
from harmony.envs.pool import EnvPool
from harmony.envs.stream import EpisodeStream, Record
from harmony.errors import ConfigError
from harmony.replay.store import Replay
from harmony.training.schedule import Progress
from harmony.types import Carry, Latent

PREFILL_EPISODES = 20
"""Episodes after which a prefill that can't be sampled from is given up."""


class Episode(NamedTuple):
    """A finished episode.

    Attributes:
        reward_sum: its return.
        length: agent steps.
        success: whether any step was one, None where the suite knows none.
        info: what the environment said of the last step.
    """

    reward_sum: float
    length: int
    success: bool | None
    info: Mapping[str, Any] = MappingProxyType({})


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
    """An agent and what it remembers of the open episodes, one an environment.

    Args:
        agent: chooses the actions.
        mode: train samples the policy, eval takes its mode.
        generator: random stream on the agent's device.
        num_envs: environments that it acts for at once.
    """

    def __init__(
        self, agent: DreamerAgent, mode: Mode, generator: torch.Generator, num_envs: int = 1
    ) -> None:
        self.agent = agent
        self.mode = mode
        self.generator = generator
        self.carry = agent.initial(num_envs)

    def act(self, record: Record) -> np.ndarray:
        """(A,) float32, in answer to the record of the only environment."""
        action: np.ndarray = self.act_all([record])[0]
        return action

    def act_all(self, records: Sequence[Record]) -> np.ndarray:
        """(N, A) float32, in answer to a record of each environment, in one call of the policy.

        A policy may draw beyond [-1, 1]; environment, replay and carry get what was cut there.
        One-hot actions lie within.
        """
        names = [*self.agent.world_model.encoder.images, *self.agent.world_model.encoder.vectors]
        obs = {
            name: torch.as_tensor(
                np.array([record[name] for record in records]), device=self.agent.device
            )
            for name in [*names, "is_first"]
        }
        drawn, carry = self.agent.act(obs, self.carry, self.mode, self.generator)
        action = drawn.clamp(-1.0, 1.0)
        self.carry = carry._replace(action=action)
        array: np.ndarray = action.float().cpu().numpy()
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
    pool: EnvPool,
    replay: Replay,
    policy: Callable[[list[Record]], np.ndarray],
    numbers: Sequence[int],
) -> list[Episode | None]:
    """An agent step of some environments into the replay; first records of new episodes before it.

    Where an environment was lost in the step, its episode ends with the record before, as if by a
    time limit: nothing is known of what the action would have led to.

    Args:
        pool: of the environments.
        replay: gets the records, in the order of the environments.
        policy: records of the environments to actions (N, A).
        numbers: of the environments.

    Returns:
        For each step that was taken, the episode that it ended, if it did.
    """
    for env, record in pool.begin(numbers):
        replay.add(record, env)
    streams = [pool.streams[env] for env in numbers]
    actions = policy([stream.record for stream in streams if stream.record is not None])
    taken: list[Episode | None] = []
    for env, stream, after in zip(numbers, streams, pool.step(numbers, actions), strict=True):
        if after is None:
            replay.truncate_open_episode(env)
            continue
        replay.add(after, env)
        taken.append(finished(stream) if stream.needs_reset else None)
    return taken


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
    return Episode(stream.episode_return, stream.episode_length, stream.success, stream.info)


def tally_scores(pool: EnvPool, progress: Progress) -> dict[str, float]:
    """What the suite makes of the tallies of all training episodes so far, by metric.

    Args:
        pool: of the training environments.
        progress: holds the sums.
    """
    score = getattr(pool.streams[0].env.unwrapped, "tally_scores", None)
    if score is None or not progress.tallied:
        return {}
    means = {name: total / progress.tallied for name, total in progress.tallies.items()}
    return {f"episode/{name}": float(value) for name, value in score(means).items()}
