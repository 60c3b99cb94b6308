"""Multi-layer perceptron."""

from __future__ import annotations

import itertools

from torch import Tensor, nn

from harmony.nn.layers import PLAIN, Style


class MLP(nn.Module):
    """Hidden layers of one width; the output layers belong to whoever uses the features.

    Args:
        in_size: size of the last axis of the input.
        layers: number of hidden layers.
        units: width of each.
        style: norm, activation and initialiser.
    """

    def __init__(self, in_size: int, *, layers: int, units: int, style: Style = PLAIN) -> None:
        super().__init__()
        sizes = [in_size, *[units] * layers]
        self.layers = nn.ModuleList(
            style.linear(left, right) for left, right in itertools.pairwise(sizes)
        )
        self.norms = nn.ModuleList(style.normalize(size) for size in sizes[1:])
        self.out_size = sizes[-1]
        self._act = style.activate()

    def forward(self, x: Tensor) -> Tensor:
        """(..., in_size) to (..., units)."""
        lead = x.shape[:-1]
        # One matrix product: a slice of a rollout would else be multiplied row by row.
        x = x.reshape(-1, x.shape[-1])
        for layer, norm in zip(self.layers, self.norms, strict=True):
            x = self._act(norm(layer(x)))
        return x.reshape(*lead, self.out_size)
