"""Which runs may stand in one table, and what tells them apart.

A *column* is an option or key in which runs differ. Runs that agree in all columns are seeds of one
*cell*.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from difflib import get_close_matches
from itertools import pairwise
from typing import NamedTuple

from harmony.analysis.runs import Run
from harmony.errors import ComparisonError

TASK = "env.task"
OF_TASK = "suite.task."
"""Facts whose names begin so need be the same for the runs of one task alone."""
FIRST = ("env", TASK, "algorithm", "size", "harmony")
"""Columns that come first, wherever runs differ in them."""
USUAL = {"harmony": "off"}
"""The baseline where none is named and some run has it."""


class Column(NamedTuple):
    """What some runs differ in.

    Attributes:
        key: a configuration group, a dotted key, or the name of a fact.
        title: its shortest end that no other column has.
    """

    key: str
    title: str


def find_columns(
    runs: Sequence[Run], split: Collection[str] = (), ignore: Collection[str] = ()
) -> list[Column]:
    """What tells the cells apart.

    What command lines named, and the options in `FIRST`, are columns wherever they differ. Another
    option or key is one only if it tells runs apart that the others do not: most follow from them.

    Args:
        runs: at least one.
        split: facts that may differ.
        ignore: keys that make no difference.
    """
    groups = sorted({group for run in runs for group in run.choices})
    leaves = sorted({key for run in runs for key in run.settings})
    every = [key for key in (*groups, *split, *leaves) if key not in ignore and _differs(runs, key)]
    found = [key for key in every if key in FIRST or any(key in run.typed for run in runs)]
    for key in every:
        if key not in found and _tells_more(runs, found, key):
            found.append(key)
    found.sort(key=lambda key: FIRST.index(key) if key in FIRST else len(FIRST))
    return [Column(key, _title(key, found)) for key in found]


def check_facts(runs: Iterable[Run], allowed: Collection[str] = ()) -> None:
    """Refuses runs of one suite, or of one task, that differ in what makes results comparable.

    Args:
        runs: of one table.
        allowed: facts that may differ.

    Raises:
        ComparisonError: names two runs, what they differ in, and what to do.
    """
    first: dict[tuple[str, ...], Run] = {}
    for run in runs:
        of_suite = first.setdefault((run.suite,), run)
        of_task = first.setdefault((run.suite, run.task), run)
        names = {*run.facts, *of_suite.facts, *of_task.facts} - {*allowed}
        for fact in sorted(names):
            _check_fact(fact, of_task if fact.startswith(OF_TASK) else of_suite, run)


def _check_fact(fact: str, other: Run, run: Run) -> None:
    ours, theirs = other.facts.get(fact), run.facts.get(fact)
    if ours != theirs:
        choice = f"choose with {fact}={ours or theirs}"
        raise ComparisonError(
            f"{other.name} and {run.name} can't stand in one table: {fact} of {run.suite} is "
            f"{ours or 'nothing'} and {theirs or 'nothing'}; {choice}, or show them apart with "
            f"split={fact}"
        )


def check_seeds(cells: Mapping[tuple[str, ...], Sequence[Run]]) -> None:
    """Refuses a seed that a cell has twice.

    Args:
        cells: runs by what tells the cells apart.

    Raises:
        ComparisonError: names the two runs.
    """
    for runs in cells.values():
        for one, other in pairwise(sorted(runs, key=lambda run: run.seed)):
            if one.seed == other.seed:
                raise ComparisonError(
                    f"{one.name} and {other.name} are one experiment with the same seed "
                    f"{one.seed}: it would count twice; leave one of them out"
                )


def check_length(runs: Sequence[Run], metric: str) -> None:
    """Refuses finished runs of one task that trained for different lengths.

    Args:
        runs: to be compared at their ends.
        metric: what is compared.

    Raises:
        ComparisonError: names the two runs, and a step to compare them at.
    """
    first: dict[tuple[str, str], Run] = {}
    for run in (run for run in runs if run.finished(metric)):
        other = first.setdefault((run.suite, run.task), run)
        if other.env_steps != run.env_steps:
            least = min(run.env_steps, other.env_steps)
            raise ComparisonError(
                f"{other.name} and {run.name} can't be compared at their ends: one has "
                f"{other.env_steps:,} env steps, the other {run.env_steps:,}; at={least} compares "
                f"them there, training.env_steps={least} chooses"
            )


def hint(wrong: str, names: Iterable[str]) -> str:
    """The end of an error message: the nearest right name, if one is near."""
    near = get_close_matches(wrong, sorted(names), 1)
    return f"; did you mean '{near[0]}'?" if near else ""


def check_keys(runs: Sequence[Run], keys: Iterable[str]) -> None:
    """Refuses keys that no run has.

    Raises:
        ComparisonError: names the key.
    """
    known = {key for run in runs for key in (*run.choices, *run.settings, *run.facts)}
    for key in keys:
        if key not in known:
            raise ComparisonError(f"{key}: no run has such a key that matters{hint(key, known)}")


def check_metric(runs: Sequence[Run], metric: str) -> None:
    """Refuses a metric that no run has, or that some finished run lacks.

    Raises:
        ComparisonError: names the metric, or two runs.
    """
    having = [run for run in runs if metric in run.metrics]
    if not having:
        known = sorted({name for run in runs for name in run.metrics})
        shown = ", ".join(name for name in known if name.startswith(("eval/", "episode/")))
        raise ComparisonError(
            f"metric={metric}: no run has it{hint(metric, known)} (has: {shown or 'none'})"
        )
    for run in runs:
        if run.ended == "FINISHED" and metric not in run.metrics:
            one = having[0]
            differ = [key for key in FIRST if one.shown(key) != run.shown(key)][:1]
            then = [f"choose with {key}={one.shown(key)}" for key in differ] or ["leave it out"]
            raise ComparisonError(
                f"metric={metric}: {one.name} has it, {run.name} has not; {then[0]}, or take "
                "another metric"
            )


def by_values(runs: Iterable[Run], columns: Sequence[Column]) -> dict[tuple[str, ...], list[Run]]:
    """Runs by what they have in some columns; numbers in their order, other values in theirs."""
    found: dict[tuple[str, ...], list[Run]] = {}
    for run in runs:
        found.setdefault(tuple(run.shown(column.key) for column in columns), []).append(run)
    return dict(sorted(found.items(), key=lambda item: [_order(value) for value in item[0]]))


def described(values: Sequence[str], columns: Sequence[Column]) -> str:
    """Values of some columns in words, such as ``walker_walk, lr=0.1``."""
    pairs = zip(values, columns, strict=True)
    return ", ".join(v if c.key in FIRST else f"{c.title}={v}" for v, c in pairs)


def _order(value: str) -> tuple[float, str]:
    try:
        return float(value), ""
    except ValueError:
        return math.inf, value


def find_baseline(
    runs: Sequence[Run], columns: Sequence[Column], asked: Mapping[str, str] | None
) -> tuple[dict[str, str], list[str]]:
    """What the others are compared with.

    Args:
        runs: of the table.
        columns: of the table.
        asked: values by key; empty for no comparison, None for the usual one where there is one.

    Returns:
        Values by key, empty for no comparison, and what has to be said.

    Raises:
        ComparisonError: no run has what was asked for, or all of them.
    """
    keys = [column.key for column in columns]
    if asked is None:
        (key, value), *_ = USUAL.items()
        if key not in keys:
            return {}, []
        if any(run.shown(key) == value for run in runs):
            return dict(USUAL), []
        return {}, [f"no differences: no run has {key}={value}; baseline=KEY=VALUE names another"]
    for key, value in asked.items():
        values = sorted({run.shown(key) for run in runs})
        if value not in values:
            raise ComparisonError(
                f"baseline={key}={value}: no run has it; {key} is {', '.join(values)} here"
            )
        if key not in keys:
            raise ComparisonError(
                f"baseline={key}={value}: all runs have it, so there is nothing to compare"
            )
    return dict(asked), []


def is_of_arm(key: str, factor: str, baseline: Collection[str]) -> bool:
    """Whether a key is what is compared, rather than where.

    Args:
        key: of a column.
        factor: what is compared, with all keys below it but the task.
        baseline: keys that tell the baseline.
    """
    below = key.startswith(f"{factor}.") and key != TASK
    return key == factor or key in baseline or below


def also_differs(
    runs: Sequence[Run],
    columns: Sequence[Column],
    baseline: Mapping[str, str],
    ignore: Collection[str] = (),
) -> list[str]:
    """Says in which other keys the compared options differ, where no column does.

    Args:
        runs: of the table.
        columns: of the table.
        baseline: its first key is what is compared, with all keys below it.
        ignore: keys that make no difference.
    """
    if not baseline:
        return []
    factor = next(iter(baseline))
    own = {column.key for column in columns if is_of_arm(column.key, factor, baseline)}
    place = [column.key for column in columns if column.key not in own]
    known = {*own, *place, *ignore}
    others = [
        key
        for key in sorted({key for run in runs for key in run.settings} - known)
        if not key.startswith(f"{factor}.") and _tells_more(runs, place, key)
    ]
    if not others:
        return []
    more = f" and {len(others) - 3} more keys" if len(others) > 3 else ""
    return [f"options of {factor} also differ in {', '.join(others[:3])}{more}"]


def _differs(runs: Sequence[Run], key: str) -> bool:
    return len({run.shown(key) for run in runs}) > 1


def _tells_more(runs: Sequence[Run], keys: Sequence[str], key: str) -> bool:
    """Whether runs that agree in `keys` differ in `key`."""
    if not _differs(runs, key):
        return False
    alike: dict[tuple[str, ...], str] = {}
    for run in runs:
        value = run.shown(key)
        if alike.setdefault(tuple(run.shown(other) for other in keys), value) != value:
            return True
    return False


def _title(key: str, keys: Sequence[str]) -> str:
    parts = key.split(".")
    ends = [".".join(parts[start:]) for start in range(len(parts) - 1, -1, -1)]
    others = [other for other in keys if other != key]
    for end in ends:
        if not any(other == end or other.endswith(f".{end}") for other in others):
            return end
    return key
