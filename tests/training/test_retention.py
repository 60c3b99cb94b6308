"""What may be deleted after a checkpoint."""

from harmony.training.retention import Retention


class Checkpoints:
    def __init__(self, *steps):
        self.kept = list(steps)

    def steps(self):
        return self.kept


class Replay:
    def __init__(self):
        self.released = []

    def release(self, states):
        self.released.append([state["name"] for state in states])


def test_data_of_every_kept_checkpoint_stays():
    replay, checkpoints = Replay(), Checkpoints(1)
    retention = Retention(replay, checkpoints)
    retention.saved(1, {"name": "one"})
    checkpoints.kept = [1, 2]
    retention.saved(2, {"name": "two"})
    checkpoints.kept = [2, 3]
    retention.saved(3, {"name": "three"})
    assert replay.released == [["one"], ["one", "two"], ["two", "three"]]


def test_nothing_goes_while_a_checkpoint_is_unknown():
    replay, checkpoints = Replay(), Checkpoints(5, 7)
    retention = Retention(replay, checkpoints)
    retention.restored(7, {"name": "seven"})
    checkpoints.kept = [5, 7]
    retention.saved(7, {"name": "seven again"})
    assert replay.released == []
    checkpoints.kept = [7, 9]
    retention.saved(9, {"name": "nine"})
    assert replay.released == [["seven again", "nine"]]
