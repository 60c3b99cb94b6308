"""Episodes that are only looked at: their own environment, their own seeds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import gymnasium
import numpy as np
import torch

from harmony.agent import DreamerAgent
from harmony.envs.stream import EpisodeStream, Record
from harmony.replay.store import Replay
from harmony.training.collect import Episode, Player, finished, random_action
from harmony.training.seeding import Seeds
from harmony.types import to_device

Policy = Callable[[Record], np.ndarray]


class Evaluation(NamedTuple):
    """What some episodes gave.

    Attributes:
        episodes: in the order of their seeds.
        frames: (T, Hi, Wi, C) uint8 of the first episode, None where the env shows no image.
        scores: measures of the suite's own, by metric.
    """

    episodes: list[Episode]
    frames: np.ndarray | None
    scores: Mapping[str, float] = MappingProxyType({})

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
        return row | success | dict(self.scores)


class Evaluator:
    """Runs episodes on an environment of its own.

    Args:
        env: never used for training.
        seeds: of the run; an evaluation's name decides its episodes, not what was run before.
        between_steps: called at each step, so that a signal need not wait for the last episode.
    """

    def __init__(
        self,
        env: gymnasium.Env[dict[str, np.ndarray], Any],
        seeds: Seeds,
        between_steps: Callable[[], None] = lambda: None,
    ) -> None:
        self.env = env
        self.seeds = seeds
        self.between_steps = between_steps

    def evaluate(self, agent: DreamerAgent, name: str | int, episodes: int) -> Evaluation:
        """Episodes of the agent's most likely actions.

        Args:
            agent: its own random streams are not touched.
            name: of the evaluation, such as the env step; with the seed it decides the episodes.
            episodes: how many.
        """
        generator = self.seeds.torch(agent.device, "evaluation", name)

        def policy() -> Policy:
            return Player(agent, "eval", generator).act

        return self._run(policy, ("evaluation", name), episodes)

    def evaluate_random(self, episodes: int) -> Evaluation:
        """Episodes of uniformly random actions."""
        rng = self.seeds.numpy("random policy")
        space = self.env.action_space
        return self._run(
            lambda: lambda _: random_action(space, rng), ("random evaluation",), episodes
        )

    def _run(
        self, make_policy: Callable[[], Policy], name: tuple[str | int, ...], episodes: int
    ) -> Evaluation:
        stream = EpisodeStream(self.env, lambda k: self.seeds.integer(*name, k))
        results: list[Episode] = []
        frames: list[np.ndarray] = []
        for k in range(episodes):
            policy = make_policy()
            record = stream.reset()
            while True:
                if k == 0 and "image" in record:
                    frames.append(record["image"])
                if stream.needs_reset:
                    break
                self.between_steps()
                record = stream.step(policy(record))
            results.append(finished(stream))
        return Evaluation(results, np.stack(frames) if frames else None, self._scores(results))

    def _scores(self, episodes: Sequence[Episode]) -> dict[str, float]:
        """What the suite makes of the episodes, where it has measures of its own."""
        score = getattr(self.env.unwrapped, "scores", None)
        if score is None:
            return {}
        return dict(score([e.reward_sum for e in episodes], [e.info for e in episodes]))


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
