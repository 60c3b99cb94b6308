"""What ``python -m launch`` does with a sweep."""

import contextlib
import json
import logging
import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path

from harmony.config import check
from harmony.config import sweep as sweeps
from harmony.config.compose import Composed
from harmony.config.compose_many import check_all, compose_all
from harmony.config.run_files import LOCK_FILE
from harmony.errors import ConfigError, RunDirectoryError
from launch import local, preflight
from launch.cluster import ClusterError, ask
from launch.mend import is_stale, mend
from launch.prepare import Prepared, choose, settled
from launch.runs import is_owned
from launch.settings import changed
from launch.slurm import submit_runs
from launch.states import Row, is_local, local_is_alive, sweep_rows
from launch.sweep import SWEEP_FILE, SubmittedJob, Sweep, read_spec
from launch.table import as_json, render, render_sweeps

log = logging.getLogger(__name__)

_KILL_SECONDS = 90.0
_POLL_SECONDS = 3.0


def status(sweep: Sweep, *, as_json: bool) -> int:
    """Shows one row a run, and mends runs whose processes are dead.

    Args:
        sweep: to show.
        as_json: for machines.

    Returns:
        1 if a run has failed, else 0.
    """
    rows = _rows(sweep)
    sys.stdout.write(_json(rows) if as_json else render(rows))
    sys.stdout.flush()  # a tracker that is away takes its time
    mend_dead(sweep, rows)
    return int(any(row.state == "FAILED" for row in rows))


def _rows(sweep: Sweep) -> list[Row]:
    """The state of every run, or what the directories say where nobody can be asked."""
    try:
        return sweep_rows(sweep)
    except (ClusterError, RunDirectoryError) as error:
        log.warning("%s: %s; this is what the directories of the runs say", sweep.name, error)
        return sweep_rows(sweep, blind=True)


_json = as_json


def overview(root: Path) -> int:
    """Shows one row a sweep, the newest first.

    Args:
        root: where sweeps lie.

    Returns:
        0, whatever has become of the runs.

    Raises:
        ConfigError: there is none.
    """
    shown = []
    for file in root.glob(f"*/{SWEEP_FILE}"):
        try:
            sweep = Sweep.read(file.parent)
        except RunDirectoryError as error:  # damaged: the others count too
            log.warning("left out %s: %s", file.parent.name, error)
            continue
        shown.append((sweep, _rows(sweep)))
    if not shown:
        raise ConfigError(f"no sweep below {root}; set HARMONY_RUNS where they lie elsewhere")
    shown.sort(key=lambda pair: pair[0].created, reverse=True)
    sys.stdout.write(render_sweeps(shown))
    return 0


def mend_dead(sweep: Sweep, rows: Sequence[Row]) -> None:
    """Says of each run that has ended without a word how it ended, and sends what it could not.

    Args:
        sweep: of the runs.
        rows: their states.
    """
    away: set[str] = set()
    for row in rows:
        run_dir = Path(sweep.runs[row.index].run_dir)
        if row.state in ("FAILED", "KILLED", "FINISHED") and is_stale(run_dir):
            mend(run_dir, row.state, away)


def logs(sweep: Sweep, run: int | None, lines: int, *, follow: bool) -> int:
    """Prints what runs have printed.

    Args:
        sweep: of the runs.
        run: index of one, None for all.
        lines: from the end, of each.
        follow: go on printing what comes; of one run only.

    Raises:
        ConfigError: no such run.
    """
    indices = [known(sweep, run)] if run is not None else [r.index for r in sweep.runs]
    if lines < 0:
        raise ConfigError(f"--lines {lines}: expected 0 or more")
    if follow and len(indices) != 1:
        raise ConfigError("--follow shows one run: give its number")
    for index in indices:
        path = sweep.log(index)
        sys.stdout.write(f"== run {index}: {path}\n")
        if path.exists():
            whole = path.read_text(errors="replace").splitlines(True)
            sys.stdout.write("".join(whole[max(len(whole) - lines, 0) :]))
        elif (job := sweep.latest_job(index)) is None or is_local(job):
            sys.stdout.write("nothing yet\n")
        else:
            sys.stdout.write(f"nothing yet; its job's own log: {sweep.job_log(job)}\n")
    if follow:
        sys.stdout.flush()
        command = ["tail", "-n", "0", "-F", str(sweep.log(indices[0]))]
        # It waits for a file that is not there yet, and says so each time.
        subprocess.run(command, check=False, stderr=subprocess.DEVNULL)
    return 0


def known(sweep: Sweep, index: int) -> int:
    """Checks that a sweep has a run.

    Raises:
        ConfigError: it has not.
    """
    if not 0 <= index < len(sweep.runs):
        raise ConfigError(f"run {index}: the sweep has runs 0 to {len(sweep.runs) - 1}")
    return index


def retry(sweep: Sweep, changes: Sequence[str] = ()) -> int:
    """Submits what has failed, was cancelled or is missing; it goes on from its last checkpoint.

    Args:
        sweep: to go on with.
        changes: settings of the launcher from now on, such as ``hydra.launcher.mem_gb=64``.

    Raises:
        ConfigError: the launcher has no such setting, or it is of another type.
    """
    with Sweep.lock(sweep.directory):
        sweep = Sweep.read(sweep.directory)
        sweep.params = changed(sweep, changes)
        rows = sweep_rows(sweep)
        mend_dead(sweep, rows)
        again = [row.index for row in rows if row.state in ("MISSING", "KILLED", "FAILED")]
        runs = [sweep.runs[index] for index in again]
        composed = [(Path(run.run_dir), read_spec(sweep.spec(run.index))) for run in runs]
        if changes and not again:
            raise ConfigError(
                f"nothing is to submit, so {' '.join(changes)} is not kept; give it with the retry "
                "that submits"
            )
        return _submit(Prepared(sweep, composed, again))


def extend(sweep: Sweep, overrides: Sequence[str]) -> int:
    """Submits more runs of a sweep, or the same ones for longer, with the code that its runs have.

    Args:
        sweep: to extend.
        overrides: in place of the sweep's for the same keys, such as ``seed=5,6,7``; a larger
            ``training.env_steps`` lets runs that are there train longer.

    Raises:
        ConfigError: an override that would lead out of the sweep, or what composing finds.
    """
    keys = {o.partition("=")[0] for o in overrides}
    for key in sorted(keys):
        bare = key.lstrip("+~")
        if bare in ("sweep", "run_dir", "runs_root") or bare.startswith(("hydra.", "hydra/")):
            raise ConfigError(
                f"{key}: extend adds runs where and as the sweep has them; settings of the "
                "launcher change with python -m launch retry SWEEP hydra.launcher.KEY=VALUE"
            )
    kept = [o for o in sweep.overrides if o.partition("=")[0] not in keys]
    root = f"runs_root='{sweep.directory.parent}'"
    whole = [*(o for o in kept if not o.startswith("runs_root=")), root, *overrides]
    # The launcher's name says whether they train here, where the device must then be.
    runs = [replace(r, launcher=sweep.launcher) for r in compose_all(sweeps.expand(whole))]
    sweeps.check_distinct(runs)
    check_all(runs, check.check_keys)
    check_all(runs, import_module("harmony.train").check)  # torch: seconds, only needed here
    with Sweep.lock(sweep.directory):
        stored = Sweep.read(sweep.directory)
        return _submit(_extended(stored, [settled(run) for run in runs]))


def _extended(sweep: Sweep, placed: list[tuple[Path, Composed]]) -> Prepared:
    """New runs, and those that are there and are to train longer now."""
    prepared = choose(sweep, placed, again=())
    prepared.longer = sweep.lengthen(placed)
    at_work = {row.index for row in sweep_rows(sweep) if row.state in ("PENDING", "RUNNING")}
    if busy := at_work.intersection(prepared.longer):
        raise ConfigError(
            f"run {min(busy)} is at work and can't be told to train longer now; wait for its end, "
            f"or python -m launch cancel {sweep.directory} first"
        )
    prepared.missing += prepared.longer
    return prepared


def _submit(prepared: Prepared) -> int:
    sweep = prepared.sweep
    if not prepared.missing:
        sys.stdout.write("nothing to submit\n")
        return 0
    if sweep.launcher == "local":
        preflight.check_directories(prepared.to_check)
        local.check_slots(sweep.params, len(prepared.missing))
        prepared.write()
        local.begin(sweep, prepared.missing, detached=True)
        sys.stdout.write(f"{len(prepared.missing)} runs started in the background\n")
        return 0
    submit_runs(prepared, preflight.check_all(sweep.params, prepared.to_check))
    return 0


def cancel(sweep: Sweep, runs: Sequence[int]) -> int:
    """Stops runs. They save before they end, so `retry` goes on with them.

    Args:
        sweep: of the runs.
        runs: indices; all if there are none.
    """
    wanted = {known(sweep, index) for index in runs} or {run.index for run in sweep.runs}
    with Sweep.lock(sweep.directory):
        sweep = Sweep.read(sweep.directory)
        living = [r for r in sweep_rows(sweep) if r.state in ("PENDING", "RUNNING")]
        chosen = [row for row in living if row.index in wanted]
        jobs = {job.id: job for row in chosen if (job := sweep.latest_job(row.index))}
        for job in jobs.values():
            if others := set(job.runs) & {r.index for r in living} - wanted:
                raise ConfigError(
                    f"job {job.id} also holds run {', '.join(map(str, sorted(others)))}; name "
                    "those too, or none for the whole sweep"
                )
            job.cancelled = True
        sweep.write()
        _stop(sweep, list(jobs.values()))
    _wait_for_end(sweep, {row.index for row in chosen})
    rows = sweep_rows(sweep)
    sys.stdout.write(f"cancelled {len(chosen)} runs\n{render(rows)}")
    sys.stdout.flush()
    mend_dead(sweep, rows)
    return 0


def _stop(sweep: Sweep, jobs: Sequence[SubmittedJob]) -> None:
    slurm = [job.id for job in jobs if not is_local(job)]
    for first in range(0, len(slurm), 500):
        ask(["scancel", *slurm[first : first + 500]])
    for job in jobs:
        if is_local(job) and local_is_alive(job):
            os.kill(int(job.id.split("-")[1]), signal.SIGTERM)
        elif is_local(job):  # its supervisor was killed, its runs may go on
            for pid in owners(sweep, job):
                with contextlib.suppress(ProcessLookupError):  # it has just ended
                    os.kill(pid, signal.SIGTERM)


def owners(sweep: Sweep, job: SubmittedJob) -> list[int]:
    """Processes of this machine that own directories of a job's runs.

    Args:
        sweep: of the runs.
        job: of this machine.
    """
    found = []
    for run_dir in (Path(sweep.runs[index].run_dir) for index in job.runs):
        if not is_owned(run_dir):
            continue
        try:
            holder = json.loads((run_dir / LOCK_FILE).read_text(encoding="utf-8"))
        except ValueError:
            continue  # it has the lock and has not yet written who it is
        if holder["host"] == platform.node():
            found.append(int(holder["pid"]))
    return found


def _wait_for_end(sweep: Sweep, runs: set[int]) -> None:
    until = time.monotonic() + _KILL_SECONDS
    while time.monotonic() < until:
        rows = [row for row in sweep_rows(sweep) if row.index in runs]
        if not any(row.state in ("PENDING", "RUNNING") for row in rows):
            return
        time.sleep(_POLL_SECONDS)
