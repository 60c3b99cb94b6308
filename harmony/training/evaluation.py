"""Episodes that are only looked at: their own environment, their own seeds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import torch

from harmony.agent import DreamerAgent
from harmony.envs.pool import EnvPool, SeedOf
from harmony.envs.stream import Record
from harmony.replay.store import Replay
from harmony.training.collect import Episode, Player, finished, random_action
from harmony.training.seeding import Seeds
from harmony.types import to_device

Policy = Callable[[Sequence[Record]], np.ndarray]
"""The last records of all environments to actions (N, A)."""


class Evaluation(NamedTuple):
    """What some episodes gave.

    Attributes:
        episodes: in the order of their seeds.
        frames: (T, Hi, Wi, C) uint8 of the first episode, None where the env shows no image.
        scores: measures of the suite's own, by metric.
        lost: episodes that ended with their worker, on top of these.
    """

    episodes: list[Episode]
    frames: np.ndarray | None
    scores: Mapping[str, float] = MappingProxyType({})
    lost: int = 0

    @property
    def mean_return(self) -> float:
        """Mean of the returns."""
        return float(np.mean([episode.reward_sum for episode in self.episodes]))

    @property
    def success_rate(self) -> float | None:
        """Share of episodes with a success, None where the suite knows none."""
        known = [episode.success for episode in self.episodes if episode.success is not None]
        return float(np.mean(known)) if known else None

    def row(self) -> dict[str, float]:
        """Metrics by name."""
        row = {
            "eval/return": self.mean_return,
            "eval/return_std": float(np.std([e.reward_sum for e in self.episodes])),
            "eval/length": float(np.mean([e.length for e in self.episodes])),
        }
        rate = self.success_rate
        success = {} if rate is None else {"eval/success": rate}
        lost = {"eval/lost_episodes": float(self.lost)} if self.lost else {}
        return row | success | dict(self.scores) | lost


class Evaluator:
    """Runs episodes in environments of their own.

    Environments that are free begin the next episode in the order of their numbers, so several of
    them give the episodes that one would, up to the noise of the agent's latents. What outlives an
    episode in an environment does not outlive an evaluation.

    Args:
        open_pool: opens the environments, given the seed of environment i's episode k.
        seeds: of the run; an evaluation's name decides its episodes, not what was run before.
        between_steps: called at each step, so that a signal need not wait for the last episode.

    Attributes:
        pool: the environments, never used for training.
    """

    def __init__(
        self,
        open_pool: Callable[[SeedOf], EnvPool],
        seeds: Seeds,
        between_steps: Callable[[], None] = lambda: None,
    ) -> None:
        self.seeds = seeds
        self.between_steps = between_steps
        self._name: tuple[str | int, ...] = ()
        self.pool = open_pool(self._seed_of)
        self._playing = [0] * self.pool.num_envs  # number of the episode in each environment
        self._first = [0] * self.pool.num_envs  # what its stream calls the first try to begin it
        self._unused = self.pool.state_dict()

    def evaluate(self, agent: DreamerAgent, name: str | int, episodes: int) -> Evaluation:
        """Episodes of the agent, which acts as its behaviour says for evaluations.

        Args:
            agent: its own random streams are not touched.
            name: of the evaluation, such as the env step; with the seed it decides the episodes.
            episodes: how many.
        """
        generator = self.seeds.torch(agent.device, "evaluation", name)
        player = Player(agent, "eval", generator, self.pool.num_envs)
        return self._run(player.act_all, ("evaluation", name), episodes)

    def evaluate_random(self, episodes: int) -> Evaluation:
        """Episodes of uniformly random actions."""
        rng = self.seeds.numpy("random policy")
        space = self.pool.action_space

        def act(records: Sequence[Record]) -> np.ndarray:
            return np.stack([random_action(space, rng) for _ in records])

        return self._run(act, ("random evaluation",), episodes)

    def _seed_of(self, env: int, stream_episode: int) -> int:
        """Another one after each reset that was lost, so that none is fatal by its seed."""
        lost = stream_episode - self._first[env]
        return self.seeds.integer(*self._name, self._playing[env], *([lost] if lost else []))

    def _run(self, policy: Policy, name: tuple[str | int, ...], episodes: int) -> Evaluation:
        self._name = name
        self.pool.load_state_dict(self._unused)
        results: dict[int, Episode] = {}
        film, records = _Film(), list[Record]()
        begun, left, lost = 0, episodes, 0
        while left or self.pool.open:
            busy = set(self.pool.open)
            free = [env for env in range(self.pool.num_envs) if env not in busy][:left]
            for env in free:
                self._playing[env] = begun
                self._first[env] = self.pool.streams[env].episode
                begun, left = begun + 1, left - 1
            first = self.pool.begin(free)
            lost += sum(self.pool.streams[env].episode - self._first[env] for env in free)
            # The policy acts for all; those that never play are shown what another one shows.
            records = records or [first[0][1]] * self.pool.num_envs
            for env, record in first:
                records[env] = record
                film.add(self._playing[env], record)
            self.between_steps()
            numbers = self.pool.open
            actions = policy(records)[numbers]
            for env, after in zip(numbers, self.pool.step(numbers, actions), strict=True):
                if after is None:  # another episode takes the place of the one that was lost
                    left, lost = left + 1, lost + 1
                    film.drop(self._playing[env], begun)
                    continue
                records[env] = after
                film.add(self._playing[env], after)
                if after["is_last"]:
                    results[self._playing[env]] = finished(self.pool.streams[env])
        played = [results[number] for number in sorted(results)]
        return Evaluation(played, film.frames(), self._scores(played), lost)

    def _scores(self, episodes: Sequence[Episode]) -> dict[str, float]:
        """What the suite makes of the episodes, where it has measures of its own."""
        score = getattr(self.pool.streams[0].env.unwrapped, "scores", None)
        if score is None:
            return {}
        return dict(score([e.reward_sum for e in episodes], [e.info for e in episodes]))


class _Film:
    """Frames of the first episode that was not lost."""

    def __init__(self) -> None:
        self._number, self._frames = 0, list[np.ndarray]()

    def add(self, number: int, record: Record) -> None:
        if number == self._number and "image" in record:
            self._frames.append(record["image"])

    def drop(self, number: int, following: int) -> None:
        """Films the following episode in the place of one that was lost."""
        if number == self._number:
            self._number, self._frames = following, []

    def frames(self) -> np.ndarray | None:
        return np.stack(self._frames) if self._frames else None


def open_loop(agent: DreamerAgent, replay: Replay, seeds: Seeds, step: int) -> np.ndarray | None:
    """Truth, model and error of a few sequences of the replay.

    Args:
        agent: its own random streams are not touched.
        replay: has at least one episode.
        seeds: of the run.
        step: names the sequences.

    Returns:
        (T, 3 * Hi, B * Wi, C) uint8; None where nothing decodes the agent's feats.
    """
    batch = replay.sample(seeds.numpy("open loop", step))
    tensors = {name: torch.from_numpy(array) for name, array in batch.items()}
    generator = seeds.torch(agent.device, "open loop", step)
    frames = agent.open_loop(to_device(tensors, agent.device), generator)
    return None if frames is None else frames.cpu().numpy()
