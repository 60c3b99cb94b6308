import numpy as np
import pytest

from harmony.errors import ConfigError
from harmony.replay.store import Replay
from tests.replay.conftest import SPEC, add_episode, assert_same_batches, batches, counting_record


def test_rows_are_contiguous_across_segment_borders(make_replay):
    replay = make_replay()
    add_episode(replay, 1, 13)
    add_episode(replay, 2, 9)
    assert len(replay) == 22
    assert replay.num_episodes == 2
    seen = set()
    for batch in batches(replay, 0, 40):
        assert batch["image"].shape == (4, 5, 2, 2, 3)
        assert batch["reward"].shape == (4, 5)
        for row in range(4):
            reward = batch["reward"][row]
            np.testing.assert_array_equal(reward, reward[0] + np.arange(5))
            episode, t = divmod(int(reward[0]), 100)
            seen.add((episode, t))
            np.testing.assert_array_equal(batch["image"][row, :, 0, 0, 0], t + np.arange(5))
            expected = [[episode if t + i else 0, t + i] for i in range(5)]
            np.testing.assert_array_equal(batch["action"][row], expected)
            assert batch["is_first"][row].tolist() == [True, False, False, False, False]
            length = {1: 13, 2: 9}[episode]
            last = [t + i == length - 1 for i in range(5)]
            assert batch["is_last"][row].tolist() == last
            assert batch["is_terminal"][row].tolist() == [x and episode == 1 for x in last]
    assert seen == {(1, t) for t in range(9)} | {(2, t) for t in range(5)}


def test_dtypes_are_those_of_the_spec(make_replay):
    replay = make_replay()
    add_episode(replay, 0, 6)
    batch = replay.sample(np.random.default_rng(0))
    assert {key: value.dtype for key, value in batch.items()} == {
        key: dtype for key, (dtype, _) in SPEC.items()
    }
    assert all(value.flags.c_contiguous for value in batch.values())


def test_given_arrays_are_filled(make_replay):
    replay = make_replay()
    add_episode(replay, 0, 9)
    out = replay.empty_batch()
    batch = replay.sample(np.random.default_rng(0), out)
    assert all(batch[key] is out[key] for key in SPEC)
    assert_same_batches([batch], [replay.sample(np.random.default_rng(0))])


def test_a_batch_is_a_copy(make_replay):
    replay = make_replay(batch_size=1)
    add_episode(replay, 0, 5)
    replay.sample(np.random.default_rng(0))["reward"][:] = 7
    assert replay.sample(np.random.default_rng(0))["reward"].tolist() == [[0, 1, 2, 3, 4]]


def test_short_episodes_are_joined(make_replay):
    replay = make_replay(batch_size=200, min_length=2)
    add_episode(replay, 1, 2)
    add_episode(replay, 2, 3)
    batch = replay.sample(np.random.default_rng(0))
    rows = {tuple(map(int, row)) for row in batch["reward"]}
    # Pieces 100..101 and 200..202; the piece that fills a row is as long as what is missing.
    assert (100, 101, 200, 201, 202) in rows
    assert (200, 201, 202, 100, 101) in rows
    assert (100, 101, 100, 101, 201) in rows
    for row in range(200):
        begins = np.flatnonzero(batch["is_first"][row])
        ends = np.append(begins[1:], 5)
        assert begins[0] == 0
        for begin, end in zip(begins, ends, strict=True):
            piece = batch["reward"][row, begin:end]
            np.testing.assert_array_equal(piece, piece[0] + np.arange(end - begin))
            whole = {1: 2, 2: 3}[int(piece[0]) // 100]
            assert end == 5 or end - begin == whole


def test_episodes_below_min_length_are_skipped(make_replay):
    replay = make_replay()
    add_episode(replay, 1, 4)
    assert (len(replay), replay.num_episodes) == (0, 0)
    add_episode(replay, 2, 5)
    assert (len(replay), replay.num_episodes) == (5, 1)
    assert replay.sample(np.random.default_rng(0))["reward"].min() == 200


def test_sampling_from_nothing_says_why(make_replay):
    replay = make_replay()
    add_episode(replay, 1, 4)
    add_episode(replay, 2, 9, stop=3)
    with pytest.raises(ConfigError, match=r"open episode: 3, .*min_length=5: 1") as caught:
        replay.sample(np.random.default_rng(0))
    assert "\n" not in str(caught.value)


def test_the_open_episode_is_not_sampled(make_replay):
    replay = make_replay()
    add_episode(replay, 1, 5)
    add_episode(replay, 2, 30, stop=20)
    assert len(replay) == 5
    assert all(batch["reward"].max() < 200 for batch in batches(replay, 0))


def test_capacity_drops_the_oldest(make_replay):
    replay = make_replay(capacity=20)
    for episode in range(1, 8):
        add_episode(replay, episode, 7)
    assert (len(replay), replay.num_episodes) == (14, 2)
    rewards = np.stack([batch["reward"] for batch in batches(replay, 0, 20)])
    assert set((rewards // 100).astype(int).flat) == {6, 7}


def test_memory_holds_live_segments_only(tmp_path):
    replay = Replay(
        record_spec=SPEC,
        directory=tmp_path,
        capacity=20,
        batch_size=4,
        batch_length=5,
        storage="memory",
        segment_steps=4,
    )
    for episode in range(1, 20):
        add_episode(replay, episode, 7)
    # The newest two episodes are positions 119..132.
    assert sorted(replay._segments._arrays) == [29, 30, 31, 32, 33]


def test_records_out_of_order_are_refused(make_replay):
    replay = make_replay()
    with pytest.raises(ValueError, match="is_first is False after 0"):
        replay.add(counting_record(0, 1, 5))
    replay.add(counting_record(0, 0, 5))
    with pytest.raises(ValueError, match="is_first is True after 1"):
        replay.add(counting_record(0, 0, 5))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"capacity": 0}, "capacity"),
        ({"segment_steps": 0}, "segment_steps"),
        ({"min_length": 6}, "min_length"),
        ({"min_length": 0}, "min_length"),
    ],
)
def test_numbers_out_of_range_are_refused(make_replay, change, message):
    with pytest.raises(ConfigError, match=message):
        make_replay(**change)
