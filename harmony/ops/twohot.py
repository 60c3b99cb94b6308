"""Numbers as mixtures of two neighbouring bins, learned by classification."""

from __future__ import annotations

import torch
from torch import Tensor

from harmony.ops.symlog import symexp


def symlog_bins(count: int, low: float = -20.0, high: float = 20.0) -> Tensor:
    """Evenly spaced bins: of the 2023 version, where the target passes `symlog` before.

    Args:
        count: K, at least 2.
        low: first bin.
        high: last bin.

    Returns:
        (K,) float32, on the CPU; exactly antisymmetric where low == -high.

    Source: `jaxutils.py: DiscDist` of the 2023 original.
    """
    return _spaced(count, low, high).float()


def symexp_bins(count: int, limit: float = 20.0) -> Tensor:
    """Bins that lie the wider apart, the further from zero: of the 2025 version.

    Args:
        count: K, at least 2.
        limit: the last bin is symexp(limit), the first its opposite.

    Returns:
        (K,) float32, on the CPU; exactly antisymmetric.

    Source: `embodied/jax/heads.py: symexp_twohot` of the 2025 original. Differs: with an even count
    the original has two bins at 0, here none.
    """
    return symexp(_spaced(count, -limit, limit)).float()


def _spaced(count: int, low: float, high: float) -> Tensor:
    """(K,) float64. `torch.linspace` is not antisymmetric: its middle of 255 bins is 7e-8."""
    if count < 2 or not low < high:
        raise ValueError(f"bins need count >= 2 and low < high, got {count}, {low} and {high}")
    steps = torch.arange(count, dtype=torch.float64) - (count - 1) / 2
    return (low + high) / 2 + steps * ((high - low) / (count - 1))


def twohot_loss(logit: Tensor, target: Tensor, bins: Tensor) -> Tensor:
    """Cross-entropy to the two bins around the target, weighted so that their mean is the target.

    A target beyond the bins counts as the last one. A target that is not a number gives a loss that
    is none either.

    Args:
        logit: (..., K).
        target: (...), in the space of the bins; gets no gradient.
        bins: (K,), ascending.

    Returns:
        (...) float32, in nats.

    Source: `jaxutils.py: DiscDist` of the 2023 original, `embodied/jax/outs.py: TwoHot` of the 2025
    original. Differs: two log-probabilities are gathered and no (..., K) target is made.
    """
    value = target.detach().to(bins.dtype).clamp(bins[0], bins[-1]).contiguous()
    above = torch.searchsorted(bins, value, right=True).clamp(1, bins.shape[0] - 1)
    below = above - 1
    share = (value - bins[below]) / (bins[above] - bins[below])
    log_prob = torch.log_softmax(logit.float(), -1)
    both = log_prob.gather(-1, torch.stack([below, above], -1))
    return -(both * torch.stack([1 - share, share], -1)).sum(-1)


def expectation(logit: Tensor, bins: Tensor) -> Tensor:
    """Mean of the bins under the softmax.

    Bins are added in pairs, one from each side, so that equal probabilities of antisymmetric bins
    give exactly 0: a head that was just initialised predicts nothing.

    Args:
        logit: (..., K).
        bins: (K,).

    Returns:
        (...) float32, in the space of the bins.

    Source: `embodied/jax/outs.py: TwoHot.pred` of the 2025 original. Differs: the 2023 original
    adds from left to right.
    """
    parts = torch.softmax(logit.float(), -1) * bins
    half = parts.shape[-1] // 2
    pairs = parts[..., :half].flip(-1) + parts[..., -half:]
    # The bin in the middle of an odd count; an even count has none, and the sum of none is 0.
    middle = parts[..., half : parts.shape[-1] - half]
    return middle.sum(-1) + pairs.sum(-1)
