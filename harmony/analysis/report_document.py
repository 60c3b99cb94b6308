"""A report as a whole: what it says, and the files that it becomes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from harmony.analysis.aggregates import Aggregate
from harmony.analysis.comparable import TASK, Column, described
from harmony.analysis.paper_scores import PAPER, published
from harmony.analysis.report_cells import Cell, Question
from harmony.analysis.report_curves import draw_curves, write_curves
from harmony.analysis.report_table import (
    Table,
    aggregate_table,
    cell_table,
    write_aggregates,
    write_cells,
)
from harmony.analysis.runs import ABSENT, Run
from harmony.errors import ComparisonError

NAMED = ("env", TASK, "algorithm", "size", "harmony")
"""What the head of a report says of all runs, where they agree in it."""
NAMED_PLACES = 5
"""Places that a note names at most."""


@dataclass(frozen=True)
class Report:
    """What was compared and what came out.

    Attributes:
        question: what was asked of the runs.
        runs: all of them.
        place: columns of the places.
        arm: columns of the arms.
        cells: as `make_cells` gives them.
        aggregates: as `make_aggregates` gives them.
        notes: what else has to be said.
        command: that made it.
    """

    question: Question
    runs: Sequence[Run]
    place: Sequence[Column]
    arm: Sequence[Column]
    cells: Sequence[Cell]
    aggregates: Sequence[Aggregate]
    notes: Sequence[str]
    command: str

    def text(self) -> str:
        """For a terminal."""
        parts = [self._head(), *(table.text() for table in self._tables())]
        return "\n\n".join([*parts, "\n".join(self._notes())]) + "\n"

    def markdown(self, picture: str) -> str:
        """A document.

        Args:
            picture: name of the picture's file.
        """
        tables = [table.markdown() for table in self._tables()]
        notes = "\n".join(f"- {note}" for note in self._notes())
        runs = "\n".join(f"- {run.name}{run.code and f' ({run.code})'}" for run in self.runs)
        parts = [f"# {self._head()}", *tables, f"![Curves]({picture})", notes]
        return "\n\n".join([*parts, f"Runs:\n\n{runs}", f"    {self.command}"]) + "\n"

    def reference(self, cell: Cell) -> float | None:
        """What the paper's authors got in a cell; None where nothing is known."""
        if self.question.metric != "eval/return" or not cell.samples:
            return None
        run = cell.samples[0].run
        env, algorithm, harmony = (run.shown(g) for g in ("env", "algorithm", "harmony"))
        return published(env, algorithm, harmony, run.task)

    def _head(self) -> str:
        at = "the end" if self.question.at is None else f"{self.question.at:,} env steps"
        same = {key: {run.shown(key) for run in self.runs} for key in NAMED}
        told = [f"{k}={v}" for k, (v, *more) in same.items() if not more and v != ABSENT]
        runs = "1 run" if len(self.runs) == 1 else f"{len(self.runs)} runs"
        return f"{self.question.metric} at {at}: {', '.join([runs, *told])}"

    def _tables(self) -> Iterator[Table]:
        asked = (self.place, self.arm, self.question, self.reference)
        yield cell_table(self.cells, *asked)
        if self.aggregates:
            yield aggregate_table(self.aggregates, *asked)

    def _notes(self) -> Iterator[str]:
        yield from self._methods()
        yield from self._facts()
        yield from self.notes
        yield from self._without_baseline()
        for cell in self.cells:
            for name, why in cell.left_out.items():
                yield f"left out: {name}, {why}"
        code = sorted({run.code or "unknown" for run in self.runs})
        if len(code) > 1:
            yield f"runs of {len(code)} versions of the code: {', '.join(code)}"

    def _methods(self) -> Iterator[str]:
        if any(cell.value is not None and cell.value.known for cell in self.cells):
            differ = any(cell.difference is not None for cell in self.cells)
            yield f"intervals: 95 %, Student's t over seeds{', differences Welch' * differ}"
        if self.aggregates:
            yield "IQM and P over tasks: bootstrap of the seeds within each task"
        if any(cell.value is not None and not cell.value.known for cell in self.cells):
            yield "no interval: of one seed, or of seeds that are all the same, none can be told"
        if any(self.reference(cell) is not None for cell in self.cells):
            found = next(iter(PAPER.values()))
            yield (
                f"paper: the authors' mean of {found.seeds} seeds at {found.env_step:,} env steps"
            )

    def _facts(self) -> Iterator[str]:
        """What the runs of each suite have in common, as far as they had to."""
        for suite in sorted({run.suite for run in self.runs}):
            facts = [run.facts for run in self.runs if run.suite == suite]
            same = [f"{k}={v}" for k, v in facts[0].items() if all(f.get(k) == v for f in facts)]
            if same:
                yield f"all runs of {suite}: {', '.join(same)}"

    def _without_baseline(self) -> Iterator[str]:
        places = {cell.place: cell for cell in self.cells if cell.difference is not None}
        if self.question.baseline and (alone := {c.place for c in self.cells} - set(places)):
            wanted = ",".join(f"{k}={v}" for k, v in self.question.baseline.items())
            shown = "; ".join(
                described(place, self.place) or "all" for place in sorted(alone)[:NAMED_PLACES]
            )
            more = f" and {len(alone) - NAMED_PLACES} more" if len(alone) > NAMED_PLACES else ""
            yield f"no difference, since nothing stands beside {wanted}: {shown}{more}"


def write_report(report: Report, folder: Path) -> None:
    """Writes report.md, table.csv, curves.csv and curves.png, and aggregate.csv where there is one.

    Raises:
        ComparisonError: the folder can't be written.
    """
    columns = [*report.place, *report.arm]
    sides = (report.place, report.arm)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "report.md").write_text(report.markdown("curves.png"), encoding="utf-8")
        write_cells(folder / "table.csv", report.cells, *sides, report.reference)
        metric = report.question.metric
        write_curves(folder / "curves.csv", report.cells, columns, report.runs, metric)
        draw_curves(folder / "curves.png", report.cells, report.place, report.runs, report.question)
        if report.aggregates:
            write_aggregates(folder / "aggregate.csv", report.aggregates, *sides)
    except OSError as error:
        raise ComparisonError(
            f"out={folder}: can't write {error.filename or folder}: {error.strerror}"
        ) from error
