"""The rules of MineDojo's hunt for a cow: actions, reward and resets, without a simulator.

Source: thuml/HarmonyDream, `wmlib-torch/wmlib/envs/minecraft.py` and `minedojo_utils/` beside it;
the reward is MineCLIP's, `mineclip/dense_reward/animal_zoo/`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

ACTION_COUNTS = (3, 3, 4, 5, 3)
"""Choices of the agent: forward or back; left or right; jump, sneak or sprint; camera; hands."""
SIMULATOR_ACTION_COUNTS = (3, 3, 4, 25, 25, 8, 244, 36)
"""Choices of MineDojo 0.1: the first three, pitch, yaw, hands, what to craft, slot."""
_STILL = 12  # a camera angle that stays; each index is 15 degrees
_PITCH = (_STILL, _STILL - 1, _STILL + 1, _STILL, _STILL)  # by the agent's camera choice
_YAW = (_STILL, _STILL, _STILL, _STILL - 1, _STILL + 1)
_HANDS = (0, 1, 3)  # nothing, use, attack; MineDojo's 2 drops the sword

ATTACK_REWARD = 5.0
"""Of each hit. A kill gives 200 on top, which MineDojo itself counts."""
NAVIGATION_SCALE = 1.0
"""Reward a block that a cow in sight is nearer than ever since the last hit."""
STEP_PENALTY = 0.0
"""Taken off at each step."""

FAST_RESET_COMMANDS = (
    "/kill @e[type=!player]",
    "/clear",
    "/kill @e[type=item]",
    "/time set 6000",
    "/weather clear",
)
"""What the player's chat says before MineDojo's own fast reset.

That goes on with `/kill`, `/spreadplayers ~ ~ 0 200 false @p`, `/time set 13000`, `/weather
normal`, `/replaceitem` for the sword and `/kill @e[type=item]`, and summons the animals: so noon
becomes dusk again, as in the original.
"""
WORLD_SEEDS = (1, 1_000_000)
"""First seed of a world, and the one after the last. MineDojo takes 0 for no seed."""


@dataclass(frozen=True)
class Sight:
    """What the reward looks at.

    Attributes:
        cow: blocks to the nearest cow that a ray of the lidar hits; None where none does.
        durability: of the sword in the first slot; 0 where there is none.
    """

    cow: float | None
    durability: float


@dataclass(frozen=True)
class Hunt:
    """What the reward remembers.

    Attributes:
        nearest: least distance to a cow since the last hit, blocks; infinite before it was seen.
        distances: `nearest` at the last two moments with a cow in sight, the older first. The
            first entry of an episode is 0 where no cow was seen then.
        durability: of the sword at the step before.
    """

    nearest: float
    distances: tuple[float, ...]
    durability: float


@dataclass(frozen=True)
class World:
    """A generated world.

    Attributes:
        seed: of its terrain.
        episodes: that were begun in it.
    """

    seed: int
    episodes: int


def simulator_action(action: Sequence[int] | np.ndarray) -> list[int]:
    """The eight choices of MineDojo that the five of the agent stand for.

    Args:
        action: one index for each of `ACTION_COUNTS`.

    Raises:
        ValueError: it has others.
    """
    choices = [int(choice) for choice in action]
    if len(choices) != len(ACTION_COUNTS) or not all(
        0 <= choice < count for choice, count in zip(choices, ACTION_COUNTS, strict=True)
    ):
        raise ValueError(f"expected an index below each of {ACTION_COUNTS}, got {choices}")
    *moves, camera, hands = choices
    return [*moves, _PITCH[camera], _YAW[camera], _HANDS[hands], 0, 0]


def nearest_cow(names: Sequence[str] | np.ndarray, distances: np.ndarray) -> float | None:
    """Blocks to the nearest cow in sight, None without one.

    Args:
        names: what each ray of the lidar hits, (27,).
        distances: to it, blocks, (27,); they mean nothing where a ray hits nothing.
    """
    found = [float(far) for name, far in zip(names, distances, strict=True) if name == "cow"]
    return min(found, default=None)


def begin_hunt(sight: Sight) -> Hunt:
    """What is remembered of the first moment of an episode."""
    if sight.cow is None:
        return Hunt(math.inf, (0.0,), sight.durability)
    return Hunt(sight.cow, (sight.cow,), sight.durability)


def hunt_reward(hunt: Hunt, sight: Sight, task_reward: float) -> tuple[float, Hunt]:
    """The dense reward of one step.

    A hit is known by the sword, which loses exactly 1 of its durability: a blow at a block costs
    more, and a lost sword is not a hit. After one the cow flees, so distances count afresh; the
    last two stay, so that fleeing costs nothing.

    Args:
        hunt: what was remembered before it.
        sight: after it.
        task_reward: MineDojo's, 200 for a cow killed.

    Returns:
        The reward, and what is remembered after it.
    """
    hit = hunt.durability - sight.durability == 1.0
    nearest, distances, approach = hunt.nearest, hunt.distances, 0.0
    if sight.cow is not None:
        nearest = min(sight.cow, nearest)
        distances = (*distances, nearest)[-2:]
        approach = max(0.0, distances[0] - distances[1])
    reward = task_reward + ATTACK_REWARD * hit + NAVIGATION_SCALE * approach - STEP_PENALTY
    return reward, Hunt(math.inf if hit else nearest, distances, sight.durability)


def next_world(world: World | None, every: int, new_seed: int) -> World:
    """The world of the next episode: the same one, or a new one after so many episodes.

    Args:
        world: of the episode before; None at first and after a failure.
        every: episodes in a world.
        new_seed: of a new world.
    """
    if world is None or world.episodes >= every:
        return World(new_seed, 1)
    return World(world.seed, world.episodes + 1)


def halved(rgb: np.ndarray) -> np.ndarray:
    """A rendered picture as the agent sees it, of half the side.

    The original's bilinear interpolation is at that scale the mean of each 2 x 2 pixels, rounded
    half up: what OpenCV gives, to the bit.

    Args:
        rgb: uint8 (3, 2 S, 2 S).

    Returns:
        A new uint8 (S, S, 3).
    """
    rows = rgb[:, ::2].astype(np.uint16) + rgb[:, 1::2]
    sums = rows[:, :, ::2] + rows[:, :, 1::2]
    means = ((sums + 2) >> 2).astype(np.uint8)
    return np.ascontiguousarray(means.transpose(1, 2, 0))
