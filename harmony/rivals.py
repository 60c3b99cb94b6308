"""Other ways to weigh tasks, to compare the harmonizer with: same signature, other weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from harmony.harmonizer import Groups, LossSum, group_loss, refuse_unknown
from harmony.types import Losses, Metrics


class UncertaintyWeighting(LossSum):
    """harmony=uncertainty_weighting: each loss as a Gaussian likelihood of unknown variance.

    For each loss k of the weighted groups with the learnable scalar s_k = log sigma_k^2, from 0:

        total = sum_k  0.5 * exp(-s_k) * L_k + 0.5 * s_k   +   other losses * fixed scale

    The stationary point is exp(s_k) = L_k, where every weighted loss counts 1/2.

    Args:
        groups: loss group -> loss -> share; shares only count in the metrics.
        loss_scales: loss -> weight; used for the losses that are not weighted.
        weighted: loss groups whose losses get a scalar each. A KL is no likelihood of data, so the
            dynamics group is left out.

    Raises:
        ValueError: weighted names no loss group.

    Source: Kendall, Gal and Cipolla 2018 (arXiv 1705.07115), section 3.2, its term of a regression
    loss. Differs: there L_k is a squared error; here it is whatever the model gives, half of that
    or a cross-entropy. The factor moves s_k by its logarithm and leaves the weight at the
    stationary point, 1 / (2 L_k), as it is. HarmonyDream's own settings of this rival are not
    known.
    """

    def __init__(
        self,
        *,
        groups: Groups,
        loss_scales: Mapping[str, float],
        weighted: Sequence[str] = ("observation", "reward"),
    ) -> None:
        super().__init__(groups=groups, loss_scales=loss_scales)
        refuse_unknown("harmony.weighted", weighted, self.groups)
        chosen = [name for group in weighted for name in self.groups[group]]
        self.log_variance = nn.ParameterDict({name: torch.zeros(()) for name in chosen})

    def forward(self, losses: Losses) -> Tensor:
        """Sums losses of shape (B, T) or () to a scalar, in float32.

        Raises:
            ValueError: a loss without a rule, or a rule without a loss.
        """
        self.check(losses)
        total = self.weighted_sum(losses, self._weights())
        for log_variance in self.log_variance.values():
            total = total + 0.5 * log_variance
        return total

    @torch.no_grad()
    def metrics(self, losses: Losses) -> Metrics:
        """Coef and scaled loss of each group, and coef of each loss not called as a group."""
        weights = self._weights()
        found = {
            f"harmony/coef/{name}": 0.5 * torch.exp(-log_variance.detach())
            for name, log_variance in self.log_variance.items()
        }
        return found | self.group_metrics(losses, weights, self.groups)

    def _weights(self) -> dict[str, float | Tensor]:
        """Weight of each loss; those with a graph are learned."""
        learned = {name: 0.5 * torch.exp(-s) for name, s in self.log_variance.items()}
        return {**self.loss_scales, **learned}


class DynamicWeightAverage(LossSum):
    """harmony=dynamic_weight_average: groups whose loss falls slowly get more weight.

    A window is a fixed number of updates. With the mean scaled loss L_i(w) of each of K groups in
    window w, each update of window w has the weights

        w_i = K * softmax(r_i / temperature),    r_i = L_i(w - 1) / L_i(w - 2)

    and w_i = 1 in the first two windows; on top of the fixed scales, so that they are harmony=off.
    Losses of no group keep their fixed scales. Losses must not be negative.

    The state stands in buffers, so it is on the device and in every checkpoint. It moves once a
    forward call in training mode with gradients on; an update whose losses are not finite leaves
    it alone, since the optimizer skips it too.

    Args:
        groups: loss group -> loss -> share; shares only count in the metrics.
        loss_scales: loss -> weight.
        temperature: above 0; the larger, the more even the weights.
        window_updates: updates in a window, at least 1.

    Raises:
        ValueError: a number out of range.

    Source: Liu, Johns and Davison 2019 (arXiv 1803.10704), Eq. 7, temperature 2. Differs: there
    losses are averaged over epochs; a replay that grows has none, so windows stand for them.
    """

    sums: Tensor
    count: Tensor
    means: Tensor
    windows: Tensor
    weights: Tensor

    def __init__(
        self,
        *,
        groups: Groups,
        loss_scales: Mapping[str, float],
        temperature: float = 2.0,
        window_updates: int = 100,
    ) -> None:
        super().__init__(groups=groups, loss_scales=loss_scales)
        if not temperature > 0:
            raise ValueError(f"harmony.temperature must be above 0, got {temperature}")
        if window_updates < 1:
            raise ValueError(f"harmony.window_updates must be at least 1, got {window_updates}")
        self.temperature = temperature
        self.window_updates = window_updates
        size = len(self.groups)
        self.register_buffer("sums", torch.zeros(size))  # (K,) losses of the open window
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))  # its updates
        self.register_buffer("means", torch.zeros(2, size))  # of the last window, the one before
        self.register_buffer("windows", torch.zeros((), dtype=torch.int64))  # closed ones
        self.register_buffer("weights", torch.ones(size))  # (K,) of the open window

    def forward(self, losses: Losses) -> Tensor:
        """Sums losses of shape (B, T) or () to a scalar, in float32.

        Raises:
            ValueError: a loss without a rule, or a rule without a loss.
        """
        self.check(losses)
        if not (self.training and torch.is_grad_enabled()):
            return self.weighted_sum(losses, self._loss_weights())
        # A full window is closed here and not when it fills, so that metrics after this call
        # still find the weights that made its total.
        self._close_if_full()
        total = self.weighted_sum(losses, self._loss_weights())
        self._note(losses)
        return total

    @torch.no_grad()
    def metrics(self, losses: Losses) -> Metrics:
        """Factor (coef, fixed scale included) and scaled loss of each group, () each."""
        return self.group_metrics(losses, self._loss_weights(), self.groups)

    def _loss_weights(self) -> dict[str, float | Tensor]:
        """Weight of each loss, in the order of the scales; products, which autograd may keep."""
        found: dict[str, float | Tensor] = dict(self.loss_scales)
        for shares, weight in zip(self.groups.values(), self.weights, strict=True):
            found |= {name: self.loss_scales[name] * weight for name in shares}
        return found

    @torch.no_grad()
    def _close_if_full(self) -> None:
        """Where the window is full, makes the weights of the next; else changes nothing."""
        full = self.count == self.window_updates
        means = torch.stack([self.sums / self.window_updates, self.means[0]])
        ratio = means[0] / means[1].clamp_min(1e-12)
        moved = len(self.groups) * torch.softmax(ratio / self.temperature, 0)
        self.windows.add_(full)
        self.means.copy_(torch.where(full, means, self.means))
        self.weights.copy_(torch.where(full & (self.windows >= 2), moved, self.weights))
        self.sums.masked_fill_(full, 0.0)
        self.count.masked_fill_(full, 0)

    @torch.no_grad()
    def _note(self, losses: Losses) -> None:
        """Adds an update's losses to the window, unless one of them is not finite."""
        scales = [{name: self.loss_scales[name] for name in s} for s in self.groups.values()]
        values = torch.stack([group_loss(losses, scale) for scale in scales])
        good = torch.isfinite(values).all()
        self.sums.add_(torch.where(good, values, 0.0))
        self.count.add_(good)
