"""Training: what ``python -m harmony`` and every job of a sweep run."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING, Any

from harmony.agent import DreamerAgent
from harmony.build import build_device, build_trainer, check
from harmony.build_agent import build_agent
from harmony.config.compose import Composed, from_job
from harmony.config.nodes import instantiate
from harmony.config.run_dir import RunDirectory
from harmony.config.run_files import CONFIG_FILE
from harmony.envs.pool import EnvLost
from harmony.errors import ConfigError, UserError
from harmony.peers import Peers, Shapes
from harmony.place import Place
from harmony.session import (
    DIFF_FILE,
    PROVENANCE_FILE,
    closing,
    ended,
    failed_start,
    opening,
    run_info,
    write_checkpoint_index,
    write_provenance,
)
from harmony.tracking.base import Tracker
from harmony.tracking.terminal import Terminal
from harmony.training.journal import Journal
from harmony.training.loop import Trainer
from harmony.training.processes import run_together
from harmony.training.seeding import Seeds
from harmony.training.signals import StopSignals

if TYPE_CHECKING:
    from omegaconf import DictConfig

log = logging.getLogger(__name__)
__all__ = ["check", "run", "task"]
SIGNALLED = 128  # exit codes from here on are those of signals


def run(composed: Composed, *, launched: bool = False) -> int:
    """Train one run in its directory, from the start or from where it was left.

    Args:
        composed: checked.
        launched: whether a launcher watches over the run and starts it again after SIGUSR2.

    Returns:
        Exit code: 0 finished; 130, 143 or 140 stopped by SIGINT, SIGTERM or SIGUSR2.

    Raises:
        UserError: the start is refused; a directory that it made is gone again.
    """
    if composed.launcher != "basic":
        raise ConfigError(f"hydra/launcher={composed.launcher} starts sweeps only; add -m")
    config, place = composed.config, Place.find(os.environ)
    place.check(config["replay"]["batch_size"])

    def lead(peers: Peers) -> int:
        with RunDirectory.open(config, composed.choices, composed.overrides) as run_dir:
            return _train(run_dir, peers, launched=launched)

    def make_agent(device: str, shapes: Shapes, action_space: Any) -> DreamerAgent:  # noqa: ANN401
        seeds = Seeds(config["seed"])
        return build_agent(config, shapes, action_space, build_device(device), seeds)

    return run_together(place, config["device"], lead, make_agent)


def task(cfg: DictConfig) -> int:
    """Run one job of a sweep: what Hydra's launchers call, on this machine or another.

    Returns:
        0; every other end is raised, so that a launcher sees it.

    Raises:
        UserError: as `run`; logged with the job's overrides, since a sweep goes on after it.
        SystemExit: the run was stopped by a signal, and so is the sweep.
        RuntimeError: the run failed.
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    composed = from_job(cfg)
    try:
        if Place.find(os.environ).size > 1:
            raise ConfigError(
                "-m runs one process after another; several need hydra/launcher=slurm"
            )
        check(composed)
        code = run(composed)
    except UserError as error:
        log.error("%s: %s", " ".join(composed.overrides), error)
        raise
    if code >= SIGNALLED:
        raise SystemExit(code)
    if code:
        # An ordinary error, after which a sweep goes on with its other runs.
        raise RuntimeError(f"{' '.join(composed.overrides)}: the run failed; see its error.txt")
    return 0


def _prepared(trainer: Trainer) -> int:
    try:
        return trainer.prepare()
    except BaseException:
        trainer.close(finished=False)  # its simulators must not outlive it
        raise


def _train(run: RunDirectory, peers: Peers, *, launched: bool) -> int:
    with StopSignals() as stop:
        display = Terminal(run.config["training"]["env_steps"])
        try:
            with run.undone_on_refusal():
                tracker: Tracker = instantiate(run.config["tracking"])
                journal = Journal(run.path, tracker, display)
                trainer = build_trainer(run.config, run.path, journal, stop, peers)
                covered = _prepared(trainer)
        except EnvLost as error:
            return failed_start(run, display, error)
        finished = False
        try:
            with ended(run, tracker, display, launched=launched) as endings:
                write_provenance(run)
                tracker.start(run_info(run))
                tracker.commit(covered)
                for name in (CONFIG_FILE, PROVENANCE_FILE, DIFF_FILE):
                    tracker.artifact(run.path / name, "")
                display.message(opening(run, trainer.agent, trainer.progress.env_step))
                progress = trainer.run()
                finished = True
                tracker.artifact(write_checkpoint_index(run.path), "")
        finally:
            trainer.close(finished=finished)
        if finished:
            log.info("%s", closing(run, progress))
    return endings[0].code
