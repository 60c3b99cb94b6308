"""The authors' numbers: they must give the means that the paper names."""

import pytest

from harmony.analysis.paper_scores import PAPER, published
from harmony.envs.scores import RANDOM_AND_HUMAN, human_normalized


def test_every_game_is_there():
    for found in PAPER.values():
        assert set(found.scores) == set(RANDOM_AND_HUMAN)


@pytest.mark.parametrize(("harmony", "percent"), [("on", 136.5), ("off", 107.4)])
def test_their_mean_is_that_of_the_paper(harmony, percent):
    scores = PAPER["atari100k", "dreamerv3", harmony].scores
    normalized = [human_normalized(game, score) for game, score in scores.items()]
    assert 100 * sum(normalized) / 26 == pytest.approx(percent, abs=0.25)


def test_harmony_is_better_in_nineteen_games():
    on, off = (PAPER["atari100k", "dreamerv3", arm].scores for arm in ("on", "off"))
    assert sum(on[game] > off[game] for game in on) == 19


def test_both_names_of_a_game_and_nothing_else():
    assert published("atari100k", "dreamerv3", "on", "james_bond") == 317.1
    assert published("atari100k", "dreamerv3", "off", "jamesbond") == 318.1
    assert published("atari100k", "dreamerv2", "on", "pong") is None
    assert published("dmc", "dreamerv3", "on", "walker_walk") is None
