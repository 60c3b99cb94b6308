"""Convolutions without padding: DreamerV2's and DreamerPro's, stride 2, 64 x 64 images."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from harmony.nn.layers import PLAIN, Conv2d, ConvTranspose2d, Linear, Style

STRIDE = 2
ENCODER_KERNELS = (4, 4, 4, 4)
DECODER_KERNELS = (5, 5, 6, 6)


def encoded_side(side: int, kernels: Sequence[int]) -> int:
    """Side of the map after the strided convolutions; below 1 where the image is too small."""
    for kernel in kernels:
        side = (side - kernel) // STRIDE + 1
    return side


def decoded_side(kernels: Sequence[int]) -> int:
    """Side of the image that the transposed convolutions make of one pixel."""
    side = 1
    for kernel in kernels:
        side = (side - 1) * STRIDE + kernel
    return side


class ConvEncoder(nn.Module):
    """Strided convolutions with a depth that doubles at each layer.

    Args:
        channels: of the image.
        side: of the image, in pixels.
        depth: channels after the first convolution.
        kernels: kernel side of each layer.
        style: activation and initialiser; no norm.

    Raises:
        ValueError: the image is too small for the kernels.

    Source: DreamerV2; `nets/encoder/plaincnn.py` of the torch original.
    """

    def __init__(
        self,
        channels: int,
        side: int,
        *,
        depth: int = 48,
        kernels: Sequence[int] = ENCODER_KERNELS,
        style: Style = PLAIN,
    ) -> None:
        super().__init__()
        out_side = encoded_side(side, kernels)
        if out_side < 1:
            raise ValueError(f"images of side {side} are too small for kernels {list(kernels)}")
        sizes = [channels, *(depth * 2**i for i in range(len(kernels)))]
        self.layers = nn.ModuleList(
            Conv2d(sizes[i], sizes[i + 1], kernel, STRIDE, init=style.init)
            for i, kernel in enumerate(kernels)
        )
        self.out_size = sizes[-1] * out_side**2
        self._act = style.activate()

    def forward(self, image: Tensor) -> Tensor:
        """(N, C, Hi, Wi) float to (N, out_size), flattened in the order channel, row, column."""
        x = image
        for layer in self.layers:
            x = self._act(layer(x))
        return x.flatten(1)


class FirstConvTranspose2d(ConvTranspose2d):
    """A transposed convolution of one pixel, which is a matrix product: a third of the time."""

    def forward(self, pixel: Tensor) -> Tensor:  # type: ignore[override]
        """(N, in_channels) to (N, out_channels, k, k), channels-last in memory."""
        kernel = self.weight.permute(0, 2, 3, 1)
        image = torch.matmul(pixel, kernel.flatten(1)).reshape(-1, *kernel.shape[1:])
        return (image + torch.as_tensor(self.bias)).permute(0, 3, 1, 2)


class ConvDecoder(nn.Module):
    """A linear layer to one pixel, then transposed convolutions with a depth that halves.

    Args:
        in_size: size of the features.
        channels: of the image.
        side: of the image, in pixels.
        depth: channels before the last convolution.
        kernels: kernel side of each layer; they fix the side of the image.
        style: activation and initialiser; no norm.

    Raises:
        ValueError: the kernels don't give images of this side.

    Source: DreamerV2; `nets/decoder/plaincnn.py` of the torch original.
    """

    def __init__(
        self,
        in_size: int,
        channels: int,
        side: int,
        *,
        depth: int = 48,
        kernels: Sequence[int] = DECODER_KERNELS,
        style: Style = PLAIN,
    ) -> None:
        super().__init__()
        if decoded_side(kernels) != side:
            raise ValueError(
                f"decoder kernels {list(kernels)} give images of side {decoded_side(kernels)}, the "
                f"env has {side}; change algorithm.decoder.cnn.kernels or env.image_size"
            )
        count = len(kernels)
        sizes = [32 * depth, *(depth * 2 ** (count - 2 - i) for i in range(count - 1)), channels]
        self.input = Linear(in_size, sizes[0], init=style.init)
        kinds = [FirstConvTranspose2d] + [ConvTranspose2d] * (count - 1)
        self.layers = nn.ModuleList(
            kinds[i](sizes[i], sizes[i + 1], kernel, STRIDE, init=style.init)
            for i, kernel in enumerate(kernels)
        )
        self._act = style.activate()

    def forward(self, feat: Tensor) -> Tensor:
        """(N, F) to (N, C, Hi, Wi), around zero."""
        x = self.input(feat)
        for layer in self.layers[:-1]:
            x = self._act(layer(x))
        image: Tensor = self.layers[-1](x)
        return image
