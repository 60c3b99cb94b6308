"""Processes that train one run together, as the parts of an agent see them.

The batch of an update is divided among them by rows, equally. Most of an update concerns a row at a
time, so a part need not know. Those that look at the whole batch at once ask their peers, and get
what one process with the whole batch would have.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

from torch import Tensor, nn

Shapes = Mapping[str, tuple[int, ...]]
Update = Callable[[dict[str, Tensor]], dict[str, Tensor]]


class Peers(Protocol):
    """What processes do together; each of them calls the same in the same order."""

    def own(self, x: Tensor, groups: int = 1, dim: int = 0) -> Tensor:
        """This process's rows.

        Args:
            x: of the whole batch, the same in every process; rows along `dim`.
            groups: parts of the axis that hold all rows each, such as views of one batch.
            dim: axis.
        """

    def gather(self, x: Tensor) -> Tensor:
        """Rows (N, ...) of each process to those of all, in their order; without gradient."""

    def means(self, values: dict[str, Tensor]) -> dict[str, Tensor]:
        """Values whose means are those over all rows; gradients reach the own rows.

        Gradients that are averaged afterwards (see `average`) are those of the whole batch.
        """

    def average(self, loss: Tensor, weights: Iterable[nn.Parameter]) -> Tensor:
        """Averages the gradients of the weights in place; gives the loss () likewise averaged."""

    def device(self, name: str) -> str:
        """The device of this process, where a configuration asks for that of the given name."""

    def begin(self, shapes: Shapes, action_space: Any) -> None:  # noqa: ANN401 - a space of Gymnasium
        """Tells the others what the environment is like; they make an agent for it."""

    def sync(self, snapshot: Callable[[], dict[str, object]]) -> None:
        """Gives the others the state of an agent; called where it came from elsewhere."""

    def update(self, update: Update, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """An update of every process's agent, with metrics of the whole batch.

        Args:
            update: of the own agent.
            batch: the whole one.
        """


class Alone:
    """One process: the whole batch is its own, and there is nobody to tell."""

    def own(self, x: Tensor, groups: int = 1, dim: int = 0) -> Tensor:  # noqa: ARG002
        """All rows."""
        return x

    def gather(self, x: Tensor) -> Tensor:
        """The rows themselves."""
        return x

    def means(self, values: dict[str, Tensor]) -> dict[str, Tensor]:
        """The values themselves."""
        return values

    def average(self, loss: Tensor, weights: Iterable[nn.Parameter]) -> Tensor:  # noqa: ARG002
        """The loss itself."""
        return loss

    def device(self, name: str) -> str:
        """The name itself."""
        return name

    def begin(self, shapes: Shapes, action_space: Any) -> None:  # noqa: ANN401 - a space of Gymnasium
        """Nothing."""

    def sync(self, snapshot: Callable[[], dict[str, object]]) -> None:
        """Nothing; no snapshot is made."""

    def update(self, update: Update, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """The update."""
        return update(batch)


ALONE = Alone()


class WholeBatch:
    """A part that looks at the whole batch of an update."""

    peers: Peers = ALONE

    def join(self, peers: Peers) -> None:
        """From here on the part sees a process's rows only, and asks its peers for the rest."""
        self.peers = peers
