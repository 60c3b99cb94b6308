"""Processes of one run played by threads, so that what they do together can be tested quickly."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from torch import Tensor

from harmony.place import Place
from harmony.training.parallel import DataParallel

PATIENCE = 60.0


class Room:
    """Where threads lay down what they share."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.places: list[Any] = [None] * size
        self.barrier = threading.Barrier(size, timeout=PATIENCE)

    def swap(self, rank: int, value: object) -> list[Any]:
        """What all have laid down, by rank."""
        self.barrier.wait()
        self.places[rank] = value
        self.barrier.wait()
        return list(self.places)


class ThreadChannel:
    """A `Channel` between threads."""

    def __init__(self, room: Room, rank: int) -> None:
        self.room, self.rank = room, rank

    def add(self, x: Tensor) -> None:
        x.copy_(torch.stack(self.room.swap(self.rank, x.clone())).sum(0))

    def collect(self, x: Tensor) -> list[Tensor]:
        return self.room.swap(self.rank, x.clone())

    def spread(self, x: Tensor) -> None:
        x.copy_(self.room.swap(self.rank, x.clone())[0])

    def say(self, message: object) -> object:
        return self.room.swap(self.rank, message)[0]


def together(size: int, what: Callable[[DataParallel], Any]) -> Sequence[Any]:
    """What each of the processes returns, by rank."""
    room = Room(size)

    def one(rank: int) -> Any:
        try:
            return what(DataParallel(Place(rank, size), ThreadChannel(room, rank)))
        except BaseException:
            room.barrier.abort()
            raise

    with ThreadPoolExecutor(size) as pool:
        jobs = [pool.submit(one, rank) for rank in range(size)]
        errors = [error for job in jobs if (error := job.exception()) is not None]
        # A broken barrier only tells of another one's error.
        for error in sorted(errors, key=lambda e: isinstance(e, threading.BrokenBarrierError)):
            raise error
        return [job.result() for job in jobs]
