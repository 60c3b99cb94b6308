"""What a report knows of a run."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from harmony.analysis.curves import Curve
from harmony.tracking.base import METRICS_FILE
from harmony.tracking.jsonl import read_rows

ABSENT = "-"
"""Stands for the value of a key that a run does not have."""
NO_CURVE = Curve([], [])


@dataclass(frozen=True)
class Run:
    """A run as it was stored.

    Attributes:
        name: of its directory, as messages call it.
        suite: name of its suite without a version.
        seed: of every random stream.
        env_steps: how long it was to train, as asked last.
        ended: how it ended, such as FINISHED; empty while it trains, or where it died.
        choices: option of each configuration group that can matter to a result.
        settings: values by dotted key that can matter to a result.
        typed: groups and keys that its command line named.
        facts: what the runs of a suite must agree in, by name.
        code: commit, with a + where there were changes that were not committed.
        curves: by metric.
        metrics: names of all that it has.
    """

    name: str
    suite: str
    seed: int
    env_steps: int
    ended: str = "FINISHED"
    choices: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, object] = field(default_factory=dict)
    typed: Collection[str] = ()
    facts: Mapping[str, str] = field(default_factory=dict)
    code: str = ""
    curves: Mapping[str, Curve] = field(default_factory=dict)
    metrics: Collection[str] = ()

    def shown(self, key: str) -> str:
        """A choice, value or fact as a table shows it; `ABSENT` where there is none."""
        if key in self.choices:
            return self.choices[key]
        if key in self.settings:
            return as_text(self.settings[key])
        return self.facts.get(key, ABSENT)

    @property
    def task(self) -> str:
        """Name of its task within the suite."""
        return self.shown("env.task")

    def curve(self, metric: str) -> Curve:
        """The points of a metric, NaN where it was no number; empty where there are none."""
        return self.curves.get(metric, NO_CURVE)

    def reached(self, metric: str) -> int:
        """Env step of the last point of a metric, 0 before the first."""
        return max(self.curve(metric).env_step, default=0)

    def finished(self, metric: str) -> bool:
        """Whether it trained as long as it was asked to."""
        return self.ended == "FINISHED" or self.reached(metric) >= self.env_steps


def as_text(value: object) -> str:
    """A value of a configuration as it is written in yaml."""
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value)


def read_curves(run_dir: Path, metrics: Collection[str]) -> tuple[dict[str, Curve], set[str]]:
    """Curves of a run, oldest point first.

    Args:
        run_dir: holds metrics.jsonl.
        metrics: those that are asked for.

    Returns:
        Those that were written at least once, and the names of all metrics that were.
    """
    curves: dict[str, Curve] = {}
    names: set[str] = set()
    for _, row in read_rows(run_dir / METRICS_FILE):
        names.update(row)
        for metric in metrics:
            value = math.nan if f"nonfinite/{metric}" in row else row.get(metric)
            if value is not None:
                curve = curves.setdefault(metric, Curve([], []))
                curve.env_step.append(int(row["env_step"]))
                curve.value.append(float(value))
    return curves, {name for name in names if name not in ("time", "env_step")}
