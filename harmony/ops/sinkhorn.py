"""Soft assignments of samples to prototypes that use every prototype equally."""

from __future__ import annotations

import torch
from torch import Tensor


def sinkhorn(scores: Tensor, eps: float, iterations: int) -> Tensor:
    """Balanced assignments by the algorithm of Sinkhorn and Knopp, in log space.

    Starting from exp(scores / eps), each iteration gives every prototype the same share of all
    samples, then every sample a total of 1.

    Args:
        scores: (N, K), similarity of sample n to prototype k. A sample is a row, so that the
            assignments line up with logits whose last axis are the prototypes.
        eps: temperature, positive; the smaller, the harder the assignments.
        iterations: at least 1.

    Returns:
        (N, K) float32 without gradient; each row sums to 1, each column to N / K the closer, the
        more iterations.

    Source: SwAV (arXiv 2006.09882); `common/nets.py: sinkhorn` of DreamerPro. Differs: there
    samples are columns; constants that the next normalisation removes are left out here.
    """
    if iterations < 1:
        raise ValueError(f"sinkhorn needs at least one iteration, got {iterations}")
    log_share = scores.detach().float() / eps
    for _ in range(iterations):
        log_share = torch.log_softmax(log_share, 0)
        log_share = torch.log_softmax(log_share, 1)
    return log_share.exp()
