"""What the directory of a run says about it; nothing is started or changed."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harmony.config.run_files import LOCK_FILE, RECORD_FILE
from harmony.filelock import FileLock
from harmony.tracking.base import METRICS_FILE

_TAIL_BYTES = 65536


@dataclass(frozen=True)
class RunFacts:
    """How far a run is.

    Attributes:
        attempts: how often it was started.
        ended: status of the last attempt, None if it has not said how it ended.
        ended_at: when, unix seconds.
        host: where the last attempt ran.
        env_step: of its last row.
        last_return: of the last evaluation, else of the last training episode.
        frames_per_s: env steps a second, lately.
        updated: when the last row was written, unix seconds.
    """

    attempts: int = 0
    ended: str | None = None
    ended_at: float | None = None
    host: str = ""
    env_step: int = 0
    last_return: float | None = None
    frames_per_s: float | None = None
    updated: float | None = None

    def has_reached(self, env_steps: int) -> bool:
        """Whether the run has finished, and was not asked for more since."""
        return self.ended == "FINISHED" and self.env_step >= env_steps


def run_facts(run_dir: Path) -> RunFacts:
    """Reads a run's directory; facts of nothing if there is no run in it, or a damaged one."""
    try:
        record = json.loads((run_dir / RECORD_FILE).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return RunFacts()
    last: Mapping[str, Any] = record["attempts"][-1] if record["attempts"] else {}
    ended = last.get("ended") or {}
    rows = _last_values(run_dir / METRICS_FILE)
    score = rows.get("eval/return", rows.get("episode/return"))
    return RunFacts(
        attempts=len(record["attempts"]),
        ended=ended.get("status"),
        ended_at=ended.get("time"),
        host=str(last.get("host", "")),
        env_step=int(rows.get("env_step", 0)),
        last_return=None if score is None else float(score),
        frames_per_s=rows.get("time/frames_per_s"),
        updated=rows.get("time"),
    )


def is_owned(run_dir: Path) -> bool:
    """Whether a living process owns the directory, as far as the file system knows."""
    lock = FileLock(run_dir / LOCK_FILE)
    if not lock.path.exists():
        return False
    free = lock.acquire(wait=False)
    lock.release()
    return not free


def _last_values(path: Path) -> dict[str, Any]:
    """The newest value of each key among the last rows of a metrics file."""
    values: dict[str, Any] = {}
    try:
        with path.open("rb") as file:
            file.seek(max(file.seek(0, os.SEEK_END) - _TAIL_BYTES, 0))
            lines = file.read().split(b"\n")
    except FileNotFoundError:
        return values
    for line in lines:
        try:
            row = json.loads(line)
        except ValueError:
            continue  # cut off at either end
        if isinstance(row, dict):
            values.update(row)
    return values


def save_seconds(run_dir: Path) -> float | None:
    """How long the run's last checkpoint took to write, seconds; None if there is none."""
    value = _last_values(run_dir / METRICS_FILE).get("time/save_s")
    return None if value is None else float(value)
