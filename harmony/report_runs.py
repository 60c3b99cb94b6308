"""Finds the runs that a report is about, and reads them."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from harmony.analysis.comparable import hint
from harmony.analysis.curves import run_facts
from harmony.analysis.runs import Run, as_text, read_curves
from harmony.config.identity import FREE_KEYS, flatten
from harmony.config.run_files import CONFIG_FILE, RECORD_FILE, read_record
from harmony.config.run_names import runs_root
from harmony.envs.suite import suite_tags
from harmony.errors import ComparisonError, RunDirectoryError

SWEEP_FILE = "sweep.json"
DEPTH = 3
"""Folders below a named one in which runs are looked for: of a root, its sweeps' runs."""
HARMLESS_GROUPS = ("envs", "preset", "tracking")
"""Options that say where, or follow from others."""
HARMLESS_KEYS = ("seed", *(key for key in FREE_KEYS if key not in ("render", "env.render")))
"""Keys that tell no cells apart. Pictures may change when a run goes on, but they matter."""
EPISODES, SUITE = "evaluation.episodes", "suite."
LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True)
class Stored:
    """A run directory, without its metrics.

    Attributes:
        path: of the directory.
        name: to show.
        record: contents of run.json.
        sections: of the configuration, as the run began with them.
    """

    path: Path
    name: str
    record: Mapping[str, Any]
    sections: Mapping[str, Any]

    @cached_property
    def config(self) -> dict[str, Any]:
        """Values by dotted key, as the last start had them."""
        attempts = self.record["attempts"]
        return flatten(self.sections) | (attempts[-1].get("changes", {}) if attempts else {})

    @cached_property
    def facts(self) -> dict[str, str]:
        """What the runs of a suite must agree in.

        Raises:
            ComparisonError: its environment is not known here.
        """
        stored = flatten(self.sections).get(EPISODES)
        changes = [attempt.get("changes", {}) for attempt in self.record["attempts"]]
        episodes = dict.fromkeys(as_text(change.get(EPISODES, stored)) for change in changes)
        tags = {f"{SUITE}{name}": str(fact) for name, fact in self._tags().items()}
        return tags | {EPISODES: ", then ".join(episodes) or as_text(stored)}

    def _tags(self) -> dict[str, str]:
        stored = run_facts(self.path).get("provenance", {}).get("suite")
        if stored is not None:
            return dict(stored)
        env = self.sections["env"]  # an older run: told from its configuration by today's code
        try:
            return suite_tags(env["_target_"], env)
        except (ImportError, KeyError) as error:
            raise ComparisonError(
                f"{self.path}: what its environment {env.get('_target_')} has in common with "
                f"others can't be told ({error!r}); leave the run out, or use the version that "
                "made it"
            ) from error

    def names(self, key: str) -> dict[str, object]:
        """What a filter can name: options, values, and facts if the key may be one."""
        facts = self.facts if key.startswith(SUITE) else {}
        return {**self.config, **facts, **self.record["choices"]}


def find_runs(names: Sequence[str]) -> tuple[list[Path], list[str]]:
    """Run directories.

    Args:
        names: of runs, of folders of runs such as sweeps: paths, or names below HARMONY_RUNS. None
            at all stands for everything below HARMONY_RUNS.

    Returns:
        Directories, each once, and what has to be said of them.

    Raises:
        RunDirectoryError: a name leads to no run.
    """
    root = runs_root({})
    found: dict[Path, Path] = {}
    notes: list[str] = []
    for name in names or [str(root)]:
        here = Path(name).expanduser()
        folder = here if here.exists() else root / name
        runs = list(_runs_below(folder, DEPTH)) if folder.is_dir() else []
        if not runs:
            what = "holds no run" if folder.exists() else "is no directory"
            also = "" if folder == here or folder.exists() else f", nor is there one in {root}"
            raise RunDirectoryError(
                f"{name} {what}{also}; name run directories, sweeps, or folders of them"
            )
        found.update({run.resolve(): run for run in runs})
        notes += _missing(folder)
    return list(found.values()), notes


def _runs_below(folder: Path, depth: int) -> Iterator[Path]:
    if (folder / RECORD_FILE).is_file():
        yield folder
    elif depth:
        try:
            inside = sorted(folder.iterdir())
        except PermissionError as error:
            raise RunDirectoryError(f"can't read {folder}: {error.strerror}") from error
        for entry in inside:
            if entry.is_dir() and not entry.name.startswith("."):
                yield from _runs_below(entry, depth - 1)


def _missing(folder: Path) -> Iterator[str]:
    """Runs of sweeps that have not begun."""
    for file in [folder / SWEEP_FILE, *sorted(folder.glob(f"*/{SWEEP_FILE}"))]:
        if file.is_file():
            try:
                planned = [
                    Path(run["run_dir"]).name for run in json.loads(file.read_text())["runs"]
                ]
            except (OSError, ValueError, KeyError, TypeError) as error:
                raise RunDirectoryError(f"{file} is damaged: {error!r}") from error
            missing = [name for name in planned if not (file.parent / name / RECORD_FILE).exists()]
            if missing:
                yield f"sweep {file.parent.name}: {len(missing)} of {len(planned)} have not begun"


def read_run(path: Path) -> Stored:
    """What is stored of a run, without its metrics.

    Raises:
        RunDirectoryError: a file is missing or damaged.
    """
    record, config = read_record(path), _read_config(path)
    lacking = [key for key in ("choices", "attempts", "overrides") if key not in record]
    lacking += sorted({"seed", "env._target_", "training.env_steps"} - set(flatten(config)))
    if lacking:
        raise RunDirectoryError(f"{path} is damaged: {lacking[0]} is missing")
    return Stored(path, _short(path), record, config)


def _read_config(path: Path) -> dict[str, Any]:
    """As `read_config`, a tenth of the time: a report reads hundreds. Nothing is interpolated."""
    file = path / CONFIG_FILE
    try:
        config = yaml.load(file.read_text(encoding="utf-8"), LOADER)
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise RunDirectoryError(f"can't read {file}: {str(error).splitlines()[0]}") from error
    if not isinstance(config, dict):
        raise RunDirectoryError(f"{file} is damaged: expected a mapping")
    return config


def _short(path: Path) -> str:
    root = runs_root({})
    whole = path.absolute()
    return str(whole.relative_to(root)) if whole.is_relative_to(root) else str(path)


def choose(runs: Sequence[Stored], filters: Mapping[str, str]) -> list[Stored]:
    """Runs that fit.

    Args:
        runs: all.
        filters: KEY to VALUE or VALUE,VALUE: an option of a group, a value of the configuration,
            or a fact.

    Raises:
        ComparisonError: a key that no run has, or values after which no run is left.
    """
    for key, wanted in filters.items():
        named = [(run, run.names(key)) for run in runs]
        values = {as_text(names[key]) for _, names in named if key in names}
        if not values:
            known = {name for _, names in named for name in names}
            raise ComparisonError(f"{key}={wanted}: no run has such a key{hint(key, known)}")
        runs = [run for run, names in named if key in names and _fits(names[key], wanted)]
        if not runs:
            has = ", ".join(sorted(values)[:12])
            raise ComparisonError(f"{key}={wanted}: no run is left; the values are {has}")
    return list(runs)


def _fits(value: object, wanted: str) -> bool:
    text = as_text(value)
    options = {wanted, *wanted.split(",")}
    return text in options or any(_number(option) == _number(text) for option in options)


def _number(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def load_run(stored: Stored, metrics: Collection[str]) -> Run:
    """A run with the curves of some metrics.

    Raises:
        RunDirectoryError: its metrics can't be read.
    """
    try:
        curves, names = read_curves(stored.path, metrics)
    except OSError as error:
        raise RunDirectoryError(f"can't read {error.filename}: {error.strerror}") from error
    choices, config, attempts = stored.record["choices"], stored.config, stored.record["attempts"]
    groups = {group: name for group, name in choices.items() if group not in HARMLESS_GROUPS}
    about = run_facts(stored.path).get("provenance", {})
    dirty = "+" if about.get("git_dirty") == "true" else ""
    return Run(
        name=stored.name,
        suite=re.sub(r"_v\d+$", "", choices.get("env", "")),
        seed=int(config["seed"]),
        env_steps=int(config["training.env_steps"]),
        ended=attempts[-1].get("ended", {}).get("status", "") if attempts else "",
        choices=groups,
        settings={key: value for key, value in config.items() if not _harmless(key, choices)},
        typed=_typed(stored.record["overrides"], config, choices),
        facts=stored.facts,
        code=about.get("git_commit", "")[:7] + dirty,
        curves=curves,
        metrics=names,
    )


def _harmless(key: str, groups: Collection[str]) -> bool:
    return key in groups or any(key == k or key.startswith(f"{k}.") for k in HARMLESS_KEYS)


def _typed(overrides: Sequence[str], keys: Collection[str], groups: Collection[str]) -> set[str]:
    """Groups and keys that a command line named; of a section, all its keys."""
    named = {override.lstrip("+~").partition("=")[0] for override in overrides}
    sections = named - set(groups)
    below = {key for key in keys for name in sections if key == name or key.startswith(f"{name}.")}
    return named & set(groups) | below
