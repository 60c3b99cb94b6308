"""One run on several processes, each with a device: they divide the batch of every update.

The first process (rank 0) is the run: it has the environment, the replay, the checkpoints and the
journal. The others have a copy of the agent, wait for a batch, and make the same update. Every
process draws the random numbers of the whole batch and keeps those of its rows, and gradients are
averaged before they are clipped, so an update is the one that a single process would make, up to
rounding, and all copies stay the same to the bit.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from harmony.agent import DreamerAgent, Snapshot
from harmony.peers import Shapes, Update
from harmony.place import Place
from harmony.types import Batch, Metrics

MakeAgent = Callable[[str, Shapes, Any], DreamerAgent]
"""Makes a fresh agent from the device's name, the observations' shapes and the action space."""


class Channel(Protocol):
    """How processes reach each other. All of them call the same in the same order."""

    def add(self, x: Tensor) -> None:
        """Sums a tensor over all, in place; the same bits in each."""

    def collect(self, x: Tensor) -> list[Tensor]:
        """The tensors of all, by rank; of one shape."""

    def spread(self, x: Tensor) -> None:
        """Overwrites a tensor by that of rank 0."""

    def say(self, message: object) -> object:
        """Gives what rank 0 has said; waits for it as long as it takes."""


class DataParallel:
    """Peers that own equal parts of each batch; see `harmony.peers.Peers`.

    Args:
        place: of this process.
        channel: to the others.
    """

    def __init__(self, place: Place, channel: Channel) -> None:
        self.place = place
        self.channel = channel
        self.idle = True
        """Whether the others wait for a message now."""

    def own(self, x: Tensor, groups: int = 1, dim: int = 0) -> Tensor:
        """This process's rows of each group."""
        size = self.place.size
        sides = (groups, size, x.shape[dim] // (groups * size))
        parts = x.reshape(*x.shape[:dim], *sides, *x.shape[dim + 1 :])
        return parts.select(dim + 1, self.place.rank).flatten(dim, dim + 1)

    def gather(self, x: Tensor) -> Tensor:
        """Rows (N, ...) to those of all, (N * size, ...)."""
        return torch.cat(self.channel.collect(x.detach().contiguous()))

    def means(self, values: dict[str, Tensor]) -> dict[str, Tensor]:
        """() each: means over all rows; a gradient goes to the own rows as if they were all."""
        own = torch.stack([value.float().mean() for value in values.values()])
        means: Tensor = _Mean.apply(own, self)  # type: ignore[no-untyped-call]  # torch has none
        return dict(zip(values, means.unbind(), strict=True))

    def average(self, loss: Tensor, weights: Iterable[nn.Parameter]) -> Tensor:
        """Averages the gradients in place; gives the loss () likewise, without its graph."""
        grads = [weight.grad for weight in weights if weight.grad is not None]
        # One message: each of them waits for the slowest process.
        flat = torch.cat([loss.detach().float().reshape(1), *(grad.flatten() for grad in grads)])
        self.channel.add(flat)
        flat /= self.place.size
        averaged = torch.split(flat[1:], [grad.numel() for grad in grads])
        pairs = zip(averaged, grads, strict=True)
        torch._foreach_copy_(grads, [new.view(grad.shape) for new, grad in pairs])
        return flat[0]

    def device(self, name: str) -> str:
        """See `Place.device`."""
        return self.place.device(name)

    def begin(self, shapes: Shapes, action_space: Any) -> None:  # noqa: ANN401 - a space of Gymnasium
        """Lets the others make their agent."""
        self.channel.say(("begin", dict(shapes), action_space))

    def sync(self, snapshot: Callable[[], Snapshot]) -> None:
        """Lets the others load what the snapshot holds."""
        content = io.BytesIO()
        torch.save(snapshot(), content)
        self.channel.say(("load", content.getvalue()))

    def update(self, update: Update, batch: Batch) -> Metrics:
        """An update with all the others; only rank 0 calls it."""
        self.idle = False
        self.channel.say(("update", {k: (v.shape, v.dtype) for k, v in batch.items()}))
        metrics = self._update(update, batch)
        self.idle = True
        return metrics

    def _update(self, update: Update, batch: Batch) -> Metrics:
        for value in batch.values():
            self.channel.spread(value)
        return self.means(update(batch))

    def stop(self) -> None:
        """Lets the others end, where they wait for a message; an update can't be left halfway."""
        if self.idle:
            self.channel.say(("stop",))

    def follow(self, make_agent: MakeAgent, device: str) -> None:
        """Does what rank 0 says until it says stop; what the other ranks do.

        Args:
            make_agent: makes a fresh agent.
            device: that a configuration asks for.
        """
        agent: DreamerAgent | None = None
        while True:
            message: Any = self.channel.say(None)
            match message:
                case ("begin", shapes, action_space):
                    agent = make_agent(self.device(device), shapes, action_space)
                    agent.join(self)
                case ("load", bytes(content)) if agent:
                    agent.load_snapshot(torch.load(io.BytesIO(content), "cpu", weights_only=True))
                case ("update", fields) if agent:
                    empty = {
                        name: torch.empty(shape, dtype=dtype, device=agent.device)
                        for name, (shape, dtype) in fields.items()
                    }
                    self._update(agent.update, empty)
                case ("stop",):
                    return
                case _:
                    raise RuntimeError(f"expected another message of rank 0, got {message!r}")


class _Mean(torch.autograd.Function):
    """Means over processes; each keeps the gradient for its own rows."""

    @staticmethod
    def forward(_ctx: Any, own: Tensor, peers: DataParallel) -> Tensor:  # noqa: ANN401 - of torch
        """(n,) to (n,), the same in all."""
        whole = own.clone()
        peers.channel.add(whole)
        return whole / peers.place.size

    @staticmethod
    def backward(_ctx: Any, grad: Tensor) -> tuple[Tensor, None]:  # noqa: ANN401 - of torch
        """(n,): averaging the weights' gradients divides them by the number of processes."""
        return grad, None
