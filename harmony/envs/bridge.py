"""A simulator that needs another Python, in a worker process under that interpreter.

The parent's half. The worker's half, `bridge_worker.py`, needs NumPy alone and runs on Python 3.8
to 3.12; it makes the simulator from a *world file*, a small Python file that is run under the old
interpreter and offers `make(**arguments)`: the object that it returns has the methods to call.
Between the two run two private pipes; what the simulator prints goes to a file of its own. Linux
only.
"""

import contextlib
import logging
import os
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from harmony.envs import bridge_worker
from harmony.envs.bridge_process import WorkerProcess
from harmony.envs.bridge_worker import ProtocolError, decode, encode
from harmony.envs.interpreter import find_interpreter
from harmony.errors import EnvError, SimulatorError

log = logging.getLogger(__name__)

_MAX_LOG = 2**24  # bytes; a talkative simulator shall not fill the disk
_SHOWN = 200  # characters of what a worker printed
_CLOSE_S = 10.0
_TAIL_LINES = 12  # of what a worker printed, for the end of a run


class Bridge:
    """One worker process with one simulator in it; starts with the object.

    Values that cross, as arguments and as results: None, bool, int, float, str, lists, dicts with
    plain keys, and NumPy arrays of numbers, booleans or strings, bit for bit. Tuples arrive as
    lists, NumPy's scalars as Python's.

    Calls run one after another, in order. An exception of the simulator leaves the worker running;
    after a time-out, a crash or a reply that is none the worker is gone, with all processes that it
    started, until `restart`. It also ends when the parent does, however that dies.

    Args:
        python: the other interpreter: a path, or a command to find in PATH. It needs NumPy.
        world: path of the world file.
        arguments: of its `make`.
        version: that the interpreter must have, such as "3.9"; None takes any.
        timeout_s: seconds that any call may take, and `make` too unless it has its own.
        name: of the suite, for messages.
        start_timeout_s: seconds that starting and `make` may take; None means timeout_s.

    Attributes:
        log: file with everything that the worker printed; gone after a `close` without trouble.

    Raises:
        EnvError: the interpreter is not there, can't be run or has another version; the worker
            did not start; `make` raised.
    """

    def __init__(
        self,
        python: str | None,
        world: str,
        arguments: Mapping[str, Any],
        *,
        version: str | None,
        timeout_s: float,
        name: str,
        start_timeout_s: float | None = None,
    ) -> None:
        self._python = find_interpreter(python, version, name)
        self._world = str(Path(world).resolve())
        self._arguments = dict(arguments)
        self._timeout_s = timeout_s
        self._start_timeout_s = timeout_s if start_timeout_s is None else start_timeout_s
        self._name = name
        self._number = 0
        self._printed = 0  # bytes of the log before the call that is under way
        self._trouble = False
        self._worker: WorkerProcess | None = None
        handle, path = tempfile.mkstemp(prefix=f"harmony_{name}_", suffix=".log")
        os.close(handle)
        self.log = Path(path)
        try:
            self._start()
        except SimulatorError as error:  # at the start something is missing: that can be mended
            raise EnvError(str(error)) from error

    @property
    def running(self) -> bool:
        """Whether there is a worker that can be called."""
        return self._worker is not None

    def call(self, method: str, *arguments: Any, timeout_s: float | None = None) -> Any:  # noqa: ANN401
        """Calls a method of the simulator and waits for what it returns.

        Args:
            method: its name.
            *arguments: plain values and arrays.
            timeout_s: seconds for this call; None means the bridge's.

        Raises:
            SimulatorError: the method raised (the worker runs on), took too long, or the worker
                died (it is gone then). One line, with the last line of the worker's traceback and
                the file that holds the rest.
            TypeError: an argument is no plain value and no array; nothing was sent.
        """
        return self._call(method, list(arguments), timeout_s or self._timeout_s)

    def restart(self) -> None:
        """Ends the worker, if there is one, and starts a fresh one with the same arguments.

        Raises:
            SimulatorError: it did not start, or `make` raised.
        """
        self._end()
        self._start()

    def close(self) -> None:
        """Calls the simulator's `close()`, if any, then ends the worker; twice is harmless."""
        if self._worker is not None:
            try:
                self._call("close", [], min(_CLOSE_S, self._timeout_s))
            except SimulatorError as error:  # it goes all the same
                log.warning("%s", error)
            self._end()
        if not self._trouble:
            self.log.unlink(missing_ok=True)

    def _start(self) -> None:
        with self.log.open("ab") as printed:
            self._printed = printed.tell()
            script = bridge_worker.__file__
            # -I: neither this package's folder nor PYTHONPATH, made for another Python, is seen.
            command = [self._python, "-I", "-u", "-X", "faulthandler", script]
            self._worker = WorkerProcess(command, self._world, printed)
        self._number = 0
        try:
            self._call("make", self._arguments, self._start_timeout_s)
        except BaseException:
            self._end()
            raise

    def _call(self, method: str, arguments: Any, timeout_s: float) -> Any:  # noqa: ANN401
        if self._worker is None:
            raise SimulatorError(
                f"env {self._name}: its worker is gone, so {method}() can't be called; restart it"
            )
        self._number += 1
        buffers = encode(self._number, [method, arguments])
        worker, deadline = self._worker, time.monotonic() + timeout_s
        with self._told(worker, method, timeout_s):
            for buffer in buffers:
                worker.send(buffer, deadline)
            number, reply = decode(lambda view: worker.fill(view, deadline))
            if number != self._number or not isinstance(reply, dict):
                raise ProtocolError(f"this is an answer to call {number}, not {self._number}")
        printed = self._said() if "error" in reply else []
        self._mark_log()
        if "error" in reply:
            self._trouble = True
            what = f"env {self._name}: {method}() raised {reply['error']}; see {self.log}"
            raise SimulatorError(what, "\n".join(printed[-_TAIL_LINES:]))
        return reply["value"]

    @contextlib.contextmanager
    def _told(self, worker: WorkerProcess, method: str, timeout_s: float) -> Iterator[None]:
        """Ends a worker that did not answer, and says why in one line."""
        try:
            yield
        except TimeoutError as error:
            self._end()
            what = f"gave no answer within {timeout_s:g} s, so it was ended"
            raise self._failure(method, what) from error
        except EOFError as error:
            self._end()
            raise self._failure(method, f"ended with {worker.exit}") from error
        except ProtocolError as error:
            self._end()
            raise self._failure(method, f"sent garbage, so it was ended: {error}") from error
        except BaseException:
            self._end()  # interrupted: the answer would be taken for that of the next call
            raise

    def _failure(self, method: str, what: str) -> SimulatorError:
        self._trouble = True
        printed = self._said()
        said = [line.strip() for line in printed]
        fatal = [line for line in said if line.startswith("Fatal Python error")]
        last = (fatal or said or [""])[-1][:_SHOWN]  # of a crash in C, what kind it was
        more = f"; it said {last!r}, all of it is in {self.log}" if last else ""
        what = f"env {self._name}: in {method}() its worker {what}{more}"
        return SimulatorError(what, "\n".join(printed[-_TAIL_LINES:]))

    def _said(self) -> list[str]:
        """The lines that the worker printed during this call."""
        with contextlib.suppress(OSError), self.log.open("rb") as printed:
            printed.seek(self._printed)
            lines = printed.read().decode(errors="replace").splitlines()
            return [line.rstrip() for line in lines if line.strip()]
        return []

    def _mark_log(self) -> None:
        with contextlib.suppress(OSError):  # someone tidied up
            self._printed = self.log.stat().st_size
            if self._printed > _MAX_LOG:
                os.truncate(self.log, 0)
                self._printed = 0

    def _end(self) -> None:
        if self._worker is not None:
            self._worker.end()
            self._worker = None
