"""Where each complete episode lies in the stream of positions."""

from __future__ import annotations

from collections import deque
from typing import TypedDict

import numpy as np


class EpisodeState(TypedDict):
    """What a checkpoint keeps of an `EpisodeIndex`; arrays are int64.

    Those of complete episodes have the shape (N,), those of open ones (num_envs,).
    """

    starts: np.ndarray
    lengths: np.ndarray
    open_starts: np.ndarray
    open_lengths: np.ndarray
    skipped: int


class EpisodeIndex:
    """Complete episodes, oldest first, and those that are still open, one an environment.

    Positions count every record that was ever added of an environment, from a start of its own on;
    so an episode is a start position and a length, whatever other environments did meanwhile.

    Args:
        capacity: records in complete episodes above which the oldest episodes go.
        min_length: shorter episodes are forgotten.
        min_steps: records that stay in complete episodes, even above the capacity; at least 1.
        num_envs: environments whose records come.
        env_positions: positions that each of them has for its own; env i begins at i times that.

    Attributes:
        steps: records in the complete episodes.
        open_starts: position of the open episode's first record, by environment.
        open_lengths: its records so far, 0 when none is open.
        skipped: number of episodes that were too short to keep.
    """

    def __init__(
        self,
        capacity: int,
        min_length: int,
        min_steps: int = 1,
        num_envs: int = 1,
        env_positions: int = 0,
    ) -> None:
        self.capacity = capacity
        self.min_length = min_length
        self.min_steps = min_steps
        self._starts: deque[int] = deque()
        self._lengths: deque[int] = deque()
        self._arrays: tuple[np.ndarray, np.ndarray] | None = None
        self.steps = 0
        self.open_starts = [env * env_positions for env in range(num_envs)]
        self.open_lengths = [0] * num_envs
        self.skipped = 0

    def __len__(self) -> int:
        return len(self._starts)

    def next_position(self, env: int = 0) -> int:
        """Position of the next record of an environment."""
        return self.open_starts[env] + self.open_lengths[env]

    def next_positions(self) -> list[int]:
        """Likewise, of all of them."""
        return [self.next_position(env) for env in range(len(self.open_starts))]

    def arrays(self) -> tuple[np.ndarray, np.ndarray]:
        """Starts (N,) and lengths (N,) of the complete episodes, int64, oldest first."""
        if self._arrays is None:  # rebuilt once an episode, not once a batch
            self._arrays = (np.array(self._starts, np.int64), np.array(self._lengths, np.int64))
        return self._arrays

    def runs(self) -> tuple[np.ndarray, np.ndarray]:
        """Starts (N,) and lengths (N,) of the runs of consecutive records, int64, by position.

        The open episode belongs to the last run of its environment. Two episodes are in different
        runs where an episode between them was too short to keep, so no run joins what did not
        follow each other.
        """
        starts, lengths = self._with_open(*self.arrays())
        if not len(starts):
            return starts, lengths
        # Episodes stand in the order in which they ended; of one environment that is sorted.
        order = np.argsort(starts, kind="stable")
        starts, lengths = starts[order], lengths[order]
        ends = starts + lengths
        first = np.flatnonzero(np.append(True, starts[1:] != ends[:-1]))
        last = np.append(first[1:], len(starts)) - 1
        return starts[first], ends[last] - starts[first]

    def _with_open(self, starts: np.ndarray, lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        if not any(self.open_lengths):
            return starts, lengths
        opened = [env for env, length in enumerate(self.open_lengths) if length]
        return (
            np.append(starts, [self.open_starts[env] for env in opened]),
            np.append(lengths, [self.open_lengths[env] for env in opened]),
        )

    def advance(self, env: int = 0) -> None:
        """Count one more record of an environment's open episode."""
        self.open_lengths[env] += 1

    def close_episode(self, env: int = 0) -> bool:
        """Make an environment's open episode a complete one; say whether older ones had to go.

        An episode shorter than `min_length` is forgotten. The newest episode stays even where it
        alone exceeds the capacity, and older ones with it as long as `min_steps` needs them.
        """
        start, length = self.open_starts[env], self.open_lengths[env]
        self.open_starts[env], self.open_lengths[env] = start + length, 0
        if length < self.min_length:
            self.skipped += 1
            return True
        self._starts.append(start)
        self._lengths.append(length)
        self.steps += length
        self._arrays = None
        return self._drop_oldest()

    def _drop_oldest(self) -> bool:
        dropped = False
        while self.steps > self.capacity and self.steps - self._lengths[0] >= self.min_steps:
            self._starts.popleft()
            self.steps -= self._lengths.popleft()
            dropped = True
        return dropped

    def state_dict(self) -> EpisodeState:
        """Copies, safe against what is added later."""
        starts, lengths = self.arrays()
        return {
            "starts": starts.copy(),
            "lengths": lengths.copy(),
            "open_starts": np.array(self.open_starts, np.int64),
            "open_lengths": np.array(self.open_lengths, np.int64),
            "skipped": self.skipped,
        }

    def load_state_dict(self, state: EpisodeState) -> None:
        """Take over a state; a smaller capacity than before drops the oldest episodes."""
        self._starts = deque(state["starts"].tolist())
        self._lengths = deque(state["lengths"].tolist())
        self._arrays = None
        self.steps = sum(self._lengths)
        self.open_starts = state["open_starts"].tolist()
        self.open_lengths = state["open_lengths"].tolist()
        self.skipped = state["skipped"]
        self._drop_oldest()


def referenced_segments(state: EpisodeState, segment_steps: int) -> set[int]:
    """Numbers of the segments that hold a record of a complete or an open episode.

    The segments that the next records go to belong to them, unless such a record opens a new one.

    Args:
        state: of an `EpisodeIndex`.
        segment_steps: records of a segment.
    """
    positions = state["open_starts"] + state["open_lengths"]
    starts = np.append(state["starts"], state["open_starts"])
    lengths = np.append(state["lengths"], state["open_lengths"])
    starts, lengths = starts[lengths > 0], lengths[lengths > 0]
    first = starts // segment_steps
    last = (starts + lengths - 1) // segment_steps
    segments = set((positions[positions % segment_steps > 0] // segment_steps).tolist())
    for one, other in set(zip(first.tolist(), last.tolist(), strict=True)):
        segments.update(range(one, other + 1))
    return segments
