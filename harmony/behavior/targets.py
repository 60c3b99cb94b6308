"""What an imagined rollout is worth: two conventions of rewards, and who learns from which return.

In `OwnReward` the value of a state holds the reward that came with it (DreamerV2, DreamerPro); in
`NextReward` it begins with the reward of the next state (DreamerV3).
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from harmony.ops.returns import discount_weight, lambda_return


class Targets(NamedTuple):
    """Lambda returns and who learns from them.

    Attributes:
        critic: (N, H), of states 0 .. H - 1, with graph.
        actor: (N, K), returns that the actions 0 .. K - 1 are judged by; K <= H.
        value: (N, H), values of states 1 .. H, from which the returns were made.
    """

    critic: Tensor
    actor: Tensor
    value: Tensor


class TargetPart(Protocol):
    """A convention.

    Attributes:
        rewards: states of a rollout (H + 1) whose rewards are read.
        discounts: states whose discounts are read.
    """

    rewards: slice
    discounts: slice

    def weight(self, discount: Tensor, certain: float) -> Tensor:
        """How much each state counts, (N, H), from the discounts that are read."""

    def targets(self, reward: Tensor, discount: Tensor, value: Tensor) -> Targets:
        """Returns from rewards, discounts and the values (N, H) of states 1 .. H."""


class OwnReward:
    """R[t] = reward[t] + discount[t] * ((1 - lambda) * value[t + 1] + lambda * R[t + 1]).

    Args:
        return_lambda: in [0, 1].
        first_return: the return that judges the first action: 1, the earliest one that it can
            change, or 0, so that the last action counts too.

    Source: DreamerV2, Eq. 4, `agents/actor_critic.py` of the torch original; with `first_return` 0,
    the older version that DreamerPro builds on.
    """

    rewards = discounts = slice(None, -1)

    def __init__(self, *, return_lambda: float = 0.95, first_return: int = 1) -> None:
        if first_return not in (0, 1):
            raise ValueError(f"targets.first_return must be 0 or 1, got {first_return}")
        self.return_lambda = return_lambda
        self.first_return = first_return

    def weight(self, discount: Tensor, certain: float) -> Tensor:  # noqa: ARG002
        """The product of the discounts before a state, 1 at the start."""
        return discount_weight(discount)

    def targets(self, reward: Tensor, discount: Tensor, value: Tensor) -> Targets:
        """Returns of states 0 .. H - 1.

        Args:
            reward: (N, H), of states 0 .. H - 1.
            discount: (N, H), likewise.
            value: (N, H), of states 1 .. H.
        """
        returns = lambda_return(reward, value, discount, self.return_lambda)
        return Targets(returns, returns[:, self.first_return :], value)


class NextReward:
    """R[t] = reward[t + 1] + discount[t + 1] * ((1 - lambda) * value[t + 1] + lambda * R[t + 1]).

    Args:
        return_lambda: in [0, 1].

    Source: DreamerV3, `agent.py: VFunction.score` (2023), `dreamerv3/agent.py: imag_loss` (2025).
    """

    rewards, discounts = slice(1, None), slice(None)

    def __init__(self, *, return_lambda: float = 0.95) -> None:
        self.return_lambda = return_lambda

    def weight(self, discount: Tensor, certain: float) -> Tensor:
        """The product of the discounts up to a state, in units of a state that surely goes on."""
        return torch.cumprod(discount, 1)[:, :-1] / certain

    def targets(self, reward: Tensor, discount: Tensor, value: Tensor) -> Targets:
        """Returns of states 0 .. H - 1.

        Args:
            reward: (N, H), of states 1 .. H.
            discount: (N, H + 1), of all states.
            value: (N, H), of states 1 .. H.
        """
        returns = lambda_return(reward, value, discount[:, 1:], self.return_lambda)
        return Targets(returns, returns, value)


Convention = OwnReward | NextReward
