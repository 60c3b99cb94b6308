"""What surrounds a training: what is recorded of it, what a person is told, how it ends."""

from __future__ import annotations

import json
import logging
import shlex
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from harmony.agent import DreamerAgent
from harmony.config.run_dir import RunDirectory
from harmony.config.run_files import ERROR_FILE
from harmony.envs.pool import EnvLost
from harmony.envs.suite import suite_modules, suite_tags
from harmony.errors import UserError
from harmony.tracking.base import METRICS_FILE, NullTracker, RunInfo, Status, Tracker, scalar_leaves
from harmony.tracking.provenance import provenance
from harmony.tracking.terminal import Terminal
from harmony.training.loop import Diverged
from harmony.training.schedule import Progress
from harmony.training.signals import Stopped

log = logging.getLogger(__name__)
PROVENANCE_FILE, DIFF_FILE = "provenance.json", "uncommitted.diff"
SUITE_FACTS = "suite"  # of the provenance
INDEX_FILE = "checkpoints.json"
TAGGED_GROUPS = ("algorithm", "harmony", "size", "precision", "render", "latent", "cont")


class Ending(NamedTuple):
    """How a run ended.

    Attributes:
        status: for the tracker.
        code: exit code of the process.
    """

    status: Status
    code: int


def run_info(run: RunDirectory) -> RunInfo:
    """What a tracker is told about a run: params, and tags to group and compare by."""
    config = run.config
    tags = {group: run.choices[group] for group in TAGGED_GROUPS if group in run.choices}
    tags |= {
        "suite": run.choices.get("env", ""),
        "task": str(config["env"].get("task", "")),
        "seed": str(config["seed"]),
        "run_dir": str(run.path),
        "overrides": " ".join(run.record["overrides"])[:5000],
    }
    tags |= {f"suite.{name}": fact for name, fact in _suite(run).items()}
    return RunInfo(
        run_dir=run.path,
        run_key=run.run_key,
        name=run.name,
        experiment=str(config["experiment"]),
        params=scalar_leaves(config),
        tags=tags | provenance_tags(run.path),
        sweep=config["sweep"],
    )


def _suite(run: RunDirectory) -> dict[str, str]:
    env = run.config["env"]
    return suite_tags(env["_target_"], env)


def write_provenance(run: RunDirectory) -> None:
    """Writes code, machine, versions and facts of the suite; uncommitted changes as their own diff.

    What the suite says of itself, results must have in common to be compared.
    """
    facts = provenance(suite_modules(run.config["env"]["_target_"]))
    (run.path / DIFF_FILE).write_text(facts.pop("git_diff"))
    written = {**facts, SUITE_FACTS: _suite(run)}
    (run.path / PROVENANCE_FILE).write_text(json.dumps(written, indent=2) + "\n")


def provenance_tags(run_dir: Path) -> dict[str, str]:
    """The recorded facts of code and machine as tags."""
    facts: dict[str, str] = json.loads((run_dir / PROVENANCE_FILE).read_text())
    told = {name: value for name, value in facts.items() if name != SUITE_FACTS and value}
    return {f"provenance.{name}": value for name, value in told.items()}


def write_checkpoint_index(run_dir: Path) -> Path:
    """Lists the checkpoints with their sizes."""
    files = sorted((run_dir / "checkpoints").glob("*.ckpt"))
    index = [{"file": str(file), "bytes": file.stat().st_size} for file in files]
    path = run_dir / INDEX_FILE
    path.write_text(json.dumps(index, indent=2) + "\n")
    return path


def opening(run: RunDirectory, agent: DreamerAgent, env_step: int) -> str:
    """Says what begins, and with whose settings."""
    algorithm, env = (run.choices.get(group, "") for group in ("algorithm", "env"))
    none = f"none for {algorithm} on {env}, so the algorithm's own settings"
    parameters = sum(weight.numel() for weight in agent.parameters())
    begins = f"continues at env step {env_step:,}" if run.resumed else "new run"
    return (
        f"{run.name}: {begins}, {parameters:,} parameters on {agent.device}\n"
        f"preset: {run.choices.get('preset', none)}\n"
        f"run directory: {run.path}"
    )


def closing(run: RunDirectory, progress: Progress) -> str:
    """Says what came out and where it lies."""
    lines = [f"\nfinished: {progress.env_step:,} env steps, {progress.episodes:,} episodes"]
    if progress.last_return is not None:
        line = f"last evaluation: return {progress.last_return:.1f}"
        if progress.last_success is not None:
            line += f", success {progress.last_success:.0%}"
        if progress.random_return is not None:
            line += f"  (random policy: {progress.random_return:.1f})"
        lines.append(line)
    lines += [
        f"run directory:   {run.path}",
        f"metrics:         {run.path / METRICS_FILE}",
        f"checkpoints:     {run.path / 'checkpoints'} (newest two, best, last)",
    ]
    videos = sorted((run.path / "videos").glob("evaluation_*.mp4"))
    if videos:
        lines.append(f"video:           {videos[-1]}")
    replay = sum(f.stat().st_size for f in (run.path / "replay").glob("*")) / 1e9
    if replay:
        lines.append(f"replay:          {replay:.2f} GB kept (replay.keep=none deletes it)")
    if ui := ui_command(run.config):
        lines.append(f"MLflow UI:       {ui}")
    return "\n".join(lines) + "\n"


def ui_command(config: dict[str, Any]) -> str:
    """The command, or the address, that opens the tracker's page; empty where there is none."""
    uri = str(config["tracking"].get("tracking_uri", ""))
    if uri.startswith("http"):
        return uri
    command = [sys.executable, "-m", "mlflow", "ui", "--backend-store-uri", uri]
    return shlex.join(command) if uri else ""


def resume_command(run: RunDirectory) -> str:
    """The command that goes on with a run."""
    latest = run.record["attempts"][-1]["overrides"]
    kept = [o for o in latest if not o.startswith("run_dir=")]
    return shlex.join([sys.executable, "-m", "harmony", *kept, f"run_dir={run.path}"])


@contextmanager
def ended(
    run: RunDirectory, tracker: Tracker, display: Terminal, *, launched: bool = False
) -> Iterator[list[Ending]]:
    """Ends the run truthfully, whatever ends the block.

    Args:
        run: the run.
        tracker: is told how it ended.
        display: tells it to a person.
        launched: whether a launcher watches over the run and starts it again after SIGUSR2.

    Yields:
        A list that holds the `Ending` afterwards.

    Raises:
        UserError: what the block raised of that kind.
        Exception: any other error of the block; its traceback is in error.txt and in the tracker.
    """
    found: list[Ending] = []
    ending = Ending("FAILED", 1)
    try:
        yield found
        ending = Ending("FINISHED", 0)
    except Stopped as stop:
        continues = launched and stop.continues
        ending = Ending("SCHEDULED" if continues else "KILLED", stop.exit_code)
        then = "goes on later" if continues else f"to go on:\n  {resume_command(run)}"
        display.message(f"stopped by {stop} and saved; {then}")
    except KeyboardInterrupt:
        ending = Ending("KILLED", 130)
        display.message(f"interrupted; to go on from the last checkpoint:\n  {resume_command(run)}")
    except (Diverged, EnvLost) as error:
        display.message(f"error: {error}")
        _write_error(run.path, tracker)
    except UserError:
        _write_error(run.path, tracker)
        raise
    except Exception:
        _write_error(run.path, tracker)
        log.error("the run failed; its traceback is in %s", run.path / ERROR_FILE)
        raise
    finally:
        found.append(ending)
        display.close()
        tracker.finish(ending.status)
        _record_end(run, ending)


def failed_start(run: RunDirectory, display: Terminal, error: Exception) -> int:
    """Ends a run that could not begin, because a simulator was lost; gives the exit code.

    Args:
        run: the run, whose directory stays.
        display: tells it to a person.
        error: what was raised; its traceback goes to error.txt.
    """
    ending = Ending("FAILED", 1)
    display.message(f"error: {error}")
    display.close()
    _write_error(run.path, NullTracker())
    _record_end(run, ending)
    return ending.code


def _record_end(run: RunDirectory, ending: Ending) -> None:
    try:
        run.end(ending.status)
    except OSError as error:
        log.warning("can't write how the run ended to %s: %s", run.path, error.strerror)


def _write_error(run_dir: Path, tracker: Tracker) -> None:
    path = run_dir / ERROR_FILE
    try:
        path.write_text(f"{time.ctime()}\n{traceback.format_exc()}")
    except OSError as error:
        # A full disk is what the traceback is about; it is printed all the same.
        log.warning("can't write %s: %s", path, error.strerror)
        return
    tracker.artifact(path, "")
