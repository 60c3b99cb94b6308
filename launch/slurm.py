"""The launcher behind ``hydra/launcher=slurm``."""

import logging
import sys
import time
from collections.abc import Sequence
from typing import Any

from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn
from hydra_plugins.hydra_submitit_launcher.submitit_launcher import SlurmLauncher as PluginLauncher

from harmony.config.compose import Composed, compose
from harmony.config.run_names import runs_root
from launch import conf
from launch.cluster import ClusterError, living_jobs, room_for_jobs
from launch.preflight import check_all, check_place, check_room
from launch.prepare import Prepared, prepare, register_sweep
from launch.ranges import check_ranges
from launch.states import Row, sweep_rows
from launch.submission import make_jobs, script, submit, try_script
from launch.sweep import Sweep
from launch.table import render

log = logging.getLogger(__name__)

_POLL_SECONDS = 20.0
_PROGRESS_SECONDS = 5.0


class SlurmLauncher(PluginLauncher):
    """Submits a sweep to SLURM and gives the prompt back.

    Differs from hydra-submitit-launcher: configurations are composed once, on this machine; jobs
    run a copy of the code, go on after a requeue and fail truthfully; nothing waits by default.
    """

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> Sequence[JobReturn]:
        """Submits; what Hydra's sweeper calls.

        Args:
            job_overrides: of each run.
            initial_job_idx: not needed, runs are counted within the sweep.
        """
        del initial_job_idx
        runs = [compose(list(overrides)) for overrides in job_overrides]
        self.launch_composed(runs, list(self.config.hydra.overrides.task))
        return []

    def launch_composed(self, runs: Sequence[Composed], overrides: Sequence[str]) -> int:
        """Submits runs that are composed and checked.

        Args:
            runs: of the sweep.
            overrides: of the sweep as a whole.

        Returns:
            Exit code: 1 if the launcher waited and a run has not finished, 130 if its waiting was
            interrupted.

        Raises:
            UserError: something is wrong; nothing was submitted, or what was is written down.
        """
        return launch(runs, overrides, "slurm", dict(self.params))


def launch(
    runs: Sequence[Composed], overrides: Sequence[str], launcher: str, params: dict[str, Any]
) -> int:
    """Submits a sweep, or what is missing of it. See `SlurmLauncher.launch_composed`."""
    check_ranges(params)
    first = runs[0].config
    check_place(runs_root(first) / str(first["sweep"]))
    prepared = prepare(runs, overrides, launcher, params)
    largest = check_all(params, prepared.to_check)
    if params["dry_run"]:
        _show_dry(prepared, largest)
        return 0
    directory = prepared.sweep.directory
    check_room(directory)
    with Sweep.lock(directory):  # another submission may have come between
        prepared = prepare(runs, overrides, launcher, params)
        submit_runs(prepared, largest)
    return _wait(prepared.sweep) if params["wait"] else 0


def submit_runs(prepared: Prepared, largest: int) -> None:
    """Writes the sweep down, submits what is missing, and shows the table.

    Args:
        prepared: what to submit; the sweep's lock is held.
        largest: jobs that fit into one array.
    """
    sweep = prepared.sweep
    if prepared.missing:
        check_strangers(sweep)
    prepared.write()
    jobs = make_jobs(sweep, prepared.missing)
    room = room_for_jobs(sweep.params.get("account"))
    if room is not None and room < len(jobs):
        prepared.others.append(
            f"{len(jobs) - room:,} jobs are more than the cluster lets you submit now "
            f"(MaxSubmitJobs); later: python -m launch retry {sweep.directory}"
        )
        jobs = jobs[:room]
    register_sweep(sweep, prepared.composed)
    done, said = len(sweep.jobs), time.monotonic()

    def submitted() -> None:
        nonlocal said
        if time.monotonic() - said > _PROGRESS_SECONDS:
            said = time.monotonic()
            sys.stderr.write(f"submitted {len(sweep.jobs) - done:,} of {len(jobs):,} jobs\n")

    if jobs:
        try:
            submit(sweep, jobs, largest, submitted)
        except KeyboardInterrupt:
            left = len(jobs) - (len(sweep.jobs) - done)
            sys.stderr.write(
                f"interrupted: {len(sweep.jobs) - done:,} jobs are submitted, {left:,} are not; "
                "the same command goes on\n"
            )
            raise
    _show(sweep, prepared, len(jobs))


def check_strangers(sweep: Sweep) -> None:
    """Checks that no job of a sweep is in the queue of which the sweep does not know.

    There is one where sbatch was cut off, or was not answered in time, after SLURM took the job.

    Raises:
        ClusterError: there is; its runs would be submitted twice.
    """
    known = {job.id.partition("_")[0] for job in sweep.jobs}
    if strangers := sorted(living_jobs(str(sweep.directory)) - known):
        raise ClusterError(
            f"job {', '.join(strangers)} of this sweep is in the queue, left of a submission that "
            f"was cut off: scancel {' '.join(strangers)}, then the same command again"
        )


def _show(sweep: Sweep, prepared: Prepared, jobs: int) -> None:
    runs = sum(len(job.runs) for job in sweep.jobs[-jobs:]) if jobs else 0
    ids = sorted({job.id.partition("_")[0] for job in sweep.jobs[-jobs:]}) if jobs else []
    sys.stdout.write(
        f"sweep {sweep.name}: {runs:,} of {len(sweep.runs):,} runs submitted in "
        f"{jobs:,} jobs{': ' + ', '.join(ids) if ids else ''}\n"
    )
    for line in prepared.others:
        sys.stdout.write(f"  {line}\n")
    if len(sweep.runs) <= 100:
        sys.stdout.write(render(sweep_rows(sweep)))
    sys.stdout.write(f"watch it:  python -m launch status {sweep.directory}\n")


def _show_dry(prepared: Prepared, largest: int) -> None:
    sweep = prepared.sweep
    jobs = make_jobs(sweep, prepared.missing)
    sys.stdout.write(script(sweep, min(len(jobs), largest)))
    if jobs:
        try_script(sweep)
    arrays = -(-len(jobs) // largest)
    sys.stdout.write(
        f"\nwould submit {len(prepared.missing):,} runs in {len(jobs):,} jobs, {arrays} arrays of "
        f"at most {largest:,}; directories in {sweep.directory}\n"
    )
    for job in jobs[:100]:
        named = "; ".join(" ".join(sweep.runs[index].overrides) for index in job.runs)
        sys.stdout.write(f"  {named}\n")
    if len(jobs) > 100:
        sys.stdout.write(f"  and {len(jobs) - 100:,} more\n")


def _wait(sweep: Sweep) -> int:
    """Waits for the end of all runs; 1 if one of them has not finished, 130 after Ctrl-C."""
    sys.stdout.flush()
    sys.stderr.write("waiting for the end of all runs; Ctrl-C leaves, and the jobs go on\n")
    try:
        rows = _last_rows(sweep)
    except KeyboardInterrupt:
        sys.stderr.write(
            "no longer waiting; the jobs go on\n"
            f"watch them:  python -m launch status {sweep.directory}\n"
            f"cancel them: python -m launch cancel {sweep.directory}\n"
        )
        return 130
    sys.stdout.write(render(rows))
    return int(any(row.state != "FINISHED" for row in rows))


def _last_rows(sweep: Sweep) -> Sequence[Row]:
    while True:
        try:
            rows = sweep_rows(sweep)
        except ClusterError as error:
            log.warning("%s; asked again in %.0f s", error, _POLL_SECONDS)
        else:
            if not any(row.state in ("PENDING", "RUNNING") for row in rows):
                return rows
        time.sleep(_POLL_SECONDS)


def register() -> None:
    """Makes the launchers and their schemas known to Hydra."""
    from launch.local import LocalLauncher

    conf.register()
    known = Plugins.instance().class_name_to_class
    known[conf.SLURM_TARGET] = SlurmLauncher
    known[conf.LOCAL_TARGET] = LocalLauncher
