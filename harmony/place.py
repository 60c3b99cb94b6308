"""Which of the processes of a run this one is, as environment variables tell it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from harmony.errors import ConfigError

SIZE, RANK = "HARMONY_WORLD_SIZE", "HARMONY_RANK"
LOCAL_RANK, RENDEZVOUS = "HARMONY_LOCAL_RANK", "HARMONY_RENDEZVOUS"


@dataclass(frozen=True)
class Place:
    """Which of the processes of a run this one is.

    Attributes:
        rank: from 0.
        size: processes of the run.
        local_rank: from 0, among those of this machine; chooses the GPU.
        rendezvous: where they meet, ``tcp://HOST:PORT`` or ``file:///PATH`` (a new file).
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    rendezvous: str = ""

    @classmethod
    def find(cls, environment: Mapping[str, str]) -> Self:
        """Reads it from environment variables; one process where they say nothing.

        Raises:
            ConfigError: a variable is missing or no such number.
        """
        if environment.get(SIZE, "1") == "1":
            return cls()
        if missing := [name for name in (RANK, RENDEZVOUS) if not environment.get(name)]:
            raise ConfigError(f"{SIZE} needs {' and '.join(missing)} too; see docs/parallel.md")
        size = _number(environment, SIZE)
        rank = _number(environment, RANK)
        local_rank = _number(environment, LOCAL_RANK) if LOCAL_RANK in environment else rank
        if size < 1 or rank >= size:
            raise ConfigError(f"{RANK} must be below {SIZE}={size}, got {rank}")
        where = environment[RENDEZVOUS]
        if not where.startswith(("tcp://", "file:///")):
            raise ConfigError(f"{RENDEZVOUS} must be tcp://HOST:PORT or file:///PATH, got {where}")
        return cls(rank, size, local_rank, where)

    def check(self, batch_size: int) -> None:
        """Refuses a batch that can't be divided equally.

        Raises:
            ConfigError: it can't.
        """
        if batch_size % self.size:
            raise ConfigError(
                f"replay.batch_size={batch_size} can't be divided among {self.size} processes; "
                f"take a multiple of {self.size}"
            )

    def device(self, name: str) -> str:
        """This process's device: a GPU of its own where the name means any.

        Raises:
            ConfigError: the name means one GPU for all.
        """
        import torch  # seconds, which a submission need not spend

        gpus = torch.cuda.device_count()
        if name == "cpu" or (name == "auto" and not gpus):
            return "cpu"
        if name not in ("auto", "cuda"):
            raise ConfigError(
                f"device={name} is one device for {self.size} processes; take auto, cuda or cpu"
            )
        # Where a process sees no GPU but its own, that is number 0.
        return f"cuda:{self.local_rank % gpus}" if gpus else name


def _number(environment: Mapping[str, str], name: str) -> int:
    text = environment[name]
    if not text.isdecimal():
        raise ConfigError(f"{name} must be a whole number of at least 0, got {text!r}")
    return int(text)
