"""Types that cross rooms, and the legend of the shape letters.

    B  sequences in a batch             T  time steps in a sequence
    N  imagined rollouts (B * T)        H  imagination horizon
    A  action size                      E  embed size
    D  deterministic state (deter)      Z  stochastic state, flattened (stoch)
    S  stochastic variables             K  classes of each of them
    F  feat size (Z + D)                Hi, Wi  image sides

Batch axis first, time axis second, everywhere outside the scans. `action[:, t]` is the action that
led to observation and reward `t`, and zeros where `is_first[:, t]`.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

Batch = dict[str, Tensor]
"""image (B, T, Hi, Wi, C) uint8, action (B, T, A), reward (B, T), is_first, is_last, is_terminal
(B, T) bool, and vectors (B, T, n) float32 by name."""

Losses = dict[str, Tensor]
"""Unscaled losses by name: (B, T), or () where the loss clips free nats on the batch mean."""

Metrics = dict[str, Tensor]
"""Scalars by name, () float32 on the device, detached."""


class Latent(NamedTuple):
    """State of the RSSM.

    Attributes:
        deter: (..., D), the recurrent state.
        stoch: (..., Z), the sampled state, flattened.
    """

    deter: Tensor
    stoch: Tensor

    def detach(self) -> Latent:
        """The same values without a graph."""
        return Latent(self.deter.detach(), self.stoch.detach())

    def flatten_time(self) -> Latent:
        """(B, T, ...) to (B * T, ...)."""
        return Latent(self.deter.flatten(0, 1), self.stoch.flatten(0, 1))


class Carry(NamedTuple):
    """What the policy remembers between two steps of an environment.

    Attributes:
        latent: posterior state after the last observation, batch axis first.
        action: (B, A), the last action.
    """

    latent: Latent
    action: Tensor


class Rollout(NamedTuple):
    """Imagined trajectories; index 0 is the start state from the replay.

    Attributes:
        feat: (N, H + 1, F).
        action: (N, H, A), chosen at feat[:, t].
        stats: (N, H, P), what the policy predicted of its distribution at feat[:, t].
        reward: (N, H), predicted, of the states whose rewards the targets read.
        discount: (N, H) or (N, H + 1), expected, of the states whose discounts the targets read.
        weight: (N, H), how much feat[:, t] counts, from the discounts before it. No graph.
    """

    feat: Tensor
    action: Tensor
    stats: Tensor
    reward: Tensor
    discount: Tensor
    weight: Tensor


def to_device(batch: Batch, device: torch.device) -> Batch:
    """The batch on a device; copies don't block where the memory is pinned."""
    return {key: value.to(device, non_blocking=True) for key, value in batch.items()}
