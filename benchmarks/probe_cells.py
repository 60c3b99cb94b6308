"""Probes that an agent must solve: how each is set up, and what counts as its answer.

Networks are tiny and learning rates large, so that an answer takes seconds. Everything else is the
algorithm's own but for what is written here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from harmony.behavior.targets import OwnReward
from harmony.training.loop import Trainer
from harmony.types import Batch, Latent, to_device

ALGORITHMS = ("dreamerv2", "dreamerv3", "dreamerv3_2025", "dreamerpro")
HARMONIES = ("on", "off")
LENGTH = 4
"""Agent steps in an episode: with the first one, five records."""
DISCOUNT = 0.8
EPISODES = 20
"""Of an evaluation."""
BATCHES = 8
"""From the replay, for a reading of predictions."""

FIXED = (
    "size=micro", "tracking=none", "device=cpu", "env=probe",
    "env.image_size=8", f"env.length={LENGTH}", f"algorithm.cont.discount={DISCOUNT}",
    "replay.storage=memory", "replay.batch_size=16", f"replay.batch_length={LENGTH + 1}",
    "training.env_steps=1_000_000", "training.prefill_agent_steps=2000",
    "training.pretrain_updates=0", "training.train_every_agent_steps=1",
    "training.train_ratio=null", "evaluation.random_episodes=0",
    "evaluation.every_env_steps=1_000_000", "evaluation.video=false",
)  # fmt: skip
SEPARATE = tuple(f"algorithm.optimizer.{part}.lr=3e-3" for part in ("model", "critic"))
PLAIN = (
    *SEPARATE,
    "algorithm.optimizer.actor.lr=1e-3",
    "algorithm.slow_critic.every_updates=10",
    "algorithm.encoder.cnn.kernels=[4,3]",
)
OF_THE_ALGORITHM: Mapping[str, tuple[str, ...]] = {
    "dreamerv2": (*PLAIN, "algorithm.decoder.cnn.kernels=[3,4]"),
    "dreamerv3": (*SEPARATE, "algorithm.optimizer.actor.lr=1e-3"),
    "dreamerv3_2025": (
        "algorithm.optimizer.joint.lr=3e-3",
        "algorithm.optimizer.joint.warmup_updates=10",
        f"algorithm.replay_value.discount={DISCOUNT}",
        "algorithm.rssm.cell.blocks=2",
        *(f"algorithm.{part}.cnn.multiples=[2]" for part in ("encoder", "decoder")),
        "algorithm.decoder.cnn.blocks=2",
    ),
    "dreamerpro": (
        *PLAIN,
        "algorithm.objective.prototypes=16",
        "algorithm.objective.size=8",
        "algorithm.objective.freeze_updates=100",
        "algorithm.objective.warm_up=0",  # else the first picture, which tells all, counts nothing
    ),
}
WHOLE = (
    f"algorithm.behavior.horizon={LENGTH + 1}",
    "replay.sequences=episodes",  # who never saw the beginning can't know what it meant
)
"""Episodes from the first record to the last."""
ENDING = (
    *WHOLE,
    "env.terminates=true",  # what follows a cut is unknown, and an agent may dream of more pay
)
"""Likewise, and the last one is terminal."""
LEARNS_THE_END = dict.fromkeys(
    ("dreamerv2", "dreamerpro"), ("cont=learned", f"algorithm.cont.discount={DISCOUNT}")
)
"""A head that predicts the end, where the algorithm has none."""


class Reading(NamedTuple):
    """What an agent answers.

    Attributes:
        solved: whether that meets the criterion.
        shown: the numbers.
    """

    solved: bool
    shown: str


class Seen(NamedTuple):
    """Batches of the replay as the world model sees them.

    Attributes:
        batch: see `harmony.types.Batch`.
        feat: (B, T, F), posterior.
        prior_feat: (B, T, F), with a sample of the prior in place of the posterior's.
        position: (B, T), records since the sequence or an episode in it began.
    """

    batch: Batch
    feat: Tensor
    prior_feat: Tensor
    position: Tensor


def look(trainer: Trainer) -> Seen:
    """Batches that are always drawn by the same random numbers, other ones than training's."""
    rng = trainer.seeds.numpy("probe")
    drawn = [trainer.replay.sample(rng) for _ in range(BATCHES)]
    arrays = {key: np.concatenate([each[key] for each in drawn]) for key in drawn[0]}
    agent = trainer.agent
    batch = to_device({k: torch.from_numpy(v) for k, v in arrays.items()}, agent.device)
    model, generator = agent.world_model, trainer.seeds.torch(agent.device, "probe")
    rssm, shape = model.rssm, tuple(batch["reward"].shape)
    noises = [rssm.latent.draw_noise(shape, generator, agent.device) for _ in range(2)]
    embed = model.encoder(model.observations(batch))
    latent, _, prior = rssm.observe(embed, batch["action"], batch["is_first"], noises[0])
    guess = Latent(latent.deter, rssm.latent.sample(prior, noises[1]))
    steps = torch.arange(shape[1], device=agent.device).expand(shape)
    begun = torch.where(batch["is_first"], steps, 0).cummax(1).values
    return Seen(batch, rssm.get_feat(latent), rssm.get_feat(guess), steps - begun)


def expected_value(step: int, *, own_reward: bool, terminates: bool) -> float:
    """What a state is worth where every agent step gives 1.

    Args:
        step: of the episode; 0 is the first picture, which comes without a reward.
        own_reward: whether the value holds the reward that came with the state.
        terminates: whether nothing follows the last step; an episode that is cut goes on for ever.
    """
    left = DISCOUNT ** (LENGTH - step) if terminates else 0.0
    future = (1 - left) / (1 - DISCOUNT)
    return float(step > 0) + DISCOUNT * future if own_reward else future


@torch.no_grad()
def read_values(trainer: Trainer) -> Reading:
    """The critic's mean value at each step of an episode but the last."""
    seen = look(trainer)
    values = trainer.agent.behavior.critic.pred(seen.feat)
    own_reward = isinstance(trainer.agent.behavior.convention, OwnReward)
    terminates = bool(seen.batch["is_terminal"].any())
    shown: list[str] = []
    errors: list[float] = []
    for step in range(LENGTH):
        value = float(values[seen.position == step].mean())
        expected = expected_value(step, own_reward=own_reward, terminates=terminates)
        errors.append(abs(value / expected - 1))
        shown.append(f"{value:.2f} ({expected:.2f})")
    return Reading(max(errors) <= 0.1, ", ".join(shown))


@torch.no_grad()
def read_rewards(trainer: Trainer) -> Reading:
    """The reward head's errors, of posterior states and of prior ones."""
    seen = look(trainer)
    # The first picture of an episode comes without a reward, whatever it shows; and where a
    # sequence begins inside an episode, its first record looks just like one.
    paid = seen.position > 0
    reward, head = seen.batch["reward"][paid], trainer.agent.world_model.reward
    known = float((head.pred(seen.feat[paid]) - reward).abs().mean())
    guessed = float((head.pred(seen.prior_feat[paid]) - reward).abs().mean())
    return Reading(known < 0.1 and guessed > 0.4, f"{known:.3f}, prior {guessed:.2f}")


def read_return(best: float) -> Callable[[Trainer], Reading]:
    """The mean return of an evaluation, as the algorithm evaluates."""

    def read(trainer: Trainer) -> Reading:
        agent = trainer.agent
        found = trainer.evaluator.evaluate(agent, agent.updates, EPISODES).mean_return
        return Reading(found >= 0.8 * best, f"{found:.2f}")

    return read


class Probe(NamedTuple):
    """A task with a known answer.

    Attributes:
        env: class of the environment.
        criterion: in words.
        read: the answer.
        limits: updates by algorithm.
        overrides: of the configuration.
        more: likewise, by algorithm.
    """

    env: str
    criterion: str
    read: Callable[[Trainer], Reading]
    limits: Mapping[str, int]
    overrides: tuple[str, ...] = ()
    more: Mapping[str, tuple[str, ...]] = {}


def _limits(*updates: int) -> dict[str, int]:
    return dict(zip(ALGORITHMS, updates, strict=True))


CHOICES = ("env.discrete=true", "env.num_actions=4", "algorithm.behavior.eval_action=sample")
VALUES = "critic's mean value within 10 % of the analytic one, at each step"
PROBES: Mapping[str, Probe] = {
    "constant_reward": Probe(
        "ConstantReward", VALUES, read_values, _limits(1000, 1500, 1500, 1000), WHOLE
    ),
    "constant_reward_terminal": Probe(
        "ConstantReward",
        VALUES,
        read_values,
        _limits(1000, 1500, 1500, 1000),
        ENDING,
        LEARNS_THE_END,
    ),
    "observation_reward": Probe(
        "ObservationReward",
        "reward's mean error below 0.1 where the picture is seen, above 0.4 where not",
        read_rewards,
        _limits(1000, 1000, 1000, 1000),
    ),
    "action_reward": Probe(
        "ActionReward",
        "return at least 3.2 of 4",
        read_return(4.0),
        _limits(1000, 1000, 1000, 1000),
    ),
    "action_reward_discrete": Probe(
        "ActionReward",
        "return at least 3.2 of 4",
        read_return(4.0),
        _limits(1000, 1000, 1000, 1000),
        CHOICES,
    ),
    "delayed_reward": Probe(
        "DelayedReward",
        "return at least 0.8 of 1",
        read_return(1.0),
        _limits(1000, 1500, 1500, 1000),
        (*ENDING, "+env.delay=2"),
        LEARNS_THE_END,
    ),
    "memory_reward": Probe(
        "MemoryReward",
        "return at least 1.6 of 2",
        read_return(2.0),
        _limits(1000, 1500, 1500, 1000),
        (*ENDING, *CHOICES, "+env.recall_steps=2", "algorithm.behavior.actor_entropy=3e-3"),
        LEARNS_THE_END,
    ),
}


def overrides_of(algorithm: str, harmony: str, name: str) -> list[str]:
    """The overrides of a cell."""
    probe = PROBES[name]
    return [
        f"algorithm={algorithm}",
        f"harmony={harmony}",
        *FIXED,
        f"env._target_=harmony.envs.probe.{probe.env}",
        *OF_THE_ALGORITHM[algorithm],
        *probe.overrides,
        *probe.more.get(algorithm, ()),
    ]
