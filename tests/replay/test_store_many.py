"""The replay of several environments: their episodes lie apart, whatever the order of the steps."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harmony.errors import ConfigError
from harmony.replay.store import ENV_SEGMENTS, Replay
from tests.replay.conftest import SPEC, assert_same_batches, batches, counting_record


class Feeder:
    """Adds records of several environments in turn; episode 10 * e + k is env e's k-th."""

    def __init__(self, num_envs, length=7):
        self.lengths = [length + env for env in range(num_envs)]
        self.next = [(0, 0)] * num_envs

    def step(self, replay, env):
        k, t = self.next[env]
        length = self.lengths[env]
        replay.add(counting_record(10 * env + k, t, length), env)
        self.next[env] = (k, t + 1) if t + 1 < length else (k + 1, 0)

    def rounds(self, replay, count):
        for _ in range(count):
            for env in range(len(self.next)):
                self.step(replay, env)


def rows_of(batch):
    return [[divmod(int(x), 100) for x in row] for row in batch["reward"]]


def test_episodes_are_whole_though_their_steps_came_in_turns(make_replay):
    replay = make_replay(num_envs=3, batch_size=64)
    Feeder(3).rounds(replay, 30)
    # Lengths 7, 8 and 9: 4, 3 and 3 complete episodes.
    assert (replay.num_episodes, len(replay)) == (10, 28 + 24 + 27)
    seen = set()
    for batch in batches(replay, 0):
        for row in rows_of(batch):
            assert row == [(row[0][0], row[0][1] + i) for i in range(5)]
            seen.add(row[0][0])
    assert seen == {0, 1, 2, 3, 10, 11, 12, 20, 21, 22}


def test_windows_of_the_stream_follow_one_environment(make_replay):
    replay = make_replay(num_envs=2, sequences="stream", batch_size=64, batch_length=12)
    Feeder(2).rounds(replay, 20)
    starts = set()
    for batch in batches(replay, 0, 10):
        for i, row in enumerate(rows_of(batch)):
            env = row[0][0] // 10
            length = 7 + env
            told = [divmod(step, length) for step in range(20)]
            told = [(10 * env + k, t) for k, t in told]
            start = told.index(row[0])
            starts.add((env, start))
            assert row == told[start : start + 12]
            assert batch["is_first"][i].tolist() == [
                j == 0 or t == 0 for j, (_, t) in enumerate(row)
            ]
    # Every window of both environments, up to their newest records.
    assert starts == {(env, start) for env in (0, 1) for start in range(9)}


def test_the_oldest_episode_goes_first_whoever_it_belongs_to(make_replay):
    replay = make_replay(num_envs=2, capacity=30, batch_size=64)
    Feeder(2).rounds(replay, 28)
    # They ended in the order 0, 10, 1, 11, 2, 12, 3: 30 records are the last four of them.
    assert replay.num_episodes == 4
    seen = {row[0][0] for batch in batches(replay, 0) for row in rows_of(batch)}
    assert seen == {11, 2, 12, 3}


def test_one_that_is_lost_ends_and_the_others_go_on(make_replay):
    replay = make_replay(num_envs=2, batch_size=64)
    feeder = Feeder(2)
    feeder.rounds(replay, 6)
    assert replay.truncate_open_episode(1)
    assert not replay.truncate_open_episode(1)
    feeder.next[1] = (1, 0)
    feeder.rounds(replay, 8)
    ends = {}
    for batch in batches(replay, 0):
        for row, last in zip(rows_of(batch), batch["is_last"].tolist(), strict=True):
            ends |= {step[0]: step[1] for step, is_last in zip(row, last, strict=True) if is_last}
        assert not (batch["is_terminal"] & (batch["reward"] == 1005)).any()
    assert ends == {0: 6, 10: 5, 11: 7, 1: 6}


@pytest.mark.parametrize("sequences", ["episodes", "stream"])
def test_resume_equals_going_on(make_replay, sequences):
    kwargs = {"num_envs": 3, "sequences": sequences, "capacity": 40}
    replay, feeder = make_replay(**kwargs), Feeder(3)
    feeder.rounds(replay, 18)
    state, upcoming = replay.state_dict(), list(feeder.next)
    sampled = batches(replay, 0)
    feeder.rounds(replay, 9)
    straight = batches(replay, 1)
    resumed = make_replay(**kwargs)
    resumed.load_state_dict(state)
    assert_same_batches(batches(resumed, 0), sampled)
    feeder.next = upcoming
    feeder.rounds(resumed, 9)
    assert_same_batches(batches(resumed, 1), straight)
    after, before = resumed.state_dict(), replay.state_dict()
    for key, value in before.items():
        np.testing.assert_array_equal(after[key], value)


def test_each_has_segments_of_its_own_and_old_ones_go(make_replay):
    replay = make_replay(num_envs=2, capacity=16)
    feeder = Feeder(2)
    feeder.rounds(replay, 9)
    replay.state_dict()
    numbers = replay._segments.on_disk
    assert numbers() == [0, 1, 2, ENV_SEGMENTS, ENV_SEGMENTS + 1, ENV_SEGMENTS + 2]
    feeder.rounds(replay, 20)
    replay.release([replay.state_dict()])
    # Of env 0: episode 3 (positions 21 to 27) and the record 28; of env 1: episode 2, 16 to 23.
    assert numbers() == [5, 6, 7, *(ENV_SEGMENTS + number for number in (4, 5, 6, 7))]


def test_a_run_of_too_many_segments_is_told(make_replay, monkeypatch):
    monkeypatch.setattr("harmony.replay.store.ENV_SEGMENTS", 2)
    replay = make_replay(num_envs=2)
    with pytest.raises(ConfigError, match="expected at most 2 segments of an environment"):
        Feeder(2).rounds(replay, 9)


def test_the_stream_needs_room_for_a_window_of_one_of_them(make_replay):
    kwargs = {"num_envs": 3, "sequences": "stream", "batch_length": 5}
    replay, feeder = make_replay(**kwargs, capacity=13), Feeder(3, length=2)
    for _ in range(40):
        feeder.rounds(replay, 1)
        assert replay.ready or replay.num_episodes < 6
    with pytest.raises(ConfigError, match=r"num_envs \* \(batch_length - 1\) \+ 1 \(13\) .*got 12"):
        make_replay(**kwargs, capacity=12)


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    order=st.lists(st.integers(0, 2), min_size=30, max_size=90),
    cut=st.integers(0, 60),
    segment_steps=st.integers(1, 9),
    capacity=st.integers(13, 40),
    sequences=st.sampled_from(["episodes", "stream"]),
)
def test_disk_memory_and_resume_agree_in_any_order(
    tmp_path_factory, order, cut, segment_steps, capacity, sequences
):
    def make(storage, directory):
        return Replay(
            record_spec=SPEC,
            directory=directory,
            capacity=capacity,
            batch_size=16,
            batch_length=5,
            sequences=sequences,
            storage=storage,
            segment_steps=segment_steps,
            num_envs=3,
        )

    results = []
    for storage in ("disk", "memory"):
        directory = tmp_path_factory.mktemp("replay")
        straight, resumed = make(storage, directory / "one"), make(storage, directory / "two")
        one, two = Feeder(3, 5), Feeder(3, 5)
        for count, env in enumerate(order):
            one.step(straight, env)
            two.step(resumed, env)
            if count == cut:
                state, upcoming = resumed.state_dict(), list(two.next)
                resumed.release([state])
                two.rounds(resumed, 7)
                resumed = make(storage, directory / "two")
                resumed.load_state_dict(state)
                two.next = upcoming
        if not straight.ready:
            return
        results += [batches(straight, 5, 3), batches(resumed, 5, 3)]
    for other in results:
        assert_same_batches(results[0], other)
