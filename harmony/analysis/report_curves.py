"""Curves of a report: mean and interval over seeds, one panel a place."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from harmony.analysis.comparable import Column, described
from harmony.analysis.curves import Curve
from harmony.analysis.report_cells import Cell, Question
from harmony.analysis.runs import Run
from harmony.analysis.stats import Interval, student

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PANELS = 4
"""Panels side by side."""
TITLE = 45
"""Letters in a line of a panel's title."""
THOUSANDS = 10_000
"""Steps from which on an axis counts in thousands."""


class Band(NamedTuple):
    """Mean of several curves, with its interval.

    Attributes:
        env_step: (n,), ascending.
        value: (n,).
    """

    env_step: list[int]
    value: list[Interval]


def band(curves: Sequence[Curve]) -> Band:
    """Mean and interval of curves at every step that one of them has and all of them cover.

    Between two points a curve is a straight line. Points that are no numbers are left out.
    """
    known = [_known(curve) for curve in curves]
    if not known or not all(curve.env_step for curve in known):
        return Band([], [])
    first = max(curve.env_step[0] for curve in known)
    last = min(curve.env_step[-1] for curve in known)
    steps = sorted({step for curve in known for step in curve.env_step if first <= step <= last})
    values = np.array([np.interp(steps, *curve) for curve in known])
    return Band(steps, [student(column.tolist()) for column in values.T])


def write_curves(
    path: Path, cells: Sequence[Cell], columns: Sequence[Column], runs: Sequence[Run], metric: str
) -> None:
    """Writes every point of every run, and the bands, as CSV.

    Args:
        path: of the file.
        cells: whose bands are written; rows of a band have no seed and no run.
        columns: of place and arm.
        runs: of the cells, those that do not count too.
        metric: that was compared.
    """
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        names = ["seed", "env_step", "value", "low", "high", "counts", "code", "run"]
        writer.writerow([*(column.key for column in columns), "metric", *names])
        counted = {sample.run.name for cell in cells for sample in cell.samples}
        for run in runs:
            about = [*(run.shown(column.key) for column in columns), metric, run.seed]
            counts = str(run.name in counted).lower()
            for step, value in zip(*_known(run.curve(metric)), strict=True):
                writer.writerow([*about, step, value, "", "", counts, run.code, run.name])
        for cell in cells:
            about = [*cell.place, *cell.arm, metric, ""]
            found = band([sample.run.curve(metric) for sample in cell.samples])
            for step, (value, low, high) in zip(*found, strict=True):
                bounds = ["" if math.isnan(bound) else bound for bound in (low, high)]
                writer.writerow([*about, step, value, *bounds, "true", "", ""])


def draw_curves(
    path: Path,
    cells: Sequence[Cell],
    place: Sequence[Column],
    runs: Sequence[Run],
    question: Question,
) -> None:
    """Writes the picture: one panel a place, one colour an arm, a thin line a seed.

    Args:
        path: of a PNG.
        cells: to draw.
        place: columns of their places.
        runs: of the cells, those that do not count too; these are dashed.
        question: what was compared.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    places = list(dict.fromkeys(cell.place for cell in cells))
    arms = list(dict.fromkeys(cell.arm for cell in cells))
    wide = min(PANELS, len(places))
    high = -(-len(places) // wide)
    size = (max(4.2 * wide, 6.0), 3.4 * high + 0.5)
    figure, grid = plt.subplots(high, wide, figsize=size, squeeze=False, layout="constrained")
    by_name = {run.name: run for run in runs}
    for axes, values in zip(grid.flat, places, strict=False):
        here = [cell for cell in cells if cell.place == values]
        for cell in here:
            _draw_lines(axes, cell, by_name, question.metric, f"C{arms.index(cell.arm)}")
        axes.margins(y=0.2)
        axes.set_ylim(axes.get_ylim())  # of the lines: a band of two seeds would flatten them
        for cell in here:
            _draw_band(axes, cell, question, f"C{arms.index(cell.arm)}")
        _finish(axes, described(values, place), question)
    for axes in grid.flat[len(places) :]:
        axes.set_axis_off()
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _draw_lines(axes: Axes, cell: Cell, runs: dict[str, Run], metric: str, color: str) -> None:
    for found in cell.samples:
        axes.plot(*found.run.curve(metric), color=color, alpha=0.4, lw=0.8)
    for index, left_out in enumerate(cell.left_out):
        label = f"{_name(cell)}, left out" if index == 0 else None
        axes.plot(*runs[left_out].curve(metric), color=color, lw=1, ls="--", label=label)


def _draw_band(axes: Axes, cell: Cell, question: Question, color: str) -> None:
    steps, values = band([found.run.curve(question.metric) for found in cell.samples])
    if not steps:
        return
    if question.metric == question.success:
        values = [value.within(0.0, 1.0) for value in values]
    seeds = f"{len(cell.samples)} seeds" if len(cell.samples) > 1 else "one seed"
    mean, low, high = zip(*values, strict=True)
    axes.plot(steps, mean, color=color, lw=2, label=f"{_name(cell)}, {seeds}")
    axes.fill_between(steps, low, high, color=color, alpha=0.15, lw=0)


def _finish(axes: Axes, title: str, question: Question) -> None:
    if question.at is not None:
        axes.axvline(question.at, color="grey", ls=":", lw=1)
    axes.set_title("\n".join(wrap(title, TITLE)), fontsize=10)
    axes.set(xlabel="env steps", ylabel=question.metric)
    axes.xaxis.set_major_formatter("{x:,.0f}" if axes.get_xlim()[1] < THOUSANDS else _thousands)
    axes.grid(alpha=0.3)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize=8)


def _thousands(step: float, _: float) -> str:
    return f"{step / 1000:,.0f}k"


def _name(cell: Cell) -> str:
    return ", ".join(cell.arm) or "mean"


def _known(curve: Curve) -> Curve:
    points = [(step, x) for step, x in zip(*curve, strict=True) if not math.isnan(x)]
    return Curve([step for step, _ in points], [x for _, x in points])
