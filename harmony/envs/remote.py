"""An environment in a process of its own, which may crash, raise or hang without taking the run."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.connection import Pipe
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np

from harmony.errors import CheckpointError, EnvError

_LOOK_S = 0.5  # between looks whether a worker that is silent still runs
_GRACE_S = 5.0  # that a worker has to end by itself
_DUMP_S = 0.3  # that a worker which hangs has to write down where
_TAIL_LINES = 12


class WorkerLost(Exception):  # noqa: N818 - reads as what happened
    """A worker died, raised or hung; it is gone now, and its episode with it.

    Attributes:
        refused: what the environment has to say to the user, who can mend it.
        printed: the last lines that it wrote.
    """

    def __init__(self, how: str, printed: str, refused: str | None = None) -> None:
        super().__init__(how)
        self.printed = printed
        self.refused = refused


class RemoteEnv(gymnasium.Env[Any, Any]):
    """One environment in a fresh interpreter.

    A worker that is lost is started again by the next call, and gets the state back that outlives
    an episode. `ask` sends a request without waiting, so that several workers are busy at once;
    the call itself then takes the answer.

    Args:
        factory: pickled; makes the environment.
        log: file to which the worker's output is appended.
        timeout_s: seconds that a reset, a step, or making the environment may take.
    """

    def __init__(self, factory: bytes, log: Path, timeout_s: float) -> None:
        self.log = log
        self.timeout_s = timeout_s
        self.action_repeat = 1
        self.deterministic = True
        self.tally_scores: Callable[[Mapping[str, float]], dict[str, float]] | None = None
        self._factory = factory
        self._state: Mapping[str, object] = {}
        self._process: subprocess.Popen[bytes] | None = None
        self._asked = False
        self._start()

    def wait_until_made(self) -> None:
        """Waits for the environment that the constructor has begun to make.

        Raises:
            EnvError: it can't be made, and the user can mend that.
            WorkerLost: it can't be made.
        """
        try:
            self._take_spaces()
        except WorkerLost as lost:
            if lost.refused is not None:
                raise EnvError(lost.refused) from lost
            raise

    def ask(self, method: str, argument: object) -> None:
        """Sends a request to a worker that is there; the next call of the method is the answer."""
        if self._process is not None:
            self._send(method, argument)
            self._asked = True

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Begins an episode; its infos, which nobody reads, stay in the worker."""
        del options
        observation: dict[str, np.ndarray] = self._call("reset", seed)
        return observation, {}

    def step(
        self, action: np.ndarray | int
    ) -> tuple[dict[str, np.ndarray], float, bool, bool, dict[str, Any]]:
        """Takes one agent step; its infos must be plain enough to be pickled."""
        observation, reward, terminated, truncated, info = self._call("step", action)
        return observation, reward, terminated, truncated, info

    def state_dict(self) -> dict[str, object]:
        """State that outlives an episode as it was after the last call; empty where there is none.

        Each answer of the worker brings it along, so that it is known when the worker is lost.
        """
        return dict(self._state)

    def load_state_dict(self, state: Mapping[str, object]) -> None:
        """Puts that state back.

        Raises:
            CheckpointError: the environment refuses it.
        """
        self._state = state
        try:
            self._call("load_state_dict", state)
        except WorkerLost as lost:
            if lost.refused is not None:
                raise CheckpointError(lost.refused) from lost
            raise

    def scores(
        self, returns: Sequence[float], infos: Sequence[Mapping[str, Any]]
    ) -> dict[str, float]:
        """What the suite makes of finished episodes; empty where it has no measures of its own."""
        found: dict[str, float] = self._call("scores", (list(returns), [*map(dict, infos)]))
        return found

    def let_go(self) -> None:
        """Lets the worker close its environment and end, without waiting for it."""
        self._pipe.close()

    def close(self) -> None:
        """Likewise, and waits a while; twice is harmless."""
        self.let_go()
        if self._process is None:
            return
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_GRACE_S)
        self._end()

    def _call(self, method: str, argument: object) -> Any:  # noqa: ANN401 - what simulators give
        if self._process is None:
            self._start_again()
        if not self._asked:
            self._send(method, argument)
        self._asked = False
        return self._answer()

    def _start_again(self) -> None:
        state = self._state
        self._start()
        self._take_spaces()
        self._state = state  # until the worker has it, also if it is lost before
        if state:
            self._send("load_state_dict", state)
            self._answer()

    def _start(self) -> None:
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self._pipe, other = Pipe()
        paths = [path or str(Path.cwd()) for path in sys.path]
        with self.log.open("ab") as printed, other:
            printed.write(f"{time.ctime()}: a worker starts\n".encode())
            self._printed_from = printed.tell()
            self._process = subprocess.Popen(
                [sys.executable, "-m", "harmony.envs.remote_worker", str(other.fileno())],
                pass_fds=[other.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=printed,
                stderr=printed,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
                start_new_session=True,
            )
        self._asked = False
        self._deadline = time.monotonic() + self.timeout_s
        self._tell(lambda: self._pipe.send_bytes(self._factory))

    def _take_spaces(self) -> None:
        spaces, self.action_repeat, self.deterministic, self.tally_scores = self._answer()
        self.observation_space, self.action_space = spaces

    def _send(self, method: str, argument: object) -> None:
        self._deadline = time.monotonic() + self.timeout_s
        self._tell(lambda: self._pipe.send((method, argument)))

    def _answer(self) -> Any:  # noqa: ANN401 - what simulators give
        try:
            kind, *rest = self._receive()
        except (EOFError, OSError) as error:
            raise self._lost(f"its worker died ({self._ending()})") from error
        if kind == "raised":
            raise self._lost(f"its worker raised {rest[1]}", rest[0])
        answer, self._state = rest
        return answer

    def _receive(self) -> Any:  # noqa: ANN401 - what simulators give
        assert self._process is not None
        while not self._pipe.poll(min(max(self._deadline - time.monotonic(), 0.0), _LOOK_S)):
            # The pipe alone does not tell: processes of the simulator may hold its other end.
            if self._process.poll() is not None and not self._pipe.poll():
                raise EOFError
            if time.monotonic() >= self._deadline:
                self._process.send_signal(signal.SIGUSR1)
                time.sleep(_DUMP_S)
                raise self._lost(f"its worker gave no answer within {self.timeout_s:g} s")
        return self._pipe.recv()

    def _tell(self, send: Callable[[], None]) -> None:
        # A worker that is gone shows when its answer is taken, in the order of the environments.
        with contextlib.suppress(OSError):
            send()

    def _ending(self) -> str:
        assert self._process is not None
        try:
            code = self._process.wait(_GRACE_S)
        except subprocess.TimeoutExpired:
            return "it closed its pipe"
        return f"exit code {code}" if code >= 0 else signal.Signals(-code).name

    def _lost(self, how: str, refused: str | None = None) -> WorkerLost:
        self._end()
        with self.log.open("rb") as printed:
            printed.seek(self._printed_from)
            lines = printed.read().decode(errors="replace").splitlines()
        return WorkerLost(how, "\n".join(lines[-_TAIL_LINES:]), refused)

    def _end(self) -> None:
        """Kills what is left of the worker and of the processes that its simulator started."""
        assert self._process is not None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._pipe.close()
        self._process = None
