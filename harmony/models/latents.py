"""What the stochastic state is: categorical or Gaussian. No parameters, no state of their own."""

from __future__ import annotations

from typing import Literal, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from harmony.ops.kl import categorical_kl, gaussian_kl, log_softmax_fp32
from harmony.ops.straight_through import straight_through_onehot
from harmony.ops.unimix import unimix_logit

StdAct = Literal["softplus", "sigmoid2"]


class LatentPart(Protocol):
    """A kind of stochastic state. `stats` are what a layer predicts, (..., stats_size) float32."""

    size: int
    stats_size: int
    noise_size: int

    def draw_noise(
        self, shape: tuple[int, ...], generator: torch.Generator, device: torch.device
    ) -> Tensor:
        """(*shape, noise_size), what `sample` needs; drawn before a scan."""

    def sample(self, stats: Tensor, noise: Tensor) -> Tensor:
        """(..., size), with a gradient to stats."""

    def mode(self, stats: Tensor) -> Tensor:
        """(..., size), the most likely state."""

    def kl_sides(self, post: Tensor, prior: Tensor) -> tuple[Tensor, Tensor]:
        """KL(post || sg(prior)) and KL(sg(post) || prior), (...) each, in nats."""

    def entropy(self, stats: Tensor) -> Tensor:
        """(...), in nats, summed over the variables."""


class Categorical:
    """Several categorical variables as one-hot vectors, with straight-through gradients.

    Args:
        stoch: number of variables S.
        classes: classes K of each.
        unimix: share of the uniform distribution in each, in [0, 1).

    Source: DreamerV2, section 2; DreamerV3 (unimix).
    """

    def __init__(self, *, stoch: int = 32, classes: int = 32, unimix: float = 0.0) -> None:
        if not 0 <= unimix < 1:
            raise ValueError(f"latent.unimix must lie in [0, 1), got {unimix}")
        self.unimix = unimix
        self.stoch = stoch
        self.classes = classes
        self.size = self.stats_size = stoch * classes
        self.noise_size = stoch

    def _split(self, stats: Tensor) -> Tensor:
        logit = stats.float().reshape(*stats.shape[:-1], self.stoch, self.classes)
        return unimix_logit(logit, self.unimix) if self.unimix else logit

    def draw_noise(
        self, shape: tuple[int, ...], generator: torch.Generator, device: torch.device
    ) -> Tensor:
        """(*shape, S), uniform in [0, 1)."""
        return torch.rand((*shape, self.stoch), generator=generator, device=device)

    def sample(self, stats: Tensor, noise: Tensor) -> Tensor:
        """(..., S * K) logits and (..., S) uniforms to (..., S * K) one-hot."""
        return straight_through_onehot(self._split(stats), noise).flatten(-2)

    def mode(self, stats: Tensor) -> Tensor:
        """(..., S * K), one-hot of the largest logits."""
        logit = self._split(stats)
        # `one_hot` would check the range of its input on the host.
        index = logit.argmax(-1, keepdim=True)
        return torch.zeros_like(logit).scatter_(-1, index, 1.0).flatten(-2)

    def kl_sides(self, post: Tensor, prior: Tensor) -> tuple[Tensor, Tensor]:
        """KL(post || sg(prior)) and KL(sg(post) || prior), (...) each, in nats."""
        left, right = log_softmax_fp32(self._split(post)), log_softmax_fp32(self._split(prior))
        return categorical_kl(left, right.detach()), categorical_kl(left.detach(), right)

    def entropy(self, stats: Tensor) -> Tensor:
        """(...), in nats."""
        log_prob = log_softmax_fp32(self._split(stats))
        return -(log_prob.exp() * log_prob).sum((-2, -1))


class Gaussian:
    """Diagonal Gaussian variables.

    Args:
        stoch: number of variables S.
        min_std: added to the standard deviation.
        std_act: how the standard deviation is made positive; sigmoid2 is 2 * sigmoid(x / 2).

    Source: PlaNet, Dreamer; DreamerPro's latent on DMC.
    """

    def __init__(
        self, *, stoch: int = 32, min_std: float = 0.1, std_act: StdAct = "sigmoid2"
    ) -> None:
        self.stoch = stoch
        self.min_std = min_std
        self.std_act = std_act
        self.size = self.noise_size = stoch
        self.stats_size = 2 * stoch

    def _split(self, stats: Tensor) -> tuple[Tensor, Tensor]:
        mean, raw = stats.float().chunk(2, -1)
        std = F.softplus(raw) if self.std_act == "softplus" else 2 * torch.sigmoid(raw / 2)
        return mean, std + self.min_std

    def draw_noise(
        self, shape: tuple[int, ...], generator: torch.Generator, device: torch.device
    ) -> Tensor:
        """(*shape, S), standard normal."""
        return torch.randn((*shape, self.stoch), generator=generator, device=device)

    def sample(self, stats: Tensor, noise: Tensor) -> Tensor:
        """(..., 2 S) raw statistics and (..., S) normals to (..., S)."""
        mean, std = self._split(stats)
        return torch.addcmul(mean, std, noise)

    def mode(self, stats: Tensor) -> Tensor:
        """(..., S), the mean."""
        return self._split(stats)[0]

    def kl_sides(self, post: Tensor, prior: Tensor) -> tuple[Tensor, Tensor]:
        """KL(post || sg(prior)) and KL(sg(post) || prior), (...) each, in nats."""
        mean, std = self._split(post)
        prior_mean, prior_std = self._split(prior)
        return (
            gaussian_kl(mean, std, prior_mean.detach(), prior_std.detach()),
            gaussian_kl(mean.detach(), std.detach(), prior_mean, prior_std),
        )

    def entropy(self, stats: Tensor) -> Tensor:
        """(...), in nats."""
        std = self._split(stats)[1]
        half_log_2pi_e = 1.4189385332046727
        return (std.log() + half_log_2pi_e).sum(-1)
