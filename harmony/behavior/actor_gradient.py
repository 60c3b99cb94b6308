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
        """To be maximised, (N, K).

        Args:
            target: (N, K), lambda return of the state after the action.
            baseline: gives (N, K), value of the state in which the action was chosen.
            log_prob: gives (N, K), of the actions, which are held constant.
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
        """(N, K), the return itself."""
        return target


class AdvantageGradient:
    """Backpropagation of the advantage through the dynamics, for continuous actions.

    The baseline belongs to the state in which an action is chosen; it depends on the actions before
    it, so it carries gradients too.

    Source: `agent.py: ImagActorCritic.loss` (backprop) of DreamerV3 (2023).
    """

    through_dynamics = True

    def objective(
        self,
        target: Tensor,
        baseline: Callable[[], Tensor],
        log_prob: Callable[[], Tensor],  # noqa: ARG002
    ) -> Tensor:
        """(N, K), return minus baseline."""
        return target - baseline()


class ReinforceGradient:
    """Score-function gradient with a baseline, for discrete or any other actions.

    Source: DreamerV2, Eq. 6 with rho = 1; `actor_grad: reinforce` of the torch original.
    """

    through_dynamics = False

    def objective(
        self, target: Tensor, baseline: Callable[[], Tensor], log_prob: Callable[[], Tensor]
    ) -> Tensor:
        """(N, K), log-probability times advantage."""
        return log_prob() * (target - baseline()).detach()


class MixedGradient:
    """Both, weighted.

    Args:
        mix: weight of the dynamics gradient, in [0, 1].

    Source: DreamerV2, Eq. 6; `actor_grad: both` of the torch original. Differs: in DreamerPro an
    action that is not one-hot keeps its graph in its log-probability.
    """

    through_dynamics = True

    def __init__(self, *, mix: float = 0.1) -> None:
        if not 0 <= mix <= 1:
            raise ValueError(f"actor_gradient.mix must lie in [0, 1], got {mix}")
        self.mix = mix

    def objective(
        self, target: Tensor, baseline: Callable[[], Tensor], log_prob: Callable[[], Tensor]
    ) -> Tensor:
        """(N, K)."""
        reinforce = log_prob() * (target - baseline()).detach()
        return self.mix * target + (1 - self.mix) * reinforce
