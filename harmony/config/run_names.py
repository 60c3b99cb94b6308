"""Where a run's directory lies by default, and what it is called."""

import os
import re
import secrets
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harmony.config.identity import identity
from harmony.errors import ConfigError

_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")


def runs_root(config: Mapping[str, Any]) -> Path:
    """Return the absolute directory below which runs lie.

    Args:
        config: its ``runs_root``, else the environment variable ``HARMONY_RUNS``, else ``./runs``.
    """
    root = config.get("runs_root") or os.environ.get("HARMONY_RUNS") or "runs"
    return Path(root).expanduser().absolute()


def run_name(config: Mapping[str, Any], choices: Mapping[str, str]) -> str:
    """Return what a person calls a run, e.g. ``dmc-walker_walk-dreamerv2-on-seed0``.

    It holds neither ``=`` nor ``,``, which would break overrides that name the directory.
    """
    env = config.get("env")
    task = env.get("task") if isinstance(env, dict) else None
    chosen = [choices.get("env"), task, choices.get("algorithm"), choices.get("harmony")]
    words = [str(word) for word in chosen if word] + [f"seed{config.get('seed', 0)}"]
    return _UNSAFE.sub("_", "-".join(words))


def new_name(stem: str) -> str:
    """Return a name that no other process takes, e.g. ``<stem>-20261121-051500-3fa2``."""
    return f"{stem}-{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}"


def sweep_name(name: str) -> str:
    """Return the name of a sweep.

    Raises:
        ConfigError: it can't be the name of one directory.
    """
    if not name or name == "null" or name.startswith(".") or _UNSAFE.search(name):
        raise ConfigError(f"sweep={name}: expected letters, digits, '.', '_' and '-'")
    return name


def settled_path(config: Mapping[str, Any], choices: Mapping[str, str]) -> Path | None:
    """Return the directory that a configuration asks for, or None if it takes a new one.

    A run of a sweep is called by its identity, so that the same sweep finds it again.
    """
    if config.get("run_dir"):
        return Path(config["run_dir"]).expanduser().absolute()
    if config.get("sweep"):
        parent = runs_root(config) / sweep_name(str(config["sweep"]))
        return parent / f"{run_name(config, choices)}-{identity(config)[:8]}"
    return None
