"""The world model: encoder, dynamics, and what the latent must predict."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from harmony.models.decoders import Decoder
from harmony.models.dynamics_loss import BalancedKL, DynamicsAndRepresentation
from harmony.models.encoders import Encoder
from harmony.models.heads import ConstantDiscount, ContinueHead, DiscountHead, RewardHead
from harmony.models.objectives.prototypes import Prototypes
from harmony.models.objectives.reconstruction import Reconstruction
from harmony.models.rssm import RSSM
from harmony.models.views import OneView, Views
from harmony.ops.images import float_to_image, image_to_float
from harmony.types import Batch, Latent, Losses, Metrics


class ModelNoise(NamedTuple):
    """Random numbers of a pass over a batch; V is B times the number of views.

    Attributes:
        latent: (V, T, noise_size of the latent).
        view: (V, ...), of the views; None where they need none.
    """

    latent: Tensor
    view: Tensor | None = None


class Modelled(NamedTuple):
    """What one pass over a batch gives; V is B times the number of views.

    Attributes:
        losses: unscaled, by name; (V, T) or ().
        latent: posterior states, (V, T, ...), with their graph.
        metrics: () each.
        batch: what was modelled, (V, T, ...).
        obs: its observations as floats, images channel first and augmented.
    """

    losses: Losses
    latent: Latent
    metrics: Metrics
    batch: Batch
    obs: dict[str, Tensor]


class WorldModel(nn.Module):
    """Encoder, RSSM, observation objective, reward and continue heads.

    Args:
        encoder: observations to embeds.
        rssm: the dynamics.
        dynamics_loss: ties prior and posterior.
        objective: what the latent must know of the observations.
        reward: reward head.
        cont: continue head, or a constant discount.
        views: of each sequence; one where it is not given.
    """

    def __init__(
        self,
        *,
        encoder: Encoder,
        rssm: RSSM,
        dynamics_loss: BalancedKL | DynamicsAndRepresentation,
        objective: Reconstruction | Prototypes,
        reward: RewardHead,
        cont: ConstantDiscount | DiscountHead | ContinueHead,
        views: Views | None = None,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.rssm = rssm
        self.dynamics_loss = dynamics_loss
        self.objective = objective
        self.reward = reward
        self.cont = cont
        self.views = views or OneView()

    def observations(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The observations of a batch as floats, images channel first."""
        images = {key: image_to_float(batch[key]) for key in self.encoder.images}
        return images | {key: batch[key].float() for key in self.encoder.vectors}

    def draw_noise(self, batch: Batch, generator: torch.Generator) -> ModelNoise:
        """What `losses` needs for a batch."""
        action = batch["action"]
        shape = (action.shape[0] * self.views.count, action.shape[1])
        latent = self.rssm.latent.draw_noise(shape, generator, action.device)
        return ModelNoise(latent, self.views.draw_noise(shape[0], generator, action.device))

    def losses(self, batch: Batch, noise: ModelNoise, start: Latent | None = None) -> Modelled:
        """One pass over a batch.

        Args:
            batch: see `harmony.types.Batch`.
            noise: see `draw_noise`.
            start: states before the sequences, (V, D) and (V, Z); `initial` where there is none.
        """
        batch = self.views.repeat(batch)
        obs = self.observations(batch)
        if noise.view is not None:
            for key in self.encoder.images:
                obs[key] = self.views.augment(obs[key], noise.view)
        embed = self.encoder(obs)
        observed = self.rssm.observe(embed, batch["action"], batch["is_first"], noise.latent, start)
        feat = self.rssm.get_feat(observed.latent)
        losses, metrics = self.dynamics_loss(self.rssm.latent, observed.post, observed.prior)
        losses |= self.objective.losses(feat, embed, obs)
        losses |= self.reward.losses(feat, batch["reward"])
        losses |= self.cont.losses(feat, batch["is_terminal"])
        return Modelled(losses, observed.latent, metrics, batch, obs)

    def after_update(self) -> None:
        """What follows the weights once they were trained."""
        self.objective.after_update(self.encoder)

    @torch.no_grad()
    def open_loop(self, batch: Batch, noise: Tensor, context: int, decoder: Decoder) -> Tensor:
        """Sees some steps, then predicts the rest from the actions alone.

        Args:
            batch: see `harmony.types.Batch`.
            noise: (B, T, noise_size of the latent).
            context: steps that are seen, in [1, T).
            decoder: from feats to observations.

        Returns:
            (T, 3 * Hi, B * Wi, C) uint8: a column a sequence; truth, model and error from the top.
        """
        key = self.encoder.images[0]
        truth = image_to_float(batch[key])
        model = decoder(self.open_loop_feats(batch, noise, context))[key].float()
        video = torch.cat([truth, model, (model - truth) / 2], -2)
        return float_to_image(video).permute(1, 2, 0, 3, 4).flatten(2, 3)

    @torch.no_grad()
    def open_loop_feats(self, batch: Batch, noise: Tensor, context: int) -> Tensor:
        """(B, T, F): posterior feats of the steps that are seen, prior feats after them.

        Args:
            batch: see `harmony.types.Batch`.
            noise: (B, T, noise_size of the latent).
            context: steps that are seen, in [1, T).
        """
        seen = {key: value[:, :context] for key, value in self.observations(batch).items()}
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
        return torch.stack(feats, 1)
