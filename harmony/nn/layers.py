"""Linear and convolution layers with Dreamer's initialisers, and activations by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Act = Literal["elu", "silu", "relu", "none"]
NORM_EPS = 1e-3  # Keras' default, which the originals were tuned with


def activation(name: Act) -> Callable[[Tensor], Tensor]:
    """The function that an activation's name stands for."""
    functions: dict[str, Callable[[Tensor], Tensor]] = {
        "elu": F.elu,
        "silu": F.silu,
        "relu": F.relu,
        "none": lambda x: x,
    }
    return functions[name]


def glorot_(weight: Tensor, bias: Tensor | None) -> None:
    """Glorot-uniform weights and zero biases, in place (Keras' defaults, as in DreamerV2)."""
    nn.init.xavier_uniform_(weight)
    if bias is not None:
        nn.init.zeros_(bias)


class Linear(nn.Linear):
    """`torch.nn.Linear` with Glorot-uniform weights and zero bias."""

    def reset_parameters(self) -> None:
        """Initialises in place."""
        glorot_(self.weight, self.bias)


class Conv2d(nn.Conv2d):
    """`torch.nn.Conv2d` with Glorot-uniform weights and zero bias."""

    def reset_parameters(self) -> None:
        """Initialises in place."""
        glorot_(self.weight, self.bias)


class ConvTranspose2d(nn.ConvTranspose2d):
    """`torch.nn.ConvTranspose2d` with Glorot-uniform weights and zero bias."""

    def reset_parameters(self) -> None:
        """Initialises in place."""
        glorot_(self.weight, self.bias)


class JointLinear(Linear):
    """A linear map of several concatenated inputs whose parts can be applied apart.

    One weight, hence one fan for the initialiser; but what depends on time only through the data
    (embed, action) can be multiplied for all steps at once, outside the scan.

    Args:
        sizes: sizes of the inputs, in the order in which they would be concatenated.
        out_size: size of the output.
    """

    def __init__(self, sizes: tuple[int, ...], out_size: int) -> None:
        self.sizes = sizes
        super().__init__(sum(sizes), out_size)

    def parts(self) -> tuple[Tensor, ...]:
        """The weight of each input, (out_size, size). Take them once before a loop."""
        return torch.split(self.weight, list(self.sizes), 1)
