"""From observations to embeds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

import torch
from torch import Tensor, nn

from harmony.nn.cnn import ConvEncoder
from harmony.nn.layers import PLAIN, Style
from harmony.nn.mlp import MLP
from harmony.ops.symlog import symlog

Shapes = Mapping[str, tuple[int, ...]]


class ImageEncoder(Protocol):
    """A network from images to vectors of `out_size` entries."""

    out_size: int

    def __call__(self, image: Tensor) -> Tensor:
        """(N, C, Hi, Wi) to (N, out_size)."""


def image_keys(shapes: Shapes) -> list[str]:
    """Names of the observations that are images (Hi, Wi, C)."""
    return [key for key, shape in shapes.items() if len(shape) == 3]


def vector_keys(shapes: Shapes) -> list[str]:
    """Names of the observations that are vectors (n,)."""
    return [key for key, shape in shapes.items() if len(shape) == 1]


def image_side(shapes: Shapes) -> int:
    """The side of all images.

    Raises:
        ValueError: they are not square, or not of one size.
    """
    sides = {shapes[key][:2] for key in image_keys(shapes)}
    if len(sides) != 1 or len(set(next(iter(sides)))) != 1:
        raise ValueError(f"images must be square and of one size, got {sorted(sides)}")
    return next(iter(sides))[0]


class Encoder(nn.Module):
    """Convolutions for images and a perceptron for vectors, concatenated.

    Args:
        shapes: of the observations, images channel last.
        cnn: makes the network for images from (channels, side).
        vector_layers: hidden layers for vectors.
        vector_units: their width.
        symlog_vectors: whether vectors are squashed first.
        style: norm, activation and initialiser of the perceptron.

    Raises:
        ValueError: neither images nor vectors, or images of unequal sides.

    Source: DreamerV2, `nets/encoder/` of the torch original; DreamerV3, `nets.py: MultiEncoder`
    (2023) and `dreamerv3/rssm.py: Encoder` (2025, vectors before images). Differs: no observations
    that are numbers of options, which the 2025 original makes one-hot.
    """

    def __init__(
        self,
        shapes: Shapes,
        *,
        cnn: Callable[..., nn.Module] = ConvEncoder,
        vector_layers: int = 4,
        vector_units: int = 400,
        symlog_vectors: bool = False,
        style: Style = PLAIN,
    ) -> None:
        super().__init__()
        self.images, self.vectors = image_keys(shapes), vector_keys(shapes)
        if not self.images and not self.vectors:
            raise ValueError(f"an encoder needs images or vectors, got {dict(shapes)}")
        self.embed_size = 0
        self.symlog_vectors = symlog_vectors
        if self.images:
            channels = sum(shapes[key][2] for key in self.images)
            self.cnn = cnn(channels, image_side(shapes))
            self.embed_size += int(self.cnn.out_size)  # type: ignore[arg-type] # an ImageEncoder
        if self.vectors:
            size = sum(shapes[key][0] for key in self.vectors)
            self.mlp = MLP(size, layers=vector_layers, units=vector_units, style=style)
            self.embed_size += self.mlp.out_size

    def forward(self, obs: Mapping[str, Tensor]) -> Tensor:
        """Images (..., C, Hi, Wi) around zero and vectors (..., n) to (..., E)."""
        parts: list[Tensor] = []
        if self.images:
            image = torch.cat([obs[key] for key in self.images], -3)
            lead = image.shape[:-3]
            parts.append(self.cnn(image.flatten(0, -4)).unflatten(0, lead))
        if self.vectors:
            vector = torch.cat([obs[key] for key in self.vectors], -1)
            parts.append(self.mlp(symlog(vector) if self.symlog_vectors else vector))
        return torch.cat(parts, -1)
