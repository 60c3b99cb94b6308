import numpy as np
import pytest

from harmony.replay.store import Replay

BOOL, FLOAT = np.dtype(bool), np.dtype(np.float32)
SPEC = {
    "image": (np.dtype(np.uint8), (2, 2, 3)),
    "action": (FLOAT, (2,)),
    "reward": (FLOAT, ()),
    "is_first": (BOOL, ()),
    "is_last": (BOOL, ()),
    "is_terminal": (BOOL, ()),
}


def counting_record(episode, t, length):
    """A record that says where it belongs: reward = 100 * episode + t."""
    first, last = t == 0, t == length - 1
    return {
        "image": np.full((2, 2, 3), t % 256, np.uint8),
        "action": np.array([0 if first else episode, 0 if first else t], np.float32),
        "reward": np.float32(100 * episode + t),
        "is_first": np.bool_(first),
        "is_last": np.bool_(last),
        "is_terminal": np.bool_(last and episode % 2 == 1),
    }


def add_episode(replay, episode, length, stop=None):
    """Add the first `stop` records (all by default) of an episode of that length."""
    for t in range(length if stop is None else stop):
        replay.add(counting_record(episode, t, length))


def batches(replay, seed, number=5):
    rng = np.random.default_rng(seed)
    return [replay.sample(rng) for _ in range(number)]


def assert_same_batches(left, right):
    assert len(left) == len(right)
    for one, other in zip(left, right, strict=True):
        assert one.keys() == other.keys()
        for key, value in one.items():
            np.testing.assert_array_equal(value, other[key], err_msg=key)


@pytest.fixture(params=["disk", "memory"])
def storage(request):
    return request.param


@pytest.fixture
def make_replay(tmp_path, storage):
    """Small replay; every call makes a new one, in the same directory unless told otherwise."""

    def make(**changes):
        arguments = {
            "record_spec": SPEC,
            "directory": tmp_path / "replay",
            "capacity": 1000,
            "batch_size": 4,
            "batch_length": 5,
            "storage": storage,
            "segment_steps": 4,
        }
        return Replay(**(arguments | changes))

    return make
