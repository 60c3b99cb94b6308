"""Values of imagined states."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from harmony.nn.layers import PLAIN, Linear, Style
from harmony.nn.mlp import MLP
from harmony.nn.outputs import Mean, ScalarPart, float_output


class Critic(nn.Module):
    """Predicts the lambda return.

    Args:
        feat_size: F.
        layers: hidden layers.
        units: their width.
        scalar: how the number is predicted; by its mean where it is not given.
        out_scale: factor on the initial weights of the last layer; 0 begins with zeros.
        style: norm, activation and initialiser.

    Source: DreamerV2, Eq. 5; `core/dists.py: MSE` of the torch original; DreamerV3.
    """

    def __init__(
        self,
        feat_size: int,
        *,
        layers: int = 4,
        units: int = 400,
        scalar: ScalarPart | None = None,
        out_scale: float = 1.0,
        style: Style = PLAIN,
    ) -> None:
        super().__init__()
        self.scalar = scalar or Mean()
        self.mlp = MLP(feat_size, layers=layers, units=units, style=style)
        self.output = Linear(
            self.mlp.out_size, self.scalar.size, init=style.out_init, scale=out_scale
        )

    def raw(self, feat: Tensor) -> Tensor:
        """(..., F) to what `scalar` reads, (..., size) float32."""
        return float_output(self.output, self.mlp(feat))

    def pred(self, feat: Tensor) -> Tensor:
        """(..., F) to (...), float32."""
        return self.scalar.pred(self.raw(feat))


class SlowCritic(nn.Module):
    """A copy of the critic that follows it.

    Args:
        critic: what it follows; copied once at the start.
        every_updates: updates between two steps towards the critic, the first right at the first.
        fraction: size of such a step, 1 copies.
        copy_first: whether the first step copies, whatever the fraction.

    Source: DreamerV2, `agents/actor_critic.py: update_slow_target` of the torch original;
    DreamerV3, `jaxutils.py: SlowUpdater` (2023) and `embodied/jax/utils.py: SlowModel` (2025, which
    does not copy at the first step).
    """

    def __init__(
        self,
        critic: Critic,
        *,
        every_updates: int = 100,
        fraction: float = 1.0,
        copy_first: bool = True,
    ) -> None:
        super().__init__()
        if every_updates < 1 or not 0 < fraction <= 1:
            raise ValueError(
                "slow_critic needs every_updates >= 1 and fraction in (0, 1], got "
                f"{every_updates} and {fraction}"
            )
        self.critic = copy.deepcopy(critic).requires_grad_(False)
        self.every_updates = every_updates
        self.fraction = fraction
        self.copy_first = copy_first

    @torch.no_grad()
    def follow(self, critic: Critic, updates: int) -> None:
        """Moves towards the critic where it is time.

        Args:
            critic: the trained one.
            updates: updates before this one; 0 at the first.
        """
        if updates % self.every_updates:
            return
        fraction = 1.0 if updates == 0 and self.copy_first else self.fraction
        slow: list[Tensor] = list(self.critic.parameters())
        fast: list[Tensor] = list(critic.parameters())
        if fraction == 1.0:
            torch._foreach_copy_(slow, fast)
        else:
            torch._foreach_lerp_(slow, fast, fraction)

    def pred(self, feat: Tensor) -> Tensor:
        """(..., F) to (...), float32."""
        return self.critic.pred(feat)
