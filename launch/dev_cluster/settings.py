"""What a cluster looks like: nodes, cores, GPUs, ports."""

import json
import random
import socket
from contextlib import ExitStack
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from harmony.errors import ConfigError

_PORTS = range(17000, 30000)
"""Below the kernel's ephemeral range, so that no outgoing connection takes one meanwhile."""

_LIMITS = {
    "nodes": (1, 64),
    "cpus": (1, 1024),
    "gpus": (0, 64),
    "memory_mb": (64, 2**31),
    "max_array_size": (2, 4_000_001),
    "requeue_delay_s": (1, 86_400),
}


@dataclass(frozen=True)
class Settings:
    """What the cluster pretends to have.

    Attributes:
        nodes: Number of nodes, n1, n2, ...
        cpus: Cores a node; may be more than the machine has.
        gpus: GPUs a node; they need not exist.
        memory_mb: Memory a node, MB; may be more than the machine has.
        max_array_size: SLURM's MaxArraySize: one more than the highest index of a job array.
        requeue_delay_s: Seconds that a requeued job waits before it may start; SLURM's default.
        accounting: Run slurmdbd and its database, so that sacct knows ended jobs.
    """

    nodes: int = 2
    cpus: int = 8
    gpus: int = 2
    memory_mb: int = 8000
    max_array_size: int = 1001
    requeue_delay_s: int = 120
    accounting: bool = True

    def __post_init__(self) -> None:
        for name, (low, high) in _LIMITS.items():
            if not low <= getattr(self, name) <= high:
                option = "requeue-delay" if name == "requeue_delay_s" else name.replace("_", "-")
                raise ConfigError(
                    f"expected --{option} from {low} to {high}, got {getattr(self, name)}"
                )

    @property
    def node_names(self) -> list[str]:
        """n1, n2, ..."""
        return [f"n{index}" for index in range(1, self.nodes + 1)]


@dataclass(frozen=True)
class Stored:
    """What is written down of a cluster.

    Attributes:
        settings: How it was started.
        ports: TCP port of slurmctld, slurmdbd and of each node.
    """

    settings: Settings
    ports: dict[str, int]


def differences(one: Settings, other: Settings) -> list[str]:
    """Names of the settings that differ."""
    return [f.name for f in fields(one) if getattr(one, f.name) != getattr(other, f.name)]


def write(path: Path, stored: Stored) -> None:
    """Writes settings and ports."""
    path.write_text(json.dumps(asdict(stored), indent=2) + "\n", "utf-8")


def read(path: Path) -> Stored | None:
    """Settings and ports of a cluster, None if there is none.

    Raises:
        ConfigError: The file is damaged.
    """
    try:
        found = json.loads(path.read_text("utf-8"))
        return Stored(Settings(**found["settings"]), dict(found["ports"]))
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"expected settings and ports in {path}, got something else: write "
            '{"settings": {}, "ports": {}} into it, then stop --purge and start again'
        ) from error


def free_ports(names: list[str]) -> dict[str, int]:
    """A free TCP port for each name.

    Raises:
        ConfigError: Too few are free.
    """
    ports: dict[str, int] = {}
    # At random, so that two clusters that start together seldom want the same ones.
    candidates = iter(random.sample(_PORTS, len(_PORTS)))
    with ExitStack() as stack:
        for name in names:
            for port in candidates:
                probe = stack.enter_context(socket.socket())
                try:
                    probe.bind(("", port))
                except OSError:
                    continue
                ports[name] = port
                break
    if len(ports) < len(names):
        raise ConfigError(
            f"expected {len(names)} free TCP ports from {_PORTS.start} to {_PORTS.stop - 1}, "
            f"found {len(ports)}: ask for fewer nodes"
        )
    return ports
