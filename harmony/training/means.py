"""Means of metrics between two rows, gathered without waiting for the device."""

from __future__ import annotations

import torch
from torch import Tensor

from harmony.types import Metrics


class MetricMeans:
    """Sums scalars where they are; one copy to the host a row."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, Tensor] = {}

    def add(self, metrics: Metrics) -> None:
        """Adds scalars, () each; one that is not finite, of a skipped update, counts as none."""
        for name, value in metrics.items():
            finite = torch.isfinite(value)
            value = torch.where(finite, value, 0.0).detach().double()
            known = name in self._sums
            self._sums[name] = self._sums[name] + value if known else value
            self._counts[name] = self._counts[name] + finite if known else finite.double()

    def flush(self) -> dict[str, float]:
        """The means since the last call, which it forgets; NaN where no value was finite."""
        if not self._sums:
            return {}
        names = list(self._sums)
        values = torch.stack([self._sums[name] / self._counts[name] for name in names]).tolist()
        self._sums, self._counts = {}, {}
        return dict(zip(names, values, strict=True))

    def state_dict(self) -> dict[str, object]:
        """What has been gathered since the last row."""
        return {"sums": dict(self._sums), "counts": dict(self._counts)}

    def load_state_dict(self, state: dict[str, dict[str, Tensor]], device: torch.device) -> None:
        """Restores `state_dict`."""
        self._sums = {name: value.to(device) for name, value in state["sums"].items()}
        self._counts = {name: count.to(device) for name, count in state["counts"].items()}
