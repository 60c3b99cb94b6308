"""How `harmony.doctor` shows its report: tables on a terminal, lines elsewhere."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TextIO

from rich.console import Console
from rich.table import Table
from rich.text import Text

from harmony.doctor_machine import Fact
from harmony.doctor_suites import Suite

_COLORS = {True: "green", False: "red", None: "default"}
_STATES = {"works": "green", "missing": "yellow", "fails": "red"}


def measured(suite: Suite) -> str:
    """What a trial found, in one line."""
    trial = suite.trial
    if not trial:
        return ""
    image = "no image"
    if trial["image"] is not None:
        image = " x ".join(str(side) for side in trial["image"])
        image += ", one colour" if trial["colors"] == 1 else ""
    return (
        f"{image}; {trial['steps_per_s']:.0f} agent steps/s, {trial['frames_per_s']:.0f} env "
        f"steps/s; reset {trial['reset_ms']:.0f} ms; made in {trial['seconds']:.1f} s"
    )


def details(suite: Suite) -> Iterator[str]:
    """Everything of a suite but its name and state, a line each."""
    installed = [f"{name} {version}" for name, version in suite.packages.items() if version]
    if installed:
        yield f"has {', '.join(installed)}"
    if suite.problem:
        yield suite.problem
    yield from suite.commands
    if suite.trial:
        yield measured(suite)


def show(facts: Sequence[Fact], suites: Sequence[Suite], stream: TextIO) -> None:
    """Writes the report.

    Args:
        facts: of the machine.
        suites: in the order in which they are shown.
        stream: tables where it is a terminal, else lines without colours.
    """
    if stream.isatty():
        console = Console(file=stream)
        console.print(_machine_table(facts))
        console.print(_suite_table(suites))
        return
    stream.write("\n".join([*plain_facts(facts), "", *plain_suites(suites)]) + "\n")


def plain_facts(facts: Sequence[Fact]) -> Iterator[str]:
    """The machine as lines."""
    width = max(len(fact.name) for fact in facts)
    for fact in facts:
        bad = "PROBLEM: " if fact.fine is False else ""
        yield f"{fact.name:<{width}}  {bad}{fact.value}"


def plain_suites(suites: Sequence[Suite]) -> Iterator[str]:
    """The suites as lines."""
    width = max((len(suite.name) for suite in suites), default=0)
    for suite in suites:
        first, *rest = [*details(suite)] or [""]
        yield f"{suite.name:<{width}}  {suite.state:<7}  {first}".rstrip()
        yield from (" " * (width + 11) + line for line in rest)


def _machine_table(facts: Sequence[Fact]) -> Table:
    table = Table("machine", "found", title_justify="left")
    for fact in facts:
        table.add_row(fact.name, Text(fact.value, _COLORS[fact.fine]))
    return table


def _suite_table(suites: Sequence[Suite]) -> Table:
    table = Table("suite", "state", "what was found", show_lines=True)
    for suite in suites:
        state = Text(suite.state, _STATES[suite.state])
        table.add_row(suite.name, state, Text("\n".join(details(suite))))
    return table
