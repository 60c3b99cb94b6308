"""Recurrent cells of the RSSM."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from harmony.nn.layers import NORM_EPS, Linear


class GRUCell(nn.Module):
    """GRU with a layer norm over all three gates.

    Args:
        in_size: size of the input.
        deter: size of the state D.
        update_bias: added to the update gate, so that a new cell rather keeps its state.

    Source: DreamerV2; `nets/dynamics/rssm.py: GRUCell` of the torch original.
    Differs: Glorot-uniform weights and zero bias, as the TensorFlow original; the torch original
    leaves this one layer at torch's default.
    """

    def __init__(self, in_size: int, deter: int, *, update_bias: float = -1.0) -> None:
        super().__init__()
        self.linear = Linear(in_size + deter, 3 * deter)
        self.norm = nn.LayerNorm(3 * deter, eps=NORM_EPS)
        self.update_bias = update_bias

    def forward(self, x: Tensor, deter: Tensor) -> Tensor:
        """(B, in_size) and (B, D) to the next state (B, D)."""
        return self.gates(self.linear(torch.cat([x, deter], -1)), deter)

    def gates(self, raw: Tensor, deter: Tensor) -> Tensor:
        """Gates before the norm, (B, 3 D), and the state (B, D) to the next state (B, D)."""
        reset, cand, update = self.norm(raw).float().chunk(3, -1)
        # The reset gate also multiplies what the input adds to the candidate.
        cand = torch.tanh(torch.sigmoid(reset) * cand)
        return torch.lerp(deter, cand, torch.sigmoid(update + self.update_bias))
