"""The symmetric logarithm and its inverse: large numbers of either sign, made small."""

from __future__ import annotations

import torch
from torch import Tensor


def symlog(x: Tensor) -> Tensor:
    """sign(x) * log(1 + |x|), the identity near zero.

    Args:
        x: (...), float.

    Returns:
        (...).

    Source: DreamerV3 (arXiv 2301.04104), symlog predictions; `embodied/jax/nets.py` of the 2025
    original. Differs: the gradient at exactly 0 is 1; the originals, which multiply by sign(x),
    have 0 there. The 2023 original writes log(1 + |x|), which loses the digits of a small x.
    """
    sign = _sign(x)
    return sign * torch.log1p(sign * x)


def symexp(x: Tensor) -> Tensor:
    """sign(x) * (exp(|x|) - 1), the inverse of `symlog`.

    Args:
        x: (...), float.

    Returns:
        (...).

    Source: as `symlog`, with the same differences. That in the gradient matters: the expectation of
    a fresh two-hot head is exactly 0 (see `harmony.ops.twohot`), and must be able to leave it.
    """
    sign = _sign(x)
    return sign * torch.expm1(sign * x)


def _sign(x: Tensor) -> Tensor:
    """(...), 1 or -1 and never 0; no gradient."""
    return torch.where(x < 0, -torch.ones_like(x), torch.ones_like(x))
