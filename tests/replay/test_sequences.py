import numpy as np
import pytest

from harmony.errors import ConfigError
from harmony.replay.episodes import EpisodeIndex
from harmony.replay.sequences import EpisodeSequences, StreamSequences, make_sequences

GIVEN = {"batch_size": 64, "batch_length": 4, "prioritize_ends": False}


def index_of(*lengths, open_length=0, min_length=1):
    """Complete episodes of these lengths and an open one."""
    index = EpisodeIndex(capacity=1000, min_length=min_length)
    for length in lengths:
        for _ in range(length):
            index.advance()
        index.close_episode()
    for _ in range(open_length):
        index.advance()
    return index


def positions(sequences, index, seed=0):
    """Position of every record that is drawn, (B, T)."""
    pieces, first = sequences.draw(np.random.default_rng(seed), index)
    drawn = np.full((64, 4), -1)
    for row, column, length, position in zip(
        pieces.row, pieces.column, pieces.length, first, strict=True
    ):
        drawn[row, column : column + length] = position + np.arange(length)
    assert drawn.min() >= 0
    return drawn


def test_a_name_chooses_the_kind():
    rest = {"capacity": 10, "min_length": 2, **GIVEN}
    episodes, stream = (make_sequences(kind, **rest) for kind in ("episodes", "stream"))
    assert isinstance(episodes, EpisodeSequences)
    assert isinstance(stream, StreamSequences)
    assert (episodes.min_length, episodes.min_steps, episodes.keeps_flags) == (2, 1, False)
    assert (stream.min_length, stream.min_steps, stream.keeps_flags) == (1, 4, True)


def test_episodes_are_drawn_from_once_one_is_complete():
    sequences = EpisodeSequences(min_length=2, **GIVEN)
    assert not sequences.ready(index_of(open_length=50, min_length=2))
    index = index_of(5, open_length=50, min_length=2)
    assert sequences.ready(index)
    assert {tuple(row) for row in positions(sequences, index)} == {(0, 1, 2, 3), (1, 2, 3, 4)}


def test_the_stream_is_drawn_from_once_a_window_is_full():
    sequences = StreamSequences(capacity=10, **GIVEN)
    assert not sequences.ready(index_of())
    assert not sequences.ready(index_of(2, open_length=1))
    assert sequences.ready(index_of(2, open_length=2))
    assert sequences.ready(index_of(1, 1, 1, 1))


def test_a_window_of_the_stream_crosses_ends_and_reaches_the_newest_record():
    sequences = StreamSequences(capacity=10, **GIVEN)
    rows = positions(sequences, index_of(2, 3, open_length=2))
    assert {int(row[0]) for row in rows} == {0, 1, 2, 3}
    np.testing.assert_array_equal(rows, rows[:, :1] + np.arange(4))


def test_no_window_spans_a_gap():
    # As left by an index that skipped an episode: 0..4, then 7..11.
    index = index_of(5, 2, 5, min_length=3)
    rows = positions(StreamSequences(capacity=10, **GIVEN), index)
    assert {int(row[0]) for row in rows} == {0, 1, 7, 8}


def test_the_shortage_is_told_in_one_line():
    stream = StreamSequences(capacity=10, **GIVEN).shortage(index_of(1, open_length=2))
    assert stream == (
        "expected 4 consecutive records (replay batch_length) to sample from, got 3: prefill more "
        "or lower batch_length"
    )
    episodes = EpisodeSequences(min_length=3, **GIVEN)
    told = episodes.shortage(index_of(1, 2, open_length=2, min_length=3))
    assert "got none (records of the open episode: 2, " in told
    assert "min_length=3: 2)" in told
    assert "\n" not in stream + told


def test_ends_and_the_stream_exclude_each_other():
    with pytest.raises(ConfigError, match="prioritize_ends=false with sequences=stream") as caught:
        StreamSequences(batch_size=1, batch_length=4, capacity=10, prioritize_ends=True)
    assert "\n" not in str(caught.value)


def test_a_capacity_below_a_window_is_refused():
    StreamSequences(capacity=4, **GIVEN)
    with pytest.raises(ConfigError, match=r"at least batch_length \(4\) .*got 3"):
        StreamSequences(capacity=3, **GIVEN)


@pytest.mark.parametrize("min_length", [0, 5])
def test_a_minimal_length_out_of_range_is_refused(min_length):
    with pytest.raises(ConfigError, match=rf"1 to batch_length \(4\), got {min_length}"):
        EpisodeSequences(min_length=min_length, **GIVEN)
