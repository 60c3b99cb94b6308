"""Reward and continuation, predicted from feats."""

from __future__ import annotations

from typing import Literal, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from harmony.nn.layers import Act, Linear
from harmony.nn.mlp import MLP
from harmony.types import Losses

RewardTransform = Literal["identity", "tanh", "sign"]


class RewardHead(nn.Module):
    """Predicts the (transformed) reward by its mean.

    Args:
        feat_size: F.
        layers: hidden layers.
        units: their width.
        act: activation.
        transform: applied to the reward before it is predicted; imagination sees it transformed.
        stop_gradient: whether the loss leaves the latent alone.

    Source: `agents/dreamerv2.py`, `clip_rewards` and `grad_heads` of the torch original.
    """

    def __init__(
        self,
        feat_size: int,
        *,
        layers: int = 4,
        units: int = 400,
        act: Act = "elu",
        transform: RewardTransform = "identity",
        stop_gradient: bool = False,
    ) -> None:
        super().__init__()
        self.mlp = MLP(feat_size, layers=layers, units=units, act=act)
        self.output = Linear(self.mlp.out_size, 1)
        self.transform = transform
        self.stop_gradient = stop_gradient

    def target(self, reward: Tensor) -> Tensor:
        """(...) raw rewards to (...) what is predicted."""
        if self.transform == "identity":
            return reward
        return torch.tanh(reward) if self.transform == "tanh" else torch.sign(reward)

    def pred(self, feat: Tensor) -> Tensor:
        """(..., F) to (...), float32."""
        value: Tensor = self.output(self.mlp(feat))
        return value.squeeze(-1).float()

    def losses(self, feat: Tensor, reward: Tensor) -> Losses:
        """{"reward": (B, T)}, half the squared error.

        Args:
            feat: (B, T, F).
            reward: (B, T), raw.
        """
        feat = feat.detach() if self.stop_gradient else feat
        return {"reward": 0.5 * (self.pred(feat) - self.target(reward)).square()}


class ContinueHead(Protocol):
    """How the future is discounted in imagination."""

    def losses(self, feat: Tensor, is_terminal: Tensor) -> Losses:
        """Losses by name, none for a constant; feat (B, T, F), is_terminal (B, T)."""

    def discount(self, feat: Tensor, is_terminal: Tensor) -> Tensor:
        """(N, H, F) feats and (N,) flags of the start states to (N, H) discounts."""


class ConstantDiscount(nn.Module):
    """No head: the same discount everywhere.

    Args:
        feat_size: F, unused; all parts of one kind are built alike.
        discount: gamma, in (0, 1].
    """

    def __init__(self, feat_size: int, *, discount: float = 0.99) -> None:  # noqa: ARG002
        super().__init__()
        self.gamma = discount

    def losses(self, feat: Tensor, is_terminal: Tensor) -> Losses:  # noqa: ARG002
        """Nothing to learn."""
        return {}

    def discount(self, feat: Tensor, is_terminal: Tensor) -> Tensor:  # noqa: ARG002
        """(N, H), gamma."""
        return feat.new_full(feat.shape[:-1], self.gamma, dtype=torch.float32)


class DiscountHead(nn.Module):
    """Predicts gamma * (1 - is_terminal) as the mean of a Bernoulli variable.

    Args:
        feat_size: F.
        discount: gamma, in (0, 1].
        layers: hidden layers.
        units: their width.
        act: activation.
        stop_gradient: whether the loss leaves the latent alone.

    Source: DreamerV2, section 2; `discount_head` of the torch original.
    """

    def __init__(
        self,
        feat_size: int,
        *,
        discount: float = 0.99,
        layers: int = 4,
        units: int = 400,
        act: Act = "elu",
        stop_gradient: bool = False,
    ) -> None:
        super().__init__()
        self.gamma = discount
        self.mlp = MLP(feat_size, layers=layers, units=units, act=act)
        self.output = Linear(self.mlp.out_size, 1)
        self.stop_gradient = stop_gradient

    def _logit(self, feat: Tensor) -> Tensor:
        value: Tensor = self.output(self.mlp(feat))
        return value.squeeze(-1).float()

    def losses(self, feat: Tensor, is_terminal: Tensor) -> Losses:
        """{"cont": (B, T)}, cross-entropy with the soft label."""
        feat = feat.detach() if self.stop_gradient else feat
        label = self.gamma * (~is_terminal).float()
        return {
            "cont": F.binary_cross_entropy_with_logits(self._logit(feat), label, reduction="none")
        }

    def discount(self, feat: Tensor, is_terminal: Tensor) -> Tensor:
        """(N, H): the truth at the start state, which the replay knows, then predictions."""
        first = self.gamma * (~is_terminal).float()
        return torch.cat([first.unsqueeze(1), torch.sigmoid(self._logit(feat[:, 1:]))], 1)
