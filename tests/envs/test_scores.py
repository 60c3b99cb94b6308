"""Reference scores and what they make of a score."""

import statistics

import pytest

from harmony.envs.scores import ALIASES, RANDOM_AND_HUMAN, human_normalized

HARMONY = {
    "alien": 889.7, "amidar": 141.1, "assault": 1002.7, "asterix": 1140.3, "bank_heist": 1068.6,
    "battle_zone": 16456.0, "boxing": 79.6, "breakout": 52.6, "chopper_command": 1509.6,
    "crazy_climber": 82739.0, "demon_attack": 202.6, "freeway": 0.0, "frostbite": 678.7,
    "gopher": 13042.8, "hero": 13378.0, "james_bond": 317.1, "kangaroo": 5117.6, "krull": 7753.6,
    "kung_fu_master": 22274.0, "ms_pacman": 1680.7, "pong": 18.6, "private_eye": 2932.2,
    "qbert": 3932.5, "road_runner": 14646.4, "seaquest": 665.3, "up_n_down": 10873.6,
}  # fmt: skip
"""Mean scores of the paper's own runs at their end, by their names of the games."""


def test_by_hand():
    assert human_normalized("pong", -21.0) == 0.0
    assert human_normalized("pong", 15.0) == 1.0
    assert human_normalized("pong", -3.0) == 0.5
    assert human_normalized("pong", 21.0) == pytest.approx(42 / 36)
    assert human_normalized("boxing", -6.0) == -0.5
    assert human_normalized("freeway", 15.0) == 0.5
    assert human_normalized("alien", 3678.0) == 0.5
    assert human_normalized("breakout", 52.6) == pytest.approx(50.6 / 28)


def test_the_references_are_whole_numbers_of_26_games():
    assert len(RANDOM_AND_HUMAN) == 26
    assert list(RANDOM_AND_HUMAN) == sorted(RANDOM_AND_HUMAN)
    for random, human in RANDOM_AND_HUMAN.values():
        assert type(random) is type(human) is int
        assert human > random


def test_both_names_of_james_bond():
    assert ALIASES == {"james_bond": "jamesbond"}
    assert human_normalized("james_bond", 166.0) == human_normalized("jamesbond", 166.0) == 0.5


def test_the_papers_scores_give_its_mean_of_136_5_percent():
    normalized = [human_normalized(game, score) for game, score in HARMONY.items()]
    assert len(normalized) == 26
    assert statistics.mean(normalized) == pytest.approx(1.365, abs=5e-4)
    assert sum(value >= 1 for value in normalized) == 11
