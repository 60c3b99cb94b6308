"""Checks of arguments that all suites share."""

import difflib
from collections.abc import Iterable

from harmony.errors import EnvError


def check_positive(**values: int) -> None:
    """Refuses counts below 1.

    Args:
        **values: the counts by their config key.

    Raises:
        EnvError: one of them is below 1.
    """
    for key, value in values.items():
        if value < 1:
            raise EnvError(f"env.{key}: expected 1 or more, got {value}")


def check_name(
    task: str,
    names: Iterable[str],
    suite: str,
    *,
    aliases: Iterable[str] = (),
    env: str | None = None,
) -> None:
    """Refuses a task that a suite does not have.

    Args:
        task: name to look up.
        names: the tasks of the suite.
        suite: name of the suite, for the message.
        aliases: other names that the suite takes for some of them.
        env: choice of the group `env` whose tasks these are, for the message.

    Raises:
        EnvError: the task is not among them; names the suites that have it, or the nearest ones.
    """
    tasks, others = list(names), list(aliases)
    if task in tasks or task in others:
        return
    wanted = f"one of the {len(tasks)} tasks of {suite}"
    if len(tasks) == 1:
        wanted = f"{tasks[0]}, the only task of {suite}"
    message = f"env.task: expected {wanted}, got {task!r}{_hint(task, tasks, others)}"
    if env is not None and len(tasks) > 1:
        message += " " if message.endswith("?") else "; "
        message += f"python -m harmony.doctor env={env} tasks=true lists them"
    raise EnvError(message)


def _hint(task: str, tasks: list[str], aliases: list[str]) -> str:
    """Where the task is from, or what it may have been meant to be."""
    from harmony.envs.tasks import envs_with  # looks into the suites, which import this module

    elsewhere = ", ".join(f"env={env}" for env in envs_with(task))
    hints = f"; {task} is a task of {elsewhere}" if elsewhere else ""
    near = difflib.get_close_matches(task, [*tasks, *aliases], n=3, cutoff=0.5)
    if near:
        return f"{hints}; did you mean {', '.join(near)}?"
    return hints or (f"; for example {', '.join(tasks[:3])}" if len(tasks) > 1 else "")
