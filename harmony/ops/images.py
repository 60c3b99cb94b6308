"""The one place where images change from bytes to numbers and back."""

from __future__ import annotations

import torch
from torch import Tensor


def image_to_float(image: Tensor) -> Tensor:
    """Bytes to floats around zero, channel axis first.

    Args:
        image: (..., Hi, Wi, C), uint8.

    Returns:
        (..., C, Hi, Wi), float32, x / 255 - 0.5. The memory stays channels-last, which is the
        layout that convolutions are fastest with.

    Source: `agents/base.py: preprocess` of the torch original.
    """
    return image.movedim(-1, -3).float() / 255 - 0.5


def float_to_image(image: Tensor) -> Tensor:
    """Floats around zero to bytes, channel axis last.

    Args:
        image: (..., C, Hi, Wi), float; values outside [-0.5, 0.5] are clipped.

    Returns:
        (..., Hi, Wi, C), uint8.
    """
    return ((image.float() + 0.5).clamp(0, 1) * 255).round().to(torch.uint8).movedim(-3, -1)
