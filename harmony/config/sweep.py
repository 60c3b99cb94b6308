"""Sweeps: many runs from one command, expanded and started by Hydra's own sweeper and launcher."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from hydra._internal.callbacks import Callbacks
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.types import HydraContext, RunMode
from omegaconf import DictConfig

from harmony.config.compose import Composed, hydra_session, refuse_own_keys, translated
from harmony.config.run_names import new_name, runs_root, settled_path, sweep_name
from harmony.errors import ConfigError

_LAUNCHER, _NAME = "hydra/launcher=", "sweep="
_OPEN = "hydra.launcher.additional_parameters"  # a mapping that takes any key


def is_sweep(overrides: Sequence[str]) -> bool:
    """Tell whether a launcher other than Hydra's basic one is asked for: it only runs sweeps."""
    return any(o.startswith(_LAUNCHER) and o != f"{_LAUNCHER}basic" for o in overrides)


def expand(overrides: Sequence[str]) -> list[list[str]]:
    """Return the overrides of every run of a sweep, in the order in which they run.

    Raises:
        ConfigError: an override can't be read, or the sweeper decides as it goes.
    """
    refuse_own_keys(overrides)
    with hydra_session(), translated(overrides):
        loader = GlobalHydra.instance().config_loader()
        cfg = loader.load_configuration("config", list(overrides), RunMode.MULTIRUN)
        if (sweeper := cfg.hydra.runtime.choices["hydra/sweeper"]) != "basic":
            raise ConfigError(f"hydra/sweeper={sweeper}: only the basic one can be checked ahead")
        fixed = [f"{key}={value}" for key, value in (cfg.hydra.sweeper.params or {}).items()]
        parser = OverridesParser.create(config_loader=loader)
        swept = parser.parse_overrides([*fixed, *cfg.hydra.overrides.task])
        jobs = BasicSweeper.split_arguments(swept, max_batch_size=None)[0]
        return [[*cfg.hydra.overrides.hydra, *job] for job in jobs]


def named(overrides: Sequence[str]) -> list[str]:
    """Return the overrides with a ``sweep`` name; one is made if there is none.

    Raises:
        ConfigError: the name can't be that of one directory.
    """
    given = [o.removeprefix(_NAME) for o in overrides if o.startswith(_NAME)]
    if given:
        sweep_name(given[-1].strip("'\""))
        return as_typed(overrides)
    return [*as_typed(overrides), f"{_NAME}{new_name('sweep')}"]


def as_typed(overrides: Sequence[str]) -> list[str]:
    """Return overrides of which Hydra understands what a person means.

    A sweep's name that reads as a number or a truth value, such as ``2026_11_21``, stays what it
    is. Further options of sbatch need no ``+``.
    """
    return [_as_typed(override) for override in overrides]


def _as_typed(override: str) -> str:
    if override.startswith(_OPEN):
        return f"++{override}"
    name = override.removeprefix(_NAME)
    if not override.startswith(_NAME) or not re.fullmatch(r"[\w.-]+", name) or name == "null":
        return override
    value = OverridesParser.create().parse_override(override).value()
    return override if isinstance(value, str) else f"{_NAME}'{name}'"


def check_distinct(runs: Sequence[Composed]) -> None:
    """Check that no two runs of a sweep would share a directory.

    Raises:
        ConfigError: two would; names what they have in common.
    """
    seen: dict[Path | None, Composed] = {}
    for run in runs:
        path = settled_path(run.config, run.choices)
        if path in seen and path is not None:
            first, second = (" ".join(r.overrides) for r in (seen[path], run))
            raise ConfigError(
                f"two runs of the sweep are the same run ({first}; {second}): what they differ in "
                "does not make a run another one, or they share a run_dir"
            )
        seen[path] = run


@runtime_checkable
class ComposedLauncher(Protocol):
    """A launcher that takes runs as they were composed and checked here."""

    def launch_composed(self, runs: Sequence[Composed], overrides: Sequence[str]) -> int:
        """Launch them; returns an exit code."""
        ...


def launch(
    task: Callable[[DictConfig], Any], overrides: Sequence[str], runs: Sequence[Composed]
) -> int:
    """Run a sweep with its launcher; what Hydra itself writes goes to the sweep's directory.

    Args:
        task: what each job of a foreign launcher calls; importable by its name.
        overrides: of the whole sweep, with its name.
        runs: of the sweep.

    Returns:
        Exit code.
    """
    config = runs[0]
    directory = runs_root(config.config) / sweep_name(str(config.config["sweep"]))
    own = [
        f"hydra.sweep.dir={_quoted(str(directory))}",
        "hydra.sweep.subdir=.",
        "hydra.output_subdir=null",
        "hydra/job_logging=none",
        "hydra/hydra_logging=none",
    ]
    with hydra_session():
        hydra = GlobalHydra.instance().hydra
        assert hydra is not None
        whole = hydra.compose_config(
            "config", [*overrides, *own], RunMode.MULTIRUN, with_log_configuration=False
        )
        launcher: object = Plugins.instance().instantiate_launcher(
            hydra_context=HydraContext(hydra.config_loader, Callbacks(whole)),
            task_function=task,
            config=whole,
        )
        if isinstance(launcher, ComposedLauncher):
            return launcher.launch_composed(runs, overrides)
        hydra.multirun("config", task, [*overrides, *own], with_log_configuration=False)
    return 0


def _quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
