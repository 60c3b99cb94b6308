"""Convolutions that halve or double the image: DreamerV3's, of 2023 and of 2025."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from harmony.nn.layers import (
    BlockLinear,
    ChannelNorm,
    Conv2d,
    ConvTranspose2d,
    Linear,
    Style,
)

MULTIPLES = (2, 3, 4, 4)
V3 = Style(act="silu", norm="layer", init="trunc_normal_avg", bias="unnormed")
V3_2025 = Style(
    act="silu", norm="rms", init="trunc_normal_in", bias="always", out_init="trunc_normal_in"
)


def stages(side: int, min_side: int) -> int:
    """How often the side is halved until `min_side` is reached.

    Raises:
        ValueError: the side is no power of two times `min_side`.
    """
    count = int(math.log2(side / min_side)) if side > min_side else 0
    if not count or min_side * 2**count != side:
        raise ValueError(
            f"expected an image side of {min_side} times a power of two, got {side}; change "
            "env.image_size"
        )
    return count


class StridedEncoder(nn.Module):
    """4 x 4 convolutions of stride 2 that halve the image down to `min_side`; the depth doubles.

    Args:
        channels: of the image.
        side: of the image, in pixels; `min_side` times a power of two.
        depth: channels after the first convolution.
        min_side: side of the last map.
        style: norm over channels, activation, initialiser.

    Source: `nets.py: ImageEncoderResnet` of DreamerV3 (2023) with no blocks and resize by stride.
    Differs: flattened in the order channel, row, column.
    """

    def __init__(
        self, channels: int, side: int, *, depth: int = 32, min_side: int = 4, style: Style = V3
    ) -> None:
        super().__init__()
        count = stages(side, min_side)
        sizes = [channels, *(depth * 2**i for i in range(count))]
        self.layers = nn.ModuleList(
            Conv2d(sizes[i], sizes[i + 1], 4, 2, padding=1, bias=style.has_bias, init=style.init)
            for i in range(count)
        )
        self.norms = nn.ModuleList(ChannelNorm(style.normalize(size)) for size in sizes[1:])
        self.out_size = sizes[-1] * min_side**2
        self._act = style.activate()

    def forward(self, image: Tensor) -> Tensor:
        """(N, C, Hi, Wi) float to (N, out_size)."""
        x = image.contiguous(memory_format=torch.channels_last)
        for layer, norm in zip(self.layers, self.norms, strict=True):
            x = self._act(norm(layer(x)))
        return x.flatten(1)


class StridedDecoder(nn.Module):
    """A linear layer to a small map, then 4 x 4 transposed convolutions of stride 2.

    Args:
        in_size: size of the features.
        channels: of the image.
        side: of the image, in pixels; `min_side` times a power of two.
        depth: channels before the last convolution.
        min_side: side of the first map.
        style: norm over channels, activation, initialiser; the first and the last layer are plain.

    Source: `nets.py: ImageDecoderResnet` of DreamerV3 (2023) with no blocks and resize by stride.
    """

    def __init__(
        self,
        in_size: int,
        channels: int,
        side: int,
        *,
        depth: int = 32,
        min_side: int = 4,
        style: Style = V3,
    ) -> None:
        super().__init__()
        count = stages(side, min_side)
        sizes = [depth * 2 ** (count - 1 - i) for i in range(count)]
        self.input = Linear(in_size, sizes[0] * min_side**2, init=style.out_init)
        self.min_side, self.channels = min_side, sizes[0]
        self.layers = nn.ModuleList(
            ConvTranspose2d(
                sizes[i], sizes[i + 1], 4, 2, padding=1, bias=style.has_bias, init=style.init
            )
            for i in range(count - 1)
        )
        self.norms = nn.ModuleList(ChannelNorm(style.normalize(size)) for size in sizes[1:])
        self.output = ConvTranspose2d(sizes[-1], channels, 4, 2, padding=1, init=style.out_init)
        self._act = style.activate()

    def forward(self, feat: Tensor) -> Tensor:
        """(N, F) to (N, C, Hi, Wi), around zero."""
        x = self.input(feat).reshape(-1, self.min_side, self.min_side, self.channels)
        x = x.permute(0, 3, 1, 2)
        for layer, norm in zip(self.layers, self.norms, strict=True):
            x = self._act(norm(layer(x)))
        image: Tensor = self.output(x)
        return image


class PooledEncoder(nn.Module):
    """5 x 5 convolutions, each followed by a 2 x 2 maximum, a norm and the activation.

    Args:
        channels: of the image.
        side: of the image, in pixels; a multiple of 2 ** len(multiples).
        depth: channels are this times `multiples`.
        multiples: one a layer.
        kernel: side, odd.
        style: norm over channels, activation, initialiser.

    Raises:
        ValueError: the side can't be halved that often, the last map is not 3 to 16 wide, or the
            kernel is even.

    Source: `dreamerv3/rssm.py: Encoder` of DreamerV3 (2025) with `strided` and `outer` off.
    Differs: flattened in the order channel, row, column.
    """

    def __init__(
        self,
        channels: int,
        side: int,
        *,
        depth: int = 64,
        multiples: Sequence[int] = MULTIPLES,
        kernel: int = 5,
        style: Style = V3_2025,
    ) -> None:
        super().__init__()
        sizes = [channels, *(depth * multiple for multiple in multiples)]
        self.layers = nn.ModuleList(
            Conv2d(
                left,
                right,
                kernel,
                padding=same_padding(kernel),
                bias=style.has_bias,
                init=style.init,
            )
            for left, right in itertools.pairwise(sizes)
        )
        self.norms = nn.ModuleList(ChannelNorm(style.normalize(size)) for size in sizes[1:])
        self.out_size = sizes[-1] * smallest_side(side, len(multiples)) ** 2
        self._act = style.activate()

    def forward(self, image: Tensor) -> Tensor:
        """(N, C, Hi, Wi) float to (N, out_size)."""
        x = image.contiguous(memory_format=torch.channels_last)
        for layer, norm in zip(self.layers, self.norms, strict=True):
            x = self._act(norm(F.max_pool2d(layer(x), 2)))
        return x.flatten(1)


def same_padding(kernel: int) -> int:
    """Padding with which a convolution of stride 1 keeps the side.

    Raises:
        ValueError: the kernel's side is even.
    """
    if kernel % 2 == 0:
        raise ValueError(f"cnn.kernel must be odd, so that maps keep their side, got {kernel}")
    return kernel // 2


def smallest_side(side: int, halvings: int) -> int:
    """Side of the smallest map.

    Raises:
        ValueError: it is not whole, or not in 3 to 16.
    """
    small, rest = divmod(side, 1 << halvings)
    if rest or not 3 <= small <= 16:
        raise ValueError(
            f"images of side {side} can't be halved {halvings} times to a side of 3 to 16; change "
            "env.image_size"
        )
    return small


class BlockDecoder(nn.Module):
    """Deter through a block-diagonal map, stoch through a dense one, then doubled and convolved.

    Args:
        in_size: size of the feats: stoch before deter.
        channels: of the image.
        side: of the image, in pixels.
        deter: D; the rest of the feats is stoch.
        depth: channels are this times `multiples`.
        multiples: one a layer, as in the encoder.
        kernel: side, odd.
        units: half the width of the hidden layer over stoch.
        blocks: of the map over deter.
        style: norm over channels, activation, initialiser.

    Raises:
        ValueError: side or kernel as in the encoder, or channels that the blocks don't divide.

    Source: `dreamerv3/rssm.py: Decoder` of DreamerV3 (2025) with `bspace` on.
    """

    def __init__(
        self,
        in_size: int,
        channels: int,
        side: int,
        *,
        deter: int,
        depth: int = 64,
        multiples: Sequence[int] = MULTIPLES,
        kernel: int = 5,
        units: int = 1024,
        blocks: int = 8,
        style: Style = V3_2025,
    ) -> None:
        super().__init__()
        self.deter, self.blocks = deter, blocks
        self.side = smallest_side(side, len(multiples))
        sizes = [depth * multiple for multiple in multiples][::-1]
        self.channels = sizes[0]
        if self.channels % blocks:
            raise ValueError(
                f"decoder.cnn.blocks={blocks} must divide the {self.channels} channels of the "
                "first map, depth times the last of multiples"
            )
        width = sizes[0] * self.side**2
        self.from_deter = BlockLinear(deter, width, blocks, init=style.init)
        self.stoch_in = style.linear(in_size - deter, 2 * units)
        self.stoch_norm = style.normalize(2 * units)
        self.from_stoch = style.linear(2 * units, width)
        self.norm = ChannelNorm(style.normalize(sizes[0]))
        self.layers = nn.ModuleList(
            Conv2d(
                sizes[i], sizes[i + 1], kernel, padding=same_padding(kernel), bias=style.has_bias,
                init=style.init,
            )
            for i in range(len(sizes) - 1)
        )  # fmt: skip
        self.norms = nn.ModuleList(ChannelNorm(style.normalize(size)) for size in sizes[1:])
        self.output = Conv2d(
            sizes[-1], channels, kernel, padding=same_padding(kernel), init=style.out_init
        )
        self._act = style.activate()

    def forward(self, feat: Tensor) -> Tensor:
        """(N, F) to (N, C, Hi, Wi), around zero: in [-0.5, 0.5]."""
        stoch, deter = torch.split(feat, [feat.shape[-1] - self.deter, self.deter], -1)
        lead = (-1, self.side, self.side)
        # Each block gives some channels of every pixel; the image's channels are block-major.
        blocks = self.from_deter(deter).reshape(
            -1, self.blocks, self.side, self.side, self.channels // self.blocks
        )
        x0 = blocks.permute(0, 2, 3, 1, 4).reshape(*lead, self.channels)
        hidden = self._act(self.stoch_norm(self.stoch_in(stoch)))
        x1 = self.from_stoch(hidden).reshape(*lead, self.channels)
        x = self._act(self.norm((x0 + x1).permute(0, 3, 1, 2)))
        for layer, norm in zip(self.layers, self.norms, strict=True):
            x = self._act(norm(layer(_double(x))))
        return torch.sigmoid(self.output(_double(x)).float()) - 0.5


def _double(image: Tensor) -> Tensor:
    return F.interpolate(image, scale_factor=2, mode="nearest")
