"""Named streams of random numbers that come from one seed."""

from __future__ import annotations

import zlib

import numpy as np
import torch


class Seeds:
    """One seed, many independent streams; the name decides, not the order of the calls.

    Args:
        seed: of the run, at least 0.
        branch: 0; a run that was set back after numbers went bad goes on in branch 1, since the
            same streams would lead it to the same place again.
    """

    def __init__(self, seed: int, branch: int = 0) -> None:
        self.seed = seed
        self.branch = branch

    def _sequence(self, names: tuple[str | int, ...]) -> np.random.SeedSequence:
        key = [zlib.crc32(name.encode()) if isinstance(name, str) else name for name in names]
        return np.random.SeedSequence(self.seed, spawn_key=(self.branch, *key))

    def integer(self, *names: str | int) -> int:
        """A seed below 2**31, for libraries that take only such."""
        return int(self._sequence(names).generate_state(1, np.uint32)[0] >> 1)

    def numpy(self, *names: str | int) -> np.random.Generator:
        """A fresh NumPy generator."""
        return np.random.Generator(np.random.PCG64(self._sequence(names)))

    def torch(self, device: torch.device, *names: str | int) -> torch.Generator:
        """A fresh torch generator on a device."""
        state = self._sequence(names).generate_state(1, np.uint64)
        return torch.Generator(device).manual_seed(int(state[0] >> 1))
