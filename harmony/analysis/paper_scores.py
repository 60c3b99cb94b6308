"""Results of the paper's authors, to stand beside ours.

Source: the authors' score files of HarmonyDream on Atari 100K (DreamerV3 in JAX), the last point,
at 400,000 env steps: mean over five seeds, each the mean of an evaluation of 100 episodes.
"""

from collections.abc import Mapping
from typing import NamedTuple


class Published(NamedTuple):
    """Scores of one arm.

    Attributes:
        env_step: where they were taken.
        seeds: of each task.
        scores: mean by task.
    """

    env_step: int
    seeds: int
    scores: Mapping[str, float]


_OFF_AND_ON = {
    "alien": (785.7, 889.7),
    "amidar": (175.4, 141.1),
    "assault": (679.9, 1002.7),
    "asterix": (973.9, 1140.3),
    "bank_heist": (893.5, 1068.6),
    "battle_zone": (11314.0, 16456.0),
    "boxing": (78.3, 79.6),
    "breakout": (24.0, 52.6),
    "chopper_command": (1390.2, 1509.6),
    "crazy_climber": (78968.6, 82739.0),
    "demon_attack": (241.5, 202.6),
    "freeway": (0.0, 0.0),
    "frostbite": (938.7, 678.7),
    "gopher": (4936.1, 13042.8),
    "hero": (12180.0, 13378.0),
    "jamesbond": (318.1, 317.1),
    "kangaroo": (2773.2, 5117.6),
    "krull": (7625.4, 7753.6),
    "kung_fu_master": (23753.4, 22274.0),
    "ms_pacman": (1688.6, 1680.7),
    "pong": (16.1, 18.6),
    "private_eye": (1036.4, 2932.2),
    "qbert": (2872.2, 3932.5),
    "road_runner": (14248.4, 14646.4),
    "seaquest": (544.1, 665.3),
    "up_n_down": (5636.1, 10873.6),
}
ALIASES = {"james_bond": "jamesbond"}

PAPER = {
    ("atari100k", "dreamerv3", arm): Published(
        400_000, 5, {game: scores[index] for game, scores in _OFF_AND_ON.items()}
    )
    for index, arm in enumerate(("off", "on"))
}
"""Option of env, algorithm and harmony -> what the authors got."""


def published(env: str, algorithm: str, harmony: str, task: str) -> float | None:
    """The authors' mean return on a task, None where there is none.

    Args:
        env: option of the group, as the others.
        algorithm: likewise.
        harmony: likewise.
        task: name in the suite.
    """
    found = PAPER.get((env, algorithm, harmony))
    return None if found is None else found.scores.get(ALIASES.get(task, task))
