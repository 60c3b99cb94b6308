"""Episodes to probe a world model with, and what the model makes of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import gymnasium
import numpy as np
import torch

from harmony.agent import DreamerAgent
from harmony.envs.stream import EpisodeStream, Record
from harmony.errors import CheckpointError, EnvError
from harmony.ops.images import float_to_image
from harmony.training.collect import Player, random_action
from harmony.training.seeding import Seeds
from harmony.types import Batch, Latent, to_device

Env = gymnasium.Env[dict[str, np.ndarray], Any]
State = dict[str, np.ndarray]
CHUNK = 64
"""Steps that are filtered at once; the state is carried over, so it changes only the memory."""


class Watched(NamedTuple):
    """An episode.

    Attributes:
        episode: counted from 0.
        is_random: whether its actions were random.
        records: (T, ...) by name, see `harmony.envs.stream.Record`.
        states: (T, n) float64 by quantity; empty where the environment does not tell.
    """

    episode: int
    is_random: bool
    records: dict[str, np.ndarray]
    states: State

    @property
    def length(self) -> int:
        """Records, T: agent steps and the first observation."""
        return len(self.records["reward"])


class Window(NamedTuple):
    """Consecutive steps of an episode.

    Attributes:
        episode: which.
        is_random: whether its actions were random.
        start: agent step of the first one.
        records: (T, ...) by name; `is_first` at the first step only, as the replay gives them.
    """

    episode: int
    is_random: bool
    start: int
    records: dict[str, np.ndarray]


class Imagined(NamedTuple):
    """What a world model predicts of a window.

    Attributes:
        reward: (T,) predicted, transformed as the reward head has learned it.
        true_reward: (T,), transformed likewise.
        frames: (T, Hi, Wi, C) uint8, None where nothing decodes images.
    """

    reward: np.ndarray
    true_reward: np.ndarray
    frames: np.ndarray | None


def check_state(env: Env) -> None:
    """Makes sure that an environment tells its state.

    Raises:
        EnvError: it does not.
    """
    if not hasattr(env.unwrapped, "state"):
        raise EnvError(
            "target=state needs an environment with a method state(), got "
            f"{type(env.unwrapped).__name__}; write one (docs/adding_an_env.md) or take "
            "target=reward"
        )


def watch(
    env: Env, agent: DreamerAgent, seeds: Seeds, episodes: int, random: float
) -> Iterator[Watched]:
    """Episodes of an agent's most likely actions, and of random ones between them.

    Seeds have names of their own, so neither training nor evaluation has seen these episodes. An
    episode does not depend on how many there are.

    Args:
        env: used by nobody else.
        agent: acts; its own random streams are not touched.
        seeds: decide the episodes.
        episodes: how many.
        random: share of them that act at random, in [0, 1].
    """
    stream = EpisodeStream(env, lambda k: seeds.integer("probe", k))
    for k in range(episodes):
        is_random = math.floor((k + 1) * random + 1e-9) > math.floor(k * random + 1e-9)
        policy = _random(env, seeds, k) if is_random else _player(agent, seeds, k)
        yield Watched(k, is_random, *_play(stream, policy))


def _random(env: Env, seeds: Seeds, index: int) -> Callable[[Record], np.ndarray]:
    rng = seeds.numpy("probe random", index)
    return lambda _: random_action(env.action_space, rng)


def _player(agent: DreamerAgent, seeds: Seeds, index: int) -> Callable[[Record], np.ndarray]:
    return Player(agent, "eval", seeds.torch(agent.device, "probe policy", index)).act


def _play(
    stream: EpisodeStream, policy: Callable[[Record], np.ndarray]
) -> tuple[dict[str, np.ndarray], State]:
    """Records and states of one episode."""
    tell: Callable[[], State] = getattr(stream.env.unwrapped, "state", dict)
    records, states = [stream.reset()], [tell()]
    while not stream.needs_reset:
        records.append(stream.step(policy(records[-1])))
        states.append(tell())
    return (
        {key: np.stack([record[key] for record in records]) for key in records[0]},
        {
            name: np.stack([np.ravel(state[name]) for state in states]).astype(np.float64)
            for name in states[0]
        },
    )


def cut_window(watched: Watched, length: int, seeds: Seeds) -> Window:
    """Some steps of an episode, from a random one on.

    Args:
        watched: of at least `length` records.
        length: T.
        seeds: decide where.
    """
    rng = seeds.numpy("probe window", watched.episode)
    start = int(rng.integers(watched.length - length + 1))
    records = {key: x[start : start + length].copy() for key, x in watched.records.items()}
    records["is_first"][0] = True
    return Window(watched.episode, watched.is_random, start, records)


def _as_batch(records: dict[str, np.ndarray], device: torch.device) -> Batch:
    """One sequence as a batch, (1, T, ...)."""
    return to_device({key: torch.from_numpy(x[None]) for key, x in records.items()}, device)


@torch.no_grad()
def filtered_feats(agent: DreamerAgent, watched: Watched, seeds: Seeds) -> np.ndarray:
    """(T, F) float32: feats of the posterior states of an episode.

    Args:
        agent: its world model filters; its own random streams are not touched.
        watched: the episode.
        seeds: decide the samples.

    Raises:
        CheckpointError: they are not finite.
    """
    model = agent.world_model
    batch = _as_batch(watched.records, agent.device)
    shape = (1, watched.length)
    generator = seeds.torch(agent.device, "probe feats", watched.episode)
    noise = model.rssm.latent.draw_noise(shape, generator, agent.device)
    start: Latent | None = None
    feats: list[torch.Tensor] = []
    for begin in range(0, shape[1], CHUNK):
        part = {key: x[:, begin : begin + CHUNK] for key, x in batch.items()}
        with agent.precision.autocast(agent.device):
            embed = model.encoder(model.observations(part))
            latent = model.rssm.observe(
                embed, part["action"], part["is_first"], noise[:, begin : begin + CHUNK], start
            ).latent
        feats.append(model.rssm.get_feat(latent)[0].float())
        start = Latent(latent.deter[:, -1], latent.stoch[:, -1])
    array: np.ndarray = torch.cat(feats).cpu().numpy()
    if not np.isfinite(array).all():
        raise CheckpointError(
            f"expected finite feats, got others in episode {watched.episode}: the weights are bad; "
            "take another checkpoint"
        )
    return array


@torch.no_grad()
def imagine(agent: DreamerAgent, window: Window, seeds: Seeds, context: int) -> Imagined:
    """Sees the first steps of a window, then predicts the rest from the actions alone.

    Args:
        agent: its own random streams are not touched.
        window: the steps.
        seeds: decide the samples.
        context: steps that are seen, in [1, T).
    """
    model = agent.world_model
    batch = _as_batch(window.records, agent.device)
    generator = seeds.torch(agent.device, "probe imagination", window.episode)
    shape = (1, len(window.records["reward"]))
    noise = model.rssm.latent.draw_noise(shape, generator, agent.device)
    decoder = model.objective.decoder or agent.probe.decoder
    frames: np.ndarray | None = None
    with agent.precision.autocast(agent.device):
        feats = model.open_loop_feats(batch, noise, context)
        reward = model.reward.pred(feats)[0]
        if decoder is not None and model.encoder.images:
            frames = float_to_image(decoder(feats)[model.encoder.images[0]])[0].cpu().numpy()
    truth = model.reward.target(batch["reward"])[0]
    return Imagined(reward.float().cpu().numpy(), truth.cpu().numpy(), frames)
