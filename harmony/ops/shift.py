"""Augmentation of images by shifts of fractions of a pixel."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def random_shift(image: Tensor, shift: Tensor) -> Tensor:
    """Moves every image of a sequence by the sequence's shift; the caller draws the shifts.

    output[y, x] = image[y - dy, x - dx], bilinear between pixels; what comes in from outside
    repeats the pixel at the edge.

    Args:
        image: (B, T, C, Hi, Wi), float32.
        shift: (B, 2), float32, dx and dy in pixels: positive moves right and down.

    Returns:
        (B, T, C, Hi, Wi) float32, channels last in memory as `image_to_float` gives it, which
        convolutions are fastest with.

    Source: `common/other.py: random_translate` of DreamerPro with `same_across_time`, which is
    TensorFlow Addons' `translate` with `bilinear` and `nearest`.
    """
    B, T, _, Hi, Wi = image.shape
    x = _position(Wi, shift[:, 0]).unsqueeze(1).expand(B, Hi, Wi)
    y = _position(Hi, shift[:, 1]).unsqueeze(2).expand(B, Hi, Wi)
    grid = torch.stack([x, y], -1).repeat_interleave(T, 0)
    flat = image.flatten(0, 1)
    moved = F.grid_sample(flat, grid, "bilinear", padding_mode="border", align_corners=False)
    return moved.contiguous(memory_format=torch.channels_last).reshape(image.shape)


def _position(size: int, shift: Tensor) -> Tensor:
    """(B, size), where each pixel of the output comes from; the image reaches from -1 to 1."""
    pixel = torch.arange(size, device=shift.device) - shift.unsqueeze(1)
    return (2 * pixel + 1) / size - 1
