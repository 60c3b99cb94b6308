"""How many views of each sequence the world model learns from, and how they differ."""

from __future__ import annotations

import torch
from torch import Tensor

from harmony.ops.shift import random_shift
from harmony.types import Batch


class OneView:
    """The sequences as they are."""

    count = 1

    def draw_noise(self, views: int, generator: torch.Generator, device: torch.device) -> Tensor:  # noqa: ARG002
        """(views, 0): nothing is random."""
        return torch.empty(views, 0, device=device)

    def repeat(self, batch: Batch) -> Batch:
        """The batch itself."""
        return batch

    def augment(self, image: Tensor, noise: Tensor) -> Tensor:  # noqa: ARG002
        """The images themselves."""
        return image


class ShiftedViews:
    """Two views of each sequence, each shifted by its own sub-pixel offset, the same over time.

    Args:
        max_shift: largest offset in pixels, in both directions of both axes.

    Source: DreamerPro, `common/other.py: random_translate` and `dreamerv2/agent.py: preprocess`.
    """

    count = 2

    def __init__(self, *, max_shift: float = 3.0) -> None:
        if max_shift < 0:
            raise ValueError(f"views.max_shift must be at least 0, got {max_shift}")
        self.max_shift = max_shift

    def draw_noise(self, views: int, generator: torch.Generator, device: torch.device) -> Tensor:
        """(views, 2), offsets in pixels, horizontal first."""
        uniform = torch.rand((views, 2), generator=generator, device=device)
        return (2 * uniform - 1) * self.max_shift

    def repeat(self, batch: Batch) -> Batch:
        """All sequences, then all of them again: (2 B, T, ...)."""
        return {key: torch.cat([value, value]) for key, value in batch.items()}

    def augment(self, image: Tensor, noise: Tensor) -> Tensor:
        """(2 B, T, C, Hi, Wi) images and (2 B, 2) offsets to shifted images."""
        return random_shift(image, noise)


Views = OneView | ShiftedViews
