import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harmony.errors import CheckpointError
from harmony.replay.store import Replay
from tests.replay.conftest import SPEC, add_episode, assert_same_batches, batches, counting_record


def segment_numbers(replay):
    return sorted(int(path.stem[-6:]) for path in replay.directory.glob("segment-*.npy"))


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


def test_an_episode_truncated_in_a_lost_future_is_open_again(make_replay):
    replay = make_replay()
    add_episode(replay, 1, 30, stop=8)  # to the end of a segment
    state = replay.state_dict()
    replay.truncate_open_episode()
    add_episode(replay, 2, 5)
    replay.state_dict()
    resumed = make_replay()
    resumed.load_state_dict(state)
    for t in range(8, 12):
        resumed.add(counting_record(1, t, 12))
    again = make_replay()
    again.load_state_dict(resumed.state_dict())
    for one in (resumed, again):
        for batch in batches(one, 0, 10):
            np.testing.assert_array_equal(batch["is_last"], batch["reward"] == 111)


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
