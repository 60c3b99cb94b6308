"""Where each complete episode lies in the stream of positions."""

from __future__ import annotations

from collections import deque
from typing import TypedDict

import numpy as np


class EpisodeState(TypedDict):
    """What a checkpoint keeps of an `EpisodeIndex`; arrays are int64 of shape (N,)."""

    starts: np.ndarray
    lengths: np.ndarray
    open_start: int
    open_length: int
    skipped: int


class EpisodeIndex:
    """Complete episodes, oldest first, and the episode that is still open.

    Positions count every record that was ever added; an episode is a start position and a length.

    Args:
        capacity: records in complete episodes above which the oldest episodes go.
        min_length: shorter episodes are forgotten.
        min_steps: records that stay in complete episodes, even above the capacity; at least 1.

    Attributes:
        steps: records in the complete episodes.
        open_start: position of the open episode's first record.
        open_length: its records so far, 0 when none is open.
        skipped: number of episodes that were too short to keep.
    """

    def __init__(self, capacity: int, min_length: int, min_steps: int = 1) -> None:
        self.capacity = capacity
        self.min_length = min_length
        self.min_steps = min_steps
        self._starts: deque[int] = deque()
        self._lengths: deque[int] = deque()
        self._arrays: tuple[np.ndarray, np.ndarray] | None = None
        self.steps = 0
        self.open_start = 0
        self.open_length = 0
        self.skipped = 0

    def __len__(self) -> int:
        return len(self._starts)

    @property
    def next_position(self) -> int:
        """Position of the next record."""
        return self.open_start + self.open_length

    def arrays(self) -> tuple[np.ndarray, np.ndarray]:
        """Starts (N,) and lengths (N,) of the complete episodes, int64, oldest first."""
        if self._arrays is None:  # rebuilt once an episode, not once a batch
            self._arrays = (np.array(self._starts, np.int64), np.array(self._lengths, np.int64))
        return self._arrays

    def runs(self) -> tuple[np.ndarray, np.ndarray]:
        """Starts (N,) and lengths (N,) of the runs of consecutive records, int64, oldest first.

        The open episode belongs to the last one. Two episodes are in different runs where an
        episode between them was too short to keep, so no run joins what did not follow each other.
        """
        starts, lengths = self.arrays()
        if self.open_length:
            starts = np.append(starts, self.open_start)
            lengths = np.append(lengths, self.open_length)
        if not len(starts):
            return starts, lengths
        ends = starts + lengths
        first = np.flatnonzero(np.append(True, starts[1:] != ends[:-1]))
        last = np.append(first[1:], len(starts)) - 1
        return starts[first], ends[last] - starts[first]

    def advance(self) -> None:
        """Count one more record of the open episode."""
        self.open_length += 1

    def close_episode(self) -> bool:
        """Make the open episode a complete one; say whether older ones had to go.

        An episode shorter than `min_length` is forgotten. The newest episode stays even where it
        alone exceeds the capacity, and older ones with it as long as `min_steps` needs them.
        """
        start, length = self.open_start, self.open_length
        self.open_start, self.open_length = start + length, 0
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
            "open_start": self.open_start,
            "open_length": self.open_length,
            "skipped": self.skipped,
        }

    def load_state_dict(self, state: EpisodeState) -> None:
        """Take over a state; a smaller capacity than before drops the oldest episodes."""
        self._starts = deque(state["starts"].tolist())
        self._lengths = deque(state["lengths"].tolist())
        self._arrays = None
        self.steps = sum(self._lengths)
        self.open_start = state["open_start"]
        self.open_length = state["open_length"]
        self.skipped = state["skipped"]
        self._drop_oldest()


def referenced_segments(state: EpisodeState, segment_steps: int) -> set[int]:
    """Numbers of the segments that hold a record of a complete or the open episode.

    The segment that the next record goes to belongs to them, unless that record opens a new one.

    Args:
        state: of an `EpisodeIndex`.
        segment_steps: records of a segment.
    """
    open_start, open_length = state["open_start"], state["open_length"]
    starts = np.append(np.asarray(state["starts"], np.int64), open_start)
    lengths = np.append(np.asarray(state["lengths"], np.int64), open_length)
    starts, lengths = starts[lengths > 0], lengths[lengths > 0]
    first = starts // segment_steps
    last = (starts + lengths - 1) // segment_steps
    position = open_start + open_length
    # +1 where a run of segments begins, -1 behind its end: the running sum counts the references.
    change = np.zeros(position // segment_steps + 2, np.int64)
    np.add.at(change, first, 1)
    np.add.at(change, last + 1, -1)
    segments = {int(segment) for segment in np.flatnonzero(np.cumsum(change))}
    if position % segment_steps:
        segments.add(position // segment_steps)
    return segments
