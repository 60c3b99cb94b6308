"""Which replay files may go: those that no checkpoint on the disk refers to any more."""

from __future__ import annotations

from collections.abc import Mapping

from harmony.replay.store import Replay
from harmony.training.checkpoint import CheckpointStore


class Retention:
    """Releases replay data after a checkpoint has become durable.

    Args:
        replay: keeps what any known state refers to.
        checkpoints: says which steps have a checkpoint.
    """

    def __init__(self, replay: Replay, checkpoints: CheckpointStore) -> None:
        self.replay = replay
        self.checkpoints = checkpoints
        self._states: dict[int, Mapping[str, object]] = {}

    def restored(self, step: int, state: Mapping[str, object]) -> None:
        """A checkpoint was loaded; what older ones refer to is unknown."""
        self._states = {step: state}

    def saved(self, step: int, state: Mapping[str, object]) -> None:
        """A checkpoint became durable, and the store has deleted those that are too many.

        Args:
            step: of the checkpoint.
            state: of the replay in it.
        """
        steps = set(self.checkpoints.steps())
        self._states = {
            known: kept for known, kept in (self._states | {step: state}).items() if known in steps
        }
        # After a restart an older checkpoint is unknown until it has been replaced.
        if steps == set(self._states):
            self.replay.release(list(self._states.values()))
