"""Submitting a sweep within a test: with the whole command, or quickly, without Hydra."""

import copy
import functools
from dataclasses import replace

import hydra
from omegaconf import OmegaConf

from harmony.__main__ import main
from harmony.config.cli import report_errors
from harmony.config.compose import hydra_session
from harmony.config.compose_many import compose_all
from harmony.config.sweep import expand
from launch.slurm import launch, register
from launch.sweep import Sweep

COMMON = ["env=probe", "size=micro", "tracking=none", "training.env_steps=1000"]


@functools.cache
def composed(overrides):
    """The runs of a sweep: Hydra takes most of the time of a submission."""
    return tuple(compose_all(expand(overrides)))


@functools.cache
def launcher_params(launcher, own):
    register()
    with hydra_session():
        overrides = [f"hydra/launcher={launcher}", *own]
        cfg = hydra.compose("config", overrides, return_hydra_config=True)
        params = OmegaConf.to_container(cfg.hydra.launcher, resolve=True)
    return {key: value for key, value in params.items() if key != "_target_"}


class Runs:
    """The sweep `walk`.

    Args:
        root: where runs lie.
        printed: returns what was printed since the last call, and the errors.
    """

    def __init__(self, root, printed):
        self.root, self.directory, self._printed = root, root / "walk", printed

    def read(self):
        return Sweep.read(self.directory)

    def command(self, *overrides, launcher="slurm_dev"):
        """Runs python -m harmony; returns its exit code, what it printed, and its errors."""
        self._printed()
        code = main(["-m", f"hydra/launcher={launcher}", *COMMON, "sweep=walk", *overrides])
        return code, *self._printed()

    def submit(self, *overrides, launcher="slurm_dev"):
        """The same from where runs are composed and checked."""
        self._printed()
        own = tuple(o for o in overrides if o.lstrip("+").startswith("hydra"))
        task = (*COMMON, "sweep=walk", *(o for o in overrides if o not in own))
        place = {"runs_root": str(self.root)}
        made = [replace(run, config=run.config | place) for run in composed(task)]
        params = copy.deepcopy(launcher_params(launcher, own))
        with report_errors() as outcome:
            outcome.code = launch(made, [*task, *own], "slurm", params)
        return outcome.code, *self._printed()


def one_line(err, *parts):
    """Whether errors are one line at the end with these parts, and nothing else speaks of them."""
    (line,) = [line for line in err.splitlines() if "error" in line.casefold()]
    assert line.startswith("error: ")
    assert err.splitlines()[-1] == line
    for part in parts:
        assert part in line
    return True
