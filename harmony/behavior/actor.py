"""Policies: from feats to distributions over actions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from harmony.nn.layers import PLAIN, Linear, Style
from harmony.nn.mlp import MLP
from harmony.nn.outputs import float_output
from harmony.ops import tanh_normal, truncated_normal
from harmony.ops.straight_through import straight_through_onehot
from harmony.ops.unimix import unimix_logit


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


class _ContinuousActor(nn.Module):
    """Two outputs for each entry of the action: a location and a scale."""

    def __init__(
        self,
        feat_size: int,
        action_size: int,
        *,
        layers: int,
        units: int,
        out_scale: float = 1.0,
        style: Style = PLAIN,
    ) -> None:
        super().__init__()
        self.action_size = self.noise_size = action_size
        self.mlp = MLP(feat_size, layers=layers, units=units, style=style)
        size = self.mlp.out_size
        self.mean = Linear(size, action_size, init=style.out_init, scale=out_scale)
        self.std = Linear(size, action_size, init=style.out_init, scale=out_scale)

    def _raw(self, feat: Tensor) -> tuple[Tensor, Tensor]:
        hidden = self.mlp(feat)
        return float_output(self.mean, hidden), float_output(self.std, hidden)


class TruncatedNormalActor(_ContinuousActor):
    """Continuous actions in [-1, 1]: a normal distribution cut at the bounds.

    mean = tanh(x), std = 2 * sigmoid(y / 2) + min_std.

    Args:
        feat_size: F.
        action_size: A.
        layers: hidden layers.
        units: their width.
        min_std: added to the standard deviation.
        out_scale: factor on the initial weights of the last layers.
        style: norm, activation and initialiser.

    Source: DreamerV2; `nets/modules.py: DistLayer` (trunc_normal) of the torch original.
    """

    def __init__(
        self,
        feat_size: int,
        action_size: int,
        *,
        layers: int = 4,
        units: int = 400,
        min_std: float = 0.1,
        out_scale: float = 1.0,
        style: Style = PLAIN,
    ) -> None:
        super().__init__(
            feat_size, action_size, layers=layers, units=units, out_scale=out_scale, style=style
        )
        self.min_std = min_std

    def stats(self, feat: Tensor) -> Tensor:
        """(..., F) to (..., 2 A): location and scale before truncation."""
        mean, std = self._raw(feat)
        return torch.cat([torch.tanh(mean), 2 * torch.sigmoid(std / 2) + self.min_std], -1)

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


class NormalActor(_ContinuousActor):
    """Continuous actions around [-1, 1]: a normal distribution that is not cut.

    mean = tanh(x), std = (max_std - min_std) * sigmoid(y + 2) + min_std. Whoever takes an action
    limits it to [-1, 1].

    Args:
        feat_size: F.
        action_size: A.
        layers: hidden layers.
        units: their width.
        min_std: smallest standard deviation.
        max_std: largest standard deviation.
        out_scale: factor on the initial weights of the last layers.
        style: norm, activation and initialiser.

    Source: DreamerV3; `nets.py: Dist` (normal, 2023), `embodied/jax/heads.py: bounded_normal`
    (2025).
    """

    def __init__(
        self,
        feat_size: int,
        action_size: int,
        *,
        layers: int = 2,
        units: int = 512,
        min_std: float = 0.1,
        max_std: float = 1.0,
        out_scale: float = 1.0,
        style: Style = PLAIN,
    ) -> None:
        super().__init__(
            feat_size, action_size, layers=layers, units=units, out_scale=out_scale, style=style
        )
        self.min_std, self.max_std = min_std, max_std

    def stats(self, feat: Tensor) -> Tensor:
        """(..., F) to (..., 2 A): mean and standard deviation."""
        mean, std = self._raw(feat)
        spread = (self.max_std - self.min_std) * torch.sigmoid(std + 2.0) + self.min_std
        return torch.cat([torch.tanh(mean), spread], -1)

    def draw_noise(
        self, shape: tuple[int, ...], generator: torch.Generator, device: torch.device
    ) -> Tensor:
        """(*shape, A), standard normal."""
        return torch.randn((*shape, self.noise_size), generator=generator, device=device)

    def sample(self, stats: Tensor, noise: Tensor) -> Tensor:
        """(..., A), reparameterised."""
        mean, std = stats.chunk(2, -1)
        return torch.addcmul(mean, std, noise)

    def mode(self, stats: Tensor) -> Tensor:
        """(..., A), the mean."""
        return stats.chunk(2, -1)[0]

    def log_prob(self, stats: Tensor, action: Tensor) -> Tensor:
        """(...), summed over the action's components."""
        mean, std = stats.chunk(2, -1)
        standard = (action - mean) / std
        return -(0.5 * standard.square() + std.log() + tanh_normal.HALF_LOG_TWO_PI).sum(-1)

    def entropy(self, stats: Tensor) -> Tensor:
        """(...), summed over the action's components."""
        std = stats.chunk(2, -1)[1]
        return (std.log() + tanh_normal.HALF_LOG_TWO_PI + 0.5).sum(-1)


class TanhNormalActor(_ContinuousActor):
    """Continuous actions in (-1, 1): the tanh of a normal variable.

    mean = 5 * tanh(x / 5), std = softplus(y) + min_std, before the tanh.

    Args:
        feat_size: F.
        action_size: A.
        layers: hidden layers.
        units: their width.
        min_std: added to the standard deviation.
        out_scale: factor on the initial weights of the last layers.
        style: norm, activation and initialiser.

    Source: DreamerPro, `common/nets.py: DistLayer` (tanh_normal). Differs: the original estimates
    the entropy from 100 samples and takes the likeliest of 100 samples as the mode; ours computes
    the entropy by quadrature and takes the tanh of the mean.
    """

    def __init__(
        self,
        feat_size: int,
        action_size: int,
        *,
        layers: int = 4,
        units: int = 400,
        min_std: float = 0.1,
        out_scale: float = 1.0,
        style: Style = PLAIN,
    ) -> None:
        super().__init__(
            feat_size, action_size, layers=layers, units=units, out_scale=out_scale, style=style
        )
        self.min_std = min_std

    def stats(self, feat: Tensor) -> Tensor:
        """(..., F) to (..., 2 A): mean and standard deviation before the tanh."""
        mean, std = self._raw(feat)
        return torch.cat([5 * torch.tanh(mean / 5), F.softplus(std) + self.min_std], -1)

    def draw_noise(
        self, shape: tuple[int, ...], generator: torch.Generator, device: torch.device
    ) -> Tensor:
        """(*shape, A), standard normal."""
        return torch.randn((*shape, self.noise_size), generator=generator, device=device)

    def sample(self, stats: Tensor, noise: Tensor) -> Tensor:
        """(..., A), reparameterised."""
        mean, std = stats.chunk(2, -1)
        return torch.tanh(torch.addcmul(mean, std, noise))

    def mode(self, stats: Tensor) -> Tensor:
        """(..., A), the tanh of the mean."""
        return torch.tanh(stats.chunk(2, -1)[0])

    def log_prob(self, stats: Tensor, action: Tensor) -> Tensor:
        """(...), summed over the action's components."""
        mean, std = stats.chunk(2, -1)
        return tanh_normal.log_prob(action, mean, std).sum(-1)

    def entropy(self, stats: Tensor) -> Tensor:
        """(...), summed over the action's components."""
        mean, std = stats.chunk(2, -1)
        return tanh_normal.entropy(mean, std).sum(-1)


class OneHotActor(nn.Module):
    """A choice, or several at once, as one-hot vectors in a row with straight-through gradients.

    Args:
        feat_size: F.
        choices: number of options of each choice; A is their sum.
        layers: hidden layers.
        units: their width.
        unimix: share of the uniform distribution in each choice, in [0, 1).
        out_scale: factor on the initial weights of the last layer.
        style: norm, activation and initialiser.

    Source: DreamerV2; `core/dists.py: OneHotDist` of the torch original; DreamerV3 (unimix).
    """

    def __init__(
        self,
        feat_size: int,
        choices: Sequence[int],
        *,
        layers: int = 4,
        units: int = 400,
        unimix: float = 0.0,
        out_scale: float = 1.0,
        style: Style = PLAIN,
    ) -> None:
        super().__init__()
        if not 0 <= unimix < 1:
            raise ValueError(f"actor.unimix must lie in [0, 1), got {unimix}")
        self.choices = list(choices)
        self.action_size = sum(self.choices)
        self.noise_size = len(self.choices)
        self.unimix = unimix
        self.mlp = MLP(feat_size, layers=layers, units=units, style=style)
        self.logit = Linear(
            self.mlp.out_size, self.action_size, init=style.out_init, scale=out_scale
        )

    def stats(self, feat: Tensor) -> Tensor:
        """(..., F) to (..., A): log-probabilities, normalised within each choice."""
        parts = torch.split(float_output(self.logit, self.mlp(feat)), self.choices, -1)
        if self.unimix:
            return torch.cat([unimix_logit(part, self.unimix) for part in parts], -1)
        return torch.cat([torch.log_softmax(part, -1) for part in parts], -1)

    def draw_noise(
        self, shape: tuple[int, ...], generator: torch.Generator, device: torch.device
    ) -> Tensor:
        """(*shape, number of choices), uniform in [0, 1)."""
        return torch.rand((*shape, self.noise_size), generator=generator, device=device)

    def sample(self, stats: Tensor, noise: Tensor) -> Tensor:
        """(..., A), one-hot in each choice."""
        parts = zip(torch.split(stats, self.choices, -1), noise.unbind(-1), strict=True)
        return torch.cat([straight_through_onehot(part, uniform) for part, uniform in parts], -1)

    def mode(self, stats: Tensor) -> Tensor:
        """(..., A), one-hot of the likeliest option of each choice."""
        parts = torch.split(stats, self.choices, -1)
        modes = [F.one_hot(part.argmax(-1), part.shape[-1]) for part in parts]
        return torch.cat(modes, -1).to(stats.dtype)

    def log_prob(self, stats: Tensor, action: Tensor) -> Tensor:
        """(...), of a one-hot action, summed over the choices."""
        return (stats * action).sum(-1)

    def entropy(self, stats: Tensor) -> Tensor:
        """(...), in nats, summed over the choices."""
        return -(stats.exp() * stats).sum(-1)
