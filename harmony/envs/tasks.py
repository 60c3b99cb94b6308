"""The tasks of every suite, as its module tells them: no simulator is imported."""

import importlib
import re
from collections.abc import Iterable

from harmony.config.conf_dir import find_conf_dir, list_groups

_TARGET = re.compile(r"^\s*_target_:\s*([\w.]+)", re.MULTILINE)


def tasks_of(env: str) -> list[str]:
    """The tasks of a suite, by their right names; none where it has none to choose from.

    A suite's module may have `TASKS`, and `ALIASES`: other names that it takes.

    Args:
        env: choice of the group `env`.
    """
    return list(_told(env, "TASKS"))


def envs_with(task: str) -> list[str]:
    """The choices of the group `env` that have a task of this name.

    Args:
        task: the name, or another that a suite takes for it.
    """
    envs = list_groups(find_conf_dir())["env"]
    return [env for env in envs if task in (*_told(env, "TASKS"), *_told(env, "ALIASES"))]


def _told(env: str, name: str) -> Iterable[str]:
    """What the module of a suite says under a name."""
    text = (find_conf_dir() / "env" / f"{env}.yaml").read_text("utf-8")
    target = _TARGET.search(text)
    assert target is not None, f"no _target_ in the file of env={env}"
    names: Iterable[str] = getattr(importlib.import_module(target[1].rpartition(".")[0]), name, ())
    return names
