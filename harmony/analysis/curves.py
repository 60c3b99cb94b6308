"""Curves of a run, read from its metrics.jsonl."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from harmony.tracking.base import METRICS_FILE
from harmony.tracking.jsonl import read_rows


class Curve(NamedTuple):
    """One metric of one run.

    Attributes:
        env_step: (n,), ascending.
        value: (n,).
    """

    env_step: list[int]
    value: list[float]


def read_curve(run_dir: Path, key: str) -> Curve:
    """The points of a metric, oldest first; empty where it was never written."""
    rows = [row for _, row in read_rows(run_dir / METRICS_FILE) if key in row]
    return Curve([int(row["env_step"]) for row in rows], [float(row[key]) for row in rows])


def run_facts(run_dir: Path) -> dict[str, Any]:
    """What run.json and provenance.json say of a run."""
    facts: dict[str, Any] = json.loads((run_dir / "run.json").read_text())
    provenance = run_dir / "provenance.json"
    if provenance.exists():
        facts["provenance"] = json.loads(provenance.read_text())
    return facts


def write_csv(path: Path, run_dirs: Sequence[Path], keys: Sequence[str]) -> None:
    """Writes points as rows: run, commit, metric, env_step, value."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["run", "commit", "metric", "env_step", "value"])
        for run_dir in run_dirs:
            facts = run_facts(run_dir)
            commit = facts.get("provenance", {}).get("git_commit", "")[:7]
            for key in keys:
                curve = read_curve(run_dir, key)
                for step, value in zip(*curve, strict=True):
                    writer.writerow([facts["name"], commit, key, step, round(value, 4)])
