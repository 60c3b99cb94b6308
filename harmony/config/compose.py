"""Composing: overrides in, one plain resolved configuration out. Never imports torch."""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from harmony.config import hydra_errors
from harmony.config.conf_dir import find_conf_dir
from harmony.errors import ConfigError

OmegaConf.register_new_resolver(
    "absolute", lambda path: str(Path(path).expanduser().absolute()), replace=True
)

COMPOSING_ERRORS = (HydraException, OmegaConfBaseException, ValueError)
_OURS = re.compile(r"[+~]*hydra[./](run|sweep|mode|output_subdir|runtime|callbacks|job\.chdir)\b")


@dataclass(frozen=True)
class Composed:
    """A composed configuration.

    Attributes:
        config: the resolved configuration: dicts, lists, strings, numbers, booleans and None.
        choices: the option chosen in each config group, e.g. ``{"env": "dmc"}``. Optional groups
            whose file does not exist are left out.
        overrides: the overrides as they were typed, without those of Hydra itself.
        launcher: the option chosen for ``hydra/launcher``.
    """

    config: dict[str, Any]
    choices: dict[str, str]
    overrides: list[str]
    launcher: str = "basic"

    @property
    def trains_here(self) -> bool:
        """Whether the run trains on the machine that starts it."""
        return self.launcher in ("basic", "local")


def compose(overrides: Sequence[str]) -> Composed:
    """Compose ``conf/config.yaml`` with overrides.

    Args:
        overrides: Hydra overrides, e.g. ``["env=dmc", "seed=1"]``.

    Raises:
        ConfigError: unknown option or key, a value that can't be read, a value that is not set.
    """
    refuse_own_keys(overrides)
    with hydra_session(), translated(overrides):
        cfg = hydra.compose("config", overrides=list(overrides), return_hydra_config=True)
        return _composed(cfg, cfg.hydra)


def from_job(cfg: DictConfig) -> Composed:
    """Make a `Composed` from what Hydra hands to a job of a sweep.

    Args:
        cfg: the job's configuration.

    Raises:
        ConfigError: a value is not set, or an interpolation does not resolve.
    """
    hydra_cfg = HydraConfig.get()
    try:
        # the launcher has done its part: a job is a run of its own
        return replace(_composed(cfg, hydra_cfg), launcher="basic")
    except OmegaConfBaseException as error:
        raise hydra_errors.translate(error, list(hydra_cfg.overrides.task), cfg) from error


def _composed(cfg: DictConfig, hydra_cfg: Any) -> Composed:  # noqa: ANN401 - typed by Hydra
    chosen = {str(group): option for group, option in hydra_cfg.runtime.choices.items()}
    typed = [str(override) for override in hydra_cfg.overrides.task]
    sources = [Path(s.path) for s in hydra_cfg.runtime.config_sources if s.schema == "file"]
    own = {group: option for group, option in chosen.items() if not group.startswith("hydra/")}
    return Composed(
        config={str(key): _resolved(cfg, str(key)) for key in cfg if key != "hydra"},
        choices=_existing(own, typed, sources),
        overrides=typed,
        launcher=str(chosen.get("hydra/launcher", "basic")),
    )


@contextmanager
def hydra_session() -> Iterator[None]:
    """Start Hydra on ``conf/`` for a ``with`` block."""
    directory = str(find_conf_dir())
    with hydra.initialize_config_dir(directory, job_name="harmony", version_base="1.3"):
        yield


@contextmanager
def translated(overrides: Sequence[str]) -> Iterator[None]:
    """Turn what Hydra raises about overrides into one line that names what would be right.

    Raises:
        ConfigError: in place of an error of Hydra or OmegaConf.
    """
    try:
        yield
    except COMPOSING_ERRORS as error:
        tree = _tree_without(overrides, hydra_errors.failed_key(error))
        raise hydra_errors.translate(error, overrides, tree) from error


def refuse_own_keys(overrides: Sequence[str]) -> None:
    """Refuse Hydra's own output keys: they would be read and then mean nothing.

    Raises:
        ConfigError: one of them is there.
    """
    for override in overrides:
        if _OURS.match(override):
            raise ConfigError(
                f"{override}: the run decides where it writes, not Hydra; use run_dir=PATH, "
                "runs_root=PATH or sweep=NAME, and -m for a sweep"
            )


def as_yaml(config: Mapping[str, Any]) -> str:
    """Return a resolved configuration as yaml that reads back the same."""
    return OmegaConf.to_yaml(OmegaConf.create(dict(config)))


def _resolved(cfg: DictConfig, key: str) -> Any:  # noqa: ANN401 - any plain value
    value = OmegaConf.select(cfg, key, throw_on_missing=True)
    if OmegaConf.is_config(value):
        return OmegaConf.to_container(value, resolve=True, throw_on_missing=True)
    return value


def _existing(
    choices: Mapping[str, str | None], overrides: Sequence[str], sources: Sequence[Path]
) -> dict[str, str]:
    """Leave out optional groups without a file, but refuse one that was asked for by name."""
    kept = {}
    for group, option in choices.items():
        if option is None:
            continue
        if option.startswith("/"):
            raise ConfigError(f"{group}={option}: an option is a bare name, without the slash")
        if any((source / group / f"{option}.yaml").is_file() for source in sources):
            kept[group] = option
        elif f"{group}={option}" in overrides:
            raise hydra_errors.unknown_option(group, option)
    return kept


def _tree_without(overrides: Sequence[str], key: str | None) -> DictConfig:
    """Compose without the override that failed: its tree holds the names that exist."""
    loader = GlobalHydra.instance().config_loader()
    kept = [o for o in overrides if key is None or o.lstrip("+~").split("=")[0] != key]
    for attempt in (kept, []):
        try:
            return loader.load_configuration(
                "config", attempt, RunMode.MULTIRUN, validate_sweep_overrides=False
            )
        except COMPOSING_ERRORS:
            continue  # its names are only needed for a hint; the first error is the one reported
    return OmegaConf.create()
