"""Experience, kept in files that are only ever appended to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, cast

import numpy as np

from harmony.errors import CheckpointError, ConfigError
from harmony.replay.episodes import EpisodeIndex, EpisodeState, referenced_segments
from harmony.replay.layout import Record, RecordSpec, check_record, record_dtype
from harmony.replay.sampler import Pieces
from harmony.replay.segments import Segments
from harmony.replay.sequences import Kind, make_sequences

ENV_SEGMENTS = 10**6
"""Numbers that each environment has for its segments: those of env i begin at i times that."""


class Replay:
    """Complete episodes to learn from, and the open ones, one an environment.

    Each record gets the next position of its environment, counted over the whole run, and lies in a
    segment of that environment. Positions are never reused and files never overwritten as long as a
    checkpoint may refer to them, so a checkpoint is only the list of episodes; `release` deletes
    what no kept checkpoint needs. A state that is loaded cuts the experience back to it: later
    records are forgotten and written anew.

    No random numbers live here: the caller hands in the stream. Equal states and equal streams give
    equal batches, on disk and in memory. Not safe for use by several threads at once.

    Args:
        record_spec: for each key of a record its dtype and its shape within one step.
        directory: for the segment files, of this replay alone; made where it is missing. Experience
            of an earlier process comes with `load_state_dict`.
        capacity: most agent steps in complete episodes; the oldest episodes go first.
        batch_size: sequences a batch, B.
        batch_length: steps a sequence, T.
        min_length: shorter episodes are skipped; below `batch_length`, sequences of several
            episodes are joined to fill T. None: `batch_length`. Not for "stream".
        prioritize_ends: draw the last window of an episode more often. Not for "stream".
        sequences: "episodes" draws a complete episode, then a start in it. "stream" draws any
            T consecutive records: a window may cross the ends of episodes and reach into the
            open one, and no episode is too short.
        storage: "disk" maps the files; "memory" keeps arrays, and writes the files only when a
            state is taken.
        segment_steps: records a file. On disk each file that is in use is kept open.
        keep: "none" deletes the data when the run has finished.
        num_envs: environments whose episodes come, each in its own order.

    Raises:
        ConfigError: a number is out of range, or `prioritize_ends` with "stream".
    """

    def __init__(
        self,
        *,
        record_spec: RecordSpec,
        directory: Path,
        capacity: int,
        batch_size: int,
        batch_length: int,
        min_length: int | None = None,
        prioritize_ends: bool = False,
        sequences: Kind = "episodes",
        storage: Literal["disk", "memory"] = "disk",
        segment_steps: int = 4096,
        keep: Literal["all", "none"] = "all",
        num_envs: int = 1,
    ) -> None:
        if min(capacity, batch_size, batch_length, segment_steps) < 1:
            raise ConfigError(
                "expected replay capacity, batch_size, batch_length and segment_steps of at least "
                f"1, got {capacity}, {batch_size}, {batch_length} and {segment_steps}"
            )
        self.sequences = make_sequences(
            sequences,
            capacity=capacity,
            batch_size=batch_size,
            batch_length=batch_length,
            min_length=batch_length if min_length is None else min_length,
            prioritize_ends=prioritize_ends,
            num_envs=num_envs,
        )
        directory.mkdir(parents=True, exist_ok=True)
        self.record_spec = dict(record_spec)
        self.batch_size = batch_size
        self.batch_length = batch_length
        self.prioritize_ends = prioritize_ends
        self.keep = keep
        self._episodes = EpisodeIndex(
            capacity,
            self.sequences.min_length,
            self.sequences.min_steps,
            num_envs,
            ENV_SEGMENTS * segment_steps,
        )
        self._segments = Segments(directory, record_dtype(record_spec), segment_steps, storage)
        self._flushed = self._episodes.next_positions()  # records of an env before that are durable

    def __len__(self) -> int:
        """Steps in complete episodes."""
        return self._episodes.steps

    @property
    def num_episodes(self) -> int:
        """Complete episodes that a batch may draw from."""
        return len(self._episodes)

    @property
    def ready(self) -> bool:
        """Whether there is something to `sample`."""
        return self.sequences.ready(self._episodes)

    @property
    def directory(self) -> Path:
        """Where the segment files are."""
        return self._segments.directory

    def add(self, record: Record, env: int = 0) -> None:
        """Append one step of an environment; `is_last` completes its episode.

        Raises:
            ValueError: keys, dtypes or shapes differ from `record_spec`, or `is_first` is not
                exactly at the first record of an episode.
            RunDirectoryError: the disk is full.
        """
        check_record(record, self._segments.dtype)
        open_length = self._episodes.open_lengths[env]
        if bool(record["is_first"]) != (open_length == 0):
            raise ValueError(
                f"is_first is {bool(record['is_first'])} after {open_length} "
                "records of the open episode"
            )
        number, offset = divmod(self._episodes.next_position(env), self._segments.segment_steps)
        if offset == 0:
            _check_number(number, env)
            self._segments.create(number)
        slot = self._segments[number][offset]
        for key, value in record.items():
            slot[key] = value
        self._episodes.advance(env)
        if record["is_last"]:
            self._close_episode(env)

    def truncate_open_episode(self, env: int = 0) -> bool:
        """End an environment's open episode at its last record, as if by a time limit.

        For a simulator that was lost, or whose open episode can't be brought back on resume.

        Returns:
            Whether there was one.
        """
        if not self._episodes.open_lengths[env]:
            return False
        self._mark_newest(env, is_last=True)
        self._close_episode(env)
        return True

    def sample(
        self, rng: np.random.Generator, out: dict[str, np.ndarray] | None = None
    ) -> dict[str, np.ndarray]:
        """Draw B sequences of T steps.

        Args:
            rng: the replay's stream; the draw depends on it and on the episodes alone.
            out: arrays to fill, as an earlier call returned them (pinned memory, say). None: new.

        Returns:
            Arrays (B, T, ...) by key. `is_first` is True exactly where a drawn sequence begins, so
            also in the middle of an episode, and where a joined sequence follows. With "stream" it
            is also True where an episode begins inside a window. The action is always the one that
            led to the record, also where `is_first` was forced.

        Raises:
            ConfigError: nothing is long enough yet.
        """
        if not self.ready:
            raise ConfigError(self.sequences.shortage(self._episodes))
        pieces, positions = self.sequences.draw(rng, self._episodes)
        batch = self.empty_batch() if out is None else out
        self._copy(pieces, positions, batch)
        if not self.sequences.keeps_flags:
            batch["is_first"][...] = False
        batch["is_first"][pieces.row, pieces.column] = True
        return batch

    def empty_batch(self) -> dict[str, np.ndarray]:
        """Uninitialised arrays (B, T, ...) for `sample`."""
        sides = (self.batch_size, self.batch_length)
        return {key: np.empty(sides + shape, dtype) for key, (dtype, shape) in self._fields()}

    def state_dict(self) -> dict[str, object]:
        """Make every record durable and describe what is there; the cost is what was added since.

        Raises:
            RunDirectoryError: the disk is full or fails.
        """
        self._flush()
        return {"segment_steps": self._segments.segment_steps, **self._episodes.state_dict()}

    def load_state_dict(self, state: Mapping[str, object]) -> None:
        """Go back to a state; records that came after it are forgotten.

        Raises:
            CheckpointError: a segment is missing, or the files were made by another configuration.
        """
        if state["segment_steps"] != self._segments.segment_steps:
            raise CheckpointError(
                f"expected replay segment_steps={state['segment_steps']} as in the checkpoint, "
                f"got {self._segments.segment_steps}: resume with the run's own configuration"
            )
        episodes = cast(EpisodeState, state)
        self._segments.close_all()
        for number in sorted(self._referenced(episodes)):
            self._segments.open(number)
        self._episodes.load_state_dict(episodes)
        self._segments.close_others(self._referenced(self._episodes.state_dict()))
        self._flushed = self._episodes.next_positions()
        for env, open_length in enumerate(self._episodes.open_lengths):
            if open_length:
                # A future that is forgotten now may have truncated the episode that is open again.
                self._mark_newest(env, is_last=False)

    def release(self, states: Sequence[Mapping[str, object]]) -> None:
        """Delete the segments that neither the live replay nor any of these states refers to.

        Call it when a checkpoint is durable, with the replay states of all checkpoints that are
        kept. Until then files outlive their episodes, whatever the capacity.
        """
        live = self._referenced(self._episodes.state_dict())
        kept = (self._referenced(cast(EpisodeState, state)) for state in states)
        wanted = live.union(*kept)
        for number in self._segments.on_disk():
            if number not in wanted:
                self._segments.delete(number)
        self._segments.close_others(live)

    def close(self, finished: bool) -> None:
        """Let go of the files; a finished run with keep="none" deletes them.

        Args:
            finished: the run reached its last step, so nobody will resume it.
        """
        self._segments.close_all()
        if finished and self.keep == "none":
            for number in self._segments.on_disk():
                self._segments.delete(number)

    def _fields(self) -> list[tuple[str, tuple[np.dtype[np.generic], tuple[int, ...]]]]:
        return sorted(self.record_spec.items())

    def _referenced(self, state: EpisodeState) -> set[int]:
        return referenced_segments(state, self._segments.segment_steps)

    def _close_episode(self, env: int) -> None:
        dropped = self._episodes.close_episode(env)
        if dropped and self._segments.storage == "memory":
            # Kept checkpoints read files; the arrays are needed by the live episodes only.
            self._segments.close_others(self._referenced(self._episodes.state_dict()))

    def _flush(self) -> None:
        positions = self._episodes.next_positions()
        for first, stop in zip(self._flushed, positions, strict=True):
            self._segments.flush(first, stop)
        self._flushed = positions

    def _mark_newest(self, env: int, *, is_last: bool) -> None:
        """Change the flag of the newest record of an environment's open episode."""
        position = self._episodes.next_position(env) - 1
        number, offset = divmod(position, self._segments.segment_steps)
        self._segments[number][offset]["is_last"] = is_last
        self._flushed[env] = min(self._flushed[env], position)

    def _copy(self, pieces: Pieces, positions: np.ndarray, batch: dict[str, np.ndarray]) -> None:
        """Copy each run of steps into its place in the arrays (B, T, ...)."""
        fields = (pieces.row, pieces.column, positions, pieces.length)
        for row, column, position, length in zip(*(f.tolist() for f in fields), strict=True):
            for done, records in self._segments.read(position, length):
                begin = column + done
                for key, array in batch.items():
                    array[row, begin : begin + len(records)] = records[key]


def _check_number(number: int, env: int) -> None:
    if number >= (env + 1) * ENV_SEGMENTS:
        raise ConfigError(
            f"expected at most {ENV_SEGMENTS} segments of an environment in a run, got one more: "
            "start a run with a larger replay segment_steps"
        )
