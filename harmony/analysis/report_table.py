"""Tables of cells and aggregates: for a terminal, for a document, for a machine."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from harmony.analysis.aggregates import Aggregate
from harmony.analysis.comparable import TASK, Column, described
from harmony.analysis.report_cells import Cell, Question
from harmony.analysis.stats import Interval

DIGITS = ((1000.0, 0), (10.0, 1), (1.0, 2), (0.0, 3))
"""Decimals of numbers from a size on."""
MOST_DIGITS = 4
"""Decimals at most, where an interval is narrow."""
Reference = Callable[[Cell], float | None]
"""A published result for a cell."""


class Table(NamedTuple):
    """Text in columns.

    Attributes:
        head: titles.
        rows: as many texts each.
        right: indices of columns that hold numbers only.
    """

    head: list[str]
    rows: list[list[str]]
    right: frozenset[int] = frozenset()

    def without_empty(self) -> Table:
        """The table without columns in which no row says anything."""
        kept = [k for k in range(len(self.head)) if any(row[k] for row in self.rows)]
        return Table(
            [self.head[k] for k in kept],
            [[row[k] for k in kept] for row in self.rows],
            frozenset(new for new, old in enumerate(kept) if old in self.right),
        )

    def text(self) -> str:
        """Aligned columns, two spaces apart."""
        lines = [self.head, *self.rows]
        widths = [max(len(line[k]) for line in lines) for k in range(len(self.head))]
        return "\n".join(self._line(line, widths) for line in lines)

    def markdown(self) -> str:
        """A table of a Markdown document."""
        rule = ["---:" if k in self.right else "---" for k in range(len(self.head))]
        cells = [[cell.replace("|", "\\|") for cell in line] for line in self.rows]
        return "\n".join(f"| {' | '.join(line)} |" for line in [self.head, rule, *cells])

    def _line(self, line: Sequence[str], widths: Sequence[int]) -> str:
        cells = zip(line, widths, strict=True)
        shown = [c.rjust(w) if k in self.right else c.ljust(w) for k, (c, w) in enumerate(cells)]
        return "  ".join(shown).rstrip()


def cell_table(
    cells: Sequence[Cell],
    place: Sequence[Column],
    arm: Sequence[Column],
    question: Question,
    reference: Reference = lambda _: None,
) -> Table:
    """A row for each cell.

    Args:
        cells: to show.
        place: columns of their places.
        arm: columns of their arms.
        question: what was asked.
        reference: what others got.
    """
    titles = [column.title for column in (*place, *arm)]
    base = _base(question)
    head = ["seeds", "env steps", f"{question.metric} (95 % interval)", "success"]
    head += [f"minus {base}", f"P(above {base})", "paper"]
    rows = [[*cell.place, *cell.arm, *_cell(cell), _number(reference(cell))] for cell in cells]
    first = len(titles)
    right = frozenset({first, first + 1, first + 5, first + 6})
    return Table([*titles, *head], rows, right).without_empty()


def _base(question: Question) -> str:
    wanted = question.baseline or {}
    columns = [Column(key, key.rpartition(".")[2]) for key in wanted]
    return described([*wanted.values()], columns)


def _cell(cell: Cell) -> list[str]:
    seeds, left_out = len(cell.samples), len(cell.left_out)
    return [
        f"{seeds} of {seeds + left_out}" if left_out else str(seeds),
        _steps([sample.env_step for sample in cell.samples]),
        "" if cell.value is None else shown(cell.value, seeds),
        "" if cell.success is None else shown(cell.success, seeds, digits=2),
        "" if cell.difference is None else shown(cell.difference, sign="+"),
        "" if cell.probability is None else f"{cell.probability:.2f}",
    ]


def aggregate_table(
    aggregates: Sequence[Aggregate],
    place: Sequence[Column],
    arm: Sequence[Column],
    question: Question,
    reference: Reference = lambda _: None,
) -> Table:
    """A row for each arm over several tasks.

    Args:
        aggregates: to show.
        place: columns of the cells' places; the task's is left out.
        arm: columns of their arms.
        question: what was asked.
        reference: what others got.
    """
    titles = [column.title for column in (*place, *arm) if column.key != TASK]
    base = _base(question)
    head = [*titles, "tasks", "runs", "scores are", "mean", "IQM", f"mean minus {base}"]
    head += [f"P(above {base})", "paper's mean"]
    rows = [
        [
            *found.place,
            *found.arm,
            str(len(found.tasks)),
            str(found.runs),
            found.scale.label,
            shown(found.mean),
            shown(found.iqm),
            "" if found.difference is None else shown(found.difference, sign="+"),
            "" if found.probability is None else shown(found.probability, digits=2),
            _number(_reference_mean(found, reference)),
        ]
        for found in aggregates
    ]
    first = len(titles)
    return Table(head, rows, frozenset({first, first + 1, first + 7})).without_empty()


def _reference_mean(found: Aggregate, reference: Reference) -> float | None:
    """Mean over the same tasks of what others got; None where a task is missing."""
    scores = []
    for cell, task in zip(found.cells, found.tasks, strict=True):
        value = reference(cell)
        if value is None:
            return None
        scores.append(found.scale.of(task, value))
    return sum(scores) / len(scores)


def shown(interval: Interval, seeds: int = 2, sign: str = "", digits: int | None = None) -> str:
    """An estimate and its interval; why there is none, where there is none.

    Args:
        interval: to show.
        seeds: that it comes from.
        sign: of the estimate: "+" shows it always.
        digits: decimals; None for as many as the size needs.
    """
    x, low, high = interval
    if digits is None:
        digits = _digits(max(abs(y) for y in interval if not math.isnan(y)))
        if interval.known and high > low:
            digits = max(digits, min(math.ceil(1 - math.log10(high - low)), MOST_DIGITS))
    first = f"{_rounded(x, digits):{sign},.{digits}f}"
    if not interval.known:
        return f"{first} ({'one seed' if seeds == 1 else 'no interval'})"
    bounds = [f"{_rounded(bound, digits):,.{digits}f}" for bound in (low, high)]
    return f"{first} ({' to '.join(bounds)})"


def _rounded(value: float, digits: int) -> float:
    """Without a minus before what is zero then."""
    return round(value, digits) + 0.0


def _digits(size: float) -> int:
    if not size:
        return 0
    return next(digits for least, digits in DIGITS if size >= least)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:,.{_digits(abs(value))}f}"


def _steps(steps: Sequence[int]) -> str:
    if not steps:
        return ""
    low, high = min(steps), max(steps)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def write_cells(
    path: Path,
    cells: Sequence[Cell],
    place: Sequence[Column],
    arm: Sequence[Column],
    reference: Reference = lambda _: None,
) -> None:
    """Writes the cells as CSV, numbers in full; what is not known is empty."""
    keys = [column.key for column in (*place, *arm)]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow([
            *keys, "seeds", "left_out", "env_step_min", "env_step_max", *_names("value"),
            *_names("success"), *_names("difference"), "probability", "paper",
        ])  # fmt: skip
        for cell in cells:
            steps = [sample.env_step for sample in cell.samples]
            writer.writerow([
                *cell.place, *cell.arm, " ".join(str(sample.run.seed) for sample in cell.samples),
                len(cell.left_out), min(steps, default=""), max(steps, default=""),
                *_plain(cell.value), *_plain(cell.success), *_plain(cell.difference),
                "" if cell.probability is None else cell.probability, reference(cell),
            ])  # fmt: skip


def write_aggregates(
    path: Path, aggregates: Sequence[Aggregate], place: Sequence[Column], arm: Sequence[Column]
) -> None:
    """Writes the aggregates as CSV."""
    keys = [column.key for column in (*place, *arm) if column.key != TASK]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow([
            *keys, "tasks", "runs", "scale", *_names("mean"), *_names("iqm"),
            *_names("difference"), *_names("probability"),
        ])  # fmt: skip
        for found in aggregates:
            writer.writerow([
                *found.place, *found.arm, " ".join(found.tasks), found.runs, found.scale.label,
                *_plain(found.mean), *_plain(found.iqm), *_plain(found.difference),
                *_plain(found.probability),
            ])  # fmt: skip


def _names(name: str) -> list[str]:
    return [name, f"{name}_low", f"{name}_high"]


def _plain(interval: Interval | None) -> list[float | str]:
    if interval is None:
        return ["", "", ""]
    return ["" if math.isnan(value) else value for value in interval]
