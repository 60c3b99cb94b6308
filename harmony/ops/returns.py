"""Returns of imagined rollouts."""

from __future__ import annotations

import torch
from torch import Tensor


def lambda_return(reward: Tensor, next_value: Tensor, discount: Tensor, lambda_: float) -> Tensor:
    """TD(lambda) targets, from the end to the start.

    R[t] = reward[t] + discount[t] * ((1 - lambda) * next_value[t] + lambda * R[t + 1]), and
    next_value[H - 1] stands for R[H].

    Args:
        reward: (N, H), float, reward of step t.
        next_value: (N, H), float, value of the state after step t.
        discount: (N, H), float, discount between step t and the state after it.
        lambda_: in [0, 1]; 0 gives one-step targets, 1 gives bootstrapped Monte Carlo returns.

    Returns:
        (N, H), one target a step.

    Source: DreamerV2 (arXiv 2010.02193), Eq. 4; `core/other.py` of the torch original.
    """
    if not reward.shape == next_value.shape == discount.shape:
        shapes = [tuple(x.shape) for x in (reward, next_value, discount)]
        raise ValueError(f"reward, next_value, discount must have one shape (N, H), got {shapes}")
    # The sum of each step is computed for all steps at once; only the recursion is a loop.
    inputs = torch.addcmul(reward, discount, next_value, value=1 - lambda_)
    decay = discount * lambda_
    target = next_value[:, -1]
    targets: list[Tensor] = []
    for step_input, step_decay in zip(
        reversed(inputs.unbind(1)), reversed(decay.unbind(1)), strict=True
    ):
        target = torch.addcmul(step_input, step_decay, target)
        targets.append(target)
    return torch.stack(targets[::-1], 1)


def discount_weight(discount: Tensor) -> Tensor:
    """How much each state of a rollout counts: the product of the discounts before it.

    Args:
        discount: (N, H).

    Returns:
        (N, H), 1 at the start. A discount says whether the *next* state is valid, hence the shift.

    Source: `agents/base.py: imagine` of the torch original.
    """
    ones = torch.ones_like(discount[:, :1])
    return torch.cumprod(torch.cat([ones, discount[:, :-1]], 1), 1)
