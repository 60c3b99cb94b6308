"""Scales on which the scores of a suite can be averaged."""

import pytest

from harmony.report_scales import scales


@pytest.mark.parametrize(
    ("suite", "metric", "of", "task", "value", "scaled"),
    [
        ("dmc", "eval/return", "eval/return", "walker_walk", 250.0, 0.25),
        ("natural_background", "episode/return", "episode/return", "walker_walk", 250.0, 0.25),
        ("metaworld", "eval/return", "eval/success", "hammer", 0.5, 0.5),
        ("metaworld", "episode/return", "episode/success", "hammer", 0.5, 0.5),
        ("atari100k", "eval/return", "eval/return", "pong", -3.0, 0.5),  # of -21 to 15
        ("atari100k", "eval/human_normalized", "eval/human_normalized", "pong", 0.4, 0.4),
        ("metaworld", "eval/success", "eval/success", "hammer", 0.5, 0.5),
    ],
)
def test_by_hand(suite, metric, of, task, value, scaled):
    found = scales(metric)[suite]
    assert found.metric == of
    assert found.of(task, value) == pytest.approx(scaled)


def test_where_none_exists_there_is_none():
    assert "crafter" not in scales("eval/return")
    assert scales("loss/image") == {}
