"""Linear and convolution layers with Dreamer's initialisers, norms and activations by name."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Act = Literal["elu", "silu", "relu", "none"]
Init = Literal["glorot", "trunc_normal_avg", "trunc_normal_in"]
Norm = Literal["none", "layer", "rms"]
Bias = Literal["always", "unnormed"]

NORM_EPS = 1e-3  # Keras' default, which the originals were tuned with
RMS_EPS = 1e-4
TRUNCATED_STD = 0.87962566103423978  # of a standard normal cut at two deviations


def activation(name: Act) -> Callable[[Tensor], Tensor]:
    """The function that an activation's name stands for."""
    functions: dict[str, Callable[[Tensor], Tensor]] = {
        "elu": F.elu,
        "silu": F.silu,
        "relu": F.relu,
        "none": lambda x: x,
    }
    return functions[name]


def init_(weight: Tensor, init: Init, scale: float, fans: tuple[int, int]) -> None:
    """Fills a weight in place.

    Args:
        weight: of any shape.
        init: `glorot` is uniform; `trunc_normal_avg` and `trunc_normal_in` are normal, cut at two
            deviations, with the variance 1 / mean of both fans or 1 / fan in.
        scale: factor on the standard deviation; 0 gives zeros.
        fans: in and out.

    Source: Keras' defaults (DreamerV2, DreamerPro); `nets.py: Initializer` of DreamerV3 (2023);
    `embodied/jax/nets.py: Initializer` of DreamerV3 (2025), whose 1.1368 is 1 / 0.87963.
    """
    if scale == 0.0:
        nn.init.zeros_(weight)
        return
    if init == "glorot":
        limit = scale * (math.sqrt(3.0) * math.sqrt(2.0 / sum(fans)))
        nn.init.uniform_(weight, -limit, limit)
        return
    fan = fans[0] if init == "trunc_normal_in" else sum(fans) / 2
    std = scale / math.sqrt(fan) / TRUNCATED_STD
    nn.init.trunc_normal_(weight, 0.0, std, -2 * std, 2 * std)


@dataclass(frozen=True)
class Style:
    """What a hidden layer is made of; one choice for a whole network.

    Attributes:
        act: activation.
        norm: between the linear map and the activation; `layer` and `rms` act on the last axis,
            on channels in convolutions.
        init: initialiser of the weights.
        bias: `always`, or only in `unnormed` layers, since a layer norm has a bias of its own.
        out_init: initialiser of layers without norm and activation: outputs, first of all.
    """

    act: Act = "elu"
    norm: Norm = "none"
    init: Init = "glorot"
    bias: Bias = "always"
    out_init: Init = "glorot"

    @property
    def has_bias(self) -> bool:
        """Whether the linear map before a norm has a bias."""
        return self.bias == "always" or self.norm == "none"

    def linear(self, in_size: int, out_size: int) -> Linear:
        """A linear map that is followed by `normalize`."""
        return Linear(in_size, out_size, bias=self.has_bias, init=self.init)

    def normalize(self, size: int) -> nn.Module:
        """The norm over the last axis of (..., size)."""
        if self.norm == "none":
            return nn.Identity()
        if self.norm == "rms":
            return RMSNorm(size)
        return LayerNorm(size)

    def activate(self) -> Callable[[Tensor], Tensor]:
        """The activation."""
        return activation(self.act)


PLAIN = Style()
"""DreamerV2: ELU, no norm, Glorot uniform."""


class LayerNorm(nn.LayerNorm):
    """Layer norm over the last axis in float32, eps 1e-3; gives its input's number format."""

    def __init__(self, size: int) -> None:
        super().__init__(size, eps=NORM_EPS)

    def forward(self, x: Tensor) -> Tensor:
        """(..., size) to the same."""
        normed = F.layer_norm(x.float(), self.normalized_shape, self.weight, self.bias, self.eps)
        return normed.to(x.dtype)


class RMSNorm(nn.RMSNorm):
    """Division by the root mean square of the last axis, in float32, eps 1e-4; one scale each.

    Source: `embodied/jax/nets.py: Norm` (rms) of DreamerV3 (2025).
    """

    def __init__(self, size: int) -> None:
        super().__init__(size, eps=RMS_EPS)

    def forward(self, x: Tensor) -> Tensor:
        """(..., size) to the same."""
        normed = F.rms_norm(x.float(), self.normalized_shape, self.weight, self.eps)
        return normed.to(x.dtype)


class ChannelNorm(nn.Module):
    """A norm over the channels of each pixel.

    Args:
        norm: acts on the last axis.
    """

    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.norm = norm

    def forward(self, image: Tensor) -> Tensor:
        """(N, C, Hi, Wi) to the same; no copy where the memory is channels-last."""
        normed: Tensor = self.norm(image.permute(0, 2, 3, 1))
        return normed.permute(0, 3, 1, 2)


class Linear(nn.Linear):
    """`torch.nn.Linear` with Dreamer's initialisers and zero bias.

    Args:
        in_size: size of the input.
        out_size: size of the output.
        bias: whether there is one.
        init: initialiser of the weight.
        scale: factor on the initial weight; 0 for outputs that begin at zero.
    """

    def __init__(
        self,
        in_size: int,
        out_size: int,
        *,
        bias: bool = True,
        init: Init = "glorot",
        scale: float = 1.0,
    ) -> None:
        self.init, self.scale = init, scale
        super().__init__(in_size, out_size, bias)

    def reset_parameters(self) -> None:
        """Initialises in place."""
        out_size, in_size = self.weight.shape
        init_(self.weight, self.init, self.scale, (in_size, out_size))
        if self.bias is not None:
            nn.init.zeros_(self.bias)


class BlockLinear(nn.Module):
    """A linear map with a block-diagonal matrix: each part of the input reaches one of the output.

    Args:
        in_size: size of the input, a multiple of `blocks`.
        out_size: size of the output, a multiple of `blocks`.
        blocks: number of blocks.
        init: initialiser of the weight; fans are those of one block times the number of blocks on
            the input's side, as in the original.

    Raises:
        ValueError: a size is no multiple of `blocks`.

    Source: `embodied/jax/nets.py: BlockLinear` of DreamerV3 (2025).
    """

    def __init__(self, in_size: int, out_size: int, blocks: int, *, init: Init) -> None:
        super().__init__()
        if in_size % blocks or out_size % blocks:
            raise ValueError(f"sizes {in_size} and {out_size} must be multiples of blocks={blocks}")
        self.blocks = blocks
        self.out_size = out_size
        self.weight = nn.Parameter(torch.empty(blocks, in_size // blocks, out_size // blocks))
        self.bias = nn.Parameter(torch.zeros(out_size))
        # The original takes the block axis for the space of a kernel.
        init_(self.weight, init, 1.0, (in_size, out_size))

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_size) to (N, out_size)."""
        parts = x.reshape(x.shape[0], self.blocks, -1).transpose(0, 1)
        bias = self.bias.reshape(self.blocks, 1, -1)
        mapped = torch.baddbmm(bias, parts, self.weight)
        return mapped.transpose(0, 1).reshape(x.shape[0], self.out_size)


class Conv2d(nn.Conv2d):
    """`torch.nn.Conv2d` with Dreamer's initialisers and zero bias; arguments as there.

    Args:
        in_channels: of the input.
        out_channels: of the output.
        kernel: side.
        stride: step.
        padding: on each side.
        bias: whether there is one.
        init: initialiser of the weight.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int,
        stride: int = 1,
        *,
        padding: int = 0,
        bias: bool = True,
        init: Init = "glorot",
    ) -> None:
        self.init = init
        super().__init__(in_channels, out_channels, kernel, stride, padding, bias=bias)

    def reset_parameters(self) -> None:
        """Initialises in place."""
        out_channels, in_channels, *sides = self.weight.shape
        space = math.prod(sides)
        init_(self.weight, self.init, 1.0, (in_channels * space, out_channels * space))
        if self.bias is not None:
            nn.init.zeros_(self.bias)


class ConvTranspose2d(nn.ConvTranspose2d):
    """`torch.nn.ConvTranspose2d` with Dreamer's initialisers, zero bias; arguments as `Conv2d`."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int,
        stride: int = 1,
        *,
        padding: int = 0,
        bias: bool = True,
        init: Init = "glorot",
    ) -> None:
        self.init = init
        super().__init__(in_channels, out_channels, kernel, stride, padding, bias=bias)

    def reset_parameters(self) -> None:
        """Initialises in place."""
        in_channels, out_channels, *sides = self.weight.shape
        space = math.prod(sides)
        init_(self.weight, self.init, 1.0, (in_channels * space, out_channels * space))
        if self.bias is not None:
            nn.init.zeros_(self.bias)


class JointLinear(Linear):
    """A linear map of several concatenated inputs whose parts can be applied apart.

    One weight, hence one fan for the initialiser; but what depends on time only through the data
    (embed, action) can be multiplied for all steps at once, outside the scan.

    Args:
        sizes: sizes of the inputs, in the order in which they would be concatenated.
        out_size: size of the output.
        bias: whether there is one.
        init: initialiser of the weight.
    """

    def __init__(
        self, sizes: tuple[int, ...], out_size: int, *, bias: bool = True, init: Init = "glorot"
    ) -> None:
        self.sizes = sizes
        super().__init__(sum(sizes), out_size, bias=bias, init=init)

    def parts(self) -> tuple[Tensor, ...]:
        """The weight of each input, (out_size, size). Take them once before a loop."""
        return torch.split(self.weight, list(self.sizes), 1)


def project(x: Tensor, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, ...]:
    """(B, T, n) to T tensors (B, out): one product for all steps, each step contiguous.

    Args:
        x: batch first.
        weight: (out, n).
        bias: (out,).
    """
    steps = x.transpose(0, 1).reshape(-1, x.shape[-1])
    return F.linear(steps, weight, bias).reshape(x.shape[1], x.shape[0], -1).unbind(0)
