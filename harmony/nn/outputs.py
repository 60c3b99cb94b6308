"""How a network predicts one number: by its mean, or by a distribution over bins."""

from __future__ import annotations

import math
from typing import Protocol

import torch
from torch import Tensor, nn

from harmony.ops.symlog import symexp, symlog
from harmony.ops.twohot import expectation, symexp_bins, symlog_bins, twohot_loss

HALF_LOG_TWO_PI = 0.5 * math.log(2 * math.pi)


class Scalar(Protocol):
    """A kind of prediction.

    Attributes:
        size: raw outputs that one number takes.
    """

    size: int

    def pred(self, raw: Tensor) -> Tensor:
        """(..., size) float32 to (...), the predicted number."""

    def loss(self, raw: Tensor, target: Tensor) -> Tensor:
        """(..., size) float32 and (...) to (...); no gradient to the target."""


class Mean(nn.Module):
    """The number itself; half the squared error.

    Args:
        gaussian_constant: adds 0.919, the constant of a unit-variance normal density. It shifts
            the loss, hence the sigma of a harmonised one, and no other gradient.

    Source: `core/dists.py: MSE` of the torch original; with the constant, `nets.py: DistLayer`
    (mse) of DreamerPro and the TensorFlow DreamerV2.
    """

    def __init__(self, *, gaussian_constant: bool = False) -> None:
        super().__init__()
        self.size = 1
        self.constant = HALF_LOG_TWO_PI if gaussian_constant else 0.0

    def pred(self, raw: Tensor) -> Tensor:
        """(..., 1) to (...)."""
        return raw.squeeze(-1)

    def loss(self, raw: Tensor, target: Tensor) -> Tensor:
        """(..., 1) and (...) to (...)."""
        error = 0.5 * (raw.squeeze(-1) - target.detach()).square()
        return error + self.constant if self.constant else error


class TwoHot(nn.Module):
    """A distribution over evenly spaced bins of the symlog axis; symexp of its expectation.

    Args:
        bins: how many, K.
        limit: the outermost bins, in symlog units.

    Source: `jaxutils.py: DiscDist` of DreamerV3 (2023).
    """

    bin_values: Tensor

    def __init__(self, *, bins: int = 255, limit: float = 20.0) -> None:
        super().__init__()
        self.size = bins
        self.register_buffer("bin_values", symlog_bins(bins, -limit, limit), persistent=False)

    def pred(self, raw: Tensor) -> Tensor:
        """(..., K) to (...)."""
        return symexp(expectation(raw, self.bin_values))

    def loss(self, raw: Tensor, target: Tensor) -> Tensor:
        """(..., K) and (...) to (...), cross-entropy in nats."""
        return twohot_loss(raw, symlog(target.detach()), self.bin_values)


class SymexpTwoHot(nn.Module):
    """A distribution over bins whose distances grow with their size; its expectation.

    Args:
        bins: how many, K.
        limit: the outermost bins are at symexp of this.

    Source: `embodied/jax/heads.py: symexp_twohot` and `outs.py: TwoHot` of DreamerV3 (2025).
    """

    bin_values: Tensor

    def __init__(self, *, bins: int = 255, limit: float = 20.0) -> None:
        super().__init__()
        self.size = bins
        self.register_buffer("bin_values", symexp_bins(bins, limit), persistent=False)

    def pred(self, raw: Tensor) -> Tensor:
        """(..., K) to (...)."""
        return expectation(raw, self.bin_values)

    def loss(self, raw: Tensor, target: Tensor) -> Tensor:
        """(..., K) and (...) to (...), cross-entropy in nats."""
        return twohot_loss(raw, target.detach(), self.bin_values)


ScalarPart = Mean | TwoHot | SymexpTwoHot


def float_output(linear: nn.Module, hidden: Tensor) -> Tensor:
    """The output layer, float32 whatever the autocast."""
    raw: Tensor = linear(hidden)
    return raw.to(torch.float32)
