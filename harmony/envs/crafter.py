"""Crafter: survival in a two-dimensional world with 22 achievements, one new world an episode.

Source: https://github.com/danijar/crafter, arXiv 2109.06780.
"""

import types
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import gymnasium
import numpy as np

from harmony.envs.arguments import check_name, check_positive
from harmony.errors import EnvError

if TYPE_CHECKING:
    from crafter import Env
    from crafter.engine import World

REQUIRES = {"crafter": "crafter"}
"""Packages, with the extras that bring them."""
TASKS = ("reward", "noreward")
"""Whether rewards are given."""
ACHIEVEMENTS = (
    "collect_coal",
    "collect_diamond",
    "collect_drink",
    "collect_iron",
    "collect_sapling",
    "collect_stone",
    "collect_wood",
    "defeat_skeleton",
    "defeat_zombie",
    "eat_cow",
    "eat_plant",
    "make_iron_pickaxe",
    "make_iron_sword",
    "make_stone_pickaxe",
    "make_stone_sword",
    "make_wood_pickaxe",
    "make_wood_sword",
    "place_furnace",
    "place_plant",
    "place_stone",
    "place_table",
    "wake_up",
)
"""What can be achieved in an episode."""

_NUM_ACTIONS = 17
_LEAST_SIDE = 18  # pixels: nine tiles, each wide enough for a digit


class Crafter(gymnasium.Env[Any, Any]):
    """The world of Crafter.

    Observation: `image` uint8 (image_size, image_size, 3), nine by seven tiles around the player
    above the inventory. Action: one of 17. The reward is 1 for the first time of each achievement
    in the episode, and a tenth of each change of health. Death is terminal, the time limit
    truncates. `info["achievements"]` counts each achievement of the episode so far, and
    `info["tally"]` says with the last step which of them there were.

    The published score is that of all training episodes within the budget, `tally_scores`. The few
    episodes of an evaluation, `scores`, see rare achievements too seldom: theirs is lower for the
    same policy, and no number to compare with those of papers.

    Differs: the original draws creatures that vanish from sets, whose order depends on memory
    addresses, so that its seed does not decide an episode; here they stand in the order of their
    coming.

    Args:
        task: reward, or noreward, where every reward is 0.
        image_size: height and width of the picture, pixels, 18 or more.
        time_limit: agent steps after which the episode is truncated.

    Raises:
        EnvError: unknown task, wrong size, or Crafter is missing.
    """

    action_repeat = 1

    def __init__(
        self, *, task: str = "reward", image_size: int = 64, time_limit: int = 10_000
    ) -> None:
        check_task(task)
        check_positive(time_limit=time_limit)
        _check_side(image_size)
        self.task = task
        self.image_size = image_size
        self.time_limit = time_limit
        self._env = _load(rewards=task == "reward", side=image_size, length=time_limit)
        self.action_space = gymnasium.spaces.Discrete(_NUM_ACTIONS)
        image = gymnasium.spaces.Box(0, 255, (image_size, image_size, 3), np.uint8)
        self.observation_space = gymnasium.spaces.Dict({"image": image})

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Begins an episode in a new world, which the seed decides completely.

        Args:
            seed: not negative; None takes the next world after that of the last seed.
            options: not used.
        """
        super().reset(seed=seed, options=options)
        if seed is not None:
            self._env._seed, self._env._episode = seed, 0  # it makes a world of both
        image = self._env.reset()
        return {"image": image}, {"achievements": dict.fromkeys(ACHIEVEMENTS, 0)}

    def step(self, action: int) -> tuple[dict[str, np.ndarray], float, bool, bool, dict[str, Any]]:
        """Takes one step.

        Args:
            action: index of the action, in Crafter's order.
        """
        image, reward, done, info = self._env.step(action)
        terminated = bool(info["discount"] == 0)
        truncated = bool(done and not terminated)
        told: dict[str, Any] = {"achievements": dict(info["achievements"])}
        if done:
            told["tally"] = {name: float(told["achievements"][name] > 0) for name in ACHIEVEMENTS}
        return {"image": image}, float(reward), terminated, truncated, told

    def scores(
        self, returns: Sequence[float], infos: Sequence[Mapping[str, Any]]
    ) -> dict[str, float]:
        """Metrics of some finished episodes: Crafter's score, and the rate of each achievement.

        Args:
            returns: of the episodes.
            infos: of their last steps.
        """
        del returns
        counts = [info["achievements"] for info in infos]
        rates = {
            name: float(np.mean([count[name] > 0 for count in counts])) for name in ACHIEVEMENTS
        }
        named = {f"achievement/{name}": rate for name, rate in rates.items()}
        return {"eval/crafter_score": crafter_score(rates.values())} | named

    @staticmethod
    def tally_scores(means: Mapping[str, float]) -> dict[str, float]:
        """Crafter's score as it is published, of all training episodes so far.

        Args:
            means: of what their tallies say: share of the episodes with each achievement.
        """
        return {"crafter_score": crafter_score(means.values())}


def crafter_score(rates: Iterable[float]) -> float:
    """A geometric mean of success rates, in percent, which counts rare ones for more than a mean.

    Source: arXiv 2109.06780, section 4.2: `exp(mean(log(1 + percent))) - 1`, of the success rates
    over all training episodes within a budget of 1M env steps.

    Args:
        rates: share of the episodes with each achievement, 0 to 1.
    """
    percent = 100.0 * np.array(list(rates), np.float64)
    return float(np.expm1(np.log1p(percent).mean()))


class _InOrder(dict[Any, None]):
    """What Crafter needs of a set, in the order in which things came."""

    def add(self, thing: object) -> None:
        """Adds one at the end."""
        self[thing] = None

    def remove(self, thing: object) -> None:
        """Removes one."""
        del self[thing]


def tags(arguments: Mapping[str, Any]) -> dict[str, str]:
    """What results must have in common to be compared.

    Args:
        arguments: of the constructor.

    Returns:
        Agent steps after which an episode is truncated.
    """
    return {"time_limit": str(arguments["time_limit"])}


def check_task(task: str) -> None:
    """Says whether Crafter has the task, without importing it.

    Args:
        task: as in `Crafter`.

    Raises:
        EnvError: it has not.
    """
    check_name(task, TASKS, "Crafter", env="crafter")


def _check_side(image_size: int) -> None:
    if image_size < _LEAST_SIDE:
        raise EnvError(f"env.image_size: expected {_LEAST_SIDE} or more, got {image_size}")


def _load(*, rewards: bool, side: int, length: int) -> "Env":
    try:
        import crafter
    except ModuleNotFoundError as error:
        raise EnvError(
            f"env crafter: package {error.name!r} is missing; pip install 'harmony-dream[crafter]'"
        ) from error
    env = crafter.Env(size=(side, side), reward=rewards, length=length, seed=0)
    env._world.reset = types.MethodType(_reset_in_order, env._world)
    return env


def _reset_in_order(world: "World", seed: int | None = None) -> None:
    type(world).reset(world, seed)
    world._chunks = defaultdict(_InOrder)
