"""Environments that die, raise, hang, dawdle or end early, each in episodes of chosen seeds."""

import os
import signal
import time
from dataclasses import dataclass, field

from harmony.envs.probe import CountingEnv
from harmony.errors import EnvError, SimulatorError


@dataclass(kw_only=True, eq=False)
class Fragile(CountingEnv):
    """Counts and tallies, until something happens at step `at` of an episode with one of the seeds.

    Attributes:
        die: seeds of episodes in which the process is killed.
        raises: in which the step raises.
        hang: in which the step takes very long.
        at: agent step at which it happens; 0 is the reset.
        uneven: episodes end 0 to 3 agent steps earlier, by seed.
        pause: seconds that a step takes, times 0 to 2 by seed.
    """

    die: list[int] = field(default_factory=list)
    raises: list[int] = field(default_factory=list)
    hang: list[int] = field(default_factory=list)
    at: int = 3
    uneven: bool = False
    pause: float = 0.0

    def __post_init__(self):
        super().__post_init__()
        self._longest = self.length
        self._episodes = 0

    def reset(self, *, seed=None, options=None):
        self._seed = seed
        self._episodes += 1
        self.length = self._longest - seed % 4 if self.uneven else self._longest
        self._trouble(0)
        return super().reset(seed=seed, options=options)

    def step(self, action):
        time.sleep(self.pause * (self._seed % 3))
        self._trouble(self._t + 1)
        *told, info = super().step(action)
        if self._t == self.length:
            info["tally"] = {"blue": self._blue}
        return *told, info

    @staticmethod
    def tally_scores(means):
        return {"mean_blue": means["blue"]}

    def _trouble(self, step):
        if step != self.at:
            return
        if self._seed in self.die:
            os.kill(os.getpid(), signal.SIGKILL)
        if self._seed in self.raises:
            raise ValueError(f"the arm of seed {self._seed} fell off")
        if self._seed in self.hang:
            time.sleep(1000)


class Remembering(Fragile):
    """Counts its episodes for ever."""

    def state_dict(self):
        return {"episodes": self._episodes}

    def load_state_dict(self, state):
        self._episodes = state["episodes"]


@dataclass(kw_only=True, eq=False)
class Refusing(Fragile):
    """Fails as a simulator behind a bridge does, in episodes of some seeds; the next one goes on.

    Attributes:
        refuses: seeds of these episodes.
        final: whether it says that it has tried often enough.
    """

    refuses: list[int] = field(default_factory=list)
    final: bool = False

    def _trouble(self, step):
        super()._trouble(step)
        if step == self.at and self._seed in self.refuses:
            what, printed = "env fragile: step() gave no answer", f"no licence for {self._seed}"
            raise SimulatorError(what, printed, final=self.final)


class Unrepeatable(Fragile):
    """Gives something else the next time, as it says."""

    deterministic = False


def refuse():
    """An environment whose task does not exist."""
    raise EnvError("env.task: expected walk, got fly; take walk")


def fail():
    """An environment that can't be made, for reasons of its own."""
    raise RuntimeError("no licence")
