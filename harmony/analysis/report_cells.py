"""Cells of a comparison: their seeds, their means, and how far they are from a baseline.

An *arm* is one of the things that are compared, such as harmony=on; a *place* is where they are: a
task, an algorithm, whatever else tells the runs apart.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from harmony.analysis.comparable import Column, by_values
from harmony.analysis.runs import Run
from harmony.analysis.stats import (
    Interval,
    probability_of_improvement,
    student,
    welch,
)
from harmony.errors import ComparisonError

NEAR = 0.02
"""An evaluation counts as one at a step if it is no further off than this share of it."""


class Question(NamedTuple):
    """What is asked of the runs.

    Attributes:
        metric: that is compared.
        success: metric of the share of successes.
        at: env step; None for the end.
        baseline: values by key that make an arm the one that others are compared with; empty for
            no comparison, None for harmony=off where there is one.
    """

    metric: str
    success: str
    at: int | None = None
    baseline: Mapping[str, str] | None = None


@dataclass(frozen=True)
class Sample:
    """A run that counts.

    Attributes:
        run: the run.
        env_step: of its point.
        value: there.
    """

    run: Run
    env_step: int
    value: float

    def other(self, metric: str) -> float:
        """Another metric at the same step; NaN where there is none."""
        curve = self.run.curve(metric)
        points = dict(zip(*curve, strict=True))
        return points.get(self.env_step, math.nan)


@dataclass(frozen=True)
class Cell:
    """Runs that differ in their seeds only.

    Attributes:
        place: values of the place's columns.
        arm: values of the arm's columns.
        samples: runs that count.
        left_out: name of each other run, and why.
        value: mean of the metric.
        success: mean share of successes; None where the suite knows none.
        difference: of the mean from the baseline's; None for the baseline and where there is none.
        probability: that a run is above one of the baseline; None of single runs.
    """

    place: tuple[str, ...]
    arm: tuple[str, ...]
    samples: Sequence[Sample]
    left_out: Mapping[str, str]
    value: Interval | None
    success: Interval | None
    difference: Interval | None = None
    probability: float | None = None


def sample(run: Run, question: Question) -> Sample | str:
    """The point of a run that counts, or why there is none.

    Raises:
        ComparisonError: the run went past the step without an evaluation near it.
    """
    steps, values = run.curve(question.metric)
    last = run.reached(question.metric)
    if question.at is None:
        if not run.finished(question.metric):
            how = run.ended or "still running, or its process died"
            return f"unfinished ({how}), at {last:,} of {run.env_steps:,} env steps"
        index = len(steps) - 1
    else:
        if last < question.at * (1 - NEAR):
            return f"has reached {last:,} of {question.at:,} env steps"
        index = min(range(len(steps)), key=lambda k: abs(steps[k] - (question.at or 0)))
        _check_near(run, steps, steps[index], question.at)
    if index < 0:
        return f"has no {question.metric}"
    if math.isnan(values[index]):
        return f"{question.metric} is no number at {steps[index]:,} env steps"
    return Sample(run, steps[index], values[index])


def _check_near(run: Run, steps: Sequence[int], nearest: int, at: int) -> None:
    if abs(nearest - at) <= NEAR * at:
        return
    below = [step for step in steps if step < at][-1:]
    above = [step for step in steps if step > at][:1]
    known = " and ".join(f"{step:,}" for step in [*below, *above])
    raise ComparisonError(
        f"{run.name} was not evaluated at {at:,} env steps, the nearest are {known}; at={nearest} "
        "is one of them"
    )


def make_cells(
    runs: Sequence[Run],
    place: Sequence[Column],
    arm: Sequence[Column],
    question: Question,
) -> list[Cell]:
    """Cells, place by place, the baseline first.

    Raises:
        ComparisonError: several arms of a place fit the baseline.
    """
    found = []
    for where, here in by_values(runs, place).items():
        cells = [_cell(where, who, group, question) for who, group in by_values(here, arm).items()]
        base = baseline_arm([cell.arm for cell in cells], arm, question.baseline or {})
        cells.sort(key=lambda cell: cell.arm != base)
        found += [
            _against(cell, cells[0]) if base not in (None, cell.arm) else cell for cell in cells
        ]
    return found


def check_some(cells: Sequence[Cell], runs: Sequence[Run], question: Question) -> None:
    """Refuses a table in which no run counts.

    Args:
        cells: of the table.
        runs: of the cells.
        question: what was asked.

    Raises:
        ComparisonError: says how far the runs are.
    """
    if any(cell.samples for cell in cells):
        return
    whys = [f"{name} {why}" for cell in cells for name, why in cell.left_out.items()]
    more = f" (and {len(whys) - 1} more)" if len(whys) > 1 else ""
    least = min(run.reached(question.metric) for run in runs)
    then = f"at={least} compares them as far as all are" if least else "wait for them"
    raise ComparisonError(f"no run counts: {whys[0]}{more}; {then}")


def _cell(
    place: tuple[str, ...], arm: tuple[str, ...], runs: Sequence[Run], question: Question
) -> Cell:
    looked = {run.name: sample(run, question) for run in sorted(runs, key=lambda run: run.seed)}
    samples = [found for found in looked.values() if isinstance(found, Sample)]
    shares = [found.other(question.success) for found in samples]
    known = bool(shares) and not any(math.isnan(share) for share in shares)
    return Cell(
        place,
        arm,
        samples,
        {name: why for name, why in looked.items() if isinstance(why, str)},
        student([found.value for found in samples]) if samples else None,
        student(shares).within(0.0, 1.0) if known else None,
    )


def baseline_arm(
    arms: Sequence[tuple[str, ...]], columns: Sequence[Column], wanted: Mapping[str, str]
) -> tuple[str, ...] | None:
    """The arm that others are compared with; None where there is none.

    Args:
        arms: values of `columns` each.
        columns: of the arms.
        wanted: values by key that it must have; empty for none.

    Raises:
        ComparisonError: several fit.
    """
    keys = [column.key for column in columns]
    fits = [
        arm
        for arm in arms
        if wanted and all(dict(zip(keys, arm, strict=True)).get(k) == v for k, v in wanted.items())
    ]
    if len(fits) > 1:
        tells = [c.key for k, c in enumerate(columns) if len({arm[k] for arm in fits}) > 1]
        given = ",".join(f"{key}={value}" for key, value in wanted.items())
        raise ComparisonError(
            f"baseline={given} fits {len(fits)} arms, which differ in {', '.join(tells)}; name one "
            f"of them: baseline={given},{tells[0]}=VALUE"
        )
    return fits[0] if fits else None


def _against(cell: Cell, base: Cell) -> Cell:
    if not cell.samples or not base.samples:
        return cell
    ours, theirs = ([found.value for found in of.samples] for of in (cell, base))
    several = min(len(ours), len(theirs)) > 1
    return replace(
        cell,
        difference=welch(ours, theirs),
        probability=probability_of_improvement(ours, theirs) if several else None,
    )
