"""Weights of one run as the beginning of another."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

from harmony.agent import DreamerAgent
from harmony.errors import CheckpointError
from harmony.training.checkpoint import read_checkpoint


def weights_file(path: Path) -> Path:
    """The file that `init_from` means: itself, or a run's last, else best weights.

    Raises:
        CheckpointError: there is none.
    """
    if not path.exists():
        raise CheckpointError(f"init_from={path} does not exist; give a run directory or *.ckpt")
    if not path.is_dir():
        return path
    names = [path / "checkpoints" / f"{name}.ckpt" for name in ("last", "best")]
    found = next((name for name in names if name.exists()), None)
    if found is None:
        raise CheckpointError(f"no weights in {path}: expected checkpoints/last.ckpt or best.ckpt")
    return found


def load_weights(agent: DreamerAgent, path: Path) -> None:
    """Begins with the weights of another run.

    Args:
        agent: of the same parts and sizes.
        path: a weights file, or a run directory.

    Raises:
        CheckpointError: nothing there, damaged, or made by another agent.
    """
    path = weights_file(path)
    modules = read_checkpoint(path).get("modules")
    if not isinstance(modules, dict):
        raise CheckpointError(f"{path} holds no weights; take last.ckpt or best.ckpt of a run")
    put_weights(agent, modules, path)


def put_weights(agent: DreamerAgent, modules: dict[str, Any], path: Path) -> None:
    """Sets all weights of an agent.

    Args:
        agent: of the same parts and sizes.
        modules: its `state_dict`.
        path: where they come from, for the message.

    Raises:
        CheckpointError: they were made by another agent.
    """
    try:
        agent.load_state_dict(modules)
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip().rstrip(".")
        raise CheckpointError(
            f"the weights in {path} don't fit this agent ({reason}); use {_makers(path)} that made "
            "them"
        ) from error


def _makers(path: Path) -> str:
    """The choices of the run whose weights these are, where its directory is around them."""
    for directory in (path, *path.parents[:2]):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            choices = json.loads((directory / "run.json").read_text(encoding="utf-8"))["choices"]
            return " ".join(f"{key}={choices[key]}" for key in ("algorithm", "size", "env"))
    return "the algorithm, size and env"
