"""Actor and critic, trained on imagined rollouts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from harmony.behavior.actor import OneHotActor, TruncatedNormalActor
from harmony.behavior.actor_gradient import ActorGradient
from harmony.behavior.critic import Critic, SlowCritic
from harmony.behavior.imagination import ImaginationNoise, draw_noise, imagine
from harmony.models.world_model import WorldModel
from harmony.ops.returns import lambda_return
from harmony.types import Latent, Metrics, Rollout


@contextmanager
def frozen(*modules: nn.Module) -> Iterator[None]:
    """Gradients pass through the modules but not into their weights.

    The actor's backward would else compute weight gradients that nobody reads: a sixth of an
    update's time.
    """
    weights = [w for module in modules for w in module.parameters() if w.requires_grad]
    for weight in weights:
        weight.requires_grad_(False)
    try:
        yield
    finally:
        for weight in weights:
            weight.requires_grad_(True)


class ActorCritic(nn.Module):
    """The behaviour: imagine, compute returns, improve actor and critic.

    Args:
        actor: the policy.
        critic: the value function.
        slow_critic: its slow copy.
        actor_gradient: how the actor learns from returns.
        horizon: H, imagined steps.
        return_lambda: of the lambda return, in [0, 1].
        actor_entropy: weight of the policy's entropy.

    Source: DreamerV2, section 2; `agents/actor_critic.py` of the torch original.
    """

    def __init__(
        self,
        *,
        actor: TruncatedNormalActor | OneHotActor,
        critic: Critic,
        slow_critic: SlowCritic,
        actor_gradient: ActorGradient,
        horizon: int = 15,
        return_lambda: float = 0.95,
        actor_entropy: float = 1e-4,
    ) -> None:
        super().__init__()
        if horizon < 2:
            raise ValueError(f"behavior.horizon must be at least 2, got {horizon}")
        self.actor = actor
        self.critic = critic
        self.slow_critic = slow_critic
        self.actor_gradient = actor_gradient
        self.horizon = horizon
        self.return_lambda = return_lambda
        self.actor_entropy = actor_entropy

    def draw_noise(
        self, world_model: WorldModel, start: Latent, generator: torch.Generator
    ) -> ImaginationNoise:
        """Random numbers for `imagine` from the states (N, ...)."""
        return draw_noise(world_model, self.actor, self.horizon, start, generator)

    def imagine(
        self, world_model: WorldModel, start: Latent, is_terminal: Tensor, noise: ImaginationNoise
    ) -> tuple[Rollout, Tensor]:
        """Rollouts from the states (N, ...) and their lambda returns (N, H), with graph.

        Args:
            world_model: is frozen meanwhile.
            start: (N, D) and (N, Z), without graph.
            is_terminal: (N,) bool, of the start states.
            noise: see `draw_noise`.
        """
        with frozen(world_model):
            rollout = imagine(
                world_model,
                self.actor,
                start,
                is_terminal,
                noise,
                through_dynamics=self.actor_gradient.through_dynamics,
            )
        value = self.slow_critic.pred(rollout.feat[:, 1:])
        target = lambda_return(rollout.reward, value, rollout.discount, self.return_lambda)
        return rollout, target

    def actor_loss(self, rollout: Rollout, target: Tensor) -> tuple[Tensor, Metrics]:
        """() and metrics.

        The action chosen at step t first matters to the return of step t + 1; the last action
        leads to a state of which only the value is used, so H - 1 actions are trained.

        Args:
            rollout: with graph.
            target: (N, H), with graph.
        """
        stats = rollout.stats[:, :-1]
        objective = self.actor_gradient.objective(
            target[:, 1:],
            baseline=lambda: self.slow_critic.pred(rollout.feat[:, :-2].detach()),
            log_prob=lambda: self.actor.log_prob(stats, rollout.action[:, :-1].detach()),
        )
        entropy = self.actor.entropy(stats)
        objective = objective + self.actor_entropy * entropy
        loss = -(rollout.weight[:, :-1] * objective).mean()
        return loss, {"actor/loss": loss.detach(), "actor/entropy": entropy.detach().mean()}

    def critic_loss(self, rollout: Rollout, target: Tensor) -> tuple[Tensor, Metrics]:
        """() and metrics: weighted half squared error to the returns.

        Args:
            rollout: its graph is not used.
            target: (N, H), its graph is not used.
        """
        value = self.critic.pred(rollout.feat[:, :-1].detach())
        error = 0.5 * (value - target.detach()).square()
        loss = (rollout.weight * error).mean()
        metrics = {
            "critic/loss": loss.detach(),
            "critic/value": value.detach().mean(),
            "critic/target": target.detach().mean(),
            "rollout/reward": rollout.reward.detach().mean(),
        }
        return loss, metrics
