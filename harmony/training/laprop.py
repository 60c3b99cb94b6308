"""LaProp with adaptive gradient clipping, which skips bad steps without waiting for the device."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from harmony.agent import Snapshot
from harmony.peers import Peers, WholeBatch
from harmony.training.skipping import Params, SkippingStep, is_bad, param_groups
from harmony.types import Metrics


class LaProp(WholeBatch):
    """Gradients are clipped a tensor at a time, brought to one size, and only then averaged.

    A step whose loss or gradient is not finite changes neither weights nor moments, nor does the
    warmup go on; it is counted on the device.

    Args:
        params: what is trained, float32: weights, and groups of them with learning rates of their
            own.
        name: segment of the metric's name.
        loss_scaler: scales losses in half precision; disabled elsewhere.
        lr: learning rate of weights in no group, after the warmup.
        agc: largest norm of a tensor's gradient, as a share of the norm of its weights; positive.
        agc_min_norm: weights count as having at least this norm.
        beta1: decay of the average of the scaled gradients.
        beta2: decay of the average of the squared gradients.
        eps: added to the root of the second moment.
        warmup_updates: learning rates rise from 0, which the first update has, to their full value
            after this many; 0 for none.

    Source: LaProp (arXiv 2002.04839); `embodied/jax/opt.py` and `dreamerv3/agent.py: _make_opt` of
    the 2025 original. Differs: the original skips bad steps in half precision only.
    """

    def __init__(
        self,
        params: Params,
        name: str,
        loss_scaler: torch.amp.GradScaler,
        *,
        lr: float,
        agc: float = 0.3,
        agc_min_norm: float = 1e-3,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-20,
        warmup_updates: int = 1000,
    ) -> None:
        if min(agc, agc_min_norm, eps) <= 0 or warmup_updates < 0:
            raise ValueError(
                "LaProp needs agc, agc_min_norm and eps above 0 and warmup_updates >= 0, got "
                f"{agc}, {agc_min_norm}, {eps} and {warmup_updates}"
            )
        if not (0 < beta1 < 1 and 0 < beta2 < 1):
            raise ValueError(f"LaProp needs beta1 and beta2 in (0, 1), got {beta1} and {beta2}")
        groups = param_groups(params, lr)
        self.params = [param for group in groups for param in group["params"]]
        self.name = name
        self.agc = agc
        self.agc_min_norm = agc_min_norm
        self.laprop = _Update(groups, lr, (beta1, beta2), eps, warmup_updates)
        self.skipping = SkippingStep(self.laprop, loss_scaler)

    def step(self, loss: Tensor) -> Metrics:
        """Backward, clip, step.

        Args:
            loss: () with a graph.

        Returns:
            The global norm of the gradient before the clip.
        """
        loss = self.skipping.backward(loss)
        norm = clip_adaptively(self.params, self.agc, self.agc_min_norm)
        self.skipping.step(is_bad(loss, norm))
        return {f"grad_norm/{self.name}": norm}

    def join(self, peers: Peers) -> None:
        """From here on gradients and losses are averaged over processes."""
        self.skipping.join(peers)

    def bad_steps(self) -> tuple[int, int]:
        """Skipped steps: in all, and in a row up to now. Waits for the device."""
        return self.skipping.bad_steps()

    def state_dict(self) -> Snapshot:
        """Moments, step count, loss scale and counters."""
        return {
            "laprop": self.laprop.state_dict(),
            "count": self.laprop.count,
            **self.skipping.state_dict(),
        }

    def load_state_dict(self, state: Snapshot) -> None:
        """Restores `state_dict`."""
        laprop, count = state["laprop"], state["count"]
        assert isinstance(laprop, dict)
        assert isinstance(count, Tensor)
        self.laprop.load_state_dict(laprop)
        self.laprop.count.copy_(count)
        self.skipping.load_state_dict(state)


@torch.no_grad()
def clip_adaptively(params: Sequence[nn.Parameter], share: float, min_norm: float) -> Tensor:
    """Shortens each gradient, in place, to a share of the norm of its weights.

    Args:
        params: weights; those without a gradient are left out.
        share: largest norm of a gradient, relative to that of its weights.
        min_norm: weights count as having at least this norm.

    Returns:
        () global norm of the gradients before; not finite where one of them is not.

    Source: AGC (arXiv 2102.06171); `embodied/jax/opt.py: clip_by_agc` of the 2025 original, which
    takes the norm of the whole tensor and not of each unit.
    """
    weights: list[Tensor] = [param for param in params if param.grad is not None]
    grads = [weight.grad for weight in weights if weight.grad is not None]
    norm = torch.stack(torch._foreach_norm(grads))
    largest = share * torch.stack(torch._foreach_norm(weights)).clamp_min(min_norm)
    torch._foreach_mul_(grads, list((1 / (norm / largest).clamp_min(1)).unbind()))
    return norm.square().sum().sqrt()


class _Update(torch.optim.Optimizer):
    """What LaProp makes of gradients; changes nothing where `found_inf`, () on the device, is 1."""

    found_inf: Tensor

    def __init__(
        self,
        groups: list[dict[str, Any]],
        lr: float,
        betas: tuple[float, float],
        eps: float,
        warmup_updates: int,
    ) -> None:
        super().__init__(groups, {"lr": lr})
        self.betas = betas
        self.eps = eps
        self.warmup_updates = warmup_updates
        self.count = torch.zeros((), device=self.param_groups[0]["params"][0].device)

    # Torch declares overloads with a closure, which nothing here needs.
    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Takes the gradients into moments and weights; they are overwritten."""
        assert closure is None
        good = 1 - self.found_inf
        # 1 - beta^t, without the digits that the subtraction would lose.
        correct1, correct2 = (-torch.expm1((self.count + 1) * math.log(b)) for b in self.betas)
        rate = good / correct1
        if self.warmup_updates:
            rate = rate * (self.count / self.warmup_updates).clamp_max(1)
        for group in self.param_groups:
            params = [param for param in group["params"] if param.grad is not None]
            momenta = self._accumulate(params, good, correct2.sqrt())
            torch._foreach_add_(params, torch._foreach_mul(momenta, rate * -group["lr"]))
        self.count.add_(good)

    def _accumulate(self, params: list[nn.Parameter], good: Tensor, root: Tensor) -> list[Tensor]:
        """Updates the moments and gives the first.

        Args:
            params: with gradients.
            good: (), 0 where nothing may change.
            root: (), of the second moment's bias correction.
        """
        for param in params:
            if not self.state[param]:
                self.state[param] = {n: torch.zeros_like(param) for n in ("momentum", "square")}
        momenta = [self.state[param]["momentum"] for param in params]
        squares = [self.state[param]["square"] for param in params]
        grads = [param.grad for param in params if param.grad is not None]
        # Zero times NaN is NaN, but zero times its bits is zero: one kernel for all tensors.
        torch._foreach_mul_([grad.view(torch.int32) for grad in grads], good.int())
        keep1, keep2 = (1 - good * (1 - beta) for beta in self.betas)
        torch._foreach_mul_(squares, keep2)
        torch._foreach_addcmul_(squares, grads, grads, value=1 - self.betas[1])
        # grad / (sqrt(square / root^2) + eps), the correction taken out of the tensors.
        norms = torch._foreach_sqrt(squares)
        # Without alpha torch takes the overload for a number, and waits for the device to read it.
        torch._foreach_add_(norms, self.eps * root, alpha=1)
        torch._foreach_div_(grads, norms)
        torch._foreach_mul_(grads, root * (1 - self.betas[0]))
        torch._foreach_mul_(momenta, keep1)
        torch._foreach_add_(momenta, grads)
        return momenta
