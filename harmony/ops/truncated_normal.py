"""The normal distribution truncated to [-1, 1], as pure functions of location and scale.

Source: the textbook formulas (J. Burkardt, The Truncated Normal Distribution, 2014, section 3);
checked against `core/dists.py: TruncNormalDist` of the torch original.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from harmony.ops.straight_through import clip_straight_through

LOW, HIGH = -1.0, 1.0
CLIP = 1e-6
_LOG_SQRT_2PI = 0.5 * math.log(2 * math.pi)


class Bounds(NamedTuple):
    """The standardised bounds and what is derived from them.

    Attributes:
        low: (..., A), (LOW - loc) / scale.
        high: (..., A), (HIGH - loc) / scale.
        low_cdf: (..., A), standard normal distribution function at low.
        mass: (..., A), probability between the bounds before truncation.
    """

    low: Tensor
    high: Tensor
    low_cdf: Tensor
    mass: Tensor


def _cdf(x: Tensor) -> Tensor:
    return 0.5 * (1 + torch.erf(x * math.sqrt(0.5)))


def _density(x: Tensor) -> Tensor:
    return torch.exp(-0.5 * x.square() - _LOG_SQRT_2PI)


def bounds(loc: Tensor, scale: Tensor) -> Bounds:
    """Standardises the bounds.

    Args:
        loc: (..., A), mean before truncation.
        scale: (..., A), standard deviation before truncation, positive.
    """
    low, high = (LOW - loc) / scale, (HIGH - loc) / scale
    low_cdf = _cdf(low)
    eps = torch.finfo(loc.dtype).eps
    return Bounds(low, high, low_cdf, (_cdf(high) - low_cdf).clamp_min(eps))


def log_prob(value: Tensor, loc: Tensor, scale: Tensor) -> Tensor:
    """Log-density of each component.

    Args:
        value: (..., A), in [-1, 1].
        loc: (..., A).
        scale: (..., A).

    Returns:
        (..., A), in nats.
    """
    standard = (value - loc) / scale
    mass = bounds(loc, scale).mass
    return -0.5 * standard.square() - _LOG_SQRT_2PI - mass.log() - scale.log()


def entropy(loc: Tensor, scale: Tensor) -> Tensor:
    """Differential entropy of each component.

    Args:
        loc: (..., A).
        scale: (..., A).

    Returns:
        (..., A), in nats.
    """
    b = bounds(loc, scale)
    edge = (b.high * _density(b.high) - b.low * _density(b.low)) / b.mass
    return _LOG_SQRT_2PI + 0.5 + b.mass.log() - 0.5 * edge + scale.log()


def sample(loc: Tensor, scale: Tensor, uniform: Tensor) -> Tensor:
    """Sample by inversion, differentiable in loc and scale, clipped to 1e-6 inside the bounds.

    Args:
        loc: (..., A).
        scale: (..., A).
        uniform: (..., A), in [0, 1); kept one machine epsilon away from both ends.

    Returns:
        (..., A).
    """
    b = bounds(loc, scale)
    eps = torch.finfo(loc.dtype).eps
    quantile = b.low_cdf + uniform.clamp(eps, 1 - eps) * b.mass
    standard = math.sqrt(2) * torch.erfinv(2 * quantile - 1)
    return clip_straight_through(standard * scale + loc, LOW + CLIP, HIGH - CLIP)
