"""Rollouts of the policy inside the world model."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from harmony.behavior.actor import Actor
from harmony.behavior.targets import TargetPart
from harmony.models.world_model import WorldModel
from harmony.types import Latent, Rollout


class ImaginationNoise(NamedTuple):
    """Random numbers of a rollout, drawn before it.

    Attributes:
        action: (H, N, noise_size of the actor).
        latent: (H, N, noise_size of the latent).
    """

    action: Tensor
    latent: Tensor


def draw_noise(
    world_model: WorldModel, actor: Actor, horizon: int, count: int, generator: torch.Generator
) -> ImaginationNoise:
    """Noise for rollouts of `horizon` steps from N = `count` states, on the generator's device."""
    shape, device = (horizon, count), generator.device
    return ImaginationNoise(
        actor.draw_noise(shape, generator, device),
        world_model.rssm.latent.draw_noise(shape, generator, device),
    )


def imagine(
    world_model: WorldModel,
    actor: Actor,
    start: Latent,
    is_terminal: Tensor,
    noise: ImaginationNoise,
    targets: TargetPart,
    *,
    through_dynamics: bool,
) -> Rollout:
    """Follows the policy from each start state for H steps.

    Args:
        world_model: its weights should be frozen by the caller.
        actor: sees feats without gradient.
        start: (N, D) and (N, Z), without graph.
        is_terminal: (N,) bool, of the start states.
        noise: random numbers for H steps.
        targets: says of which states rewards and discounts are read.
        through_dynamics: whether actions carry gradients into the dynamics.

    Source: DreamerV2, section 2; `agents/base.py: imagine` of the torch original. Differs: rewards,
    discounts and policy statistics are kept only where a loss reads them.
    """
    rssm = world_model.rssm
    latent = start
    feats = [rssm.get_feat(start)]
    stats: list[Tensor] = []
    actions: list[Tensor] = []
    for action_noise, latent_noise in zip(*noise, strict=True):
        stats.append(actor.stats(feats[-1].detach()))
        action = actor.sample(stats[-1], action_noise)
        actions.append(action)
        latent = rssm.img_step(
            latent, action if through_dynamics else action.detach(), latent_noise
        )
        feats.append(rssm.get_feat(latent))
    feat = torch.stack(feats, 1)
    discount = world_model.cont.discount(feat[:, targets.discounts], is_terminal)
    return Rollout(
        feat=feat,
        action=torch.stack(actions, 1),
        stats=torch.stack(stats, 1),
        reward=world_model.reward.pred(feat[:, targets.rewards]),
        discount=discount,
        weight=targets.weight(discount, world_model.cont.certain).detach(),
    )
