"""What makes two configurations the same run, and what may differ between its restarts."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from harmony.errors import RunDirectoryError

FREE_KEYS = (
    "checkpoint",
    "device",
    "env.checkout",
    "env.launch_timeout_s",
    "env.max_failures",
    "env.python",
    "env.render",
    "env.timeout_s",
    "envs._target_",
    "envs.max_crashes",
    "envs.timeout_s",
    "evaluation",
    "experiment",
    "render",
    "replay.keep",
    "run_dir",
    "runs_root",
    "sweep",
    "tracking",
    "training.env_steps",
)
"""Keys and sections that a restart may change; they are no part of the identity."""

MOVABLE_KEYS = ("env.clips", "env.textures")
"""Folders: runs that begin with others are others, but a run may find its own elsewhere later. Its
checkpoint says what must be in them."""
UNORDERED_KEYS = ("env.vary",)
"""Lists whose order means nothing."""

_STEPS = "training.env_steps"
_NAMED = 5
_ABSENT = object()


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return the leaves of a configuration by dotted key; lists and empty sections are leaves."""
    leaves: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, dict) and value:
            leaves.update(flatten(value, f"{prefix}{key}."))
        else:
            leaves[f"{prefix}{key}"] = value
    return leaves


def identity(config: Mapping[str, Any]) -> str:
    """Return the sha256, in hex, of everything that a restart may not change."""
    leaves = {key: value for key, value in _leaves(config).items() if not _is_free(key)}
    return hashlib.sha256(json.dumps(leaves, sort_keys=True).encode()).hexdigest()


def changes(stored: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """Return the leaves that differ, by dotted key, with their new values (None: gone)."""
    before, after = _leaves(stored), _leaves(new)
    keys = [key for key in {**before, **after} if _differ(before, after, key)]
    return {key: after.get(key) for key in sorted(keys)}


def check_same_run(where: str, stored: Mapping[str, Any], new: Mapping[str, Any]) -> None:
    """Check that a configuration continues the run that another one began.

    Args:
        where: the run directory, for the message.
        stored: the configuration that the run began with, ``training.env_steps`` as asked last.
        new: the configuration that wants to continue it.

    Raises:
        RunDirectoryError: a key differs that may not, or ``training.env_steps`` shrinks.
    """
    before, after = flatten(stored), flatten(new)
    differing = [key for key in changes(stored, new) if not _is_free(key)]
    wrong = [key for key in differing if not _has_moved(before, after, key)]
    if wrong:
        shown = [f"{k} (has {_show(before, k)}, got {_show(after, k)})" for k in wrong[:_NAMED]]
        more = f" and {len(wrong) - _NAMED} more" if len(wrong) > _NAMED else ""
        raise RunDirectoryError(
            f"{where} is another run, they differ in {', '.join(shown)}{more}; repeat the "
            "overrides that began it, or take another run_dir"
        )
    if _STEPS in before and _STEPS in after and after[_STEPS] < before[_STEPS]:
        raise RunDirectoryError(
            f"{where}: {_STEPS} can only grow, it was {before[_STEPS]}, got {after[_STEPS]}; ask "
            "for at least as many, or take another run_dir"
        )


def _leaves(config: Mapping[str, Any]) -> dict[str, Any]:
    """As `flatten`, with lists sorted whose order means nothing."""
    leaves = flatten(config)
    lists = [key for key in UNORDERED_KEYS if isinstance(leaves.get(key), list)]
    return leaves | {key: sorted(leaves[key], key=str) for key in lists}


def _has_moved(before: Mapping[str, Any], after: Mapping[str, Any], key: str) -> bool:
    return key in MOVABLE_KEYS and None not in (before.get(key), after.get(key))


def _is_free(key: str) -> bool:
    return any(key == free or key.startswith(f"{free}.") for free in FREE_KEYS)


def _differ(before: Mapping[str, Any], after: Mapping[str, Any], key: str) -> bool:
    old, new = before.get(key, _ABSENT), after.get(key, _ABSENT)
    return bool(old != new) or isinstance(old, bool) is not isinstance(new, bool)


def _show(leaves: Mapping[str, Any], key: str) -> str:
    return repr(leaves[key]) if key in leaves else "nothing"
