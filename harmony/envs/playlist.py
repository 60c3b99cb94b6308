"""The frames of some clips as one endless film."""

from bisect import bisect_right
from collections.abc import Callable, Sequence
from itertools import accumulate
from pathlib import Path

import numpy as np


class Playlist:
    """Clips one after another, from the beginning again at their end.

    Args:
        clips: uint8 (F, S, S, C) each, with one or more frames.
        num_frames: at most so many of their frames; the last clip may be cut.
    """

    def __init__(self, clips: Sequence[np.ndarray], num_frames: int) -> None:
        self._clips = [np.asarray(clip) for clip in clips]  # slices of mapped files are slow
        self._ends = list(accumulate(len(clip) for clip in clips))
        self._num_frames = min(num_frames, self._ends[-1])

    def __len__(self) -> int:
        return self._num_frames

    def __getitem__(self, index: int) -> np.ndarray:
        """Frame (S, S, C); the index may be of any later round."""
        index %= self._num_frames
        clip = bisect_right(self._ends, index)
        frame: np.ndarray = self._clips[clip][index - self._ends[clip]]
        return frame


def whole_clips(
    paths: Sequence[Path],
    load: Callable[[Path], np.ndarray],
    num_frames: int,
    rng: np.random.Generator,
) -> Playlist:
    """Whole clips in a random order until there are enough frames; each again when all are played.

    Args:
        paths: to choose from.
        load: gives the frames of one, (F, S, S, C).
        num_frames: of the playlist.
        rng: draws the order.
    """
    clips: list[np.ndarray] = []
    total = 0
    while total < num_frames:
        for index in rng.permutation(len(paths)):
            clips.append(load(paths[index]))
            total += len(clips[-1])
            if total >= num_frames:
                break
    return Playlist(clips, num_frames)
