"""What can be said of a suite before its simulator is imported."""

import importlib
import importlib.util
from collections.abc import Mapping
from typing import Any

from harmony.errors import EnvError


def check_suite(target: str, arguments: Mapping[str, Any]) -> None:
    """Checks that a suite is installed and has the task, without making anything.

    A suite's module may have `REQUIRES`, the packages that it imports with the extras that bring
    them; `check_packages(arguments)`, where packages come or lie elsewhere; and `check_task(task)`.

    Args:
        target: dotted name of the environment's class.
        arguments: of its constructor.

    Raises:
        EnvError: a package is missing, or the suite has no such task.
    """
    module = importlib.import_module(target.rpartition(".")[0])
    for package, extra in getattr(module, "REQUIRES", {}).items():
        if importlib.util.find_spec(package) is None:
            suite = module.__name__.rpartition(".")[2]
            raise EnvError(
                f"env {suite}: package {package!r} is missing; pip install 'harmony-dream[{extra}]'"
            )
    check_packages = getattr(module, "check_packages", None)
    if check_packages is not None:
        check_packages(arguments)
    check_task = getattr(module, "check_task", None)
    if check_task is not None and "task" in arguments:
        check_task(arguments["task"])


def suite_modules(target: str) -> tuple[str, ...]:
    """The modules that a suite needs besides those of this package.

    Args:
        target: dotted name of the environment's class.
    """
    module = importlib.import_module(target.rpartition(".")[0])
    return tuple(getattr(module, "REQUIRES", {}))


def suite_tags(target: str, arguments: Mapping[str, Any]) -> dict[str, str]:
    """What the results of a suite must have in common to be compared, such as its version.

    A suite's module may have a function `tags`, which tells it from the constructor's arguments.

    Args:
        target: dotted name of the environment's class.
        arguments: of its constructor.
    """
    module = importlib.import_module(target.rpartition(".")[0])
    tags = getattr(module, "tags", None)
    return {} if tags is None else dict(tags(arguments))
