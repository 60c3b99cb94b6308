"""From observations to embeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from harmony.nn.cnn import ConvEncoder
from harmony.nn.layers import Act
from harmony.nn.mlp import MLP

Shapes = Mapping[str, tuple[int, ...]]
DEFAULT_KERNELS = (4, 4, 4, 4)


def image_keys(shapes: Shapes) -> list[str]:
    """Names of the observations that are images (Hi, Wi, C)."""
    return [key for key, shape in shapes.items() if len(shape) == 3]


def vector_keys(shapes: Shapes) -> list[str]:
    """Names of the observations that are vectors (n,)."""
    return [key for key, shape in shapes.items() if len(shape) == 1]


class Encoder(nn.Module):
    """Convolutions for images and a perceptron for vectors, concatenated.

    Args:
        shapes: of the observations, images channel last.
        depth: channels after the first convolution.
        kernels: kernel sides.
        vector_layers: hidden layers for vectors.
        vector_units: their width.
        act: activation.

    Raises:
        ValueError: neither images nor vectors, or images of unequal sides.

    Source: DreamerV2; `nets/encoder/` of the torch original.
    """

    def __init__(
        self,
        shapes: Shapes,
        *,
        depth: int = 48,
        kernels: Sequence[int] = DEFAULT_KERNELS,
        vector_layers: int = 4,
        vector_units: int = 400,
        act: Act = "elu",
    ) -> None:
        super().__init__()
        self.images, self.vectors = image_keys(shapes), vector_keys(shapes)
        if not self.images and not self.vectors:
            raise ValueError(f"an encoder needs images or vectors, got {dict(shapes)}")
        self.embed_size = 0
        if self.images:
            sides = {shapes[key][:2] for key in self.images}
            if len(sides) != 1 or len(set(next(iter(sides)))) != 1:
                raise ValueError(f"images must be square and of one size, got {sorted(sides)}")
            channels = sum(shapes[key][2] for key in self.images)
            side = shapes[self.images[0]][0]
            self.cnn = ConvEncoder(
                channels=channels, side=side, depth=depth, kernels=kernels, act=act
            )
            self.embed_size += self.cnn.out_size
        if self.vectors:
            size = sum(shapes[key][0] for key in self.vectors)
            self.mlp = MLP(size, layers=vector_layers, units=vector_units, act=act)
            self.embed_size += self.mlp.out_size

    def forward(self, obs: Mapping[str, Tensor]) -> Tensor:
        """Images (..., C, Hi, Wi) around zero and vectors (..., n) to (..., E)."""
        parts: list[Tensor] = []
        if self.images:
            image = torch.cat([obs[key] for key in self.images], -3)
            lead = image.shape[:-3]
            parts.append(self.cnn(image.flatten(0, -4)).unflatten(0, lead))
        if self.vectors:
            parts.append(self.mlp(torch.cat([obs[key] for key in self.vectors], -1)))
        return torch.cat(parts, -1)
