"""What a tracker is.

A tracker shows a run's metrics elsewhere (MLflow, a dashboard). The metrics themselves are rows of
metrics.jsonl (`harmony.tracking.jsonl`), so a tracker only reads that file and can be late,
unreachable or absent.

To add one: write a class with the four methods of `Tracker` in a module of its own, read rows with
`harmony.tracking.jsonl.read_rows` between what has been sent and what has been committed, and name
the class in a new `conf/tracking/<name>.yaml`. Its constructor arguments are the keys of that file.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

Status = Literal["FINISHED", "FAILED", "KILLED", "SCHEDULED"]
"""How a run ended; SCHEDULED is one that was stopped and that a launcher will start again."""

Scalar = str | int | float | bool

METRICS_FILE = "metrics.jsonl"


@dataclass(frozen=True)
class RunInfo:
    """Who a run is.

    Attributes:
        run_dir: Directory of the run; holds metrics.jsonl.
        run_key: Unique id of the logical run. Made once, stored by the caller, the same after
            every restart.
        name: Name to show.
        experiment: Group of runs that are compared.
        params: Scalar leaves of the resolved config, by dotted key (see `scalar_leaves`).
        tags: What runs are grouped by: suite, task, algorithm, harmony, size, seed, ...
        sweep: Name of the sweep that the run belongs to, if any; becomes the parent run.
    """

    run_dir: Path
    run_key: str
    name: str
    experiment: str
    params: Mapping[str, Scalar] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    sweep: str | None = None


class Tracker(Protocol):
    """Shows a run elsewhere.

    No method blocks the training for long, none raises when the store has trouble.
    """

    def start(self, info: RunInfo) -> None:
        """Begins the run, or continues it if the store knows `info.run_key`.

        Call it after metrics.jsonl was opened, which cuts it back to the checkpoint.
        """
        ...

    def commit(self, offset: int) -> None:
        """Says that a durable checkpoint covers the rows of metrics.jsonl before `offset` (bytes).

        Only such rows are sent. Call it after every checkpoint, and on resume right after `start`
        with the offset of the checkpoint that the run continues from.
        """
        ...

    def artifact(self, path: Path, folder: str) -> None:
        """Sends a file when convenient; it must stay where it is until the run has ended.

        Args:
            path: The file.
            folder: Where to file it in the store, such as `videos`; "" is the top.
        """
        ...

    def finish(self, status: Status) -> None:
        """Ends the run. Waits a bounded time for what has not been sent yet."""
        ...


class NullTracker:
    """Tracks nothing: metrics.jsonl is all there is."""

    def start(self, info: RunInfo) -> None:
        """Does nothing."""

    def commit(self, offset: int) -> None:
        """Does nothing."""

    def artifact(self, path: Path, folder: str) -> None:
        """Does nothing."""

    def finish(self, status: Status) -> None:
        """Does nothing."""


def scalar_leaves(node: object, prefix: str = "") -> dict[str, Scalar]:
    """Flattens a plain config to its scalar leaves.

    Args:
        node: Nested dicts and lists of a resolved config.
        prefix: Dotted key of `node`; "" at the top.

    Returns:
        Dotted key -> str, int, float or bool. A list of scalars is one leaf, written as text such
        as "[1, 2]"; None is left out.
    """
    if isinstance(node, Mapping):
        leaves: dict[str, Scalar] = {}
        for key, value in node.items():
            leaves.update(scalar_leaves(value, f"{prefix}.{key}" if prefix else str(key)))
        return leaves
    if isinstance(node, list | tuple):
        if all(isinstance(value, Scalar) or value is None for value in node):
            return {prefix: str(list(node))}
        return scalar_leaves({str(i): value for i, value in enumerate(node)}, prefix)
    return {prefix: node} if isinstance(node, Scalar) else {}
