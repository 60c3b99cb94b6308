"""Runs that were trained before: found by name, loaded with their weights, results written below.

What `harmony.evaluate` and `harmony.probe` share.
"""

from __future__ import annotations

import math
import os
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harmony.config.compose import Composed
from harmony.config.run_dir import RunDirectory
from harmony.errors import CheckpointError, ConfigError, RunDirectoryError
from harmony.tracking.ledger import read_ledger

if TYPE_CHECKING:
    from harmony.agent import DreamerAgent
    from harmony.build import Env

CHECKPOINTS = ("newest", "best", "last")
"""Which weights of a run: of its newest checkpoint, of its best evaluation, of its end."""


@dataclass(frozen=True)
class StoredRun:
    """A run that was trained before.

    Attributes:
        path: its directory, absolute.
        config: with the overrides on top.
        env: a fresh one.
        agent: with the stored weights, and random streams as at the beginning of the run.
    """

    path: Path
    config: Mapping[str, Any]
    env: Env
    agent: DreamerAgent


def split_arguments(
    arguments: Sequence[str], defaults: Mapping[str, str]
) -> tuple[dict[str, str], list[str]]:
    """Tells a command's own keys from overrides of the stored configuration.

    Values stay text, since a run id such as 12e4567 is no number.

    Args:
        arguments: as typed.
        defaults: the command's own keys.

    Returns:
        Its own values by key, and the other arguments.
    """
    own, overrides = dict(defaults), []
    for argument in arguments:
        key, equals, value = argument.partition("=")
        if key in own and equals:
            own[key] = value
        else:
            overrides.append(argument)
    return own, overrides


def whole_number(key: str, value: str, least: int = 0) -> int:
    """A value as a whole number.

    Raises:
        ConfigError: it is none, or below `least`.
    """
    if not value.isdecimal():
        raise ConfigError(f"{key} must be a whole number, got {value!r}")
    if int(value) < least:
        raise ConfigError(f"{key} must be at least {least}, got {value}")
    return int(value)


def number(key: str, value: str, least: float, most: float = math.inf) -> float:
    """A value as a number.

    Raises:
        ConfigError: it is none, or out of range.
    """
    try:
        found = float(value)
    except ValueError as error:
        raise ConfigError(f"{key} must be a number, got {value!r}") from error
    if not least <= found <= most or math.isinf(found):
        limits = f"at least {least:g}" if math.isinf(most) else f"{least:g} to {most:g}"
        raise ConfigError(f"{key} must be {limits}, got {value}")
    return found


def one_of(key: str, value: str, options: Sequence[str]) -> str:
    """A value that must be one of some.

    Raises:
        ConfigError: it is another.
    """
    if value not in options:
        *most, last = options
        raise ConfigError(f"{key} must be {', '.join(most)} or {last}, got {value!r}")
    return value


def find_run(name: str) -> Path:
    """The run directory that a path or an MLflow run id means.

    Raises:
        RunDirectoryError: neither.
    """
    path = Path(name).expanduser()
    if path.is_dir():
        return path
    root = Path(os.environ.get("HARMONY_RUNS", "runs"))
    for ledger in sorted(root.glob("**/mlflow.json")):
        found = read_ledger(ledger.parent)
        if found is not None and found.progress.run_id == name:
            return ledger.parent
    raise RunDirectoryError(
        f"run={name} is no directory, and no run below {root} has that MLflow run id; set "
        "HARMONY_RUNS where runs live elsewhere"
    )


def weights(run: Path, checkpoint: str) -> dict[str, Any]:
    """Weights of a run by name.

    Args:
        run: its directory.
        checkpoint: one of `CHECKPOINTS`.

    Raises:
        CheckpointError: there are none.
    """
    from harmony.training.checkpoint import CheckpointStore

    if not (run / "checkpoints").is_dir():
        raise CheckpointError(f"{run} has no checkpoints yet")
    store = CheckpointStore(run / "checkpoints")
    if checkpoint != "newest":
        found = store.load_named(run / "checkpoints" / f"{checkpoint}.ckpt")["modules"]
    else:
        latest = store.load_latest()
        if latest is None:
            raise CheckpointError(f"{run} has no checkpoint yet")
        agent = latest[1]["agent"]
        assert isinstance(agent, dict)
        found = agent["modules"]
    assert isinstance(found, dict)
    return found


def load_run(path: Path, checkpoint: str, overrides: Sequence[str]) -> StoredRun:
    """The agent of a run with its weights, and a fresh environment of its evaluations.

    Args:
        path: the run directory.
        checkpoint: one of `CHECKPOINTS`.
        overrides: on top of the stored configuration.

    Raises:
        UserError: no such run, no weights, or an environment that can't be made.
    """
    from harmony.build import build_device, build_env, check, observation_shapes
    from harmony.build_agent import build_agent
    from harmony.envs.devices import draw_where
    from harmony.training.seeding import Seeds
    from harmony.training.weights import put_weights

    run = RunDirectory.load(path, overrides)
    # The weights are there: those that the run began with are not needed.
    check(Composed(run.config | {"init_from": None}, run.choices, list(overrides)))
    modules = weights(run.path, checkpoint)
    device = build_device(run.config["device"])
    draw_where(device)
    env = build_env(run.config, evaluation=True)
    seeds = Seeds(run.config["seed"])
    agent = build_agent(run.config, observation_shapes(env), env.action_space, device, seeds)
    put_weights(agent, modules, path)
    return StoredRun(run.path, run.config, env, agent)


def load_actor(
    path: Path, checkpoint: str, overrides: Sequence[str], run: StoredRun
) -> DreamerAgent:
    """The agent of another run, to act in this run's environment.

    Args:
        path: directory of the other run.
        checkpoint: one of `CHECKPOINTS`.
        overrides: on top of its stored configuration.
        run: where it will act.

    Raises:
        UserError: no such run, no weights, or made for other observations or actions.
    """
    other = load_run(path, checkpoint, overrides)
    other.env.close()
    for name in ("observation_space", "action_space"):
        got, expected = getattr(other.env, name), getattr(run.env, name)
        if got != expected:
            kind = name.replace("_", " ")
            raise ConfigError(f"policy={path}: expected the {kind} {expected}, got {got}")
    return other.agent


def results_folder(path: Path, name: str) -> Path:
    """A directory for results in a run directory; made where it is missing.

    Raises:
        RunDirectoryError: it can't be made.
    """
    folder = path / name
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise RunDirectoryError(f"can't write {folder}: {error.strerror}") from error
    return folder


def results_stem(*parts: str, settings: Sequence[str]) -> str:
    """Name of a result without its ending; results under other settings have other names.

    Args:
        parts: what it always says.
        settings: KEY=VALUE that differ from what is usual; a checksum of them is appended.
    """
    checksum = [f"{zlib.crc32(' '.join(settings).encode()):08x}"] if settings else []
    return "-".join([*parts, *checksum])
