"""Reward and continuation, predicted from feats."""

from __future__ import annotations

from typing import Literal, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from harmony.nn.layers import PLAIN, Linear, Style
from harmony.nn.mlp import MLP
from harmony.nn.outputs import Mean, ScalarPart, float_output
from harmony.types import Losses

RewardTransform = Literal["identity", "tanh", "sign"]
First = Literal["truth", "predicted"]


class RewardHead(nn.Module):
    """Predicts the (transformed) reward.

    Args:
        feat_size: F.
        layers: hidden layers.
        units: their width.
        scalar: how the number is predicted; by its mean where it is not given.
        out_scale: factor on the initial weights of the last layer; 0 begins with zeros.
        transform: applied to the reward before it is predicted; imagination sees it transformed.
        stop_gradient: whether the loss leaves the latent alone.
        style: norm, activation and initialiser.

    Source: `agents/dreamerv2.py`, `clip_rewards` and `grad_heads` of the torch original; DreamerV3.
    """

    def __init__(
        self,
        feat_size: int,
        *,
        layers: int = 4,
        units: int = 400,
        scalar: ScalarPart | None = None,
        out_scale: float = 1.0,
        transform: RewardTransform = "identity",
        stop_gradient: bool = False,
        style: Style = PLAIN,
    ) -> None:
        super().__init__()
        self.scalar = scalar or Mean()
        self.mlp = MLP(feat_size, layers=layers, units=units, style=style)
        self.output = Linear(
            self.mlp.out_size, self.scalar.size, init=style.out_init, scale=out_scale
        )
        self.transform = transform
        self.stop_gradient = stop_gradient

    def target(self, reward: Tensor) -> Tensor:
        """(...) raw rewards to (...) what is predicted."""
        if self.transform == "identity":
            return reward
        return torch.tanh(reward) if self.transform == "tanh" else torch.sign(reward)

    def _raw(self, feat: Tensor) -> Tensor:
        return float_output(self.output, self.mlp(feat))

    def pred(self, feat: Tensor) -> Tensor:
        """(..., F) to (...), float32."""
        return self.scalar.pred(self._raw(feat))

    def losses(self, feat: Tensor, reward: Tensor) -> Losses:
        """{"reward": (B, T)}.

        Args:
            feat: (B, T, F).
            reward: (B, T), raw.
        """
        feat = feat.detach() if self.stop_gradient else feat
        return {"reward": self.scalar.loss(self._raw(feat), self.target(reward))}


class ContinuePart(Protocol):
    """How the future is discounted in imagination.

    Attributes:
        certain: the discount of a state that surely goes on.
    """

    certain: float

    def losses(self, feat: Tensor, is_terminal: Tensor) -> Losses:
        """Losses by name, none for a constant; feat (B, T, F), is_terminal (B, T)."""

    def discount(self, feat: Tensor, is_terminal: Tensor) -> Tensor:
        """(N, n, F) feats and (N,) flags of the start states to (N, n) discounts."""


class ConstantDiscount(nn.Module):
    """No head: the same discount everywhere.

    Args:
        feat_size: F, unused; all parts of one kind are built alike.
        discount: gamma, in (0, 1].
    """

    def __init__(self, feat_size: int, *, discount: float = 0.99) -> None:  # noqa: ARG002
        super().__init__()
        self.gamma = self.certain = discount

    def losses(self, feat: Tensor, is_terminal: Tensor) -> Losses:  # noqa: ARG002
        """Nothing to learn."""
        return {}

    def discount(self, feat: Tensor, is_terminal: Tensor) -> Tensor:  # noqa: ARG002
        """(N, n), gamma."""
        return feat.new_full(feat.shape[:-1], self.gamma, dtype=torch.float32)


class _Head(nn.Module):
    """A perceptron with one logit: whether the episode goes on."""

    def __init__(
        self,
        feat_size: int,
        *,
        discount: float,
        layers: int = 4,
        units: int = 400,
        stop_gradient: bool = False,
        style: Style = PLAIN,
    ) -> None:
        super().__init__()
        self.gamma = discount
        self.mlp = MLP(feat_size, layers=layers, units=units, style=style)
        self.output = Linear(self.mlp.out_size, 1, init=style.out_init)
        self.stop_gradient = stop_gradient

    def _logit(self, feat: Tensor) -> Tensor:
        return float_output(self.output, self.mlp(feat)).squeeze(-1)

    def _loss(self, feat: Tensor, label: Tensor) -> Losses:
        feat = feat.detach() if self.stop_gradient else feat
        return {
            "cont": F.binary_cross_entropy_with_logits(self._logit(feat), label, reduction="none")
        }


class DiscountHead(_Head):
    """Predicts gamma * (1 - is_terminal) as the mean of a Bernoulli variable.

    Args:
        feat_size: F.
        discount: gamma, in (0, 1].
        first: the discount of a rollout's start state is the truth, which the replay knows, or
            predicted as well.
        layers: hidden layers.
        units: their width.
        stop_gradient: whether the loss leaves the latent alone.
        style: norm, activation and initialiser.

    Source: DreamerV2, section 2; `discount_head` of the torch original. With `first: predicted`,
    DreamerV3 (2025), `contdisc`.
    """

    certain = 1.0

    def __init__(
        self,
        feat_size: int,
        *,
        discount: float = 0.99,
        first: First = "truth",
        layers: int = 4,
        units: int = 400,
        stop_gradient: bool = False,
        style: Style = PLAIN,
    ) -> None:
        super().__init__(
            feat_size,
            discount=discount,
            layers=layers,
            units=units,
            stop_gradient=stop_gradient,
            style=style,
        )
        self.first = first

    def losses(self, feat: Tensor, is_terminal: Tensor) -> Losses:
        """{"cont": (B, T)}, cross-entropy with the soft label."""
        return self._loss(feat, self.gamma * (~is_terminal).float())

    def discount(self, feat: Tensor, is_terminal: Tensor) -> Tensor:
        """(N, n): predictions, at the start state the truth unless that is predicted too."""
        if self.first == "predicted":
            return torch.sigmoid(self._logit(feat))
        first = self.gamma * (~is_terminal).float()
        return torch.cat([first.unsqueeze(1), torch.sigmoid(self._logit(feat[:, 1:]))], 1)


class ContinueHead(_Head):
    """Predicts whether the episode goes on; imagination takes the likelier answer times gamma.

    Args:
        feat_size: F.
        discount: gamma, in (0, 1].
        layers: hidden layers.
        units: their width.
        stop_gradient: whether the loss leaves the latent alone.
        style: norm, activation and initialiser.

    Source: DreamerV3 (2023), `agent.py: WorldModel.imagine` and `ImagActorCritic`.
    """

    def __init__(
        self,
        feat_size: int,
        *,
        discount: float = 0.997,
        layers: int = 4,
        units: int = 400,
        stop_gradient: bool = False,
        style: Style = PLAIN,
    ) -> None:
        super().__init__(
            feat_size,
            discount=discount,
            layers=layers,
            units=units,
            stop_gradient=stop_gradient,
            style=style,
        )
        self.certain = discount

    def losses(self, feat: Tensor, is_terminal: Tensor) -> Losses:
        """{"cont": (B, T)}, cross-entropy with the hard label."""
        return self._loss(feat, (~is_terminal).float())

    def discount(self, feat: Tensor, is_terminal: Tensor) -> Tensor:
        """(N, n): gamma or 0, the truth at the start state, which the replay knows; no gradient."""
        goes_on = torch.cat([(~is_terminal).unsqueeze(1), self._logit(feat[:, 1:]) > 0], 1)
        return self.gamma * goes_on.float()
