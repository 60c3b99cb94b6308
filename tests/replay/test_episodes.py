import numpy as np

from harmony.replay.episodes import EpisodeIndex, referenced_segments


def close(index, length):
    for _ in range(length):
        index.advance()
    return index.close_episode()


def state(starts, lengths, open_start, open_length):
    return {
        "starts": np.array(starts, np.int64),
        "lengths": np.array(lengths, np.int64),
        "open_starts": np.array([open_start], np.int64),
        "open_lengths": np.array([open_length], np.int64),
        "skipped": 0,
    }


def test_oldest_episodes_go_when_the_capacity_is_exceeded():
    index = EpisodeIndex(capacity=10, min_length=1)
    assert not close(index, 4)
    assert not close(index, 6)  # exactly full
    assert index.steps == 10
    assert close(index, 1)
    starts, lengths = index.arrays()
    assert starts.tolist() == [4, 10]
    assert lengths.tolist() == [6, 1]
    assert index.steps == 7
    assert index.next_position() == 11


def test_one_episode_stays_even_when_it_is_too_long():
    index = EpisodeIndex(capacity=3, min_length=1)
    close(index, 2)
    close(index, 8)
    assert index.arrays()[0].tolist() == [2]
    assert index.steps == 8


def test_short_episodes_are_skipped_but_keep_their_positions():
    index = EpisodeIndex(capacity=100, min_length=3)
    close(index, 2)
    close(index, 3)
    assert len(index) == 1
    assert index.skipped == 1
    assert index.arrays()[0].tolist() == [2]


def test_state_is_a_copy_and_comes_back():
    index = EpisodeIndex(capacity=100, min_length=1)
    close(index, 4)
    index.advance()
    saved = index.state_dict()
    close(index, 3)
    assert saved["starts"].tolist() == [0]
    other = EpisodeIndex(capacity=100, min_length=1)
    other.load_state_dict(saved)
    assert (other.open_starts, other.open_lengths, other.steps) == ([4], [1], 4)


def test_segments_that_a_state_refers_to():
    assert referenced_segments(state([], [], 0, 0), 4) == set()
    # 4..11 is exactly segments 1 and 2; the next record opens segment 3.
    assert referenced_segments(state([4], [8], 12, 0), 4) == {1, 2}
    # 3..4 touches 0 and 1; 17..18 is open in 4; 2 and 3 hold nothing.
    assert referenced_segments(state([3], [2], 17, 2), 4) == {0, 1, 4}
    # Nothing is kept, but the next record goes into segment 2.
    assert referenced_segments(state([], [], 9, 0), 4) == {2}
    # A long episode spans many.
    assert referenced_segments(state([0], [40], 40, 0), 4) == set(range(10))


def test_runs_join_episodes_and_the_open_one():
    index = EpisodeIndex(capacity=100, min_length=1)
    assert [part.tolist() for part in index.runs()] == [[], []]
    index.advance()
    assert [part.tolist() for part in index.runs()] == [[0], [1]]
    assert index.close_episode() is False
    close(index, 3)
    assert [part.tolist() for part in index.runs()] == [[0], [4]]
    for _ in range(2):
        index.advance()
    assert [part.tolist() for part in index.runs()] == [[0], [6]]


def test_runs_end_where_an_episode_was_too_short_to_keep():
    index = EpisodeIndex(capacity=100, min_length=3)
    for length in (2, 3, 4, 1, 2, 5):
        close(index, length)
    index.advance()
    # 0..1 is lost, 2..8 is two episodes, 9 and 10..11 are lost, 12..16 is followed by the open one.
    assert [part.tolist() for part in index.runs()] == [[2, 12], [7, 6]]
    close(index, 1)  # the open episode ends with two records
    index.advance()
    assert [part.tolist() for part in index.runs()] == [[2, 12, 19], [7, 5, 1]]


def test_so_many_records_stay_whatever_the_capacity():
    index = EpisodeIndex(capacity=10, min_length=1, min_steps=8)
    close(index, 6)
    # Without the older one there would be 6.
    assert not close(index, 6)
    assert index.arrays()[0].tolist() == [0, 6]
    assert close(index, 2)
    assert index.arrays()[0].tolist() == [6, 12]
    other = EpisodeIndex(capacity=3, min_length=1, min_steps=8)
    other.load_state_dict(index.state_dict())
    assert other.arrays()[0].tolist() == [6, 12]
