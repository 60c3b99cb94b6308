"""A sweep's directory: which runs it has, which jobs were submitted for them."""

import json
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

from harmony.config.compose import Composed
from harmony.config.run_files import write_whole
from harmony.errors import RunDirectoryError
from harmony.filelock import locked

SWEEP_FILE = "sweep.json"
CODE_DIR, SPECS_DIR, LOGS_DIR, JOBS_DIR = "code", "specs", "logs", "jobs"
_VERSION = 1


@dataclass
class SweepRun:
    """One run of a sweep.

    Attributes:
        index: number within the sweep, from 0.
        run_dir: absolute.
        overrides: that make it, without those of the launcher.
        env_steps: how long it trains.
        experiment: the MLflow experiment.
    """

    index: int
    run_dir: str
    overrides: list[str]
    env_steps: int
    experiment: str

    @property
    def name(self) -> str:
        """Name of its directory."""
        return Path(self.run_dir).name


@dataclass
class SubmittedJob:
    """One job that was handed to the scheduler.

    Attributes:
        id: as the scheduler calls it, such as 12 or 12_3.
        runs: indices of the runs that it holds.
        submitted: unix seconds.
        cancelled: whether `cancel` was asked for.
        host: of a job that is a process rather than a scheduler's.
        over: whether it is known to have ended, though its process may still be there.
    """

    id: str
    runs: list[int]
    submitted: float = field(default_factory=time.time)
    cancelled: bool = False
    host: str = ""
    over: bool = False


@dataclass
class Sweep:
    """Contents of ``sweep.json``.

    Attributes:
        directory: absolute.
        overrides: of the whole sweep, without those of the launcher.
        launcher: option of ``hydra/launcher``.
        params: of the launcher, resolved.
        runs: all of them.
        jobs: all that were ever submitted, in that order.
        created: unix seconds.
    """

    directory: Path
    overrides: list[str]
    launcher: str
    params: dict[str, Any]
    runs: list[SweepRun]
    jobs: list[SubmittedJob] = field(default_factory=list)
    created: float = field(default_factory=time.time)

    @property
    def name(self) -> str:
        """Name of the sweep."""
        return self.directory.name

    @property
    def code(self) -> Path:
        """The copy of the code that its jobs run."""
        return self.directory / CODE_DIR

    def spec(self, index: int) -> Path:
        """File with the composed configuration of a run."""
        return self.directory / SPECS_DIR / f"{index:05d}.json"

    def log(self, index: int) -> Path:
        """What a run has printed, over all its attempts."""
        return self.directory / LOGS_DIR / f"{index:05d}-{self.runs[index].name}.log"

    def job_log(self, job: SubmittedJob) -> Path:
        """What a job of SLURM has printed besides its runs."""
        return self.directory / JOBS_DIR / f"{job.id}_0_log.out"

    def latest_job(self, index: int) -> SubmittedJob | None:
        """The job that was submitted last for a run."""
        return next((job for job in reversed(self.jobs) if index in job.runs), None)

    def add_runs(self, composed: Iterable[tuple[Path, Composed]]) -> list[SweepRun]:
        """Adds runs with their directories.

        Returns:
            Those that were not there before.
        """
        known, new = {run.run_dir for run in self.runs}, []
        for run_dir, run in composed:
            if str(run_dir) in known:
                continue
            added = SweepRun(
                index=len(self.runs),
                run_dir=str(run_dir),
                overrides=without_launcher(run.overrides),
                env_steps=int(run.config["training"]["env_steps"]),
                experiment=str(run.config["experiment"]),
            )
            self.runs.append(added)
            known.add(added.run_dir)
            new.append(added)
        return new

    def lengthen(self, composed: Iterable[tuple[Path, Composed]]) -> list[int]:
        """Lets runs train longer where their configurations now say so.

        Returns:
            Their indices.
        """
        known, longer = {run.run_dir: run for run in self.runs}, []
        for run_dir, new in composed:
            run, env_steps = known.get(str(run_dir)), int(new.config["training"]["env_steps"])
            if run is not None and env_steps > run.env_steps:
                run.env_steps = env_steps
                longer.append(run.index)
        return longer

    def write_specs(
        self, composed: Iterable[tuple[Path, Composed]], anew: Collection[int] = ()
    ) -> None:
        """Writes the configurations of runs that were never submitted.

        What lies there for them may be left of a submission that was broken off.

        Args:
            composed: runs with their directories.
            anew: indices of runs whose configurations have changed.
        """
        index = {run.run_dir: run.index for run in self.runs}
        submitted = {number for job in self.jobs for number in job.runs}
        for run_dir, run in composed:
            number = index[str(run_dir)]
            if number not in submitted or number in anew or not self.spec(number).exists():
                write_spec(self.spec(number), run)

    def write(self) -> None:
        """Replaces the file, whole or not at all."""
        self.directory.mkdir(parents=True, exist_ok=True)
        content = asdict(self) | {"version": _VERSION}
        del content["directory"]
        write_whole(self.directory / SWEEP_FILE, json.dumps(content, indent=1) + "\n")

    @classmethod
    def read(cls, directory: Path) -> Self:
        """Reads the sweep that lies in a directory.

        Raises:
            RunDirectoryError: there is none, or it is damaged.
        """
        path = directory.expanduser().absolute() / SWEEP_FILE
        try:
            content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            if content.pop("version") != _VERSION:
                raise ValueError("it is of another version")
            content["runs"] = [SweepRun(**run) for run in content["runs"]]
            content["jobs"] = [SubmittedJob(**job) for job in content["jobs"]]
            return cls(directory=path.parent, **content)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise RunDirectoryError(
                f"no sweep in {path.parent}: expected {SWEEP_FILE} there; give the directory that "
                "the submission has printed"
            ) from error
        except (ValueError, TypeError, KeyError) as error:
            raise RunDirectoryError(f"can't read {path}: {error}; restore it") from error

    @staticmethod
    def lock(directory: Path) -> AbstractContextManager[None]:
        """Keeps two commands from changing one sweep at once; waits for the other."""
        directory.mkdir(parents=True, exist_ok=True)
        return locked(directory / f".{SWEEP_FILE}.lock")


def without_launcher(overrides: Sequence[str]) -> list[str]:
    """Overrides without those that say how and where; they are no part of what runs."""
    others = ("hydra.", "hydra/", "runs_root=")
    return [o for o in overrides if not o.lstrip("+~").startswith(others)]


def write_spec(path: Path, composed: Composed) -> None:
    """Writes a composed configuration as a job reads it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {
        "config": composed.config,
        "choices": composed.choices,
        "overrides": without_launcher(composed.overrides),
    }
    path.write_text(json.dumps(content), encoding="utf-8")


def read_spec(path: Path) -> Composed:
    """Reads what `write_spec` wrote."""
    content: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return Composed(content["config"], content["choices"], content["overrides"])
