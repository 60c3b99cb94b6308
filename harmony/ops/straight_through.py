"""Samples with the straight-through gradient."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class _StraightThroughOneHot(torch.autograd.Function):
    """One-hot sample forward, softmax backward; one node instead of five."""

    @staticmethod
    def forward(ctx: Any, logit: Tensor, uniform: Tensor) -> Tensor:  # noqa: ANN401
        prob = torch.softmax(logit, -1)
        sample = sample_onehot(prob, uniform)
        ctx.save_for_backward(prob)
        return sample

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:  # noqa: ANN401
        (prob,) = ctx.saved_tensors
        (grad,) = grads
        weighted = grad * prob
        return weighted - prob * weighted.sum(-1, keepdim=True), None


def sample_onehot(prob: Tensor, uniform: Tensor) -> Tensor:
    """Samples categories by inverting the cumulative distribution: one uniform number a variable.

    Args:
        prob: (..., K), probabilities.
        uniform: (...), in [0, 1).

    Returns:
        (..., K), one-hot, no gradient.
    """
    cumulative = prob.cumsum(-1)
    # The last column may round to below 1: a draw above it must still be the last class.
    index = (cumulative[..., :-1] <= uniform.unsqueeze(-1)).sum(-1, keepdim=True)
    return torch.zeros_like(prob).scatter_(-1, index, 1.0)


def straight_through_onehot(logit: Tensor, uniform: Tensor) -> Tensor:
    """One-hot sample whose gradient is that of the probabilities.

    Args:
        logit: (..., K), float32.
        uniform: (...), in [0, 1).

    Returns:
        (..., K).

    Source: DreamerV2, Algorithm 1.
    """
    sample: Tensor = _StraightThroughOneHot.apply(logit, uniform)  # type: ignore[no-untyped-call]
    return sample


def clip_straight_through(value: Tensor, low: float, high: float) -> Tensor:
    """Clips the value and lets the gradient through as if it were not clipped.

    Args:
        value: (...).
        low: lower bound.
        high: upper bound.
    """
    return value + (value.clamp(low, high) - value).detach()
