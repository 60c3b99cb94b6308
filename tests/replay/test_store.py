import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harmony.errors import CheckpointError, ConfigError
from harmony.replay.store import Replay
from tests.replay.conftest import SPEC, add_episode, assert_same_batches, batches, counting_record


def segment_numbers(replay):
    return sorted(int(path.stem[-6:]) for path in replay.directory.glob("segment-*.npy"))


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


@pytest.mark.parametrize("open_steps", [0, 1, 3, 6])
def test_resume_equals_going_on(make_replay, open_steps):
    replay = make_replay(capacity=30)
    for episode in range(1, 7):
        add_episode(replay, episode, 5 + episode)
    add_episode(replay, 8, 9, stop=open_steps)
    state = replay.state_dict()
    sampled = batches(replay, 0)

    def go_on(one):
        for t in range(open_steps, 9):
            one.add(counting_record(8, t, 9))
        add_episode(one, 9, 8)
        return batches(one, 1)

    straight = go_on(replay)
    resumed = make_replay(capacity=30)
    resumed.load_state_dict(state)
    # Lengths 6 to 11: the newest three fill the capacity.
    assert (len(resumed), resumed.num_episodes) == (30, 3)
    assert_same_batches(batches(resumed, 0), sampled)
    assert_same_batches(go_on(resumed), straight)
    after, before = resumed.state_dict(), replay.state_dict()
    for key, value in before.items():
        np.testing.assert_array_equal(after[key], value)


def test_cut_back_forgets_and_overwrites(make_replay):
    replay = make_replay()
    add_episode(replay, 1, 6)
    state = replay.state_dict()
    add_episode(replay, 2, 11)
    replay.state_dict()
    resumed = make_replay()
    resumed.load_state_dict(state)
    assert len(resumed) == 6
    add_episode(resumed, 3, 7)
    rewards = np.stack([batch["reward"] for batch in batches(resumed, 0, 20)])
    assert set((rewards // 100).astype(int).flat) == {1, 3}
    # The file of an older future, 16..19, is still there until nobody refers to it.
    assert segment_numbers(resumed)[-1] == 4
    resumed.release([resumed.state_dict()])
    assert segment_numbers(resumed) == [0, 1, 2, 3]


def test_cut_back_in_the_same_process(make_replay):
    replay = make_replay()
    add_episode(replay, 1, 6)
    state, sampled = replay.state_dict(), batches(replay, 0)
    add_episode(replay, 2, 11)
    replay.load_state_dict(state)
    assert_same_batches(batches(replay, 0), sampled)


def test_disk_can_be_resumed_in_memory_and_back(make_replay):
    disk = make_replay(storage="disk")
    add_episode(disk, 1, 9)
    memory = make_replay(storage="memory")
    memory.load_state_dict(disk.state_dict())
    add_episode(memory, 2, 6)
    back = make_replay(storage="disk")
    back.load_state_dict(memory.state_dict())
    assert_same_batches(batches(back, 0), batches(memory, 0))
    assert len(back) == 15


def test_records_after_the_last_state_are_not_needed(make_replay):
    """What a kill leaves: files that hold more, or less in memory mode, than the state says."""
    replay = make_replay()
    add_episode(replay, 1, 6)
    state = replay.state_dict()
    add_episode(replay, 2, 40)
    straight = batches(replay, 0)
    replay.close(finished=False)
    for path in replay.directory.glob("segment-*.npy"):
        if int(path.stem[-6:]) > 1:
            path.write_bytes(b"torn")
    resumed = make_replay()
    resumed.load_state_dict(state)
    add_episode(resumed, 2, 40)
    assert_same_batches(batches(resumed, 0), straight)


def test_state_holds_ints_and_arrays(make_replay):
    replay = make_replay()
    add_episode(replay, 1, 6)
    assert {type(value) for value in replay.state_dict().values()} == {int, np.ndarray}


def test_a_missing_segment_is_named(make_replay):
    replay = make_replay()
    add_episode(replay, 1, 6)
    state = replay.state_dict()
    (replay.directory / "segment-000001.npy").unlink()
    with pytest.raises(CheckpointError, match=r"segment-000001.npy.*missing"):
        make_replay().load_state_dict(state)


def test_another_layout_is_refused(make_replay):
    replay = make_replay()
    add_episode(replay, 1, 6)
    state = replay.state_dict()
    with pytest.raises(CheckpointError, match="segment_steps=4"):
        make_replay(segment_steps=8).load_state_dict(state)
    wider = SPEC | {"action": (np.dtype(np.float32), (3,))}
    with pytest.raises(CheckpointError, match="another layout"):
        make_replay(record_spec=wider).load_state_dict(state)


def test_release_deletes_what_nothing_refers_to(make_replay):
    replay = make_replay(capacity=10)
    add_episode(replay, 1, 8)  # 0..7: segments 0 and 1
    old = replay.state_dict()
    add_episode(replay, 2, 8)  # 8..15: segments 2 and 3
    middle = replay.state_dict()
    add_episode(replay, 3, 8)  # 16..23: segments 4 and 5
    new = replay.state_dict()
    assert segment_numbers(replay) == [0, 1, 2, 3, 4, 5]
    replay.release([old, middle, new])
    assert segment_numbers(replay) == [0, 1, 2, 3, 4, 5]
    replay.release([middle, new])
    assert segment_numbers(replay) == [2, 3, 4, 5]
    sampled = batches(replay, 0)
    resumed = make_replay(capacity=10)
    resumed.load_state_dict(middle)
    assert resumed.sample(np.random.default_rng(0))["reward"].min() >= 200
    replay.release([new])
    assert segment_numbers(replay) == [4, 5]
    assert_same_batches(batches(replay, 0), sampled)


def test_release_keeps_what_is_live_without_any_state(make_replay):
    replay = make_replay(capacity=10)
    add_episode(replay, 1, 8)
    add_episode(replay, 2, 8)
    add_episode(replay, 3, 9, stop=3)
    replay.state_dict()
    replay.release([])
    assert segment_numbers(replay) == [2, 3, 4]


def test_a_released_number_is_made_again(make_replay):
    replay = make_replay()
    add_episode(replay, 1, 6)
    state = replay.state_dict()
    add_episode(replay, 2, 11)
    replay.state_dict()
    replay.load_state_dict(state)
    replay.release([state])
    assert segment_numbers(replay) == [0, 1]
    add_episode(replay, 3, 11)
    resumed = make_replay()
    resumed.load_state_dict(replay.state_dict())
    assert_same_batches(batches(resumed, 0), batches(replay, 0))


def test_release_keeps_the_segment_being_written(make_replay):
    replay = make_replay()
    add_episode(replay, 1, 2)  # skipped
    replay.release([replay.state_dict()])
    assert segment_numbers(replay) == [0]
    add_episode(replay, 2, 9)
    state = replay.state_dict()
    resumed = make_replay()
    resumed.load_state_dict(state)
    assert resumed.sample(np.random.default_rng(0))["reward"].min() >= 200


@pytest.mark.parametrize(
    ("keep", "finished", "left"), [("all", True, 2), ("none", True, 0), ("none", False, 2)]
)
def test_close(make_replay, keep, finished, left):
    replay = make_replay(keep=keep)
    add_episode(replay, 1, 6)
    replay.state_dict()
    replay.close(finished)
    assert len(segment_numbers(replay)) == left


def test_the_open_episode_can_be_truncated(make_replay):
    replay = make_replay()
    assert not replay.truncate_open_episode()
    add_episode(replay, 1, 30, stop=5)
    state = replay.state_dict()
    resumed = make_replay()
    resumed.load_state_dict(state)
    assert resumed.truncate_open_episode()
    assert not resumed.truncate_open_episode()
    again = make_replay()
    again.load_state_dict(resumed.state_dict())
    batch = again.sample(np.random.default_rng(0))
    assert batch["is_last"].tolist() == [[False, False, False, False, True]] * 4
    assert not batch["is_terminal"].any()
    add_episode(again, 2, 5)
    assert len(again) == 10


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


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    lengths=st.lists(st.integers(1, 12), min_size=1, max_size=12),
    segment_steps=st.integers(1, 9),
    capacity=st.integers(1, 40),
    min_length=st.integers(1, 5),
    cut=st.integers(0, 12),
)
def test_disk_memory_and_resume_agree(
    tmp_path_factory, lengths, segment_steps, capacity, min_length, cut
):
    def make(storage, directory):
        return Replay(
            record_spec=SPEC,
            directory=directory,
            capacity=capacity,
            batch_size=3,
            batch_length=5,
            min_length=min_length,
            prioritize_ends=True,
            storage=storage,
            segment_steps=segment_steps,
        )

    results = []
    for storage in ("disk", "memory"):
        directory = tmp_path_factory.mktemp("replay")
        straight = make(storage, directory / "straight")
        resumed = make(storage, directory / "resumed")
        for episode, length in enumerate(lengths):
            add_episode(straight, episode, length)
            add_episode(resumed, episode, length)
            if episode == cut:
                state = resumed.state_dict()
                resumed.release([state])
                add_episode(resumed, 77, 11)
                resumed = make(storage, directory / "resumed")
                resumed.load_state_dict(state)
        if not straight.num_episodes:
            return
        results += [batches(straight, 5, 3), batches(resumed, 5, 3)]
    for other in results[1:]:
        assert_same_batches(results[0], other)
