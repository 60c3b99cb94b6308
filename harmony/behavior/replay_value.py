"""What the critic learns from experience itself, beside what was imagined."""

from __future__ import annotations

import torch
from torch import Tensor

from harmony.behavior.critic import Critic, SlowCritic
from harmony.types import Batch


class NoReplayValue:
    """Nothing: the critic learns from imagination alone."""

    weight = 0.0

    def __call__(
        self,
        critic: Critic,  # noqa: ARG002
        slow_critic: SlowCritic,  # noqa: ARG002
        feat: Tensor,
        batch: Batch,  # noqa: ARG002
        imagined: Tensor,  # noqa: ARG002
    ) -> Tensor:
        """() zero."""
        return torch.zeros((), device=feat.device)


class ReplayValue:
    """Lambda returns along the replayed sequence, which end in imagined ones.

    Args:
        weight: of the loss.
        discount: gamma.
        return_lambda: in [0, 1].
        slow_regularizer: weight of the loss towards the slow critic's values.

    Source: `dreamerv3/agent.py: repl_loss` of DreamerV3 (2025).
    """

    def __init__(
        self,
        *,
        weight: float = 0.3,
        discount: float = 0.997,
        return_lambda: float = 0.95,
        slow_regularizer: float = 1.0,
    ) -> None:
        self.weight = weight
        self.gamma = discount
        self.return_lambda = return_lambda
        self.slow_regularizer = slow_regularizer

    def returns(self, batch: Batch, imagined: Tensor) -> Tensor:
        """(B, T - 1), the lambda returns of steps 0 .. T - 2.

        An episode's last step ends the recursion: what comes after it in the row is of another one.

        Args:
            batch: with reward, is_last, is_terminal (B, T).
            imagined: (B, T), imagined returns from each step.
        """
        live = self.gamma * (~batch["is_terminal"][:, 1:]).float()
        carry_on = self.return_lambda * (~batch["is_last"][:, 1:]).float()
        inputs = batch["reward"][:, 1:] + (1 - carry_on) * live * imagined[:, 1:]
        decay = live * carry_on
        target = imagined[:, -1]
        found: list[Tensor] = []
        for step_input, step_decay in zip(
            reversed(inputs.unbind(1)), reversed(decay.unbind(1)), strict=True
        ):
            target = torch.addcmul(step_input, step_decay, target)
            found.append(target)
        return torch.stack(found[::-1], 1)

    def __call__(
        self,
        critic: Critic,
        slow_critic: SlowCritic,
        feat: Tensor,
        batch: Batch,
        imagined: Tensor,
    ) -> Tensor:
        """(), weighted; gradients reach the critic and the feats.

        Args:
            critic: the trained one.
            slow_critic: its copy.
            feat: (B, T, F).
            batch: with reward, is_last, is_terminal (B, T).
            imagined: (B * T,), imagined returns from each step.
        """
        target = self.returns(batch, imagined.detach().reshape(feat.shape[:2]))
        raw, scalar = critic.raw(feat[:, :-1]), critic.scalar
        slow = slow_critic.pred(feat[:, :-1].detach())
        loss = scalar.loss(raw, target) + self.slow_regularizer * scalar.loss(raw, slow)
        weight = (~batch["is_last"][:, :-1]).float()
        return self.weight * (weight * loss).mean()
