"""Watches for updates that are skipped because numbers went bad."""

from __future__ import annotations

from torch import Tensor

from harmony.agent import DreamerAgent
from harmony.training.schedule import crossed

CHECK_EVERY_UPDATES = 10
"""Looking waits for the device, so it is not done after each update."""


class NumbersGuard:
    """Tells when too many updates in a row were skipped.

    Args:
        agent: counts its skipped updates on the device.
        limit: skipped updates in a row that are too many.
    """

    def __init__(self, agent: DreamerAgent, limit: int) -> None:
        self.agent = agent
        self.limit = limit
        self.batch: dict[str, Tensor] = {}
        self._checked = agent.updates

    def reset(self) -> None:
        """The agent was put back to another update."""
        self._checked = self.agent.updates

    def skipped_in_row(self) -> int:
        """Skipped updates in a row where they are too many, else 0.

        Call it between two actions of the loop: what follows may replace the whole state.
        """
        before, self._checked = self._checked, self.agent.updates
        if not crossed(before, self._checked, CHECK_EVERY_UPDATES):
            return 0
        _, in_row = self.agent.bad_steps()
        return in_row if in_row >= self.limit else 0
