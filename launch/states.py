"""What has become of each run of a sweep: its directory, its job and SLURM put together."""

import math
import os
import platform
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from harmony.config.run_files import ERROR_FILE
from harmony.errors import RunDirectoryError
from launch.cluster import JobState, job_states
from launch.runs import RunFacts, is_owned, run_facts
from launch.sweep import SubmittedJob, Sweep, SweepRun

State = Literal["MISSING", "PENDING", "RUNNING", "FINISHED", "FAILED", "KILLED", "UNKNOWN"]
_GONE, _SEE = "its job is gone", "see its error.txt and log"
_TAIL_BYTES, _LONGEST = 8192, 200


@dataclass(frozen=True)
class Row:
    """One run.

    Attributes:
        index: number within the sweep.
        name: of its directory.
        what: the overrides in which it differs from other runs of the sweep.
        state: MISSING is not submitted; PENDING waits, also to go on; KILLED was cancelled;
            UNKNOWN is what its directory alone can't tell.
        why: what explains the state, such as SLURM's reason.
        env_step: so far.
        env_steps: at the end.
        last_return: of the last evaluation, else of the last training episode.
        frames_per_s: env steps a second, lately.
        seconds_left: at that speed; None where unknown.
        restarts: starts after the first.
        node: where it runs or ran last.
        job: id of its last job.
    """

    index: int
    name: str
    what: str
    state: State
    why: str
    env_step: int
    env_steps: int
    last_return: float | None
    frames_per_s: float | None
    seconds_left: float | None
    restarts: int
    node: str
    job: str

    def as_json(self) -> dict[str, Any]:
        """The row for machines: JSON knows no numbers that are not finite."""
        return {
            key: None if isinstance(value, float) and not math.isfinite(value) else value
            for key, value in vars(self).items()
        }


def sweep_rows(sweep: Sweep, *, blind: bool = False) -> list[Row]:
    """The state of every run.

    Args:
        sweep: of the runs.
        blind: tell what can be told without asking after their jobs.

    Raises:
        ClusterError: SLURM does not answer.
        RunDirectoryError: its jobs are processes of another machine.
    """
    latest = [sweep.latest_job(run.index) for run in sweep.runs]
    ids = {job.id for job in latest if job is not None and not is_local(job)}
    known = job_states(ids) if ids and not blind else {}
    shared = shared_overrides(sweep.runs)
    rows = []
    for run, job in zip(sweep.runs, latest, strict=True):
        row = make_row(run, job, known, shared, blind=blind)
        rows.append(replace(row, why=_told(sweep, row, job)) if row.state == "FAILED" else row)
    return rows


def _told(sweep: Sweep, row: Row, job: SubmittedJob | None) -> str:
    """Why a run has failed, in its own words where it has left any."""
    if row.why == _SEE:
        said = _last_line(Path(sweep.runs[row.index].run_dir) / ERROR_FILE)
        return f"{said} ({ERROR_FILE} and its log say more)" if said else row.why
    logs = [(sweep.log(row.index), "error: "), *([(sweep.job_log(job), "")] if job else [])]
    said = next((line for path, mark in logs if (line := _last_line(path, mark))), "")
    return f"{row.why}: {said}" if said else row.why


def _last_line(path: Path, mark: str = "") -> str:
    """The last line of a file that begins with a mark; empty if there is none."""
    try:
        with path.open("rb") as file:
            file.seek(max(file.seek(0, os.SEEK_END) - _TAIL_BYTES, 0))
            lines = file.read().decode(errors="replace").splitlines()
    except OSError:
        return ""
    found = [line.strip() for line in lines if line.strip() and line.startswith(mark)]
    return found[-1][:_LONGEST] if found else ""


def shared_overrides(runs: Sequence[SweepRun]) -> set[str]:
    """The overrides that all runs have."""
    return set.intersection(*(set(run.overrides) for run in runs)) if runs else set()


def is_local(job: SubmittedJob) -> bool:
    """Whether a job is a process of this machine rather than SLURM's."""
    return job.id.startswith("local")


def make_row(
    run: SweepRun,
    job: SubmittedJob | None,
    known: Mapping[str, JobState],
    shared: Collection[str] = (),
    *,
    blind: bool = False,
) -> Row:
    """The state of one run.

    Args:
        run: of the sweep.
        job: its last one.
        known: what SLURM says, by id.
        shared: overrides that all runs of the sweep have.
        blind: nobody was asked after the job.
    """
    facts = run_facts(Path(run.run_dir))
    slurm = known.get(job.id) if job is not None else None
    alive = not blind and _is_alive(run, job, slurm)
    state, why = judge(facts, run.env_steps, job, slurm, alive=alive)
    if blind and why == _GONE:
        state, why = "UNKNOWN", ""
    left = None
    if state == "RUNNING" and facts.frames_per_s:
        left = max(run.env_steps - facts.env_step, 0) / facts.frames_per_s
    return Row(
        index=run.index,
        name=run.name,
        what=" ".join(override for override in run.overrides if override not in shared),
        state=state,
        why=why,
        env_step=facts.env_step,
        env_steps=run.env_steps,
        last_return=facts.last_return,
        frames_per_s=facts.frames_per_s if state == "RUNNING" else None,
        seconds_left=left,
        restarts=max(facts.attempts - 1, 0),
        node=slurm.node if slurm is not None and slurm.node else facts.host,
        job=job.id if job is not None else "",
    )


def _is_alive(run: SweepRun, job: SubmittedJob | None, slurm: JobState | None) -> bool:
    if job is None:
        return False
    if is_local(job):
        return local_is_alive(job) or is_owned(Path(run.run_dir))
    if slurm is None:  # forgotten, or another cluster's
        return is_owned(Path(run.run_dir))
    return slurm.is_alive


def local_is_alive(job: SubmittedJob) -> bool:
    """Whether the supervisor of a job on this machine still lives.

    Args:
        job: its id is ``local-PID-START``, the start of the process as the kernel counts it.

    Raises:
        RunDirectoryError: it is a process of another machine.
    """
    if job.host != platform.node():
        raise RunDirectoryError(
            f"the sweep runs on {job.host} without a scheduler: watch and steer it there"
        )
    _, pid, start = job.id.split("-")
    return not job.over and process_start(int(pid)) == start


def process_start(pid: int) -> str | None:
    """When a process of this machine began, in clock ticks; None if there is none."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except (FileNotFoundError, ProcessLookupError):
        return None
    return stat.rpartition(")")[2].split()[19]


def judge(
    facts: RunFacts,
    env_steps: int,
    job: SubmittedJob | None,
    slurm: JobState | None,
    *,
    alive: bool,
) -> tuple[State, str]:
    """Decides what state a run is in.

    Args:
        facts: of its directory.
        env_steps: at its end.
        job: its last one.
        slurm: what SLURM says of the job.
        alive: whether the job runs, or waits to.

    Returns:
        The state, and what explains it.
    """
    if facts.has_reached(env_steps):
        return "FINISHED", ""
    if job is None:
        return "MISSING", "not submitted"
    current = facts.attempts > 0 and (facts.ended_at is None or facts.ended_at > job.submitted)
    if current and facts.ended == "FAILED":  # whatever becomes of the job, which may hold others
        return "FAILED", _SEE
    if alive:
        return _living(facts, slurm)
    if job.cancelled or (slurm is not None and slurm.state == "CANCELLED"):
        return "KILLED", "cancelled"
    if current and facts.ended == "KILLED":
        return "KILLED", "stopped"
    if facts.attempts == 0 and is_local(job):
        return "MISSING", "not started"
    what = slurm.state if slurm is not None else _GONE
    return "FAILED", what.replace("COMPLETED", "its job has ended without it").lower()


def _living(facts: RunFacts, slurm: JobState | None) -> tuple[State, str]:
    if slurm is not None and slurm.state not in ("RUNNING", "COMPLETING"):
        again = ["to go on"] if facts.attempts else []
        return "PENDING", "; ".join([*again, *([slurm.reason] if slurm.reason else [])])
    if facts.attempts == 0 or facts.ended is not None:
        return "PENDING", "starts"
    return "RUNNING", ""


def seconds_since(moment: float | None) -> float | None:
    """Seconds since a unix time."""
    return None if moment is None else time.time() - moment
