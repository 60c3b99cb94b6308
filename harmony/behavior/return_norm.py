"""Scales that bring returns to one size, whatever the rewards of a task are."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from harmony.peers import WholeBatch


class IdentityNorm(nn.Module):
    """No scale: returns stay as they are. It has no state."""

    def forward(self, x: Tensor) -> Tensor:
        """(N, H) to the constant one, () float32."""
        return torch.ones((), device=x.device)


class PercentileNorm(nn.Module, WholeBatch):
    """The range between two percentiles of the returns, averaged over updates.

    The averages begin at 0 and change in `forward` only; there is no other update.

    Args:
        low: percentile in [0, 100).
        high: percentile above `low`, up to 100.
        decay: share of the averages that an update keeps, in [0, 1).
        limit: the scale is at least this, so that small returns are not blown up; positive.

    Source: DreamerV3 (arXiv 2301.04104), actor learning; `jaxutils.py: Moments` with `perc_ema` of
    the 2023 original, `embodied/jax/utils.py: Normalize` with `perc` of the 2025 original. Differs:
    returns that hold a number that is not finite leave the averages as they were.
    """

    low: Tensor
    high: Tensor

    def __init__(
        self, *, low: float = 5.0, high: float = 95.0, decay: float = 0.99, limit: float = 1.0
    ) -> None:
        super().__init__()
        if not 0 <= low < high <= 100 or not 0 <= decay < 1 or limit <= 0:
            raise ValueError(
                "return_norm needs 0 <= low < high <= 100, decay in [0, 1) and limit > 0, got "
                f"low={low}, high={high}, decay={decay}, limit={limit}"
            )
        self.percents = (low, high)
        self.decay = decay
        self.limit = limit
        self.register_buffer("low", torch.zeros(()))
        self.register_buffer("high", torch.zeros(()))

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        """Takes the percentiles of x into the averages and gives their range.

        Args:
            x: (N, H), returns; of any size, unlike `torch.quantile`.

        Returns:
            () float32 without gradient: divide returns or advantages by it.
        """
        x = self.peers.gather(x)
        ordered = x.float().flatten().sort().values
        finite = torch.isfinite(x).all()
        for average, percent in zip((self.low, self.high), self.percents, strict=True):
            found = self.decay * average + (1 - self.decay) * _percentile(ordered, percent)
            average.copy_(torch.where(finite, found, average))
        return (self.high - self.low).clamp_min(self.limit)


def _percentile(ordered: Tensor, percent: float) -> Tensor:
    """(), linear between the two neighbours in the ascending numbers (M,)."""
    place = percent / 100 * (ordered.shape[0] - 1)
    below = int(place)
    above = min(below + 1, ordered.shape[0] - 1)
    return torch.lerp(ordered[below], ordered[above], place - below)
