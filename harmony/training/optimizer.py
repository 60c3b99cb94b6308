"""Adam with clipping, which skips bad steps without waiting for the device."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from harmony.agent import Snapshot
from harmony.types import Metrics


class Adam:
    """Adam with coupled weight decay and a clip on the global norm.

    A step whose loss or gradient is not finite changes neither weights nor moments; it is counted
    on the device.

    Args:
        params: what is trained.
        name: segment of the metric's name.
        loss_scaler: scales losses in half precision; disabled elsewhere.
        lr: learning rate.
        eps: added to the root of the second moment.
        weight_decay: added to the gradient as weight_decay * weight, before the moments.
        clip: largest global norm of the gradient.

    Source: `core/torch_utils.py: Optimizer` of the torch original. Differs: the TensorFlow original
    multiplies weights by 1 - weight_decay after each step instead.
    """

    def __init__(
        self,
        params: Iterable[nn.Parameter],
        name: str,
        loss_scaler: torch.amp.GradScaler,
        *,
        lr: float,
        eps: float = 1e-5,
        weight_decay: float = 1e-6,
        clip: float = 100.0,
    ) -> None:
        self.params = list(params)
        self.name = name
        self.clip = clip
        self.loss_scaler = loss_scaler
        self.adam = torch.optim.Adam(
            self.params, lr, eps=eps, weight_decay=weight_decay, fused=True
        )
        device = self.params[0].device
        self.skipped = torch.zeros((), device=device)
        self.skipped_in_row = torch.zeros((), device=device)

    def step(self, loss: Tensor) -> Metrics:
        """Backward, clip, step.

        Args:
            loss: () with a graph.

        Returns:
            The norm of the gradient before the clip.
        """
        self.adam.zero_grad(set_to_none=True)
        torch.autograd.backward(self.loss_scaler.scale(loss))
        self.loss_scaler.unscale_(self.adam)
        norm = torch.nn.utils.clip_grad_norm_(self.params, self.clip, foreach=True)
        bad = (~torch.isfinite(norm + loss.detach())).float()
        if self.loss_scaler.is_enabled():
            self.loss_scaler.step(self.adam)
            self.loss_scaler.update()
        else:
            # The fused kernel reads this flag on the device, as it does for the loss scaler.
            self.adam.found_inf = bad  # type: ignore[attr-defined]
            self.adam.step()
        self.skipped += bad
        self.skipped_in_row = (self.skipped_in_row + bad) * bad
        return {f"grad_norm/{self.name}": norm.detach()}

    def bad_steps(self) -> tuple[int, int]:
        """Skipped steps: in all, and in a row up to now. Waits for the device."""
        total, in_row = torch.stack([self.skipped, self.skipped_in_row]).tolist()
        return int(total), int(in_row)

    def state_dict(self) -> Snapshot:
        """Moments, step counts, loss scale and counters."""
        return {
            "adam": self.adam.state_dict(),
            "loss_scaler": self.loss_scaler.state_dict(),
            "skipped": self.skipped,
            "skipped_in_row": self.skipped_in_row,
        }

    def load_state_dict(self, state: Snapshot) -> None:
        """Restores `state_dict`."""
        adam, loss_scaler = state["adam"], state["loss_scaler"]
        skipped, in_row = state["skipped"], state["skipped_in_row"]
        assert isinstance(adam, dict)
        assert isinstance(loss_scaler, dict)
        assert isinstance(skipped, Tensor)
        assert isinstance(in_row, Tensor)
        self.adam.load_state_dict(adam)
        self.loss_scaler.load_state_dict(loss_scaler)
        self.skipped = skipped.to(self.skipped.device)
        self.skipped_in_row = in_row.to(self.skipped_in_row.device)
