"""From feats back to observations."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from harmony.models.encoders import Shapes, image_keys, vector_keys
from harmony.nn.cnn import ConvDecoder
from harmony.nn.layers import Act, Linear
from harmony.nn.mlp import MLP

DEFAULT_KERNELS = (5, 5, 6, 6)


class Decoder(nn.Module):
    """Transposed convolutions for images, a perceptron with one output layer a vector.

    Args:
        feat_size: F.
        shapes: of the observations, images channel last.
        depth: channels before the last convolution.
        kernels: kernel sides; they fix the side of the image.
        vector_layers: hidden layers for vectors.
        vector_units: their width.
        act: activation.

    Raises:
        ValueError: the kernels don't give images of the right side.

    Source: DreamerV2; `nets/decoder/` of the torch original.
    """

    def __init__(
        self,
        feat_size: int,
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
        self.channels = [shapes[key][2] for key in self.images]
        if self.images:
            self.cnn = ConvDecoder(
                feat_size, channels=sum(self.channels), depth=depth, kernels=kernels, act=act
            )
            side = shapes[self.images[0]][0]
            if self.cnn.out_side != side:
                raise ValueError(
                    f"decoder kernels {list(kernels)} give images of side {self.cnn.out_side}, "
                    f"the env has {side}; change algorithm.decoder.kernels or env.image_size"
                )
        if self.vectors:
            self.mlp = MLP(feat_size, layers=vector_layers, units=vector_units, act=act)
            self.outputs = nn.ModuleDict(
                {key: Linear(self.mlp.out_size, shapes[key][0]) for key in self.vectors}
            )

    def forward(self, feat: Tensor) -> dict[str, Tensor]:
        """(..., F) to images (..., C, Hi, Wi) around zero and vectors (..., n) by name."""
        found: dict[str, Tensor] = {}
        if self.images:
            lead = feat.shape[:-1]
            image = self.cnn(feat.flatten(0, -2)).unflatten(0, lead)
            found.update(zip(self.images, torch.split(image, self.channels, -3), strict=True))
        if self.vectors:
            hidden = self.mlp(feat)
            found.update({key: layer(hidden) for key, layer in self.outputs.items()})
        return found
