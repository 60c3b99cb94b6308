"""The files of a run directory: what they are called, written whole and read back."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from yaml import YAMLError

from harmony.config.identity import flatten
from harmony.config.names import nearest
from harmony.errors import ConfigError, RunDirectoryError

CONFIG_FILE, RECORD_FILE, LOCK_FILE = "config.yaml", "run.json", "run.lock"
ERROR_FILE = "error.txt"  # traceback of a run that has failed
OWN_FILES = {CONFIG_FILE, RECORD_FILE, LOCK_FILE, f"{CONFIG_FILE}.tmp", f"{RECORD_FILE}.tmp"}


def override_stored(config: Mapping[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """Return a stored configuration with overrides on top.

    Args:
        config: resolved configuration.
        overrides: ``dotted.key=value``, value in yaml; the key must be there.

    Raises:
        ConfigError: no such key, or not of that form.
    """
    tree = OmegaConf.create(dict(config))
    known = flatten(config)
    for override in overrides:
        key, equals, _ = override.partition("=")
        if not equals:
            raise ConfigError(f"{override}: expected KEY=VALUE")
        if key not in known:
            hint = nearest(key, known)
            raise ConfigError(f"{key}: the stored configuration has no such value{hint}")
        tree.merge_with_dotlist([override])
    plain = OmegaConf.to_container(tree, resolve=False)
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items()}


def read_config(path: Path) -> dict[str, Any]:
    """Return the stored configuration of the run in ``path``.

    Raises:
        RunDirectoryError: it is missing or damaged.
    """
    try:
        plain = OmegaConf.to_container(OmegaConf.load(path / CONFIG_FILE), resolve=False)
    except (OSError, ValueError, YAMLError) as error:
        reason = str(error).splitlines()[0]
        raise RunDirectoryError(f"can't read {path / CONFIG_FILE}: {reason}") from error
    if not isinstance(plain, dict):
        raise RunDirectoryError(f"{path / CONFIG_FILE} is damaged: expected a mapping")
    return {str(key): value for key, value in plain.items()}


def read_record(path: Path) -> dict[str, Any]:
    """Return the stored record of the run in ``path``.

    Raises:
        RunDirectoryError: it is damaged.
    """
    try:
        record = json.loads((path / RECORD_FILE).read_text(encoding="utf-8"))
        return dict(record)
    except (OSError, ValueError) as error:
        raise RunDirectoryError(f"{path / RECORD_FILE} is damaged: {error}") from error


def write_whole(path: Path, text: str) -> None:
    """Write a file so that it is there whole or not at all, also after a power cut."""
    temporary = path.with_name(f"{path.name}.tmp")
    with temporary.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
