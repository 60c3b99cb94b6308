"""Reference scores of the 26 games of Atari 100K, and what they make of a score.

Source: the table of scores in arXiv 2301.04104, rounded to whole numbers there. The paper's mean of
136.5 % goes with these; references with one decimal give 136.4 %.
"""

RANDOM_AND_HUMAN = {
    "alien": (228, 7128),
    "amidar": (6, 1720),
    "assault": (222, 742),
    "asterix": (210, 8503),
    "bank_heist": (14, 753),
    "battle_zone": (2360, 37188),
    "boxing": (0, 12),
    "breakout": (2, 30),
    "chopper_command": (811, 7388),
    "crazy_climber": (10780, 35829),
    "demon_attack": (152, 1971),
    "freeway": (0, 30),
    "frostbite": (65, 4335),
    "gopher": (258, 2412),
    "hero": (1027, 30826),
    "jamesbond": (29, 303),
    "kangaroo": (52, 3035),
    "krull": (1598, 2666),
    "kung_fu_master": (258, 22736),
    "ms_pacman": (307, 6952),
    "pong": (-21, 15),
    "private_eye": (25, 69571),
    "qbert": (164, 13455),
    "road_runner": (12, 7845),
    "seaquest": (68, 42055),
    "up_n_down": (533, 11693),
}
"""Game -> score of a random policy, score of a human player."""
ALIASES = {"james_bond": "jamesbond"}
"""Name in the files of the paper -> name of the simulator."""


def human_normalized(game: str, score: float) -> float:
    """A score as a share of the way from a random policy, 0, to a human player, 1.

    Args:
        game: name in `RANDOM_AND_HUMAN` or `ALIASES`.
        score: return of an episode, or a mean of several, without clipping.
    """
    random, human = RANDOM_AND_HUMAN[ALIASES.get(game, game)]
    return (score - random) / (human - random)
