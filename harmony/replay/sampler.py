"""Which steps make up a batch: pure index arithmetic, no records."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

END_STARTS = 50
"""Extra starts behind the last valid one when ends are prioritised.

Each is clipped to the last valid start, so an episode's last window is drawn 51 times as often as
any other. Source: HarmonyDream, torch, configs/dreamerv2.yaml, `ends_priority: 50`.
"""


class Pieces(NamedTuple):
    """Runs of consecutive steps that fill a batch; each field is int64 of shape (P,).

    Attributes:
        row: row of the batch, 0..B-1.
        column: first time index that the run fills, 0..T-1.
        episode: index of the episode, or of the run of consecutive records.
        start: first step within it.
        length: steps.
    """

    row: np.ndarray
    column: np.ndarray
    episode: np.ndarray
    start: np.ndarray
    length: np.ndarray


def num_starts(total: np.ndarray, length: np.ndarray, *, prioritize_ends: bool) -> np.ndarray:
    """Number of values that a start is drawn from, before clipping.

    Args:
        total: steps of the episode, (N,).
        length: steps of the window, (N,), at most `total`.
        prioritize_ends: adds `END_STARTS`.
    """
    starts: np.ndarray = total - length + 1 + (END_STARTS if prioritize_ends else 0)
    return starts


def clip_start(draw: np.ndarray, total: np.ndarray, length: np.ndarray) -> np.ndarray:
    """Turn a draw below `num_starts` into a start; all arrays (N,)."""
    start: np.ndarray = np.minimum(draw, total - length)
    return start


def draw_windows(
    rng: np.random.Generator, lengths: np.ndarray, *, batch_size: int, batch_length: int
) -> Pieces:
    """Draw a batch of whole windows, uniformly over all valid starts of all runs.

    A run is a stretch of consecutive records, of one or many episodes. It takes the place of the
    episode in the result; each row is one piece.

    Args:
        rng: the replay's stream.
        lengths: records of each run, (N,), at least one of them `batch_length` or more.
        batch_size: B.
        batch_length: T.

    Source: DreamerV3 (2023), embodied/replay/generic.py, with its uniform sampler.
    """
    starts = np.maximum(lengths - batch_length + 1, 0)
    ends = np.cumsum(starts)
    draw = rng.integers(ends[-1], size=batch_size)
    # To the right: a run without a valid start ends where the one before it does.
    run = np.searchsorted(ends, draw, side="right")
    return Pieces(
        row=np.arange(batch_size),
        column=np.zeros(batch_size, np.int64),
        episode=run,
        start=draw - (ends - starts)[run],
        length=np.full(batch_size, batch_length),
    )


def draw_pieces(
    rng: np.random.Generator,
    lengths: np.ndarray,
    *,
    batch_size: int,
    batch_length: int,
    prioritize_ends: bool,
) -> Pieces:
    """Draw a batch: an episode uniformly, then a start; short rows go on with another draw.

    A row that is not full is continued by a fresh draw of just the length that it still needs, so
    a batch depends on `rng` and `lengths` alone. (The original keeps the rest of a cut sequence for
    the next batch; its sequences are at most `batch_length` long in every preset, as here.)

    Args:
        rng: the replay's stream.
        lengths: steps of each episode that may be drawn, (N,), N >= 1, each >= 1.
        batch_size: B.
        batch_length: T.
        prioritize_ends: draw the last window of an episode more often.
    """
    filled = np.zeros(batch_size, np.int64)
    rounds: list[Pieces] = []
    while True:
        row = np.flatnonzero(filled < batch_length)
        if not row.size:
            break
        episode = rng.integers(len(lengths), size=row.size)
        total = lengths[episode]
        length = np.minimum(total, batch_length - filled[row])
        draw = rng.integers(num_starts(total, length, prioritize_ends=prioritize_ends))
        start = clip_start(draw, total, length)
        rounds.append(Pieces(row, filled[row], episode, start, length))
        filled[row] += length
    return Pieces(*(np.concatenate(field) for field in zip(*rounds, strict=True)))
