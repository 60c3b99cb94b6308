"""When things happen. Each class is a section of the configuration, units in the names."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from fractions import Fraction

from harmony.errors import ConfigError


def _at_least(section: str, minimum: int, **values: float) -> None:
    for name, value in values.items():
        if value < minimum:
            raise ConfigError(f"{section}.{name} must be at least {minimum}, got {value}")


@dataclass(frozen=True)
class TrainingSchedule:
    """The section `training`.

    Attributes:
        env_steps: length of the run in environment steps, action repeat included.
        prefill_agent_steps: steps of a random policy before the first update; goes on to the end
            of the episode.
        pretrain_updates: updates between prefill and the first step of the policy.
        train_every_agent_steps: agent steps between two times of training.
        updates_per_train: updates at each such time.
        train_ratio: replayed steps for each agent step. Where set, it takes the place of
            `train_every_agent_steps` and `updates_per_train`.
        log_every_env_steps: grid of the rows with mean losses.
        nonfinite_limit: skipped updates in a row after which the last checkpoint is restored, once.
    """

    env_steps: int
    prefill_agent_steps: int
    pretrain_updates: int
    train_every_agent_steps: int
    updates_per_train: int = 1
    train_ratio: float | None = None
    log_every_env_steps: int = 1000
    nonfinite_limit: int = 20

    def __post_init__(self) -> None:
        """Refuses what can't be meant."""
        values = asdict(self)
        pretrain, ratio = values.pop("pretrain_updates"), values.pop("train_ratio")
        _at_least("training", 1, **values)
        _at_least("training", 0, pretrain_updates=pretrain)
        if ratio is not None and not 0 < ratio < math.inf:
            raise ConfigError(f"training.train_ratio must be above 0, or null, got {ratio}")

    def updates_due(self, agent_step: int, batch_steps: int) -> int:
        """Updates that follow an agent step after the prefill.

        With a ratio the share r = train_ratio / batch_steps of an update is due at each agent
        step, and floor(n r) of them from step 1 to n. The steps of the prefill count in n, though
        they have no updates, so what is due depends on the step alone: a run that is resumed needs
        no memory of what was due before.

        Args:
            agent_step: n, the one that was just taken; the first of the run is 1.
            batch_steps: replayed steps of an update, B * T.

        Source: DreamerV3 (2023), embodied/core/when.py: Ratio. Differs: the original counts from
        the first step after the prefill, where it makes one update more; and it counts records,
        the first of an episode too.
        """
        if self.train_ratio is None:
            due = agent_step % self.train_every_agent_steps == 0
            return self.updates_per_train if due else 0
        # As it was written: 0.1 is a tenth here, no float near it.
        ratio = Fraction(str(self.train_ratio)) / batch_steps
        return math.floor(agent_step * ratio) - math.floor((agent_step - 1) * ratio)


@dataclass(frozen=True)
class EvaluationSchedule:
    """The section `evaluation`.

    Attributes:
        every_env_steps: distance of evaluations; one comes before training and one at the end.
        episodes: of the policy, each time.
        random_episodes: of a random policy, once, for comparison.
        num_envs: environments that play them at the same time.
        video: whether an episode and an open-loop prediction are kept as videos.
    """

    every_env_steps: int
    episodes: int = 10
    random_episodes: int = 5
    num_envs: int = 1
    video: bool = True

    def __post_init__(self) -> None:
        """Refuses what can't be meant."""
        _at_least("evaluation", 1, every_env_steps=self.every_env_steps, episodes=self.episodes)
        _at_least("evaluation", 1, num_envs=self.num_envs)
        _at_least("evaluation", 0, random_episodes=self.random_episodes)


@dataclass(frozen=True)
class CheckpointSchedule:
    """The section `checkpoint`. Neither distance changes a number of the run.

    Attributes:
        every_env_steps: distance in environment steps.
        every_minutes: distance in wall time.
        keep: newest checkpoints that stay.
    """

    every_env_steps: int = 20_000
    every_minutes: float = 10.0
    keep: int = 2

    def __post_init__(self) -> None:
        """Refuses what can't be meant."""
        _at_least("checkpoint", 1, every_env_steps=self.every_env_steps)
        _at_least("checkpoint", 2, keep=self.keep)
        if self.every_minutes <= 0:
            raise ConfigError(f"checkpoint.every_minutes must be above 0, got {self.every_minutes}")


@dataclass
class Progress:
    """How far a run is; every decision of the loop follows from it.

    Attributes:
        agent_step: decisions of the policy, the random one included.
        env_step: agent_step times the action repeat.
        episodes: finished ones.
        prefilled: whether the random policy is done.
        pretrained: updates before the first step of the policy.
        random_return: mean return of the random policy, None before it was evaluated.
        next_evaluation: env_step from which an evaluation is due.
        last_evaluation: env_step of the last one, -1 before.
        last_return: its mean return.
        last_success: its success rate, None where the suite knows none.
        best_return: the best so far, None before.
        next_checkpoint: env_step from which a checkpoint is due.
        restores: times that the run was set back because numbers went bad.
        truncated_episodes: open episodes that could not be brought back after a restart.
        tallied: finished episodes whose environment told a tally.
        tallies: sums of what these said, by name.
    """

    agent_step: int = 0
    env_step: int = 0
    episodes: int = 0
    prefilled: bool = False
    pretrained: int = 0
    random_return: float | None = None
    next_evaluation: int = 0
    last_evaluation: int = -1
    last_return: float | None = None
    last_success: float | None = None
    best_return: float | None = None
    next_checkpoint: int = 0
    restores: int = 0
    truncated_episodes: int = 0
    tallied: int = 0
    tallies: dict[str, float] = field(default_factory=dict)

    def count_episode(self, tally: Mapping[str, float]) -> None:
        """Counts a finished episode.

        Args:
            tally: what its environment has counted in it, by name; empty where it counts nothing.
        """
        self.episodes += 1
        self.tallied += bool(tally)
        for name, value in tally.items():
            self.tallies[name] = self.tallies.get(name, 0.0) + float(value)

    def state_dict(self) -> dict[str, object]:
        """All fields."""
        return asdict(self)

    def load_state_dict(self, state: dict[str, object]) -> None:
        """Restores `state_dict`; what one of an older version lacks is as at the beginning."""
        begun = Progress().state_dict()
        for each in fields(self):
            setattr(self, each.name, state.get(each.name, begun[each.name]))


def next_multiple(step: int, every: int) -> int:
    """The smallest multiple of `every` above `step`."""
    return (step // every + 1) * every


def crossed(before: int, after: int, every: int) -> bool:
    """Whether a multiple of `every` lies in (before, after]."""
    return before // every != after // every
