"""Says what works on this machine: python -m harmony.doctor [env=ENV[,ENV ...]].

Looks at the machine and at every suite, or at those that are named: what is installed, the command
that installs what is missing, and whether it runs: each suite is made, drawn, reset and stepped in
a process of its own. Nothing is changed and nothing is trained.

With tasks=true it prints the names of a suite's tasks instead, one a line.

Exit code: 0 what was asked for works, 1 something that was asked for does not, 2 a mistake in the
command. Without env= nothing is asked for by name.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass

from rich.console import Console
from rich.progress import track

from harmony.config.cli import report_errors
from harmony.config.compose import compose
from harmony.doctor_machine import Fact, facts
from harmony.doctor_show import show
from harmony.doctor_suites import Suite, check_asked, examine, suite_names
from harmony.envs.tasks import tasks_of
from harmony.errors import ConfigError
from harmony.stored_run import number, one_of, split_arguments

USAGE = (
    "python -m harmony.doctor [env=ENV[,ENV ...]] [timeout=120] [--json] [KEY=VALUE ...], "
    "or python -m harmony.doctor env=ENV tasks=true"
)


@dataclass(frozen=True)
class Request:
    """What was asked for.

    Attributes:
        envs: choices of `env`; empty: all, none of them by name.
        overrides: of the configuration, besides `env=`.
        timeout: seconds that trying a suite may take.
        as_json: write JSON.
        tasks: write the names of the tasks of the only env, and nothing else.
    """

    envs: list[str]
    overrides: list[str]
    timeout: float
    as_json: bool
    tasks: bool = False


def parse(arguments: Sequence[str]) -> Request:
    """Reads the command line.

    Raises:
        UserError: an option, key, suite or task that does not exist.
    """
    options = [argument for argument in arguments if argument.startswith("-")]
    if unknown := [option for option in options if option != "--json"]:
        raise ConfigError(f"{unknown[0]}: no such option; usage: {USAGE}")
    rest = [argument for argument in arguments if argument not in options]
    own, overrides = split_arguments(rest, {"env": "", "timeout": "120", "tasks": "false"})
    envs = [name for name in own["env"].split(",") if name]
    if not envs and any(override.startswith("env.") for override in overrides):
        raise ConfigError("keys of an env need env=ENV, which says of which")
    if not envs:
        compose(overrides)
    check_asked(envs, overrides)
    tasks = one_of("tasks", own["tasks"], ("false", "true")) == "true"
    if tasks and len(envs) != 1:
        raise ConfigError(f"tasks=true needs env=ENV, one env, got {len(envs)}")
    return Request(
        envs=envs,
        overrides=overrides,
        timeout=number("timeout", own["timeout"], least=1.0),
        as_json=bool(options),
        tasks=tasks,
    )


def report_tasks(request: Request) -> None:
    """Writes the names of the tasks of a suite.

    Raises:
        ConfigError: it has none to choose from.
    """
    (env,) = request.envs
    names = tasks_of(env)
    if not names:
        raise ConfigError(f"env={env} has no tasks to choose from")
    text = json.dumps(names) if request.as_json else "\n".join(names)
    sys.stdout.write(f"{text}\n")


def report(request: Request) -> int:
    """Writes what was found; the exit code is as in the head of this file."""
    found, suites = diagnose(request)
    if request.as_json:
        written = {
            "machine": [fact._asdict() for fact in found],
            "suites": [asdict(suite) for suite in suites],
        }
        sys.stdout.write(json.dumps(written, indent=2) + "\n")
    else:
        show(found, suites, sys.stdout)
    return 0 if works(request, found, suites) else 1


def examine_all(request: Request) -> Iterator[Suite]:
    """The suites, one after the other, with a bar where a person looks."""
    names = request.envs or suite_names()
    yield from track(
        (examine(name, request.overrides, request.timeout) for name in names),
        "suites",
        total=len(names),
        console=Console(stderr=True),
        disable=not sys.stderr.isatty(),
        transient=True,
    )


def diagnose(request: Request) -> tuple[list[Fact], list[Suite]]:
    """Everything that is reported."""
    # Keys of an env are known where it is chosen; what is looked at here is the same for all.
    chosen = [f"env={request.envs[0]}"] if request.envs else []
    config = compose([*chosen, *request.overrides]).config
    store_asked = any(override.startswith("tracking") for override in request.overrides)
    return [*facts(config, store_asked=store_asked)], [*examine_all(request)]


def works(request: Request, found: Sequence[Fact], suites: Sequence[Suite]) -> bool:
    """Whether everything that was asked for by name does."""
    bad_facts = [fact for fact in found if fact.asked and fact.fine is False]
    bad_suites = [suite for suite in suites if request.envs and suite.state != "works"]
    return not bad_facts and not bad_suites


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; the exit code is as in the head of this file."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if "-h" in arguments or "--help" in arguments:
        sys.stdout.write(f"{__doc__}\n{USAGE}\n")
        return 0
    with _silent(logging.getLogger("harmony")), report_errors() as outcome:
        request = parse(arguments)
        if request.tasks:
            report_tasks(request)
        else:
            outcome.code = report(request)
    return outcome.code


@contextmanager
def _silent(logger: logging.Logger) -> Iterator[None]:
    """Keeps warnings back within a block: the report says what would be logged."""
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


if __name__ == "__main__":
    sys.exit(main())
