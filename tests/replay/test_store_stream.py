"""The replay with sequences="stream": what a window holds, and that resuming changes nothing."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harmony.errors import ConfigError
from harmony.replay.store import Replay
from tests.replay.conftest import SPEC, add_episode, assert_same_batches, batches, counting_record

STREAM = {"sequences": "stream", "batch_size": 32}


def story(*episodes):
    """(episode, t) of the stream's records in order, of episodes given as (number, records)."""
    return [(episode, t) for episode, records in episodes for t in range(records)]


def rows_of(batch):
    """Each row as its (episode, t), from the reward."""
    return [[divmod(int(x), 100) for x in row] for row in batch["reward"]]


def check(batch, told):
    """Rows are windows of the story; actions, flags and rewards are those of their records."""
    starts = set()
    for i, row in enumerate(rows_of(batch)):
        start = told.index(row[0])
        starts.add(start)
        assert row == told[start : start + len(row)]
        forced = [k == 0 or t == 0 for k, (_, t) in enumerate(row)]
        assert batch["is_first"][i].tolist() == forced
        actions = [[episode, t] if t else [0, 0] for episode, t in row]
        assert batch["action"][i].tolist() == actions
    return starts


def test_windows_cross_episodes_and_reach_into_the_open_one(make_replay):
    replay = make_replay(**STREAM)
    add_episode(replay, 1, 3)
    add_episode(replay, 2, 7)
    add_episode(replay, 3, 30, stop=2)
    told = story((1, 3), (2, 7), (3, 2))
    starts = set()
    for batch in batches(replay, 0, 10):
        starts |= check(batch, told)
    assert starts == set(range(12 - 5 + 1))
    assert (len(replay), replay.num_episodes) == (10, 2)


def test_the_newest_record_is_drawn_at_once(make_replay):
    replay = make_replay(**STREAM, batch_length=4)
    for t in range(9):
        assert replay.ready == (t >= 4)
        replay.add(counting_record(1, t, 30))
        if t >= 3:
            newest = max(int(batch["reward"].max()) for batch in batches(replay, t))
            assert newest == 100 + t


def test_flags_of_ends_are_inside_the_window(make_replay):
    replay = make_replay(**STREAM, batch_length=6)
    add_episode(replay, 1, 3)
    add_episode(replay, 2, 3)
    batch = replay.sample(np.random.default_rng(0))
    assert batch["is_first"].tolist() == [[True, False, False] * 2] * 32
    assert batch["is_last"].tolist() == [[False, False, True] * 2] * 32
    assert batch["is_terminal"].tolist() == [[False, False, True, False, False, False]] * 32


def test_a_forced_start_changes_no_stored_flag(make_replay):
    replay = make_replay(**STREAM)
    add_episode(replay, 1, 12)
    for batch in batches(replay, 0, 20):
        assert not batch["is_first"][:, 1:].any()


def test_no_episode_is_too_short(make_replay):
    replay = make_replay(**STREAM, min_length=5)
    for episode in range(1, 5):
        add_episode(replay, episode, 2)
    assert (len(replay), replay.num_episodes) == (8, 4)
    check(replay.sample(np.random.default_rng(0)), story((1, 2), (2, 2), (3, 2), (4, 2)))


def test_sampling_from_too_little_says_why(make_replay):
    replay = make_replay(**STREAM)
    add_episode(replay, 1, 3)
    replay.add(counting_record(2, 0, 9))
    assert not replay.ready
    with pytest.raises(ConfigError, match=r"expected 5 consecutive records .*got 4: prefill more"):
        replay.sample(np.random.default_rng(0))


def test_capacity_drops_whole_oldest_episodes(make_replay):
    replay = make_replay(**STREAM, capacity=20)
    for episode in range(1, 8):
        add_episode(replay, episode, 7)
    add_episode(replay, 8, 7, stop=3)
    assert (len(replay), replay.num_episodes) == (14, 2)
    starts = set()
    for batch in batches(replay, 0, 10):
        starts |= check(batch, story((6, 7), (7, 7), (8, 3)))
    assert starts == set(range(13))


def test_capacity_never_takes_the_last_window(make_replay):
    # Episodes of 4 records and windows of 5, so one episode alone would not do.
    replay = make_replay(**STREAM, capacity=6)
    for episode in range(1, 9):
        add_episode(replay, episode, 4)
        assert replay.ready == (episode > 1)
    assert replay.num_episodes == 2
    check(replay.sample(np.random.default_rng(0)), story((7, 4), (8, 4)))


def test_ends_can_not_be_prioritised(make_replay):
    with pytest.raises(ConfigError, match="prioritize_ends=false with sequences=stream"):
        make_replay(**STREAM, prioritize_ends=True)


@pytest.mark.parametrize("open_steps", [0, 1, 3, 6])
def test_resume_equals_going_on(make_replay, open_steps):
    replay = make_replay(**STREAM, capacity=30)
    for episode in range(1, 7):
        add_episode(replay, episode, 5 + episode)
    add_episode(replay, 8, 9, stop=open_steps)
    state = replay.state_dict()
    sampled = batches(replay, 0)

    def go_on(one):
        for t in range(open_steps, 9):
            one.add(counting_record(8, t, 9))
        add_episode(one, 9, 8, stop=3)
        return batches(one, 1)

    straight = go_on(replay)
    resumed = make_replay(**STREAM, capacity=30)
    resumed.load_state_dict(state)
    assert_same_batches(batches(resumed, 0), sampled)
    assert_same_batches(go_on(resumed), straight)
    after, before = resumed.state_dict(), replay.state_dict()
    for key, value in before.items():
        np.testing.assert_array_equal(after[key], value)


def test_a_truncated_episode_is_followed_by_a_first_record(make_replay):
    replay = make_replay(**STREAM)
    add_episode(replay, 1, 30, stop=4)
    resumed = make_replay(**STREAM)
    resumed.load_state_dict(replay.state_dict())
    assert resumed.truncate_open_episode()
    add_episode(resumed, 2, 6, stop=4)
    joined = False
    for batch in batches(resumed, 0, 10):
        check(batch, story((1, 4), (2, 4)))
        for i, row in enumerate(rows_of(batch)):
            last = [step == (1, 3) for step in row]
            assert batch["is_last"][i].tolist() == last
            joined |= any(last[:-1])
    assert joined


def test_records_of_a_lost_future_are_never_joined(make_replay):
    replay = make_replay(**STREAM)
    add_episode(replay, 1, 6)
    add_episode(replay, 2, 30, stop=4)
    state = replay.state_dict()
    for t in range(4, 30):
        replay.add(counting_record(2, t, 30))
    add_episode(replay, 3, 11)
    replay.state_dict()
    resumed = make_replay(**STREAM)
    resumed.load_state_dict(state)
    resumed.truncate_open_episode()
    add_episode(resumed, 5, 8)
    for batch in batches(resumed, 0, 10):
        check(batch, story((1, 6), (2, 4), (5, 8)))


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    lengths=st.lists(st.integers(1, 12), min_size=1, max_size=12),
    open_steps=st.integers(0, 8),
    segment_steps=st.integers(1, 9),
    capacity=st.integers(5, 40),
    cut=st.integers(0, 12),
)
def test_disk_memory_and_resume_agree(
    tmp_path_factory, lengths, open_steps, segment_steps, capacity, cut
):
    def make(storage, directory):
        return Replay(
            record_spec=SPEC,
            directory=directory,
            capacity=capacity,
            batch_size=16,
            batch_length=5,
            sequences="stream",
            storage=storage,
            segment_steps=segment_steps,
        )

    results, told = [], story(*enumerate(lengths, 1), (99, open_steps))
    for storage in ("disk", "memory"):
        directory = tmp_path_factory.mktemp("replay")
        straight = make(storage, directory / "straight")
        resumed = make(storage, directory / "resumed")
        for episode, length in enumerate(lengths, 1):
            add_episode(straight, episode, length)
            add_episode(resumed, episode, length)
            if episode == cut:
                state = resumed.state_dict()
                resumed.release([state])
                add_episode(resumed, 77, 11)
                resumed = make(storage, directory / "resumed")
                resumed.load_state_dict(state)
        for one in (straight, resumed):
            add_episode(one, 99, 9, stop=open_steps)
        assert straight.ready == (len(told) >= 5)
        if not straight.ready:
            return
        results += [batches(straight, 5, 3), batches(resumed, 5, 3)]
    for other in results:
        assert_same_batches(results[0], other)
        for batch in other:
            check(batch, told)
