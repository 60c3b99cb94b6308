"""What carries the deterministic state of the RSSM from one step to the next."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Protocol

import torch
from torch import Tensor, nn

from harmony.nn.layers import (
    PLAIN,
    BlockLinear,
    JointLinear,
    LayerNorm,
    Style,
    project,
)

Step = Callable[[Tensor, Tensor], Tensor]
"""(B, D) and (B, Z) to the next (B, D), with the action of one time step inside."""


class Cell(Protocol):
    """The deterministic path.

    Attributes:
        deter: D.
    """

    deter: int

    def steps(self, action: Tensor) -> list[Step]:
        """The T steps of a scan under the actions (B, T, A).

        What depends on actions alone is computed for all steps at once, before the scan.
        """

    def __call__(self, deter: Tensor, stoch: Tensor, action: Tensor) -> Tensor:
        """(N, D), (N, Z) and (N, A) to the next (N, D)."""


def gru_update(raw: Tensor, deter: Tensor, update_bias: float, blocks: int = 1) -> Tensor:
    """The gates of Dreamer's GRU.

    Args:
        raw: (N, 3 D), reset, candidate and update before their squashing; one such triple a block.
        deter: (N, D).
        update_bias: added to the update gate.
        blocks: number of triples.
    """
    triple = raw.float().reshape(raw.shape[0], blocks, 3, -1)
    reset, cand, update = (gate.reshape(deter.shape) for gate in triple.unbind(2))
    # The reset gate also multiplies what the input adds to the candidate.
    cand = torch.tanh(torch.sigmoid(reset) * cand)
    return torch.lerp(deter, cand, torch.sigmoid(update + update_bias))


class GRUCell(nn.Module):
    """A layer over state sample and action, then a GRU with one layer norm over all three gates.

    Args:
        stoch_size: Z.
        action_size: A.
        deter: D.
        hidden: width of the layer before the GRU.
        update_bias: added to the update gate, so that a new cell rather keeps its state.
        style: norm, activation and initialiser; the GRU itself always has a layer norm.

    Source: DreamerV2, `nets/dynamics/rssm.py: GRUCell` of the torch original; DreamerV3 (2023),
    `nets.py: RSSM`. Differs: Glorot-uniform weights and zero bias for DreamerV2, as the TensorFlow
    original; the torch original leaves the GRU at torch's default.
    """

    def __init__(
        self,
        stoch_size: int,
        action_size: int,
        *,
        deter: int,
        hidden: int,
        update_bias: float = -1.0,
        style: Style = PLAIN,
    ) -> None:
        super().__init__()
        self.deter = deter
        self.input = JointLinear(
            (stoch_size, action_size), hidden, bias=style.has_bias, init=style.init
        )
        self.input_norm = style.normalize(hidden)
        # The GRU is normed, so a style that leaves biases to norms has none here.
        self.linear = JointLinear(
            (hidden, deter), 3 * deter, bias=style.bias == "always", init=style.init
        )
        self.norm = LayerNorm(3 * deter)
        self.update_bias = update_bias
        self._act = style.activate()

    def steps(self, action: Tensor) -> list[Step]:
        """The T steps of a scan under the actions (B, T, A)."""
        # Taken once: each use of a part would else add its gradient to the whole weight.
        stoch_weight, action_weight = self.input.parts()

        def step(action_in: Tensor, deter: Tensor, stoch: Tensor) -> Tensor:
            return self._advance(deter, torch.addmm(action_in, stoch, stoch_weight.T))

        return [partial(step, x) for x in project(action, action_weight, self.input.bias)]

    def forward(self, deter: Tensor, stoch: Tensor, action: Tensor) -> Tensor:
        """(N, D), (N, Z) and (N, A) to the next (N, D)."""
        return self._advance(deter, self.input(torch.cat([stoch, action], -1)))

    def _advance(self, deter: Tensor, raw: Tensor) -> Tensor:
        x = self._act(self.input_norm(raw))
        gates = self.norm(self.linear(torch.cat([x, deter], -1)))
        return gru_update(gates, deter, self.update_bias)


class BlockGRUCell(nn.Module):
    """A GRU whose state falls into blocks that see all inputs, but only their own part of deter.

    Args:
        stoch_size: Z.
        action_size: A.
        deter: D, a multiple of `blocks`.
        hidden: width of the layers over deter, stoch and action.
        blocks: number of blocks.
        layers: block-diagonal layers before the gates.
        update_bias: added to the update gate.
        style: norm, activation and initialiser; the gates have no norm.

    Source: `dreamerv3/rssm.py: RSSM._core` of DreamerV3 (2025).
    """

    def __init__(
        self,
        stoch_size: int,
        action_size: int,
        *,
        deter: int,
        hidden: int,
        blocks: int = 8,
        layers: int = 1,
        update_bias: float = -1.0,
        style: Style = PLAIN,
    ) -> None:
        super().__init__()
        self.deter, self.blocks, self.update_bias = deter, blocks, update_bias
        sizes = {"deter": deter, "stoch": stoch_size, "action": action_size}
        self.inputs = nn.ModuleDict({k: style.linear(size, hidden) for k, size in sizes.items()})
        self.input_norms = nn.ModuleDict({k: style.normalize(hidden) for k in sizes})
        widths = [deter + blocks * 3 * hidden, *[deter] * layers]
        self.layers = nn.ModuleList(
            BlockLinear(width, deter, blocks, init=style.init) for width in widths[:-1]
        )
        self.norms = nn.ModuleList(style.normalize(deter) for _ in self.layers)
        self.gates = BlockLinear(widths[-1], 3 * deter, blocks, init=style.init)
        self._act = style.activate()

    def steps(self, action: Tensor) -> list[Step]:
        """The T steps of a scan under the actions (B, T, A)."""
        action_in = self._input("action", action.transpose(0, 1))
        return [partial(self._advance, x) for x in action_in.unbind(0)]

    def _advance(self, action_in: Tensor, deter: Tensor, stoch: Tensor) -> Tensor:
        inputs = [self._input("deter", deter), self._input("stoch", stoch), action_in]
        shared = torch.cat(inputs, -1).unsqueeze(1).expand(-1, self.blocks, -1)
        own = deter.reshape(-1, self.blocks, self.deter // self.blocks)
        x = torch.cat([own.to(shared.dtype), shared], -1).flatten(1)
        for layer, norm in zip(self.layers, self.norms, strict=True):
            x = self._act(norm(layer(x)))
        return gru_update(self.gates(x), deter, self.update_bias, self.blocks)

    def forward(self, deter: Tensor, stoch: Tensor, action: Tensor) -> Tensor:
        """(N, D), (N, Z) and (N, A) to the next (N, D)."""
        return self._advance(self._input("action", action), deter, stoch)

    def _input(self, name: str, x: Tensor) -> Tensor:
        hidden: Tensor = self._act(self.input_norms[name](self.inputs[name](x)))
        return hidden
