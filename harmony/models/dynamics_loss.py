"""Losses that tie the prior to the posterior."""

from __future__ import annotations

from torch import Tensor

from harmony.models.latents import LatentPart
from harmony.ops.kl import balanced_kl
from harmony.peers import WholeBatch
from harmony.types import Losses, Metrics


class BalancedKL(WholeBatch):
    """DreamerV2's KL loss: balanced, with free nats on the batch mean.

    Args:
        balance: share that trains the prior, in [0, 1].
        free_nats: nats of the mean KL that cost nothing.

    Source: DreamerV2, Algorithm 2; `kl_loss` of the torch original (`forward` off, `free_avg` on).
    """

    def __init__(self, *, balance: float = 0.8, free_nats: float = 1.0) -> None:
        self.balance = balance
        self.free_nats = free_nats

    def __call__(self, latent: LatentPart, post: Tensor, prior: Tensor) -> tuple[Losses, Metrics]:
        """Losses by name, () each, and metrics.

        Args:
            latent: kind of the stochastic state, which knows its divergence.
            post: (B, T, stats_size).
            prior: (B, T, stats_size).
        """
        post_side, prior_side = latent.kl_sides(post, prior)
        means = self.peers.means({"post": post_side, "prior": prior_side})
        losses = {"kl": balanced_kl(means["post"], means["prior"], self.balance, self.free_nats)}
        return losses, {"model/kl": post_side.detach().mean()}


class DynamicsAndRepresentation:
    """DreamerV3's two KL losses, with free nats a step.

    `dyn` trains the prior towards the posterior, `rep` the posterior towards the prior.

    Args:
        free_nats: nats of each step's KL that cost nothing.

    Source: DreamerV3, `nets.py: RSSM.dyn_loss, rep_loss` (2023), `dreamerv3/rssm.py: loss` (2025).
    """

    def __init__(self, *, free_nats: float = 1.0) -> None:
        self.free_nats = free_nats

    def __call__(self, latent: LatentPart, post: Tensor, prior: Tensor) -> tuple[Losses, Metrics]:
        """{"dyn": (B, T), "rep": (B, T)} and metrics.

        Args:
            latent: kind of the stochastic state, which knows its divergence.
            post: (B, T, stats_size).
            prior: (B, T, stats_size).
        """
        post_side, prior_side = latent.kl_sides(post, prior)
        losses = {
            "dyn": prior_side.clamp_min(self.free_nats),
            "rep": post_side.clamp_min(self.free_nats),
        }
        return losses, {"model/kl": post_side.detach().mean()}


DynamicsLoss = BalancedKL | DynamicsAndRepresentation
