"""Trains every algorithm, harmony on and off, on probes with known answers, and prints a table.

    OMP_NUM_THREADS=1 python -m benchmarks.probe_envs
    OMP_NUM_THREADS=1 python -m benchmarks.probe_envs --algorithms dreamerv3 --probes memory_reward

A training stops once its answer meets the criterion at two checks in a row, one every 50 updates;
the first of the two is what counts. Ends with exit code 1 where a limit is passed before. Settings,
criteria and limits are in `benchmarks/probe_cells.py`.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import torch

from benchmarks.combinations import Silent
from benchmarks.probe_cells import ALGORITHMS, HARMONIES, PROBES, Reading, overrides_of
from harmony.build import build_trainer, check
from harmony.config.compose import compose
from harmony.tracking.base import NullTracker
from harmony.training.journal import Journal
from harmony.training.loop import Trainer

EVERY = 50
IN_A_ROW = 2
HEADER = (
    "| algorithm | harmony | probe | criterion | before | reached | updates | limit "
    "| CPU seconds |\n"
    "|---|---|---|---|---|---|---|---|---|"
)


class Row(NamedTuple):
    """What a cell of the table did.

    Attributes:
        algorithm: choice of `algorithm`.
        harmony: choice of `harmony`.
        probe: name in `PROBES`.
        before: answer before the first update.
        reached: answer that counts, or the last one.
        updates: after which the answer was read.
        seconds: of the processor, environment and checks included.
    """

    algorithm: str
    harmony: str
    probe: str
    before: Reading
    reached: Reading
    updates: int
    seconds: float


@contextmanager
def prepared(overrides: Sequence[str]) -> Iterator[Trainer]:
    """A trainer in a directory that goes when it does."""
    composed, silent = compose(overrides), Silent()
    check(composed)
    with tempfile.TemporaryDirectory() as name:
        journal = Journal(Path(name), NullTracker(), silent)
        trainer = build_trainer(composed.config, Path(name), journal, silent)
        trainer.prepare()
        try:
            yield trainer
        finally:
            trainer.close(finished=True)


def advance(trainer: Trainer, updates: int) -> None:
    """Trains until there were so many updates in all."""
    while not trainer.progress.prefilled or trainer.agent.updates < updates:
        action = trainer.next_action()
        assert action is not None
        action()


def solve(
    algorithm: str, harmony: str, probe: str, *, seed: int = 0, in_a_row: int = IN_A_ROW
) -> Row:
    """Trains one cell until its answer stands, or the limit is passed.

    Args:
        algorithm: choice of `algorithm`.
        harmony: choice of `harmony`.
        probe: name in `PROBES`.
        seed: of the run.
        in_a_row: checks that must meet the criterion.
    """
    chosen = PROBES[probe]
    limit = chosen.limits[algorithm]
    start = time.process_time()
    readings: dict[int, Reading] = {}
    confirmation = EVERY * (in_a_row - 1)
    with prepared([*overrides_of(algorithm, harmony, probe), f"seed={seed}"]) as trainer:
        # The answer must stand at the limit; the checks that confirm it come after.
        for updates in range(0, limit + confirmation + 1, EVERY):
            advance(trainer, updates)
            readings[updates] = chosen.read(trainer)
            # What was so before the first update is luck.
            last = [updates - EVERY * i for i in range(in_a_row)]
            if solved := all(at > 0 and readings[at].solved for at in last):
                break
    found = updates - confirmation if solved else updates
    reached = readings[found]._replace(solved=solved)
    seconds = time.process_time() - start
    return Row(algorithm, harmony, probe, readings[0], reached, found, seconds)


def markdown(row: Row) -> str:
    """One line of the table."""
    probe = PROBES[row.probe]
    updates = f"{row.updates}" if row.reached.solved else f"not in {row.updates}"
    return (
        f"| {row.algorithm} | {row.harmony} | {row.probe} | {probe.criterion} | "
        f"{row.before.shown} | {row.reached.shown} | {updates} | "
        f"{probe.limits[row.algorithm]} | {row.seconds:.0f} |"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Trains and prints; 1 where a limit is passed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--algorithms", nargs="+", choices=ALGORITHMS, default=ALGORITHMS)
    parser.add_argument("--harmonies", nargs="+", choices=HARMONIES, default=HARMONIES)
    parser.add_argument("--probes", nargs="+", choices=list(PROBES), default=list(PROBES))
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    print(HEADER)
    failed = 0
    for cell in itertools.product(given.algorithms, given.harmonies, given.probes):
        row = solve(*cell, seed=given.seed)
        print(markdown(row), flush=True)
        failed += not row.reached.solved
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
