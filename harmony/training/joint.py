"""One optimizer for several parts: their losses are added and stepped on once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from harmony.agent import Optimizer, Snapshot
from harmony.peers import Peers, WholeBatch
from harmony.training.skipping import ParamGroup, Params
from harmony.types import Metrics

MakeOptimizer = Callable[[Params, str, torch.amp.GradScaler], Optimizer]


class Joint:
    """Gives each part a view that looks like an optimizer of its own.

    The views of all parts but the last only remember their loss; the last one's step sums the
    losses and steps. Between them the weights don't change, so that every loss is computed with
    the same ones.

    Args:
        make: makes the one optimizer of weights, a name for its metrics and the loss scaler.
        parts: weights, and groups of them, by name of the part, in the order in which the parts
            step in an update.
        loss_scaler: scales losses in half precision; disabled elsewhere.

    Source: `embodied/jax/opt.py: Optimizer` of the 2025 original, which has one loss for all.
    """

    NAME = "joint"
    """Segment of the metric's name."""

    def __init__(
        self,
        make: MakeOptimizer,
        parts: Mapping[str, Sequence[nn.Parameter | ParamGroup]],
        loss_scaler: torch.amp.GradScaler,
    ) -> None:
        self.names = list(parts)
        params = [param for part in parts.values() for param in part]
        self.optimizer = make(params, self.NAME, loss_scaler)
        self.losses: dict[str, Tensor] = {}

    def part(self, name: str) -> Optimizer:
        """The view of a part.

        Raises:
            KeyError: no such part.
        """
        if name not in self.names:
            raise KeyError(f"expected one of the parts {self.names}, got {name!r}")
        return _Last(self, name) if name == self.names[-1] else _Remember(self, name)

    def remember(self, name: str, loss: Tensor) -> None:
        """Keeps a part's loss until the last part steps.

        Raises:
            RuntimeError: the part already gave one, or parts before it did not.
        """
        expected = self.names[len(self.losses)]
        if name != expected:
            self.losses.clear()
            raise RuntimeError(f"expected a step of {expected!r} next, got one of {name!r}")
        self.losses[name] = loss

    def step(self) -> Metrics:
        """Steps on the sum of the losses and forgets them."""
        total = torch.stack(list(self.losses.values())).sum()
        self.losses.clear()
        return self.optimizer.step(total)


class _Remember:
    """A part that is not the last: it has no state, the last one tells of all."""

    def __init__(self, joint: Joint, name: str) -> None:
        self.joint = joint
        self.name = name

    def step(self, loss: Tensor) -> Metrics:
        """Remembers the loss; no metrics."""
        self.joint.remember(self.name, loss)
        return {}

    def bad_steps(self) -> tuple[int, int]:
        """None."""
        return 0, 0

    def state_dict(self) -> Snapshot:
        """Empty."""
        return {}

    def load_state_dict(self, state: Snapshot) -> None:
        """Restores nothing.

        Args:
            state: empty.
        """
        assert not state


class _Last(WholeBatch):
    """The last part: steps on all losses."""

    def __init__(self, joint: Joint, name: str) -> None:
        self.joint = joint
        self.name = name

    def step(self, loss: Tensor) -> Metrics:
        """Steps; metrics of the one optimizer."""
        self.joint.remember(self.name, loss)
        return self.joint.step()

    def join(self, peers: Peers) -> None:
        """The one optimizer joins them."""
        if isinstance(self.joint.optimizer, WholeBatch):
            self.joint.optimizer.join(peers)

    def bad_steps(self) -> tuple[int, int]:
        """Those of the one optimizer."""
        return self.joint.optimizer.bad_steps()

    def state_dict(self) -> Snapshot:
        """That of the one optimizer."""
        return self.joint.optimizer.state_dict()

    def load_state_dict(self, state: Snapshot) -> None:
        """Restores `state_dict`."""
        self.joint.optimizer.load_state_dict(state)
