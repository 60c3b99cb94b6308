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


def check_name(task: str, names: Iterable[str], suite: str) -> None:
    """Refuses a task that a suite does not have.

    Args:
        task: name to look up.
        names: the tasks of the suite.
        suite: name of the suite, for the message.

    Raises:
        EnvError: the task is not among them; names the nearest ones.
    """
    known = list(names)
    if task in known:
        return
    near = difflib.get_close_matches(task, known, n=3, cutoff=0.5) or known[:3]
    raise EnvError(
        f"env.task: expected one of the {len(known)} tasks of {suite}, got {task!r}; "
        f"did you mean {', '.join(near)}?"
    )
