"""From composed runs to what is submitted: new sweep or known one, and what of it is missing."""

import shutil
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from harmony.config.compose import Composed
from harmony.config.run_names import runs_root, settled_path, sweep_name
from harmony.errors import ConfigError, RunDirectoryError
from harmony.tracking.mlflow import open_sweep
from launch.snapshot import take_snapshot
from launch.states import Row, State, sweep_rows
from launch.sweep import SWEEP_FILE, Sweep, without_launcher

_AGAIN: tuple[State, ...] = ("MISSING", "KILLED")


@dataclass
class Prepared:
    """A submission before anything of it is written.

    Attributes:
        sweep: new, or as it was read.
        composed: the runs that were asked for, with their directories.
        missing: indices of runs to submit, those of new runs included.
        others: lines about runs that are not submitted.
        longer: indices of those that were there and are to train longer.
    """

    sweep: Sweep
    composed: list[tuple[Path, Composed]]
    missing: list[int] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    longer: list[int] = field(default_factory=list)

    @property
    def to_check(self) -> list[tuple[Path, Composed]]:
        """Those of the runs that are submitted."""
        known = {run.run_dir: run.index for run in self.sweep.runs}
        wanted = set(self.missing)
        return [(path, run) for path, run in self.composed if known.get(str(path), -1) in wanted]

    def write(self) -> None:
        """Writes the sweep, its specs and the copy of the code.

        A copy that no job has been submitted with is made anew, unless this very code runs in it.
        """
        code = self.sweep.code
        if not self.sweep.jobs and not Path(__file__).is_relative_to(code):
            shutil.rmtree(code, ignore_errors=True)
        take_snapshot(code)
        self.sweep.write_specs(self.composed, self.longer)
        self.sweep.write()


def prepare(
    runs: Sequence[Composed], overrides: Sequence[str], launcher: str, params: dict[str, Any]
) -> Prepared:
    """Finds out what is to submit; writes nothing.

    Args:
        runs: composed and checked, all of one sweep.
        overrides: of the sweep as a whole.
        launcher: option of ``hydra/launcher``.
        params: of the launcher.

    Raises:
        ConfigError: runs that are no sweep.
        RunDirectoryError: the directory holds a sweep of other overrides or other runs.
        ClusterError: SLURM does not answer for jobs of this sweep.
    """
    placed = [settled(run) for run in runs]
    first = runs[0].config
    directory = runs_root(first) / sweep_name(str(first["sweep"]))
    asked = without_launcher(overrides)
    if (directory / SWEEP_FILE).is_file():
        sweep = Sweep.read(directory)
        _check_same(sweep, asked, {str(path) for path, _ in placed})
        sweep.params, sweep.launcher = params, launcher
    else:
        sweep = Sweep(directory, asked, launcher, params, [])
    return choose(sweep, placed)


def choose(
    sweep: Sweep, placed: list[tuple[Path, Composed]], again: Collection[State] = _AGAIN
) -> Prepared:
    """Adds runs to a sweep and chooses those that are to submit.

    Args:
        sweep: changed; not written.
        placed: runs with their directories.
        again: states in which a run that is there already is submitted too.
    """
    rows = sweep_rows(sweep)
    new = sweep.add_runs(placed)
    prepared = Prepared(sweep, placed)
    prepared.missing = [r.index for r in rows if r.state in again] + [r.index for r in new]
    prepared.others = _others(rows, sweep)
    return prepared


def _others(rows: Sequence[Row], sweep: Sweep) -> list[str]:
    lines = []
    for state, what in (
        ("FINISHED", "have finished"),
        ("RUNNING", "run"),
        ("PENDING", "wait"),
        ("FAILED", f"have failed; python -m launch retry {sweep.directory}"),
    ):
        if number := sum(row.state == state for row in rows):
            lines.append(f"{number:,} {what}")
    return lines


def settled(run: Composed) -> tuple[Path, Composed]:
    """A run of a sweep with its directory, and with places that mean the same on every node.

    Raises:
        ConfigError: it belongs to no sweep.
    """
    path = settled_path(run.config, run.choices)
    if path is None:
        raise ConfigError("a sweep needs a name: add sweep=NAME")
    # Nodes start elsewhere: what is relative here would be another place there.
    root = {"run_dir": str(path), "runs_root": str(runs_root(run.config))}
    return path, replace(run, config={**run.config, **root}, launcher="basic")


def _check_same(sweep: Sweep, asked: Sequence[str], run_dirs: set[str]) -> None:
    before, now = set(without_launcher(sweep.overrides)), set(asked)
    if before != now:
        gone, new = " ".join(sorted(before - now)), " ".join(sorted(now - before))
        raise RunDirectoryError(
            f"{sweep.directory} is a sweep of other overrides (it has {gone or 'no others'}, got "
            f"{new or 'none of these'}); take another sweep=NAME, or add runs to it with: "
            f"python -m launch extend {sweep.directory} {new or 'KEY=VALUE,...'}"
        )
    if other := run_dirs - {run.run_dir for run in sweep.runs}:
        raise RunDirectoryError(
            f"{sweep.directory}: the configurations of {len(other)} runs have changed since their "
            "submission, with the same overrides; take another sweep=NAME, or go on as it was "
            f"with: python -m launch retry {sweep.directory}"
        )


def register_sweep(sweep: Sweep, composed: Sequence[tuple[Path, Composed]]) -> None:
    """Makes the sweep's parent run in each experiment of the tracker.

    Args:
        sweep: with all of its runs.
        composed: of which the configurations say where the tracker is.
    """
    stores: dict[str, Mapping[str, Any]] = {}
    for _, run in composed:
        if "tracking_uri" in run.config["tracking"]:
            stores[str(run.config["experiment"])] = run.config["tracking"]
    for experiment, tracking in stores.items():
        count = sum(run.experiment == experiment for run in sweep.runs)
        open_sweep(tracking, experiment, sweep.name, count, str(sweep.directory))
