"""How the actor learns from imagined returns."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from torch import Tensor


class ActorGradient(Protocol):
    """What the actor maximises. Arguments that cost time are functions; call what you need."""

    through_dynamics: bool
    """Whether gradients flow from the returns through the dynamics into the actions."""

    def objective(
        self, target: Tensor, baseline: Callable[[], Tensor], log_prob: Callable[[], Tensor]
    ) -> Tensor:
        """To be maximised, (N, H - 1).

        Args:
            target: (N, H - 1), lambda return of the state after the action.
            baseline: gives (N, H - 1), value of the state in which the action was chosen.
            log_prob: gives (N, H - 1), of the actions, which are held constant.
        """


class DynamicsGradient:
    """Backpropagation of the return through the dynamics, for continuous actions.

    Source: DreamerV2, Eq. 6 with rho = 0; `actor_grad: dynamics` of the torch original.
    """

    through_dynamics = True

    def objective(
        self,
        target: Tensor,
        baseline: Callable[[], Tensor],  # noqa: ARG002
        log_prob: Callable[[], Tensor],  # noqa: ARG002
    ) -> Tensor:
        """(N, H - 1), the return itself."""
        return target


class ReinforceGradient:
    """Score-function gradient with the slow critic as baseline, for discrete actions.

    Source: DreamerV2, Eq. 6 with rho = 1; `actor_grad: reinforce` of the torch original.
    """

    through_dynamics = False

    def objective(
        self, target: Tensor, baseline: Callable[[], Tensor], log_prob: Callable[[], Tensor]
    ) -> Tensor:
        """(N, H - 1), log-probability times advantage."""
        return log_prob() * (target - baseline()).detach()


class MixedGradient:
    """Both, weighted.

    Args:
        mix: weight of the dynamics gradient, in [0, 1].

    Source: DreamerV2, Eq. 6; `actor_grad: both` of the torch original.
    """

    through_dynamics = True

    def __init__(self, *, mix: float = 0.1) -> None:
        if not 0 <= mix <= 1:
            raise ValueError(f"actor_gradient.mix must lie in [0, 1], got {mix}")
        self.mix = mix

    def objective(
        self, target: Tensor, baseline: Callable[[], Tensor], log_prob: Callable[[], Tensor]
    ) -> Tensor:
        """(N, H - 1)."""
        reinforce = log_prob() * (target - baseline()).detach()
        return self.mix * target + (1 - self.mix) * reinforce
