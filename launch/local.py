"""The launcher behind ``hydra/launcher=local``: a sweep on this machine, some runs at a time."""

import itertools
import logging
import os
import platform
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from harmony.config import cli
from harmony.config.compose import Composed, compose
from harmony.errors import ConfigError
from launch.mend import mend
from launch.mps import sharing
from launch.preflight import check_directories, check_place, check_room, check_tracking
from launch.prepare import prepare, register_sweep
from launch.ranges import check_ranges
from launch.runs import run_facts
from launch.states import is_local, local_is_alive, process_start, sweep_rows
from launch.supervisor import Supervisor, Task, worker_command
from launch.sweep import SubmittedJob, Sweep
from launch.table import render

_SECONDS = 20
_TURN_SECONDS = 1.0

log = logging.getLogger(__name__)


class LocalLauncher(Launcher):
    """Runs a sweep on this machine.

    Args:
        **params: those of `launch.conf.LocalConf`.
    """

    def __init__(self, **params: Any) -> None:  # noqa: ANN401 - checked by the schema
        self.params = params
        self.config: DictConfig | None = None

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """Takes what Hydra gives a launcher; only the configuration is needed."""
        del hydra_context, task_function
        self.config = config

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> Sequence[JobReturn]:
        """Runs the sweep; what Hydra's sweeper calls.

        Args:
            job_overrides: of each run.
            initial_job_idx: not needed, runs are counted within the sweep.
        """
        del initial_job_idx
        assert self.config is not None
        runs = [compose(list(overrides)) for overrides in job_overrides]
        self.launch_composed(runs, list(self.config.hydra.overrides.task))
        return []

    def launch_composed(self, runs: Sequence[Composed], overrides: Sequence[str]) -> int:
        """Runs what is composed and checked.

        Args:
            runs: of the sweep.
            overrides: of the sweep as a whole.

        Returns:
            Exit code: 0 all finished or left to the background, 1 some have not, 130 interrupted.

        Raises:
            UserError: something is wrong; nothing was started.
        """
        return launch(runs, overrides, dict(self.params))


def launch(runs: Sequence[Composed], overrides: Sequence[str], params: dict[str, Any]) -> int:
    """Runs a sweep, or what is missing of it. See `LocalLauncher.launch_composed`."""
    check_ranges(params)
    prepared = prepare(runs, overrides, "local", params)
    sweep = prepared.sweep
    check_directories(prepared.to_check)
    check_slots(params, len(prepared.missing))
    check_tracking(runs[0].config, hosts=1)
    if params["dry_run"]:
        check_place(sweep.directory)
        for index in prepared.missing:
            sys.stdout.write(f"would run {' '.join(sweep.runs[index].overrides)}\n")
        return 0
    check_room(sweep.directory)
    with Sweep.lock(sweep.directory):
        prepared = prepare(runs, overrides, "local", params)
        sweep = prepared.sweep
        prepared.write()
        register_sweep(sweep, prepared.composed)
        job = begin(sweep, prepared.missing, detached=not params["wait"]) if prepared.missing else 0
    for line in prepared.others:
        sys.stdout.write(f"  {line}\n")
    sys.stdout.write(f"watch it:  python -m launch status {sweep.directory}\n")
    if not params["wait"] or not job:
        return 0
    return supervise(sweep, prepared.missing)


def check_slots(params: Mapping[str, Any], runs: int) -> None:
    """Checks that the GPUs have room for the slots that runs would fill.

    Args:
        params: of the launcher.
        runs: to start.

    Raises:
        ConfigError: they have not.
    """
    gpus, together = visible_gpus(), int(params["runs_per_gpu"])
    slots, room = min(int(params["slots"]), runs), len(gpus) * together
    if gpus and slots > room:
        raise ConfigError(
            f"hydra.launcher.slots={params['slots']}: {len(gpus)} GPUs with {together} runs each "
            f"have room for {room}; lower it, or raise hydra.launcher.runs_per_gpu"
        )


def begin(sweep: Sweep, runs: Sequence[int], *, detached: bool) -> int:
    """Writes down which process supervises runs from now on; starts it, if it is another.

    Args:
        sweep: its lock is held.
        runs: indices.
        detached: leave them to a process in the background.

    Returns:
        Id of the process.
    """
    pid = _start_detached(sweep, runs) if detached else os.getpid()
    job = SubmittedJob(f"local-{pid}-{process_start(pid)}", list(runs), host=platform.node())
    sweep.jobs.append(job)
    sweep.write()
    return pid


def _start_detached(sweep: Sweep, runs: Sequence[int]) -> int:
    output = sweep.directory / "logs" / "supervisor.log"
    output.parent.mkdir(parents=True, exist_ok=True)
    with output.open("ab") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "launch.local", str(sweep.directory), *map(str, runs)],
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env=code_environment(sweep, os.environ),
        )
    return process.pid


def supervise(sweep: Sweep, runs: Sequence[int]) -> int:
    """Runs until all have ended.

    Args:
        sweep: that they belong to.
        runs: indices.

    Returns:
        Exit code: 0 all have finished, 1 some have not, 130 or 143 after a signal.
    """
    wait_for_turn(sweep)
    params, gpus = sweep.params, visible_gpus()
    together = int(params["runs_per_gpu"]) if gpus else 1
    with sharing(together) as shared:
        supervisor = Supervisor(
            tasks=[_task(sweep, index) for index in runs],
            slots=min(int(params["slots"]), len(runs)),
            environment=lambda slot: slot_environment(
                code_environment(sweep, shared), slot, gpus, together
            ),
            max_crashes=int(params["max_crashes"]),
            ended=lambda task: _ended(sweep, task),
        )
        supervisor.run()
    for job in sweep.jobs:  # this process has only to tell of it
        job.over |= job.id == own_job()
    sys.stdout.write(render(sweep_rows(sweep)))
    if supervisor.asked is not None:
        return 143 if supervisor.asked == signal.SIGTERM else 130
    return int(any(task.end != "FINISHED" for task in supervisor.tasks))


def code_environment(sweep: Sweep, environment: Mapping[str, str]) -> dict[str, str]:
    """An environment in which Python takes the sweep's copy of the code."""
    before = environment.get("PYTHONPATH")
    path = f"{sweep.code}{os.pathsep}{before}" if before else str(sweep.code)
    return {**environment, "PYTHONPATH": path, "PYTHONSAFEPATH": "1"}


def slot_environment(
    environment: Mapping[str, str], slot: int, gpus: Sequence[str], together: int
) -> dict[str, str]:
    """The environment of a slot: which GPU is its own.

    Args:
        environment: of all slots.
        slot: its number.
        gpus: ids of GPUs; may be empty.
        together: slots that share a GPU.
    """
    if not gpus:
        return dict(environment)
    return {**environment, "CUDA_VISIBLE_DEVICES": gpus[slot // together]}


def visible_gpus() -> list[str]:
    """Ids of the GPUs that this process may use."""
    if (given := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        return [device for device in given.split(",") if device and device != "-1"]
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    try:
        done = subprocess.run(
            [program, "--query-gpu=index", "--format=csv,noheader"],
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return []  # a driver without a GPU
    return done.stdout.split()


def _task(sweep: Sweep, index: int) -> Task:
    run = sweep.runs[index]
    return Task(
        key=index,
        command=worker_command(sweep.spec(index)),
        log=sweep.log(index),
        finished=lambda: run_facts(Path(run.run_dir)).has_reached(run.env_steps),
    )


def _ended(sweep: Sweep, task: Task) -> None:
    name = sweep.runs[task.key].name
    if task.end in ("FAILED", "KILLED"):
        mend(Path(sweep.runs[task.key].run_dir), task.end)
    log.info("%s run %d (%s): %s", time.strftime("%H:%M:%S"), task.key, name, task.end)


def own_job() -> str:
    """Id of the job that this process is."""
    return f"local-{os.getpid()}-{process_start(os.getpid())}"


def wait_for_turn(sweep: Sweep) -> None:
    """Waits until what this machine began before of the sweep has ended.

    The slots, and the GPUs that belong to them, are those of the sweep.

    Args:
        sweep: with the job that is this process, unless it has not been written down yet.
    """
    own = own_job()
    before = itertools.takewhile(lambda job: job.id != own, sweep.jobs)
    for job in [job for job in before if is_local(job) and job.host == platform.node()]:
        if local_is_alive(job):
            log.info("waiting for the runs that %s looks after", job.id)
        while local_is_alive(job):
            time.sleep(_TURN_SECONDS)


def main() -> int:
    """What the process in the background runs: a sweep's directory and indices of runs.

    Returns:
        Exit code of `supervise`.
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    with cli.report_errors() as outcome:
        sweep = Sweep.read(Path(sys.argv[1]))
        outcome.code = supervise(sweep, [int(word) for word in sys.argv[2:]])
    return outcome.code


if __name__ == "__main__":
    sys.exit(main())
