"""Where the yaml files are, and which options they offer. Standard library only, for ``--help``."""

from pathlib import Path

import harmony
from harmony.errors import ConfigError


def find_conf_dir() -> Path:
    """Return the directory with ``config.yaml``.

    An installed wheel carries it as ``harmony/conf``; in a checkout it lies beside the package.

    Raises:
        ConfigError: neither is there.
    """
    package = Path(harmony.__file__).resolve().parent
    candidates = (package / "conf", package.parent / "conf")
    for candidate in candidates:
        if (candidate / "config.yaml").is_file():
            return candidate
    raise ConfigError(f"no config.yaml in {candidates[0]} or {candidates[1]}; install again")


def list_groups(conf_dir: Path) -> dict[str, list[str]]:
    """Return the options of every config group, e.g. ``{"env": ["dmc", "metaworld"]}``."""
    groups: dict[str, list[str]] = {}
    for path in sorted(conf_dir.rglob("*.yaml")):
        if path.parent != conf_dir:
            groups.setdefault(path.parent.relative_to(conf_dir).as_posix(), []).append(path.stem)
    return groups
