"""Observations are modelled by the clusters that they belong to, without a decoder."""

from __future__ import annotations

import copy
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from harmony.models.encoders import Encoder, Shapes, image_keys
from harmony.nn.layers import Init, Linear
from harmony.ops.sinkhorn import sinkhorn
from harmony.peers import WholeBatch
from harmony.types import Losses

SHORTEST = 1e-6  # the original's: shorter vectors are divided by it instead of their length


def unit(x: Tensor) -> Tensor:
    """(..., n) to vectors of length one; a zero stays zero, with a large but finite gradient."""
    return F.normalize(x, dim=-1, eps=SHORTEST)


class Prototypes(nn.Module, WholeBatch):
    """Predicts to which prototypes two views of an image belong, from embed and from feat.

    `swav`: the embed of one view predicts the clusters of the other. `temp`: the feat predicts the
    clusters of its own view, and so must carry them through time. `norm`: projections keep length
    one. The clusters are Sinkhorn targets from a slow copy of encoder and projection.

    Args:
        encoder: of the world model; copied.
        feat_size: F.
        shapes: of the observations, images channel last.
        prototypes: their number K.
        size: of prototypes and projections.
        temperature: of the predicted distributions.
        sinkhorn_eps: temperature of the targets.
        sinkhorn_iterations: of the balancing.
        warm_up: first steps of each sequence that count for no cluster, the state being blank.
        freeze_updates: updates during which the prototypes stay.
        ema_every_updates: updates between two steps of the slow copy.
        ema_fraction: size of such a step.
        init: initialiser of the projections.

    Raises:
        ValueError: no images.

    Source: DreamerPro, `common/nets.py: RSSM.proto_loss` and `dreamerv2/agent.py: WorldModel`.
    Differs: the slow copy begins as a copy, not with weights of its own until the first update.
    """

    updates: Tensor

    def __init__(  # noqa: PLR0913 - each argument is one documented key
        self,
        encoder: Encoder,
        feat_size: int,
        shapes: Shapes,
        *,
        prototypes: int = 2500,
        size: int = 32,
        temperature: float = 0.1,
        sinkhorn_eps: float = 0.05,
        sinkhorn_iterations: int = 3,
        warm_up: int = 1,
        freeze_updates: int = 10_000,
        ema_every_updates: int = 1,
        ema_fraction: float = 0.05,
        init: Init = "glorot",
    ) -> None:
        super().__init__()
        if not image_keys(shapes):
            raise ValueError(
                f"the objective needs images, since it compares shifted views; the env gives "
                f"{sorted(shapes)}: take objective=reconstruction, or an env with images"
            )
        self.decoder = None
        self.temperature = temperature
        self.sinkhorn_eps = sinkhorn_eps
        self.sinkhorn_iterations = sinkhorn_iterations
        self.warm_up = warm_up
        self.freeze_updates = freeze_updates
        self.ema_every_updates = ema_every_updates
        self.ema_fraction = ema_fraction
        self.obs_proj = Linear(encoder.embed_size, size, init=init)
        self.feat_proj = Linear(feat_size, size, init=init)
        self.prototypes = nn.Parameter(torch.randn(prototypes, size))
        self.ema_encoder = copy.deepcopy(encoder).requires_grad_(False)
        self.ema_proj = copy.deepcopy(self.obs_proj).requires_grad_(False)
        self.register_buffer("updates", torch.zeros(()))

    def losses(self, feat: Tensor, embed: Tensor, obs: Mapping[str, Tensor]) -> Losses:
        """{"swav": (), "temp": (), "norm": ()}.

        Args:
            feat: (2 B, T, F), of both views: first all sequences, then all of them again.
            embed: (2 B, T, E).
            obs: images (2 B, T, C, Hi, Wi) around zero, shifted; vectors (2 B, T, n).
        """
        with torch.no_grad():
            self.prototypes.copy_(unit(self.prototypes))
            targets = self._targets(obs)
        # Frozen on the device: the value is that of the prototypes, the gradient is cut.
        learns = (self.updates >= self.freeze_updates).float()
        prototypes = self.prototypes * learns + self.prototypes.detach() * (1 - learns)
        obs_logit, obs_norm = self._logit(self.obs_proj(embed), prototypes)
        feat_logit, feat_norm = self._logit(self.feat_proj(feat), prototypes)
        swapped = torch.cat(targets.chunk(2)[::-1])
        return {
            "swav": -(swapped * obs_logit).sum(-1).mean(),
            "temp": -(targets * feat_logit).sum(-1).mean(),
            "norm": (obs_norm - 1).square().mean() + (feat_norm - 1).square().mean(),
        }

    def _targets(self, obs: Mapping[str, Tensor]) -> Tensor:
        """(2 B, T - warm_up, K): clusters by the slow copy, balanced within each view."""
        proj = unit(self.ema_proj(self.ema_encoder(obs)).float())
        with torch.autocast(proj.device.type, enabled=False):
            scores = (proj @ self.prototypes.T)[:, self.warm_up :]
        views = [
            sinkhorn(
                self.peers.gather(view.flatten(0, 1)), self.sinkhorn_eps, self.sinkhorn_iterations
            )
            for view in scores.chunk(2)
        ]
        return torch.cat([self.peers.own(view) for view in views]).reshape(scores.shape)

    def _logit(self, proj: Tensor, prototypes: Tensor) -> tuple[Tensor, Tensor]:
        """Log-probabilities (2 B, T - warm_up, K) and lengths (2 B, T) of projections."""
        proj = proj.float()
        with torch.autocast(proj.device.type, enabled=False):
            scores = unit(proj)[:, self.warm_up :] @ prototypes.T
        return torch.log_softmax(scores / self.temperature, -1), torch.linalg.vector_norm(
            proj, dim=-1
        )

    @torch.no_grad()
    def after_update(self, encoder: Encoder) -> None:
        """Lets the slow copy follow, and counts the update; nothing waits for the device.

        Args:
            encoder: the trained one.
        """
        slow = [*self.ema_encoder.parameters(), *self.ema_proj.parameters()]
        fast = [*encoder.parameters(), *self.obs_proj.parameters()]
        due = (self.updates % self.ema_every_updates == 0).float()
        # The first step copies.
        step = torch.where(self.updates == 0, torch.ones_like(due), due * self.ema_fraction)
        for own, theirs in zip(slow, fast, strict=True):
            own.lerp_(theirs, step)
        self.updates += 1
