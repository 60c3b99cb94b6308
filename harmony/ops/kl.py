"""Kullback-Leibler divergences of latents, from raw statistics and without distribution objects."""

from __future__ import annotations

import torch
from torch import Tensor


def categorical_kl(left: Tensor, right: Tensor) -> Tensor:
    """KL(left || right), summed over the variables.

    Args:
        left: (..., S, K), log-probabilities that are normalised over K.
        right: (..., S, K), the same.

    Returns:
        (...), in nats.
    """
    return (left.exp() * (left - right)).sum((-2, -1))


def gaussian_kl(
    left_mean: Tensor, left_std: Tensor, right_mean: Tensor, right_std: Tensor
) -> Tensor:
    """KL(left || right) of diagonal Gaussians, summed over the variables.

    Args:
        left_mean: (..., S).
        left_std: (..., S), positive.
        right_mean: (..., S).
        right_std: (..., S), positive.

    Returns:
        (...), in nats.
    """
    ratio = (left_std / right_std).square()
    distance = ((left_mean - right_mean) / right_std).square()
    return 0.5 * (ratio + distance - 1 - ratio.log()).sum(-1)


def balanced_kl(post_side: Tensor, prior_side: Tensor, balance: float, free_nats: float) -> Tensor:
    """KL balancing with free nats on the batch mean.

    Args:
        post_side: (...), KL(post || stop_gradient(prior)), trains the posterior.
        prior_side: (...), KL(stop_gradient(post) || prior), trains the prior; equal in value.
        balance: share of the prior's side, in [0, 1].
        free_nats: the mean of each side is not pushed below this.

    Returns:
        (), the loss.

    Source: DreamerV2, Algorithm 2; `nets/dynamics/base.py: kl_loss` of the torch original with
    `free_avg`. Differs: DreamerV3 clips each time step instead of the mean.
    """
    post_loss = post_side.mean().clamp_min(free_nats)
    prior_loss = prior_side.mean().clamp_min(free_nats)
    return (1 - balance) * post_loss + balance * prior_loss


def log_softmax_fp32(logit: Tensor) -> Tensor:
    """Normalised log-probabilities over the last axis, in float32 whatever the input is."""
    return torch.log_softmax(logit.float(), -1)
