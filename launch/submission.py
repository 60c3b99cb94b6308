"""Jobs for SLURM: what their script says, how many go into an array, handing them over."""

import contextlib
import io
import logging
import os
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import submitit
from submitit.core.utils import FailedJobError, FailedSubmissionError

from harmony.place import SIZE
from launch.cluster import ClusterError, ask, clean_environment, cure
from launch.job import SlurmJob
from launch.sweep import JOBS_DIR, SubmittedJob, Sweep
from launch.uninterrupted import uninterrupted

_OWN = {
    "submitit_folder", "wait", "dry_run", "runs_per_gpu", "srun_args", "max_crashes", "python",
    "max_num_timeout", "setup", "additional_parameters", "reservation",
}  # fmt: skip
_SHARED = {
    "timeout_min", "cpus_per_task", "gpus_per_node", "tasks_per_node", "mem_gb", "nodes", "name",
    "stderr_to_stdout",
}  # fmt: skip

log = logging.getLogger(__name__)


def make_jobs(sweep: Sweep, runs: Sequence[int]) -> list[SlurmJob]:
    """Packs runs into jobs, ``runs_per_gpu`` of them into each.

    Args:
        sweep: that they belong to.
        runs: their indices.
    """
    params, size = sweep.params, int(sweep.params["runs_per_gpu"])
    packs = [list(runs[first : first + size]) for first in range(0, len(runs), size)]
    return [
        SlurmJob(
            sweep=str(sweep.directory),
            runs=pack,
            max_crashes=int(params["max_crashes"]),
            srun=srun(params, len(pack)),
        )
        for pack in packs
    ]


def srun(params: Mapping[str, Any], runs: int) -> list[str]:
    """The command that starts one of the runs of a job as a step of its own.

    Args:
        params: of the launcher.
        runs: of the job, which share what it has.
    """
    tasks = int(params.get("tasks_per_node") or 1)
    words = ["srun", f"--ntasks={tasks}", "--nodes=1", "--unbuffered"]
    if params.get("cpus_per_task"):
        words.append(f"--cpus-per-task={max(1, int(params['cpus_per_task']) // runs)}")
    if runs > 1:
        words.append("--overlap")  # they share the GPU, which steps otherwise own
    if tasks == 1:
        return [*words, *params["srun_args"]]
    # The processes of a run live and die together; each is told how many they are.
    return [*words, "--kill-on-bad-exit=1", *params["srun_args"], "env", f"{SIZE}={tasks}"]


def arrays(count: int, largest: int) -> Iterator[range]:
    """Splits jobs into arrays.

    Args:
        count: of jobs.
        largest: jobs that fit into one array.
    """
    for first in range(0, count, largest):
        yield range(first, min(first + largest, count))


def make_executor(sweep: Sweep) -> submitit.AutoExecutor:
    """The submitit executor with a sweep's parameters."""
    params = sweep.params
    python = shlex.quote(params["python"] or sys.executable)
    executor = submitit.AutoExecutor(
        folder=sweep.directory / JOBS_DIR,
        cluster="slurm",
        slurm_max_num_timeout=int(params["max_num_timeout"]),
        # exec: the signal before the time limit goes to the batch script, which Python must be.
        slurm_python=f"exec {python}",
    )
    given = {
        name if name in _SHARED else f"slurm_{name}": value
        for name, value in params.items()
        if name not in _OWN and not name.startswith("_") and value is not None
    }
    given = {"name": sweep.name, "slurm_comment": str(sweep.directory), **given}
    executor.update_parameters(
        **given,
        slurm_setup=setup_lines(sweep.code, params["setup"] or []),
        slurm_use_srun=False,  # each run is a step of its own, see `srun`
        slurm_additional_parameters=_more_options(params),
    )
    return executor


def _more_options(params: Mapping[str, Any]) -> dict[str, Any]:
    """Options of sbatch that submitit does not know; false and null leave one out."""
    given = {"reservation": params.get("reservation"), **(params["additional_parameters"] or {})}
    kept = {key: value for key, value in given.items() if value is not None and value is not False}
    return {**kept, "signal": f"B:USR2@{params['signal_delay_s']}"}


def setup_lines(code: Path, setup: Sequence[str]) -> list[str]:
    """Lines of the script before the run: the site's own, then the way to the sweep's code.

    Args:
        code: the sweep's copy.
        setup: lines of bash.
    """
    return [
        *setup,
        f"export PYTHONPATH={shlex.quote(str(code))}${{PYTHONPATH:+:$PYTHONPATH}}",
        "export PYTHONSAFEPATH=1  # or the directory of the submission would come first",
    ]


def script(sweep: Sweep, jobs: int) -> str:
    """The sbatch script of an array.

    Args:
        sweep: that it is for.
        jobs: in the array.
    """
    executor = make_executor(sweep)._executor
    if jobs > 1:
        executor.parameters["map_count"] = jobs
    text: str = executor._make_submission_file_text(executor._submitit_command_str, "script")
    return text


def try_script(sweep: Sweep) -> None:
    """Asks SLURM whether it would take a job of a sweep; submits nothing.

    Args:
        sweep: that it is of.

    Raises:
        ClusterError: it would not; says why.
    """
    ask(["sbatch", "--test-only"], given=script(sweep, 1))


def submit(
    sweep: Sweep, jobs: Sequence[SlurmJob], largest: int, submitted: Callable[[], None]
) -> None:
    """Hands jobs to SLURM, in arrays, and writes down their ids after each.

    Args:
        sweep: that they belong to.
        jobs: to submit.
        largest: jobs that fit into one array.
        submitted: called after each array.

    Raises:
        ClusterError: SLURM refuses; the arrays before that are submitted and written down.
    """
    executor = make_executor(sweep)
    for part in arrays(len(jobs), largest):
        packs = [jobs[number] for number in part]
        with uninterrupted():  # or jobs would wait of which nobody knows
            ids = _hand_over(executor, packs)
            jobs_of_packs = zip(ids, packs, strict=True)
            sweep.jobs += [SubmittedJob(job, pack.runs) for job, pack in jobs_of_packs]
            sweep.write()
        submitted()


def _hand_over(executor: submitit.AutoExecutor, packs: Sequence[SlurmJob]) -> list[str]:
    # submitit prints what sbatch says, which the error tells too
    with _cleaned(), contextlib.redirect_stderr(io.StringIO()):
        try:
            with executor.batch():
                handles = [executor.submit(pack) for pack in packs]
            return [handle.job_id for handle in handles]
        except (FailedSubmissionError, FailedJobError) as error:
            name = shlex.quote(executor._executor.parameters["job_name"])
            said = cure(_said(error)).replace("--name=NAME", f"--name={name}")
            raise ClusterError(f"sbatch: {said}") from error


def _said(error: Exception) -> str:
    lines = [line for line in str(error).splitlines() if "sbatch" in line or "slurm" in line]
    return "\n".join(line.removeprefix("sbatch:").strip() for line in lines) or str(error)


@contextlib.contextmanager
def _cleaned() -> Iterator[None]:
    """Hides the variables of an outer job from sbatch within a block."""
    before = dict(os.environ)
    os.environ.clear()
    os.environ.update(clean_environment(before))
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
