"""Number formats of the forward passes; weights, losses and optimizers stay in float32."""

from __future__ import annotations

from typing import Literal

import torch

from harmony.errors import ConfigError

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class Precision:
    """fp32, or mixed precision by autocast.

    Args:
        format: fp32, bf16 or fp16; fp16 scales its losses.
    """

    def __init__(self, *, format: Literal["fp32", "bf16", "fp16"] = "fp32") -> None:
        self.format = format

    def autocast(self, device: torch.device) -> torch.autocast:
        """A context for forward passes; does nothing in fp32."""
        enabled = self.format != "fp32"
        dtype = _DTYPES[self.format] if enabled else torch.bfloat16
        return torch.autocast(device.type, dtype=dtype, enabled=enabled)

    def loss_scaler(self, device: torch.device) -> torch.amp.GradScaler:
        """A fresh dynamic loss scaler, disabled unless fp16."""
        return torch.amp.GradScaler(device.type, enabled=self.format == "fp16")

    def check(self, device: torch.device) -> None:
        """Refuses what the device can't do.

        Raises:
            ConfigError: fp16 on a CPU.
        """
        if self.format == "fp16" and device.type == "cpu":
            raise ConfigError(
                "precision=fp16 needs a CUDA device, got device=cpu; take precision=bf16 or fp32"
            )
