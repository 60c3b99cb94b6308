"""From feats back to observations."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from harmony.models.encoders import Shapes, image_keys, image_side, vector_keys
from harmony.nn.cnn import ConvDecoder
from harmony.nn.layers import PLAIN, Linear, Style
from harmony.nn.mlp import MLP


class Decoder(nn.Module):
    """Convolutions for images, a perceptron with one output layer a vector.

    Args:
        feat_size: F.
        shapes: of the observations, images channel last.
        cnn: makes the network for images from (feat_size, channels, side).
        vector_layers: hidden layers for vectors.
        vector_units: their width.
        style: norm, activation and initialiser of the perceptron.

    Raises:
        ValueError: the convolutions don't give images of the right side.

    Source: DreamerV2, `nets/decoder/` of the torch original; DreamerV3, `nets.py: MultiDecoder`
    (2023) and `dreamerv3/rssm.py: Decoder` (2025).
    """

    def __init__(
        self,
        feat_size: int,
        shapes: Shapes,
        *,
        cnn: Callable[..., nn.Module] = ConvDecoder,
        vector_layers: int = 4,
        vector_units: int = 400,
        style: Style = PLAIN,
    ) -> None:
        super().__init__()
        self.images, self.vectors = image_keys(shapes), vector_keys(shapes)
        self.channels = [shapes[key][2] for key in self.images]
        if self.images:
            self.cnn = cnn(feat_size, sum(self.channels), image_side(shapes))
        if self.vectors:
            self.mlp = MLP(feat_size, layers=vector_layers, units=vector_units, style=style)
            self.outputs = nn.ModuleDict(
                {
                    key: Linear(self.mlp.out_size, shapes[key][0], init=style.out_init)
                    for key in self.vectors
                }
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
