"""Brings the processes of one run together, by torch.distributed."""

from __future__ import annotations

import logging
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor

from harmony.peers import ALONE, Peers
from harmony.place import Place
from harmony.training.parallel import DataParallel, MakeAgent

log = logging.getLogger(__name__)

_MEETING = timedelta(minutes=10)
"""How long processes wait for each other: at the start, and within an update."""
_PATIENCE = timedelta(days=30)
"""How long they wait for what rank 0 says next: an environment or an evaluation may be slow. The
end of its process ends the wait at once."""


class PeerLost(Exception):  # noqa: N818 - reads as what happened
    """A process of the run has died, or can't be reached."""


class TorchChannel:
    """Tensors by NCCL between GPUs, else by Gloo; what rank 0 says always by Gloo.

    Args:
        tensors: group of the tensors.
        words: group of what rank 0 says.
    """

    def __init__(self, tensors: dist.ProcessGroup | None, words: dist.ProcessGroup | None) -> None:
        self.tensors = tensors
        self.words = words

    def add(self, x: Tensor) -> None:
        """See `Channel`."""
        with _telling():
            dist.all_reduce(x, group=self.tensors)

    def collect(self, x: Tensor) -> list[Tensor]:
        """See `Channel`."""
        found = [torch.empty_like(x) for _ in range(dist.get_world_size())]
        with _telling():
            dist.all_gather(found, x, group=self.tensors)
        return found

    def spread(self, x: Tensor) -> None:
        """See `Channel`."""
        with _telling():
            dist.broadcast(x.view(torch.uint8) if x.dtype == torch.bool else x, 0, self.tensors)

    def say(self, message: object) -> object:
        """See `Channel`."""
        said = [message]
        with _telling():
            dist.broadcast_object_list(said, 0, self.words)
        return said[0]


@contextmanager
def _telling() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        raise PeerLost(
            f"a process of this run has died or can't be reached: {str(error).splitlines()[0]}"
        ) from error


def run_together(
    place: Place, device: str, lead: Callable[[Peers], int], make_agent: MakeAgent
) -> int:
    """Runs the process of a run that stands in this place.

    Args:
        place: of this process.
        device: that the configuration asks for.
        lead: the run itself; what rank 0 does.
        make_agent: makes the agents of the others.

    Returns:
        Exit code: of `lead`; elsewhere 0, or 1 where rank 0 was lost.

    Raises:
        PeerLost: in rank 0, where another process was lost.
    """
    if place.size == 1:
        return lead(ALONE)
    peers = DataParallel(place, _meet(place, device))
    if place.rank:
        code = _follow(peers, make_agent, device)
    else:
        log.info("%d processes share the batch of each update", place.size)
        try:
            code = lead(peers)
        finally:
            _part(peers)
    if peers.idle:
        dist.destroy_process_group()
    return code


def _meet(place: Place, device: str) -> TorchChannel:
    own = torch.device(place.device(device))
    if own.type == "cuda":
        torch.cuda.set_device(own)
    dist.init_process_group(
        "gloo",
        init_method=place.rendezvous,
        rank=place.rank,
        world_size=place.size,
        timeout=_MEETING,
    )
    words = dist.new_group(backend="gloo", timeout=_PATIENCE)
    nccl = dist.new_group(backend="nccl", timeout=_MEETING) if own.type == "cuda" else None
    return TorchChannel(nccl, words)


def _follow(peers: DataParallel, make_agent: MakeAgent, device: str) -> int:
    # Rank 0 answers signals, and may need the others until it has; so they stay to the end, also
    # while their interpreter ends: a death by a signal would count as the run's.
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR2):
        signal.signal(signum, signal.SIG_IGN)
    try:
        peers.follow(make_agent, device)
    except PeerLost as error:
        peers.idle = False
        log.error("%s", error)
        return 1
    return 0


def _part(peers: DataParallel) -> None:
    try:
        peers.stop()
    except PeerLost as error:
        peers.idle = False
        log.warning("%s", error)
