"""What a sequence may be made of: one class a kind, chosen by name."""

from __future__ import annotations

from typing import Literal, Protocol

import numpy as np

from harmony.errors import ConfigError
from harmony.replay.episodes import EpisodeIndex
from harmony.replay.sampler import Pieces, draw_pieces, draw_windows

Kind = Literal["episodes", "stream"]


class Sequences(Protocol):
    """Draws batches of B sequences of T steps.

    Attributes:
        min_length: episodes with fewer records are not kept.
        min_steps: records that stay in complete episodes, whatever the capacity.
        keeps_flags: whether a stored `is_first` counts; else only where a drawn piece begins.
    """

    min_length: int
    min_steps: int
    keeps_flags: bool

    def ready(self, episodes: EpisodeIndex) -> bool:
        """Whether there is something to draw."""

    def shortage(self, episodes: EpisodeIndex) -> str:
        """Why there is nothing, in one line."""

    def draw(self, rng: np.random.Generator, episodes: EpisodeIndex) -> tuple[Pieces, np.ndarray]:
        """P pieces that fill a batch, and the position of the first record of each, (P,)."""


class EpisodeSequences:
    """A complete episode, uniformly, then a start in it; short rows go on with another episode.

    Args:
        batch_size: B.
        batch_length: T.
        min_length: shorter episodes are skipped; below T, pieces of several episodes are joined.
        prioritize_ends: draw the last window of an episode more often.

    Raises:
        ConfigError: `min_length` is out of range.
    """

    min_steps = 1
    keeps_flags = False

    def __init__(
        self, *, batch_size: int, batch_length: int, min_length: int, prioritize_ends: bool
    ) -> None:
        if not 1 <= min_length <= batch_length:
            raise ConfigError(
                f"expected a replay min_length of 1 to batch_length ({batch_length}), "
                f"got {min_length}"
            )
        self.batch_size = batch_size
        self.batch_length = batch_length
        self.min_length = min_length
        self.prioritize_ends = prioritize_ends

    def ready(self, episodes: EpisodeIndex) -> bool:
        """Whether an episode is complete."""
        return len(episodes) > 0

    def shortage(self, episodes: EpisodeIndex) -> str:
        """What there is instead of a complete episode."""
        return (
            "expected a complete episode to sample from, got none (records of the open episode:"
            f" {sum(episodes.open_lengths)}, episodes skipped as shorter than replay "
            f"min_length={self.min_length}: {episodes.skipped}): prefill more "
            "or lower min_length"
        )

    def draw(self, rng: np.random.Generator, episodes: EpisodeIndex) -> tuple[Pieces, np.ndarray]:
        """See `Sequences` and `draw_pieces`."""
        starts, lengths = episodes.arrays()
        pieces = draw_pieces(
            rng,
            lengths,
            batch_size=self.batch_size,
            batch_length=self.batch_length,
            prioritize_ends=self.prioritize_ends,
        )
        return pieces, starts[pieces.episode] + pieces.start


class StreamSequences:
    """Any T consecutive records, uniformly over all starts.

    A window may cross the ends of episodes and reach into the open one. It never joins records
    that did not follow each other, except where an episode begins, which `is_first` says.

    Args:
        batch_size: B.
        batch_length: T.
        capacity: of the replay.
        prioritize_ends: must be False.
        num_envs: environments whose records come. Windows don't mix them, so the replay must hold
            so many records that those of one of them fill a window.

    Raises:
        ConfigError: `prioritize_ends`, or a capacity that may not hold a window.

    Source: DreamerV3 (2023), embodied/replay/generic.py. Differs: the original drops the oldest
    window where this drops whole episodes.
    """

    min_length = 1
    keeps_flags = True

    def __init__(
        self,
        *,
        batch_size: int,
        batch_length: int,
        capacity: int,
        prioritize_ends: bool,
        num_envs: int = 1,
    ) -> None:
        if prioritize_ends:
            raise ConfigError(
                "expected replay prioritize_ends=false with sequences=stream, whose windows cross "
                "the ends of episodes, got true: set prioritize_ends=false or sequences=episodes"
            )
        self.min_steps = num_envs * (batch_length - 1) + 1
        if capacity < self.min_steps:
            least = "batch_length" if num_envs == 1 else "num_envs * (batch_length - 1) + 1"
            raise ConfigError(
                f"expected a replay capacity of at least {least} ({self.min_steps}) with "
                f"sequences=stream, got {capacity}: raise capacity or lower batch_length"
            )
        self.batch_size = batch_size
        self.batch_length = batch_length

    def ready(self, episodes: EpisodeIndex) -> bool:
        """Whether T records follow each other."""
        return self._longest(episodes) >= self.batch_length

    def shortage(self, episodes: EpisodeIndex) -> str:
        """How many records follow each other."""
        return (
            f"expected {self.batch_length} consecutive records (replay batch_length) to sample "
            f"from, got {self._longest(episodes)}: prefill more or lower batch_length"
        )

    def draw(self, rng: np.random.Generator, episodes: EpisodeIndex) -> tuple[Pieces, np.ndarray]:
        """See `Sequences` and `draw_windows`."""
        starts, lengths = episodes.runs()
        pieces = draw_windows(
            rng, lengths, batch_size=self.batch_size, batch_length=self.batch_length
        )
        return pieces, starts[pieces.episode] + pieces.start

    def _longest(self, episodes: EpisodeIndex) -> int:
        return int(episodes.runs()[1].max(initial=0))


def make_sequences(
    kind: Kind,
    *,
    capacity: int,
    batch_size: int,
    batch_length: int,
    min_length: int,
    prioritize_ends: bool,
    num_envs: int = 1,
) -> Sequences:
    """The sequences of that kind; see the classes.

    Raises:
        ConfigError: a value does not go with the kind.
    """
    if kind == "stream":
        return StreamSequences(
            batch_size=batch_size,
            batch_length=batch_length,
            capacity=capacity,
            prioritize_ends=prioritize_ends,
            num_envs=num_envs,
        )
    return EpisodeSequences(
        batch_size=batch_size,
        batch_length=batch_length,
        min_length=min_length,
        prioritize_ends=prioritize_ends,
    )
