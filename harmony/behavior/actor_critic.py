"""Actor and critic, trained on imagined rollouts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch
from torch import Tensor, nn

from harmony.behavior.actor import NormalActor, OneHotActor, TanhNormalActor, TruncatedNormalActor
from harmony.behavior.actor_gradient import ActorGradient
from harmony.behavior.critic import Critic, SlowCritic
from harmony.behavior.imagination import ImaginationNoise, draw_noise, imagine
from harmony.behavior.replay_value import NoReplayValue, ReplayValue
from harmony.behavior.return_norm import IdentityNorm, PercentileNorm
from harmony.behavior.targets import Convention, OwnReward, Targets
from harmony.models.world_model import Modelled, WorldModel
from harmony.types import Latent, Metrics, Rollout

ActorPart = TruncatedNormalActor | NormalActor | TanhNormalActor | OneHotActor
Which = Literal["slow", "online"]
EvalAction = Literal["mode", "sample"]


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
        targets: which reward belongs to which value, and which return judges which action.
        return_norm: scale of the returns that the actor sees.
        replay_value: what the critic learns from the replay itself.
        horizon: H, imagined steps.
        actor_entropy: weight of the policy's entropy.
        target_values: the critic whose values make the returns.
        baseline_values: the critic that returns are compared with.
        slow_regularizer: weight of the critic's loss towards the slow critic's values.
        eval_action: what the policy does in evaluations.

    Source: DreamerV2, section 2, `agents/actor_critic.py` of the torch original; DreamerV3,
    `agent.py: ImagActorCritic` (2023), `dreamerv3/agent.py: imag_loss` (2025).
    """

    def __init__(  # noqa: PLR0913 - each argument is one documented key
        self,
        *,
        actor: ActorPart,
        critic: Critic,
        slow_critic: SlowCritic,
        actor_gradient: ActorGradient,
        targets: Convention | None = None,
        return_norm: IdentityNorm | PercentileNorm | None = None,
        replay_value: NoReplayValue | ReplayValue | None = None,
        horizon: int = 15,
        actor_entropy: float = 1e-4,
        target_values: Which = "slow",
        baseline_values: Which = "slow",
        slow_regularizer: float = 0.0,
        eval_action: EvalAction = "mode",
    ) -> None:
        super().__init__()
        if horizon < 2:
            raise ValueError(f"behavior.horizon must be at least 2, got {horizon}")
        self.actor = actor
        self.critic = critic
        self.slow_critic = slow_critic
        self.actor_gradient = actor_gradient
        self.convention = targets or OwnReward()
        self.return_norm = return_norm or IdentityNorm()
        self.replay_value = replay_value or NoReplayValue()
        self.horizon = horizon
        self.actor_entropy = actor_entropy
        self.target_values = target_values
        self.baseline_values = baseline_values
        self.slow_regularizer = slow_regularizer
        self.eval_action = eval_action

    def draw_noise(
        self, world_model: WorldModel, count: int, generator: torch.Generator
    ) -> ImaginationNoise:
        """Random numbers for `imagine` from N = `count` states, on the generator's device."""
        return draw_noise(world_model, self.actor, self.horizon, count, generator)

    def imagine(
        self, world_model: WorldModel, start: Latent, is_terminal: Tensor, noise: ImaginationNoise
    ) -> tuple[Rollout, Targets]:
        """Rollouts from the states (N, ...) and their lambda returns, with graph.

        Args:
            world_model: is frozen meanwhile.
            start: (N, D) and (N, Z), without graph.
            is_terminal: (N,) bool, of the start states.
            noise: see `draw_noise`.
        """
        with frozen(world_model, self.critic):
            rollout = imagine(
                world_model,
                self.actor,
                start,
                is_terminal,
                noise,
                self.convention,
                through_dynamics=self.actor_gradient.through_dynamics,
            )
            value = self._critic(self.target_values).pred(rollout.feat[:, 1:])
        return rollout, self.convention.targets(rollout.reward, rollout.discount, value)

    def _critic(self, which: Which) -> Critic | SlowCritic:
        return self.slow_critic if which == "slow" else self.critic

    def actor_loss(self, rollout: Rollout, targets: Targets) -> tuple[Tensor, Metrics]:
        """() and metrics.

        Args:
            rollout: with graph.
            targets: with graph; K actions are judged by the first K returns of `targets.actor`.
        """
        count = targets.actor.shape[1]
        stats, weight = rollout.stats[:, :count], rollout.weight[:, :count]
        scale = self.return_norm(targets.critic)
        objective = self.actor_gradient.objective(
            targets.actor / scale,
            baseline=lambda: self._baseline(rollout, targets, count) / scale,
            log_prob=lambda: self.actor.log_prob(stats, rollout.action[:, :count].detach()),
        )
        entropy = self.actor.entropy(stats)
        objective = objective + self.actor_entropy * entropy
        loss = -(weight * objective).mean()
        metrics = {
            "actor/loss": loss.detach(),
            "actor/entropy": entropy.detach().mean(),
            "actor/return_scale": scale,
        }
        return loss, metrics

    def _baseline(self, rollout: Rollout, targets: Targets, count: int) -> Tensor:
        """(N, K), values of the states in which the actions were chosen."""
        critic = self._critic(self.baseline_values)
        with frozen(self.critic):
            if self.baseline_values != self.target_values:
                return critic.pred(rollout.feat[:, :count])
            first = critic.pred(rollout.feat[:, :1])
            return torch.cat([first, targets.value[:, : count - 1]], 1)

    def critic_loss(self, rollout: Rollout, targets: Targets) -> tuple[Tensor, Metrics]:
        """() and metrics: the weighted loss towards the returns.

        Args:
            rollout: its graph is not used.
            targets: their graph is not used.
        """
        feat = rollout.feat[:, :-1].detach()
        raw, scalar = self.critic.raw(feat), self.critic.scalar
        error = scalar.loss(raw, targets.critic)
        if self.slow_regularizer:
            slow = self.slow_critic.pred(feat)
            error = error + self.slow_regularizer * scalar.loss(raw, slow)
        loss = (rollout.weight * error).mean()
        metrics = {
            "critic/loss": loss.detach(),
            "critic/value": scalar.pred(raw.detach()).mean(),
            "critic/target": targets.critic.detach().mean(),
            "rollout/reward": rollout.reward.detach().mean(),
        }
        return loss, metrics

    def replay_loss(self, world_model: WorldModel, modelled: Modelled, targets: Targets) -> Tensor:
        """(), what the critic learns from the replay, with a graph into the world model.

        Args:
            world_model: gave the pass.
            modelled: its pass over the batch, with graph.
            targets: of rollouts from all its states.
        """
        feat = world_model.rssm.get_feat(modelled.latent)
        imagined = targets.critic[:, 0]
        return self.replay_value(self.critic, self.slow_critic, feat, modelled.batch, imagined)
