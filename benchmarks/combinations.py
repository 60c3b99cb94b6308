"""Trains every algorithm with every harmony and every kind of action, and prints a table.

    python -m benchmarks.combinations                      # 20 updates each, on and off 200
    python -m benchmarks.combinations --algorithms dreamerv3 --harmonies on --updates 50

Each row must have finite losses; each scale that the harmonizer learns must move, and every weight
of a loss that is not learned must stay. Ends with exit code 1 where one does not.
"""

from __future__ import annotations

import argparse
import itertools
import math
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch

from harmony.build import build_trainer, check
from harmony.config.compose import compose
from harmony.config.conf_dir import find_conf_dir, list_groups
from harmony.tracking.base import NullTracker
from harmony.training.journal import Journal
from harmony.types import Metrics, to_device

ALGORITHMS = ("dreamerv2", "dreamerv3", "dreamerv3_2025", "dreamerpro")
# Continuous actions on a real simulator; no suite here has the other kinds.
KINDS = {
    "continuous": ("env=dmc", "env.task=cartpole_swingup", "env.action_repeat=8", "render=fast"),
    "discrete": ("env=probe", "env.discrete=true", "env.num_actions=4"),
    "multi-discrete": ("env=probe", "env.nvec=[3,3,4,5,3]"),
}
LONG = ("on", "off")
FIXED = (
    "size=micro", "tracking=none", "device=cpu", "training.prefill_agent_steps=50",
    # Clipped at one nat the KL of a new model is exactly 1, where an unrectified scale is at rest.
    "algorithm.dynamics_loss.free_nats=0.0",
)  # fmt: skip


class Row(NamedTuple):
    """What one combination did.

    Attributes:
        name: algorithm, harmony, kind of action.
        updates: how many.
        milliseconds: the median update.
        losses: first and last total.
        moved: learned scales that changed, with their last values.
        faults: what is wrong; empty where all is well.
    """

    name: tuple[str, str, str]
    updates: int
    milliseconds: float
    losses: tuple[float, float]
    moved: dict[str, float]
    faults: list[str]


class Silent:
    """A display without a person before it."""

    def update(self, row: Mapping[str, float]) -> None:
        """Nothing."""

    def message(self, text: str) -> None:
        """Nothing."""

    def check(self) -> None:
        """Never stops."""


def train(name: tuple[str, str, str], updates: int, directory: Path) -> Row:
    """Prefills a replay and updates."""
    algorithm, harmony, kind = name
    composed = compose([f"algorithm={algorithm}", f"harmony={harmony}", *KINDS[kind], *FIXED])
    check(composed)
    silent = Silent()
    trainer = build_trainer(
        composed.config, directory, Journal(directory, NullTracker(), silent), silent
    )
    trainer.prepare()
    while not trainer.progress.prefilled:
        action = trainer.next_action()
        assert action is not None
        action()
    agent = trainer.agent
    before = {n: p.detach().clone() for n, p in agent.harmonizer.named_parameters()}
    history: list[Metrics] = []
    times: list[float] = []
    for _ in range(updates):
        sampled = trainer.replay.sample(trainer.replay_rng)
        batch = {name: torch.from_numpy(array) for name, array in sampled.items()}
        start = time.perf_counter()
        history.append(agent.update(to_device(batch, agent.device)))
        times.append(time.perf_counter() - start)
    after = dict(agent.harmonizer.named_parameters())
    moved = {n: after[n].item() for n in before if not torch.equal(before[n], after[n])}
    faults = find_faults(history, list(before), list(moved))
    trainer.close(finished=True)
    losses = (history[0]["loss/total"].item(), history[-1]["loss/total"].item())
    return Row(name, updates, sorted(times)[len(times) // 2] * 1e3, losses, moved, faults)


def find_faults(history: list[Metrics], learned: list[str], moved: list[str]) -> list[str]:
    """What is wrong with a training.

    Args:
        history: metrics of each update.
        learned: names of the harmonizer's parameters.
        moved: those that changed.
    """
    faults = [f"{name} stayed" for name in learned if name not in moved]
    for i, metrics in enumerate(history):
        bad = [key for key, value in metrics.items() if not math.isfinite(value.item())]
        if bad:
            faults.append(f"update {i}: {', '.join(bad)} not finite")
            break
    if not learned:
        # Fixed weights: the factor of a group with one loss is the same in every update.
        for key in [k for k in history[0] if k == "harmony/coef/reward"]:
            values = [metrics[key].item() for metrics in history]
            drifts = max(values) - min(values) > 1e-4 * max(1e-12, abs(values[0]))
            if drifts and "window" not in history[0]:
                faults.append(f"{key} moved: {min(values):.5g} to {max(values):.5g}")
    return faults


def markdown(row: Row) -> str:
    """One line of the table."""
    algorithm, harmony, kind = row.name
    moved = ", ".join(f"{n.removeprefix('log_sigma.')} {v:+.4f}" for n, v in row.moved.items())
    verdict = "; ".join(row.faults) or "ok"
    first, last = row.losses
    return (
        f"| {algorithm} | {harmony} | {kind} | {row.updates} | {row.milliseconds:.0f} | "
        f"{first:.4g} | {last:.4g} | {moved or 'none'} | {verdict} |"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Trains and prints; 1 where a row has a fault."""
    parser = argparse.ArgumentParser(description=__doc__)
    harmonies = list_groups(find_conf_dir())["harmony"]
    parser.add_argument("--algorithms", nargs="+", default=ALGORITHMS)
    parser.add_argument("--harmonies", nargs="+", default=harmonies)
    parser.add_argument("--kinds", nargs="+", default=list(KINDS))
    parser.add_argument("--updates", type=int, default=20)
    parser.add_argument("--long", type=int, default=200, help="updates with harmony on and off")
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    print(
        "| algorithm | harmony | actions | updates | ms an update | first total | last total | "
        "learned scales (log) | verdict |\n|---|---|---|---|---|---|---|---|---|"
    )
    failed = 0
    for name in itertools.product(given.algorithms, given.harmonies, given.kinds):
        updates = given.long if name[1] in LONG else given.updates
        with tempfile.TemporaryDirectory() as directory:
            row = train(name, updates, Path(directory))
        print(markdown(row), flush=True)
        failed += bool(row.faults)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
