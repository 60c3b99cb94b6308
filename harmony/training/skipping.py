"""Backward and step of an optimizer, where the device itself skips bad steps and counts them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypedDict

import torch
from torch import Tensor, nn

from harmony.agent import Snapshot
from harmony.peers import WholeBatch


class ParamGroup(TypedDict):
    """Weights with a learning rate of their own."""

    params: list[nn.Parameter]
    lr: float


Params = Iterable[nn.Parameter | ParamGroup]
"""What an optimizer trains: weights, groups of weights, or both."""


def param_groups(params: Params, lr: float) -> list[dict[str, Any]]:
    """Groups as `torch.optim` takes them; weights in no group become the first one.

    Args:
        params: weights and groups, in any order.
        lr: learning rate of weights in no group.
    """
    groups: list[dict[str, Any]] = []
    plain: list[nn.Parameter] = []
    for entry in params:
        if isinstance(entry, nn.Parameter):
            plain.append(entry)
        else:
            groups.append({"params": list(entry["params"]), "lr": entry["lr"]})
    return [{"params": plain, "lr": lr}, *groups] if plain else groups


class SkippingStep(WholeBatch):
    """Steps an optimizer of torch, except where loss or gradient is not finite.

    Nothing but `bad_steps` waits for the device.

    Args:
        inner: reads its attribute `found_inf`, () on the device, and changes nothing where that is
            1, as torch's fused optimizers do.
        loss_scaler: scales losses in half precision; disabled elsewhere.
    """

    def __init__(self, inner: torch.optim.Optimizer, loss_scaler: torch.amp.GradScaler) -> None:
        self.inner = inner
        self.loss_scaler = loss_scaler
        self.params = [param for group in inner.param_groups for param in group["params"]]
        device = self.params[0].device
        self.skipped = torch.zeros((), device=device)
        self.skipped_in_row = torch.zeros((), device=device)

    def backward(self, loss: Tensor) -> Tensor:
        """Fills the gradients, unscaled.

        Args:
            loss: () with a graph, of this process's rows.

        Returns:
            The loss of the whole batch, whose gradients these are.
        """
        self.inner.zero_grad(set_to_none=True)
        torch.autograd.backward(self.loss_scaler.scale(loss))
        loss = self.peers.average(loss, self.params)
        self.loss_scaler.unscale_(self.inner)
        return loss

    def step(self, bad: Tensor) -> None:
        """Steps, or counts a skipped step.

        Args:
            bad: () float32, 1 where the step must be skipped, else 0.
        """
        # What the loss scaler finds is among what is bad here, so its own step is not needed. The
        # attribute is torch's contract with fused optimizers, which its types don't know.
        self.inner.found_inf = bad  # type: ignore[attr-defined]
        self.inner.step()
        self.loss_scaler.update()
        self.skipped.add_(bad)
        self.skipped_in_row.add_(bad).mul_(bad)

    def bad_steps(self) -> tuple[int, int]:
        """Skipped steps: in all, and in a row up to now. Waits for the device."""
        total, in_row = torch.stack([self.skipped, self.skipped_in_row]).tolist()
        return int(total), int(in_row)

    def state_dict(self) -> Snapshot:
        """Loss scale and counters; not the inner optimizer."""
        return {
            "loss_scaler": self.loss_scaler.state_dict(),
            "skipped": self.skipped,
            "skipped_in_row": self.skipped_in_row,
        }

    def load_state_dict(self, state: Snapshot) -> None:
        """Restores `state_dict`."""
        loss_scaler = state["loss_scaler"]
        skipped, in_row = state["skipped"], state["skipped_in_row"]
        assert isinstance(loss_scaler, dict)
        assert isinstance(skipped, Tensor)
        assert isinstance(in_row, Tensor)
        self.loss_scaler.load_state_dict(loss_scaler)
        self.skipped.copy_(skipped)
        self.skipped_in_row.copy_(in_row)


def is_bad(loss: Tensor, norm: Tensor) -> Tensor:
    """() float32: 1 where loss () or gradient norm () is not finite, else 0."""
    return (~torch.isfinite(norm + loss.detach())).float()
