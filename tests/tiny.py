"""Whole runs small enough for tests: 8 x 8 images and a few units everywhere."""

import copy
import functools
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from harmony.agent import DreamerAgent
from harmony.build import build_env, build_trainer, observation_shapes
from harmony.build_agent import action_kind, build_agent
from harmony.config.compose import compose
from harmony.tracking.base import NullTracker
from harmony.training.checkpoint import read_checkpoint
from harmony.training.journal import Journal
from harmony.training.loop import Trainer
from harmony.training.seeding import Seeds
from harmony.training.signals import Stopped

CPU = torch.device("cpu")
OVERRIDES = (
    "env=probe", "debug=smoke", "tracking=none", "device=cpu",
    "env.image_size=8", "env.length=10", "env.action_repeat=2",
    "algorithm.behavior.horizon=3",
    "size.deter=8", "size.hidden=8", "size.units=8", "size.stoch=3", "size.classes=3",
    "replay.batch_length=4", "replay.capacity=30", "replay.segment_steps=8",
    "training.env_steps=100", "training.prefill_agent_steps=12", "training.pretrain_updates=3",
    "training.train_every_agent_steps=4", "training.log_every_env_steps=20",
    "evaluation.every_env_steps=30", "evaluation.video=false",
    "checkpoint.every_env_steps=25", "checkpoint.every_minutes=1e6",
)  # fmt: skip
KERNELS = ("algorithm.encoder.cnn.kernels=[4,3]", "algorithm.decoder.cnn.kernels=[3,4]")
MULTIPLES = ("algorithm.encoder.cnn.multiples=[2]", "algorithm.decoder.cnn.multiples=[2]")
BLOCKS = ("algorithm.rssm.cell.blocks=2", "algorithm.decoder.cnn.blocks=2")
OF_THE_ALGORITHM = {
    "dreamerv2": KERNELS,
    "dreamerpro": (*KERNELS, "algorithm.objective.prototypes=12", "algorithm.objective.size=4"),
    "dreamerv3": (),
    "dreamerv3_2025": (*MULTIPLES, *BLOCKS),
}
ALGORITHMS = tuple(OF_THE_ALGORITHM)


def overrides_of(*overrides: str) -> tuple[str, ...]:
    """All overrides of a tiny run: those of its algorithm's networks too."""
    chosen = [given.removeprefix("algorithm=") for given in overrides if given[:10] == "algorithm="]
    return (*OVERRIDES, *OF_THE_ALGORITHM[chosen[-1] if chosen else "dreamerv2"], *overrides)


@functools.cache
def _composed(overrides: tuple[str, ...]) -> dict[str, Any]:
    return compose(overrides_of(*overrides)).config


def config(*overrides: str) -> dict[str, Any]:
    """A resolved configuration, with overrides on top of the tiny one."""
    return copy.deepcopy(_composed(overrides))


def agent(*overrides: str, seed: int = 0) -> DreamerAgent:
    """An agent for the configuration's environment."""
    given = config(*overrides)
    env = build_env(given)
    return build_agent(given, observation_shapes(env), env.action_space, CPU, Seeds(seed))


def batch(
    *overrides: str, batch_size: int = 2, length: int = 4, seed: int = 0
) -> dict[str, torch.Tensor]:
    """A batch of noise that fits `agent` of the same overrides."""
    env = build_env(config(*overrides))
    kind, sizes = action_kind(env.action_space)
    rng, lead = np.random.default_rng(seed), (batch_size, length)
    parts = [rng.uniform(-1, 1, (*lead, size)) for size in sizes]
    if kind == "discrete":
        parts = [np.eye(part.shape[-1])[part.argmax(-1)] for part in parts]
    action = np.concatenate(parts, -1)
    is_first = np.zeros(lead, np.bool_)
    is_first[:, 0] = True
    action[:, 0] = 0.0
    arrays = {
        **_observations(observation_shapes(env), lead, rng),
        "action": action.astype(np.float32),
        "reward": rng.normal(size=lead).astype(np.float32),
        "is_first": is_first,
        "is_last": np.zeros(lead, np.bool_),
        "is_terminal": np.zeros(lead, np.bool_),
    }
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


def _observations(
    shapes: dict[str, tuple[int, ...]], lead: tuple[int, int], rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """Noise for images and vectors."""
    return {
        name: rng.integers(0, 256, (*lead, *shape), np.uint8)
        if len(shape) == 3
        else rng.normal(size=(*lead, *shape)).astype(np.float32)
        for name, shape in shapes.items()
    }


class Display:
    """Remembers what a person would see."""

    def __init__(self) -> None:
        self.rows: list[dict[str, float]] = []
        self.messages: list[str] = []

    def update(self, row: Any) -> None:
        self.rows.append(dict(row))

    def message(self, text: str) -> None:
        self.messages.append(text)


_OPEN: list[Trainer] = []


def close() -> None:
    """Closes the files of the trainers so far; an open one is a warning, hence an error."""
    while _OPEN:
        _OPEN.pop().close(finished=False)


class StopAt:
    """Asks to stop when it is asked for the n-th time, boundaries and evaluation steps alike."""

    def __init__(self, count: float = float("inf")) -> None:
        self.left = count
        self.asked = 0

    def check(self) -> None:
        self.asked += 1
        self.left -= 1
        if self.left <= 0:
            raise Stopped(15)


def trainer(
    run_dir: Path, *overrides: str, stop: StopAt | None = None, tracker: Any = None
) -> Trainer:
    """A trainer that is prepared, in a run directory that may hold a run."""
    journal = Journal(run_dir, tracker or NullTracker(), Display())
    made = build_trainer(config(*overrides), run_dir, journal, stop or StopAt())
    _OPEN.append(made)
    made.prepare()
    return made


def rows(run_dir: Path) -> list[dict[str, Any]]:
    """The rows of metrics.jsonl without what depends on the clock."""
    parsed = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in row.items() if not k.startswith("time")} for row in parsed]


def final_state(trainer: Trainer) -> dict[str, Any]:
    """Everything at the end, in memory and on disk; offsets depend on how long times are."""
    _, state = trainer.checkpoints.load_latest()
    del state["metrics_offset"]
    for stream in state["envs"]["streams"]:
        if not stream["open"]:
            # Left over from the last episode; between two episodes nobody reads them.
            del stream["seed"], stream["episode_return"]
    batches = [trainer.replay.sample(np.random.default_rng(i)) for i in range(10)]
    last = read_checkpoint(trainer.checkpoints.directory / "last.ckpt")
    best = read_checkpoint(trainer.checkpoints.directory / "best.ckpt")
    told = rows(trainer.journal.run_dir)
    return {"state": state, "batches": batches, "last": last, "best": best, "rows": told}
