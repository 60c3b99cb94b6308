"""The world model: encoder, dynamics, and what the latent must predict."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from harmony.models.dynamics_loss import BalancedKL
from harmony.models.encoders import Encoder
from harmony.models.heads import ConstantDiscount, DiscountHead, RewardHead
from harmony.models.objectives.reconstruction import Reconstruction
from harmony.models.rssm import RSSM
from harmony.ops.images import float_to_image, image_to_float
from harmony.types import Batch, Latent, Losses, Metrics


class Modelled(NamedTuple):
    """What one pass over a batch gives.

    Attributes:
        losses: unscaled, by name; (B, T) or ().
        latent: posterior states, (B, T, ...), with their graph.
        metrics: () each.
    """

    losses: Losses
    latent: Latent
    metrics: Metrics


class WorldModel(nn.Module):
    """Encoder, RSSM, observation objective, reward and continue heads.

    Args:
        encoder: observations to embeds.
        rssm: the dynamics.
        dynamics_loss: ties prior and posterior.
        objective: what the latent must know of the observations.
        reward: reward head.
        cont: continue head, or a constant discount.
    """

    def __init__(
        self,
        *,
        encoder: Encoder,
        rssm: RSSM,
        dynamics_loss: BalancedKL,
        objective: Reconstruction,
        reward: RewardHead,
        cont: ConstantDiscount | DiscountHead,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.rssm = rssm
        self.dynamics_loss = dynamics_loss
        self.objective = objective
        self.reward = reward
        self.cont = cont

    def observations(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The observations of a batch as floats, images channel first."""
        images = {key: image_to_float(batch[key]) for key in self.encoder.images}
        return images | {key: batch[key].float() for key in self.encoder.vectors}

    def draw_noise(self, batch: Batch, generator: torch.Generator) -> Tensor:
        """(B, T, noise_size), what `losses` needs for a batch."""
        action = batch["action"]
        shape = (action.shape[0], action.shape[1])
        return self.rssm.latent.draw_noise(shape, generator, action.device)

    def losses(self, batch: Batch, noise: Tensor, start: Latent | None = None) -> Modelled:
        """One pass over a batch.

        Args:
            batch: see `harmony.types.Batch`.
            noise: (B, T, noise_size).
            start: states before the sequences, (B, D) and (B, Z); zeros where there is none.
        """
        obs = self.observations(batch)
        observed = self.rssm.observe(
            self.encoder(obs), batch["action"], batch["is_first"], noise, start
        )
        feat = self.rssm.get_feat(observed.latent)
        losses, metrics = self.dynamics_loss(self.rssm.latent, observed.post, observed.prior)
        losses |= self.objective.losses(feat, obs)
        losses |= self.reward.losses(feat, batch["reward"])
        losses |= self.cont.losses(feat, batch["is_terminal"])
        return Modelled(losses, observed.latent, metrics)

    @torch.no_grad()
    def open_loop(self, batch: Batch, noise: Tensor, context: int) -> Tensor:
        """Sees some steps, then predicts the rest from the actions alone.

        Args:
            batch: see `harmony.types.Batch`.
            noise: (B, T, noise_size).
            context: steps that are seen, in [1, T).

        Returns:
            (T, 3 * Hi, B * Wi, C) uint8: a column a sequence; truth, model and error from the top.
        """
        obs = self.observations(batch)
        seen = {key: value[:, :context] for key, value in obs.items()}
        observed = self.rssm.observe(
            self.encoder(seen),
            batch["action"][:, :context],
            batch["is_first"][:, :context],
            noise[:, :context],
        )
        latent = Latent(observed.latent.deter[:, -1], observed.latent.stoch[:, -1])
        feats = list(self.rssm.get_feat(observed.latent).unbind(1))
        for t in range(context, noise.shape[1]):
            latent = self.rssm.img_step(latent, batch["action"][:, t], noise[:, t])
            feats.append(self.rssm.get_feat(latent))
        key = self.encoder.images[0]
        truth = obs[key]
        model = self.objective.decoder(torch.stack(feats, 1))[key].float()
        video = torch.cat([truth, model, (model - truth) / 2], -2)
        return float_to_image(video).permute(1, 2, 0, 3, 4).flatten(2, 3)
