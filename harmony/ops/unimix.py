"""Categories mixed with the uniform distribution, so that none becomes impossible."""

from __future__ import annotations

import torch
from torch import Tensor


def unimix_logit(logit: Tensor, unimix: float) -> Tensor:
    """Log-probabilities of (1 - unimix) * softmax(logit) + unimix * uniform.

    Args:
        logit: (..., K).
        unimix: share of the uniform distribution, in (0, 1]. Without one the logits need no change;
            the caller leaves this function out.

    Returns:
        (..., K) float32, normalised over K: none is below log(unimix / K).

    Source: DreamerV3 (arXiv 2301.04104); `nets.py` of the 2023 original, `embodied/jax/outs.py:
    Categorical` of the 2025 original.
    """
    prob = torch.softmax(logit.float(), -1)
    return torch.log((1 - unimix) * prob + unimix / logit.shape[-1])
