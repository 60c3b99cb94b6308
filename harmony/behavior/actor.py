"""Policies: from feats to distributions over actions."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from harmony.nn.layers import Act, Linear
from harmony.nn.mlp import MLP
from harmony.ops import truncated_normal
from harmony.ops.straight_through import straight_through_onehot


class Actor(Protocol):
    """A policy. `stats` are what it predicts of its distribution, (..., P) float32."""

    action_size: int
    noise_size: int

    def stats(self, feat: Tensor) -> Tensor:
        """(..., F) to (..., P)."""

    def draw_noise(
        self, shape: tuple[int, ...], generator: torch.Generator, device: torch.device
    ) -> Tensor:
        """(*shape, noise_size), what `sample` needs."""

    def sample(self, stats: Tensor, noise: Tensor) -> Tensor:
        """(..., A), with a gradient to stats."""

    def mode(self, stats: Tensor) -> Tensor:
        """(..., A), the most likely action."""

    def log_prob(self, stats: Tensor, action: Tensor) -> Tensor:
        """(...), in nats."""

    def entropy(self, stats: Tensor) -> Tensor:
        """(...), in nats."""


class TruncatedNormalActor(nn.Module):
    """Continuous actions in [-1, 1]: a normal distribution cut at the bounds.

    mean = tanh(x), std = 2 * sigmoid(y / 2) + min_std.

    Args:
        feat_size: F.
        action_size: A.
        layers: hidden layers.
        units: their width.
        act: activation.
        min_std: added to the standard deviation.

    Source: DreamerV2; `nets/modules.py: DistLayer` (trunc_normal) of the torch original.
    """

    def __init__(
        self,
        feat_size: int,
        action_size: int,
        *,
        layers: int = 4,
        units: int = 400,
        act: Act = "elu",
        min_std: float = 0.1,
    ) -> None:
        super().__init__()
        self.action_size = self.noise_size = action_size
        self.mlp = MLP(feat_size, layers=layers, units=units, act=act)
        self.mean = Linear(self.mlp.out_size, action_size)
        self.std = Linear(self.mlp.out_size, action_size)
        self.min_std = min_std

    def stats(self, feat: Tensor) -> Tensor:
        """(..., F) to (..., 2 A): location and scale before truncation."""
        hidden = self.mlp(feat)
        loc = torch.tanh(self.mean(hidden).float())
        scale = 2 * torch.sigmoid(self.std(hidden).float() / 2) + self.min_std
        return torch.cat([loc, scale], -1)

    def draw_noise(
        self, shape: tuple[int, ...], generator: torch.Generator, device: torch.device
    ) -> Tensor:
        """(*shape, A), uniform in [0, 1)."""
        return torch.rand((*shape, self.noise_size), generator=generator, device=device)

    def sample(self, stats: Tensor, noise: Tensor) -> Tensor:
        """(..., A), reparameterised."""
        loc, scale = stats.chunk(2, -1)
        return truncated_normal.sample(loc, scale, noise)

    def mode(self, stats: Tensor) -> Tensor:
        """(..., A), the location, which lies within the bounds."""
        return stats.chunk(2, -1)[0]

    def log_prob(self, stats: Tensor, action: Tensor) -> Tensor:
        """(...), summed over the action's components."""
        loc, scale = stats.chunk(2, -1)
        return truncated_normal.log_prob(action, loc, scale).sum(-1)

    def entropy(self, stats: Tensor) -> Tensor:
        """(...), summed over the action's components."""
        loc, scale = stats.chunk(2, -1)
        return truncated_normal.entropy(loc, scale).sum(-1)


class OneHotActor(nn.Module):
    """One of A actions as a one-hot vector, with straight-through gradients.

    Args:
        feat_size: F.
        action_size: A.
        layers: hidden layers.
        units: their width.
        act: activation.

    Source: DreamerV2; `core/dists.py: OneHotDist` of the torch original.
    """

    def __init__(
        self,
        feat_size: int,
        action_size: int,
        *,
        layers: int = 4,
        units: int = 400,
        act: Act = "elu",
    ) -> None:
        super().__init__()
        self.action_size = action_size
        self.noise_size = 1
        self.mlp = MLP(feat_size, layers=layers, units=units, act=act)
        self.logit = Linear(self.mlp.out_size, action_size)

    def stats(self, feat: Tensor) -> Tensor:
        """(..., F) to (..., A): normalised log-probabilities."""
        return torch.log_softmax(self.logit(self.mlp(feat)).float(), -1)

    def draw_noise(
        self, shape: tuple[int, ...], generator: torch.Generator, device: torch.device
    ) -> Tensor:
        """(*shape, 1), uniform in [0, 1)."""
        return torch.rand((*shape, self.noise_size), generator=generator, device=device)

    def sample(self, stats: Tensor, noise: Tensor) -> Tensor:
        """(..., A), one-hot."""
        return straight_through_onehot(stats, noise.squeeze(-1))

    def mode(self, stats: Tensor) -> Tensor:
        """(..., A), one-hot of the likeliest action."""
        return F.one_hot(stats.argmax(-1), self.action_size).to(stats.dtype)

    def log_prob(self, stats: Tensor, action: Tensor) -> Tensor:
        """(...), of a one-hot action."""
        return (stats * action).sum(-1)

    def entropy(self, stats: Tensor) -> Tensor:
        """(...), in nats."""
        return -(stats.exp() * stats).sum(-1)
