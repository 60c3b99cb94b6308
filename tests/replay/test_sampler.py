from collections import Counter
from fractions import Fraction

import numpy as np
import pytest

from harmony.replay.sampler import (
    END_STARTS,
    clip_start,
    draw_pieces,
    draw_windows,
    num_starts,
)


def test_every_draw_of_a_tiny_episode_with_ends_prioritised():
    # 7 steps, windows of 5: starts 0, 1, 2; 3 + 50 draws, of which 2..52 are clipped to 2.
    total, length = np.array(7), np.array(5)
    number = int(num_starts(total, length, prioritize_ends=True))
    assert number == 53
    counts = Counter(int(clip_start(np.array(draw), total, length)) for draw in range(number))
    assert counts == {0: 1, 1: 1, 2: 51}


def test_every_draw_of_a_tiny_episode_without():
    total, length = np.array(7), np.array(5)
    number = int(num_starts(total, length, prioritize_ends=False))
    assert [int(clip_start(np.array(draw), total, length)) for draw in range(number)] == [0, 1, 2]


def test_an_episode_of_one_window_has_one_start():
    total = length = np.array(5)
    assert int(num_starts(total, length, prioritize_ends=False)) == 1
    assert int(num_starts(total, length, prioritize_ends=True)) == 1 + END_STARTS
    assert int(clip_start(np.array(50), total, length)) == 0


@pytest.mark.parametrize("prioritize_ends", [True, False])
def test_frequency_of_the_last_start(prioritize_ends):
    # 501 records, windows of 50: 452 starts, so the last has 51/502 or 1/452.
    chance = Fraction(51, 502) if prioritize_ends else Fraction(1, 452)
    number = 200_000
    pieces = draw_pieces(
        np.random.default_rng(0),
        np.array([501]),
        batch_size=number,
        batch_length=50,
        prioritize_ends=prioritize_ends,
    )
    last = int(np.count_nonzero(pieces.start == 451))
    deviation = float(number * chance * (1 - chance)) ** 0.5
    assert abs(last - float(number * chance)) < 4 * deviation
    # All starts before the last are equally likely.
    others = np.bincount(pieces.start, minlength=452)[:451]
    expected = (number - last) / 451
    statistic = float(((others - expected) ** 2 / expected).sum())
    assert abs(statistic - 450) < 4 * (2 * 450) ** 0.5


def test_episodes_are_drawn_uniformly_whatever_their_length():
    pieces = draw_pieces(
        np.random.default_rng(1),
        np.array([5, 50, 500]),
        batch_size=30_000,
        batch_length=5,
        prioritize_ends=False,
    )
    counts = np.bincount(pieces.episode, minlength=3)
    assert np.all(np.abs(counts - 10_000) < 4 * (30_000 * 2 / 9) ** 0.5)


def test_short_sequences_are_joined_to_full_rows():
    lengths = np.array([2, 3, 9])
    pieces = draw_pieces(
        np.random.default_rng(2), lengths, batch_size=50, batch_length=7, prioritize_ends=True
    )
    filled = np.zeros((50, 7), int)
    for row, column, episode, start, length in zip(*pieces, strict=True):
        filled[row, column : column + length] += 1
        assert start + length <= lengths[episode]
        # A piece is its whole episode or fills the row.
        assert length == lengths[episode] or column + length == 7
    assert np.all(filled == 1)
    assert set(pieces.episode) == {0, 1, 2}


def test_same_stream_same_draw():
    def draw(seed):
        return draw_pieces(
            np.random.default_rng(seed),
            np.array([6, 20]),
            batch_size=8,
            batch_length=10,
            prioritize_ends=False,
        )

    for left, right in zip(draw(3), draw(3), strict=True):
        np.testing.assert_array_equal(left, right)
    assert any(
        left.shape != right.shape or np.any(left != right)
        for left, right in zip(draw(3), draw(4), strict=True)
    )


def test_windows_start_anywhere_that_leaves_room_in_their_run():
    # Windows of 4: runs of 3 and 2 have no start, 6 has 0, 1, 2, and 5 has 0, 1.
    pieces = draw_windows(
        np.random.default_rng(0), np.array([3, 6, 2, 5, 1]), batch_size=10_000, batch_length=4
    )
    counts = Counter(zip(pieces.episode.tolist(), pieces.start.tolist(), strict=True))
    assert counts.keys() == {(1, 0), (1, 1), (1, 2), (3, 0), (3, 1)}
    # Uniform over starts, not over runs.
    assert all(abs(count - 2000) < 4 * (10_000 * 0.2 * 0.8) ** 0.5 for count in counts.values())
    assert pieces.row.tolist() == list(range(10_000))
    assert set(pieces.column) == {0}
    assert set(pieces.length) == {4}


def test_a_run_of_one_window_is_drawn_whole():
    pieces = draw_windows(np.random.default_rng(0), np.array([4]), batch_size=3, batch_length=4)
    assert [field.tolist() for field in pieces] == [
        [0, 1, 2],
        [0, 0, 0],
        [0, 0, 0],
        [0, 0, 0],
        [4, 4, 4],
    ]
    assert all(field.dtype == np.int64 for field in pieces)
