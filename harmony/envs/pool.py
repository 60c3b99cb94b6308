"""Several environments of one kind, stepped together: here, or each in a process of its own."""

from __future__ import annotations

import contextlib
import functools
import logging
import math
import pickle
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np

from harmony.envs.remote import RemoteEnv, WorkerLost
from harmony.envs.stream import EpisodeStream, Record
from harmony.errors import ConfigError, EnvError, SimulatorError

log = logging.getLogger(__name__)

Env = gymnasium.Env[Any, Any]
_LOST = (WorkerLost, SimulatorError)
SeedOf = Callable[[int, int], int]
"""Gives the seed of environment i's episode k."""


class EnvLost(Exception):  # noqa: N818 - reads as what happened
    """An environment was lost too often in a row; the message ends with what it printed."""


class EnvPool:
    """Environments in this process, one stream of episodes each.

    All that is asked of several environments happens, and is told, in the order of their numbers.
    One that raises a `SimulatorError` is given up with its open episode, and begins the next one:
    by that error its class says that it can. Any other error is one of the run.

    Args:
        envs: of one kind; they share nothing.
        seed_of: of environment i's episode k, which it decides completely.
        max_crashes: times that an environment may be lost without an episode that ended by itself.

    Attributes:
        streams: the episodes of each environment.
        restarts: environments that were lost and begun anew.
    """

    def __init__(self, envs: Sequence[Env], seed_of: SeedOf, max_crashes: int = 3) -> None:
        self.streams = [
            EpisodeStream(env, functools.partial(seed_of, number))
            for number, env in enumerate(envs)
        ]
        self.max_crashes = max_crashes
        self.restarts = 0
        self._crashes = [0] * len(envs)

    @property
    def num_envs(self) -> int:
        """How many there are."""
        return len(self.streams)

    @property
    def action_space(self) -> gymnasium.Space[Any]:
        """See `EpisodeStream`."""
        return self.streams[0].action_space

    @property
    def action_repeat(self) -> int:
        """Env steps in one agent step."""
        return self.streams[0].action_repeat

    @property
    def failures(self) -> int:
        """Failures of their simulators, as far as the environments tell `failures` in `info`."""
        return sum(int(stream.info.get("failures", 0)) for stream in self.streams)

    @property
    def open(self) -> list[int]:
        """Numbers of the environments in mid-episode."""
        return [i for i, stream in enumerate(self.streams) if not stream.needs_reset]

    def begin(self, numbers: Sequence[int]) -> list[tuple[int, Record]]:
        """Begins an episode in those of the environments that have none open.

        One that is lost meanwhile begins the episode after it.

        Returns:
            Their numbers, and the first records.

        Raises:
            EnvLost: one was lost too often.
        """
        return [(i, self._reset(i)) for i in numbers if self.streams[i].needs_reset]

    def step(self, numbers: Sequence[int], actions: np.ndarray) -> list[Record | None]:
        """Takes an agent step in each of some environments.

        Args:
            numbers: of environments in mid-episode.
            actions: (N, A), see `EpisodeStream.step`.

        Returns:
            The record of each; None where the environment was lost in the step, and the episode
            with it.

        Raises:
            EnvLost: one was lost too often.
        """
        return [self._step(i, action) for i, action in zip(numbers, actions, strict=True)]

    def state_dict(self) -> dict[str, object]:
        """Everything that the streams need to continue here, and the count of restarts."""
        return {
            "streams": [stream.state_dict() for stream in self.streams],
            "restarts": self.restarts,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> list[int]:
        """Brings the open episodes back.

        Returns:
            Numbers of the environments where that was not possible: no episode is open there.
        """
        self.restarts = int(state["restarts"])
        each = zip(range(self.num_envs), state["streams"], strict=True)
        return [i for i, stream in each if not self._brought_back(i, stream)]

    def close(self) -> None:
        """Closes all of them."""
        for stream in self.streams:
            stream.close()

    def _reset(self, number: int) -> Record:
        while True:
            try:
                return self.streams[number].reset()
            except _LOST as lost:
                self._give_up(number, lost)

    def _step(self, number: int, action: np.ndarray) -> Record | None:
        try:
            record = self.streams[number].step(action)
        except _LOST as lost:
            self._give_up(number, lost)
            return None
        if record["is_last"]:
            self._crashes[number] = 0
        return record

    def _brought_back(self, number: int, state: Mapping[str, Any]) -> bool:
        try:
            self.streams[number].load_state_dict(state)
        except _LOST as lost:
            self._give_up(number, lost)
            return False
        except EnvError as error:
            # A simulator that is not deterministic: the episode ends here, as if by a time limit.
            log.warning("%s", error)
            if self.streams[number].episode == int(state["episode"]):
                self.streams[number].give_up()  # the environment itself failed on the way
            return False
        return True

    def _give_up(self, number: int, lost: WorkerLost | SimulatorError) -> None:
        """Counts a loss; the next call of the environment starts another simulator.

        Raises:
            EnvLost: it was one too many.
        """
        stream = self.streams[number]
        episode = stream.episode
        stream.give_up()
        self.restarts += 1
        self._crashes[number] += 1
        what, log_file = f"env {number}, episode {episode}: {lost}", self._log_of(number)
        final = isinstance(lost, SimulatorError) and lost.final
        if final or self._crashes[number] >= self.max_crashes:
            often = "" if final else f"; {self._crashes[number]} times in a row (envs.max_crashes)"
            where = f", all that it printed is in {log_file}" if log_file else ""
            printed = f":\n{lost.printed}" if lost.printed else ""
            raise EnvLost(f"{what}{often}{where}{printed}") from lost
        where = f", what it printed is in {log_file}" if log_file else ""
        log.warning("%s; it is started anew%s", what, where)

    def _log_of(self, number: int) -> Path | None:
        """The file with what an environment printed, where its losses do not say it themselves."""
        del number
        return None


class SpawnedPool(EnvPool):
    """Environments in processes of their own, which work at the same time.

    All requests are sent before the first answer is awaited, and the answers are taken in the order
    of the numbers, so nothing depends on who is faster. An environment whose process dies, raises
    or hangs is given up with its open episode; the next episode begins in a new process.

    Args:
        envs: of one kind.
        seed_of: see `EnvPool`.
        max_crashes: see `EnvPool`.
    """

    def __init__(self, envs: Sequence[RemoteEnv], seed_of: SeedOf, max_crashes: int) -> None:
        super().__init__(envs, seed_of, max_crashes)
        self._envs = envs

    def begin(self, numbers: Sequence[int]) -> list[tuple[int, Record]]:
        """See `EnvPool`."""
        waiting = [i for i in numbers if self.streams[i].needs_reset]
        for i in waiting:
            self._envs[i].ask("reset", self.streams[i].seed_of(self.streams[i].episode))
        return [(i, self._reset(i)) for i in waiting]

    def step(self, numbers: Sequence[int], actions: np.ndarray) -> list[Record | None]:
        """See `EnvPool`."""
        for i, action in zip(numbers, actions, strict=True):
            self._envs[i].ask("step", self.streams[i].to_env(action))
        return [self._step(i, action) for i, action in zip(numbers, actions, strict=True)]

    def close(self) -> None:
        """See `EnvPool`; all have the same time to end."""
        for env in self._envs:
            env.let_go()
        super().close()

    def _log_of(self, number: int) -> Path:
        return self._envs[number].log


@dataclass(frozen=True)
class InProcess:
    """The section `envs`: environments in the process of the run, one after the other.

    Attributes:
        num_envs: how many are stepped together.
        max_crashes: times in a row that the simulator of an environment may be lost, without an
            episode between that ended by itself; then the run ends.
    """

    num_envs: int = 1
    max_crashes: int = 3

    def __post_init__(self) -> None:
        """Refuses what can't be meant."""
        _check_counts(self.num_envs, self.max_crashes)

    def open(self, make: Callable[[], Env], seed_of: SeedOf, logs: Path) -> EnvPool:
        """Makes the environments.

        Args:
            make: makes one.
            seed_of: see `EnvPool`.
            logs: for the output of processes; there are none.

        Raises:
            EnvError: one can't be made.
        """
        del logs
        with contextlib.ExitStack() as undo:
            envs = []
            for _ in range(self.num_envs):
                envs.append(make())
                undo.callback(envs[-1].close)
            undo.pop_all()
        return EnvPool(envs, seed_of, self.max_crashes)


@dataclass(frozen=True)
class Spawned:
    """The section `envs`: each environment in a process of its own.

    Attributes:
        num_envs: how many are stepped together.
        timeout_s: seconds after which a step, a reset, or making an environment counts as hung.
        max_crashes: times in a row that an environment may be lost, without an episode between
            that ended by itself; then the run ends.
    """

    num_envs: int = 1
    timeout_s: float = 300.0
    max_crashes: int = 3

    def __post_init__(self) -> None:
        """Refuses what can't be meant."""
        _check_counts(self.num_envs, self.max_crashes)
        if not 0 < self.timeout_s < math.inf:
            raise ConfigError(f"envs.timeout_s must be above 0, got {self.timeout_s}")

    def open(self, make: Callable[[], Env], seed_of: SeedOf, logs: Path) -> SpawnedPool:
        """Starts the processes, all at once, and waits for their environments.

        Args:
            make: makes an environment; it is pickled.
            seed_of: see `EnvPool`.
            logs: directory for what each process prints.

        Raises:
            EnvError: the factory can't be pickled, or an environment can't be made.
            EnvLost: a process failed in another way.
        """
        factory = _pickled(make)
        envs: list[RemoteEnv] = []
        try:
            for number in range(self.num_envs):
                envs += [RemoteEnv(factory, logs / f"env-{number}.log", self.timeout_s)]
            for number, env in enumerate(envs):
                _wait_until_made(number, env)
        except BaseException:
            for env in envs:
                env.close()
            raise
        return SpawnedPool(envs, seed_of, self.max_crashes)


def _check_counts(num_envs: int, max_crashes: int) -> None:
    for name, count in (("num_envs", num_envs), ("max_crashes", max_crashes)):
        if count < 1:
            raise ConfigError(f"envs.{name} must be at least 1, got {count}")


def _pickled(make: Callable[[], Env]) -> bytes:
    try:
        return pickle.dumps(make)
    except Exception as error:  # pickling fails with exceptions of any kind
        raise EnvError(
            f"envs=spawn: expected a factory that can be sent to another process, got {make!r} "
            f"({error}); name a class of a module, or take envs=in_process"
        ) from error


def _wait_until_made(number: int, env: RemoteEnv) -> None:
    try:
        env.wait_until_made()
    except WorkerLost as lost:
        raise EnvLost(
            f"env {number} can't be made: {lost}; all that it printed is in {env.log}:\n"
            f"{lost.printed}"
        ) from lost
