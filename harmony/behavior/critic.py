"""Values of imagined states."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from harmony.nn.layers import Act, Linear
from harmony.nn.mlp import MLP


class Critic(nn.Module):
    """Predicts the lambda return by its mean.

    Args:
        feat_size: F.
        layers: hidden layers.
        units: their width.
        act: activation.

    Source: DreamerV2, Eq. 5; `core/dists.py: MSE` of the torch original.
    """

    def __init__(
        self, feat_size: int, *, layers: int = 4, units: int = 400, act: Act = "elu"
    ) -> None:
        super().__init__()
        self.mlp = MLP(feat_size, layers=layers, units=units, act=act)
        self.output = Linear(self.mlp.out_size, 1)

    def pred(self, feat: Tensor) -> Tensor:
        """(..., F) to (...), float32."""
        value: Tensor = self.output(self.mlp(feat))
        return value.squeeze(-1).float()


class SlowCritic(nn.Module):
    """A copy of the critic that follows it now and then; targets are computed with it.

    Args:
        critic: what it follows; copied once at the start.
        every_updates: updates between two steps towards the critic, the first right at the first.
        fraction: size of such a step, 1 copies.

    Source: DreamerV2; `agents/actor_critic.py: update_slow_target` of the torch original.
    """

    def __init__(self, critic: Critic, *, every_updates: int = 100, fraction: float = 1.0) -> None:
        super().__init__()
        if every_updates < 1 or not 0 < fraction <= 1:
            raise ValueError(
                "slow_critic needs every_updates >= 1 and fraction in (0, 1], got "
                f"{every_updates} and {fraction}"
            )
        self.critic = copy.deepcopy(critic).requires_grad_(False)
        self.every_updates = every_updates
        self.fraction = fraction

    def pred(self, feat: Tensor) -> Tensor:
        """(..., F) to (...), float32; gradients reach the feats, never the copy's weights."""
        return self.critic.pred(feat)

    @torch.no_grad()
    def follow(self, critic: Critic, updates: int) -> None:
        """Steps towards the critic where it is due.

        Args:
            critic: the one that is trained.
            updates: updates done before this one.
        """
        if updates % self.every_updates:
            return
        for own, theirs in zip(self.critic.parameters(), critic.parameters(), strict=True):
            own.lerp_(theirs, self.fraction)
