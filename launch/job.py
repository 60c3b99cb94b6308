"""What a job of a sweep does on its node: some runs under a supervisor, and how the job ends."""

import logging
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from submitit.helpers import DelayedSubmission

from launch.mend import mend
from launch.mps import sharing
from launch.runs import run_facts
from launch.supervisor import Supervisor, Task, worker_command
from launch.sweep import Sweep

log = logging.getLogger(__name__)

_EXIT = {signal.SIGTERM: 143, signal.SIGINT: 130}


class RunsFailed(Exception):  # noqa: N818 - reads as what happened
    """Some runs of a job have failed; so has the job."""


@dataclass
class SlurmJob:
    """The runs of one job. Pickled by submitit when it is submitted, and again when requeued.

    Attributes:
        sweep: directory of the sweep.
        runs: indices of its runs.
        max_crashes: starts of a run after a death by a signal.
        srun: arguments of the srun that starts each run.
        failed: runs that have failed before a requeue; they are not started again.
    """

    sweep: str
    runs: list[int]
    max_crashes: int
    srun: list[str]
    failed: list[int] = field(default_factory=list)

    def __call__(self) -> None:
        """Runs until all have ended, or until the job has to go.

        Raises:
            RunsFailed: some have failed; SLURM shows the job as failed.
            SystemExit: the job is requeued, or was cancelled.
        """
        logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
        requeue = signal.getsignal(signal.SIGUSR2)  # submitit's own handler
        sweep = Sweep.read(Path(self.sweep))
        with sharing(len(self.runs)) as environment:
            supervisor = Supervisor(
                tasks=[self._task(sweep, index) for index in self.runs if index not in self.failed],
                slots=len(self.runs),
                environment=lambda _slot: environment,
                max_crashes=self.max_crashes,
                ended=lambda task: _ended(sweep, task),
            )
            supervisor.run()
        self.failed += [t.key for t in supervisor.tasks if t.end in ("FAILED", "REFUSED")]
        unfinished = [t.key for t in supervisor.tasks if t.end in (None, "SAVED")]
        if supervisor.asked == signal.SIGUSR2 and unfinished:
            _requeue(sweep, unfinished, requeue)
        if supervisor.asked in _EXIT:
            sys.exit(_EXIT[signal.Signals(supervisor.asked)])
        if self.failed:
            named = ", ".join(f"{index} ({sweep.runs[index].name})" for index in self.failed)
            raise RunsFailed(f"failed: run {named}; see {sweep.log(self.failed[0])}")

    def checkpoint(self) -> DelayedSubmission:
        """What submitit submits in place of this job when it is requeued."""
        return DelayedSubmission(self)

    def _task(self, sweep: Sweep, index: int) -> Task:
        run = sweep.runs[index]
        return Task(
            key=index,
            command=worker_command(sweep.spec(index), self.srun),
            log=sweep.log(index),
            finished=lambda: run_facts(Path(run.run_dir)).has_reached(run.env_steps),
        )


def _ended(sweep: Sweep, task: Task) -> None:
    """A run that died has not told anybody; one that was killed before it began neither."""
    if task.end in ("FAILED", "KILLED"):
        mend(Path(sweep.runs[task.key].run_dir), task.end)


def _requeue(sweep: Sweep, unfinished: list[int], requeue: Any) -> None:  # noqa: ANN401 - a handler
    handler: Callable[[int, object], None] = requeue
    try:
        handler(signal.SIGUSR2, None)
    except Exception:  # not requeued: too many time-outs, or the cluster refuses; raised below
        for index in unfinished:
            mend(Path(sweep.runs[index].run_dir), "KILLED")
        raise
