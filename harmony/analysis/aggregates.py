"""What several tasks of a suite have in common, where their scores have a common scale."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from harmony.analysis.comparable import TASK, Column
from harmony.analysis.report_cells import NEAR, Cell, baseline_arm
from harmony.analysis.stats import Interval, combination, improvement, iqm, stratified_bootstrap

Arms = dict[tuple[str, ...], dict[str, Cell]]
"""Cells by arm and task."""


class Scale(NamedTuple):
    """How scores of a suite's tasks are brought to one scale.

    Attributes:
        metric: that is scaled.
        label: what the scores are then.
        of: task and value to the scaled value.
    """

    metric: str
    label: str
    of: Callable[[str, float], float]

    def scores(self, cell: Cell) -> list[float]:
        """Scaled scores of a cell's runs; NaN where the metric is missing."""
        tasks = [sample.run.task for sample in cell.samples]
        values = [sample.other(self.metric) for sample in cell.samples]
        return [self.of(task, value) for task, value in zip(tasks, values, strict=True)]


@dataclass(frozen=True)
class Aggregate:
    """One arm over several tasks.

    Attributes:
        place: values of the place's columns but the task's.
        arm: values of the arm's columns.
        scale: of the scores.
        cells: of its tasks.
        mean: of the tasks' means.
        iqm: interquartile mean of all runs.
        difference: of the mean from the baseline's.
        probability: that a run is above one of the baseline, mean over tasks.
    """

    place: tuple[str, ...]
    arm: tuple[str, ...]
    scale: Scale
    cells: Sequence[Cell]
    mean: Interval
    iqm: Interval
    difference: Interval | None = None
    probability: Interval | None = None

    @property
    def tasks(self) -> list[str]:
        """Names of its tasks."""
        return [cell.samples[0].run.task for cell in self.cells]

    @property
    def runs(self) -> int:
        """Of all tasks."""
        return sum(len(cell.samples) for cell in self.cells)


def make_aggregates(
    cells: Sequence[Cell],
    place: Sequence[Column],
    arm: Sequence[Column],
    scales: Mapping[str, Scale],
    baseline: Mapping[str, str],
) -> tuple[list[Aggregate], list[str]]:
    """Every arm over the tasks that all arms have, where these are two or more.

    Args:
        cells: as `make_cells` gives them.
        place: columns of the place.
        arm: columns of the arm.
        scales: by suite; other suites have no aggregate.
        baseline: as the question's.

    Returns:
        Aggregates, the baseline first, and what has to be said of them.
    """
    found: list[Aggregate] = []
    notes: list[str] = []
    keys = [column.key for column in place]
    if TASK not in keys:
        return found, notes
    for where, group in _without(cells, keys.index(TASK)).items():
        suites = {sample.run.suite for cell in group for sample in cell.samples}
        scale = scales.get(suites.pop()) if len(suites) == 1 else None
        arms = {} if scale is None else _arms(group, scale)
        tasks, missing = _shared(arms)
        if scale is None or len(tasks) < 2:
            continue
        if missing:
            notes.append(f"left out over all tasks, since an arm lacks it: {', '.join(missing)}")
        if not _end_together(group):
            notes.append("the tasks were not evaluated at the same env step")
        base = baseline_arm([*arms], arm, baseline)
        chosen = {who: [arms[who][task] for task in tasks] for who in arms}
        for who in sorted(chosen, key=lambda who: who != base):
            theirs = None if base is None or who == base else chosen[base]
            found.append(_aggregate(where, scale, chosen[who], theirs))
    return found, notes


def _without(cells: Sequence[Cell], task: int) -> dict[tuple[str, ...], list[Cell]]:
    """Cells by what they have beside the task."""
    found: dict[tuple[str, ...], list[Cell]] = {}
    for cell in cells:
        where = cell.place[:task] + cell.place[task + 1 :]
        found.setdefault(where, []).append(cell)
    return found


def _arms(cells: Sequence[Cell], scale: Scale) -> Arms:
    found: Arms = {}
    for cell in cells:
        if cell.samples and not any(math.isnan(score) for score in scale.scores(cell)):
            found.setdefault(cell.arm, {})[cell.samples[0].run.task] = cell
    return found


def _shared(arms: Arms) -> tuple[list[str], list[str]]:
    """Tasks that all arms have, and the others."""
    names = [set(tasks) for tasks in arms.values()]
    shared = set.intersection(*names) if names else set()
    return sorted(shared), sorted(set().union(*names) - shared)


def _end_together(cells: Sequence[Cell]) -> bool:
    steps = [sample.env_step for cell in cells for sample in cell.samples]
    return max(steps) - min(steps) <= NEAR * max(steps)


def _aggregate(
    place: tuple[str, ...], scale: Scale, cells: Sequence[Cell], base: Sequence[Cell] | None
) -> Aggregate:
    ours = [scale.scores(cell) for cell in cells]
    share = [1 / len(cells)] * len(cells)
    mean, middle = combination(ours, share), stratified_bootstrap(ours, iqm)
    found = Aggregate(place, cells[0].arm, scale, cells, mean, middle)
    if base is None:
        return found
    theirs = [scale.scores(cell) for cell in base]
    pairs = [scores for pair in zip(ours, theirs, strict=True) for scores in pair]
    return replace(
        found,
        difference=combination([*ours, *theirs], [*share, *(-x for x in share)]),
        probability=stratified_bootstrap(pairs, improvement),
    )
