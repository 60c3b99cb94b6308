"""Adam with clipping, which skips bad steps without waiting for the device."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from harmony.agent import Snapshot
from harmony.peers import Peers, WholeBatch
from harmony.training.skipping import Params, SkippingStep, is_bad, param_groups
from harmony.types import Metrics

BETAS = (0.9, 0.999)


class Adam(WholeBatch):
    """Adam with weight decay and a clip on the global norm.

    A step whose loss or gradient is not finite changes neither weights nor moments; it is counted
    on the device.

    Args:
        params: what is trained: weights, and groups of them with learning rates of their own.
        name: segment of the metric's name.
        loss_scaler: scales losses in half precision; disabled elsewhere.
        lr: learning rate of weights in no group.
        eps: added to the root of the second moment.
        weight_decay: see `weight_decay_kind`; in [0, 1).
        clip: largest global norm of the gradient, over all groups.
        weight_decay_kind: coupled adds weight_decay * weight to the gradient, before the moments;
            decoupled multiplies every weight by 1 - weight_decay before the step, whatever its
            learning rate.
        eps_kind: corrected adds eps after the second moment's bias correction, hat before it, so
            that eps counts sqrt(1 - beta2^t) times less at first. Skipped steps count in t.

    Source: `core/torch_utils.py: Optimizer` of the torch original. With decoupled and hat:
    `common/tfutils.py: Optimizer` of DreamerPro, which is that of the TensorFlow DreamerV2, and
    Keras' Adam.
    """

    def __init__(
        self,
        params: Params,
        name: str,
        loss_scaler: torch.amp.GradScaler,
        *,
        lr: float,
        eps: float = 1e-5,
        weight_decay: float = 1e-6,
        clip: float = 100.0,
        weight_decay_kind: Literal["coupled", "decoupled"] = "coupled",
        eps_kind: Literal["corrected", "hat"] = "corrected",
    ) -> None:
        groups = param_groups(params, lr)
        self.params = [param for group in groups for param in group["params"]]
        self.name = name
        self.eps = eps
        self.eps_kind = eps_kind
        self.clip = clip
        coupled = weight_decay if weight_decay_kind == "coupled" else 0.0
        self.decoupled = weight_decay - coupled
        self.adam = torch.optim.Adam(groups, lr, BETAS, eps, coupled, fused=True)
        self.skipping = SkippingStep(self.adam, loss_scaler)
        self.steps = 0

    def step(self, loss: Tensor) -> Metrics:
        """Backward, clip, step.

        Args:
            loss: () with a graph.

        Returns:
            The norm of the gradient before the clip.
        """
        loss = self.skipping.backward(loss)
        norm = torch.nn.utils.clip_grad_norm_(self.params, self.clip, foreach=True)
        bad = is_bad(loss, norm)
        self.steps += 1
        if self.eps_kind == "hat":
            self._correct_eps()
        if self.decoupled:
            self._decay(bad)
        self.skipping.step(bad)
        return {f"grad_norm/{self.name}": norm.detach()}

    def _correct_eps(self) -> None:
        """Torch corrects the moment alone; dividing eps likewise undoes that for eps."""
        for group in self.adam.param_groups:
            group["eps"] = self.eps / math.sqrt(1 - BETAS[1] ** self.steps)

    @torch.no_grad()
    def _decay(self, bad: Tensor) -> None:
        torch._foreach_mul_(self.params, 1 - self.decoupled * (1 - bad))

    def join(self, peers: Peers) -> None:
        """From here on gradients and losses are averaged over processes."""
        self.skipping.join(peers)

    def bad_steps(self) -> tuple[int, int]:
        """Skipped steps: in all, and in a row up to now. Waits for the device."""
        return self.skipping.bad_steps()

    def state_dict(self) -> Snapshot:
        """Moments, step counts, loss scale and counters."""
        return {"adam": self.adam.state_dict(), "steps": self.steps, **self.skipping.state_dict()}

    def load_state_dict(self, state: Snapshot) -> None:
        """Restores `state_dict`."""
        adam, steps = state["adam"], state["steps"]
        assert isinstance(adam, dict)
        assert isinstance(steps, int)
        self.adam.load_state_dict(adam)
        self.steps = steps
        self.skipping.load_state_dict(state)
