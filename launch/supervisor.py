"""Runs some runs, each in a process of its own, a number of them at a time.

What a supervisor guarantees: signals reach every run; a run that dies takes no other along and is
started again where that can help; how each has ended is told truthfully.
"""

import logging
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Literal

log = logging.getLogger(__name__)

End = Literal["FINISHED", "FAILED", "KILLED", "SAVED", "REFUSED"]

SIGNALS = (signal.SIGUSR2, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_ENDS: dict[int, End] = {
    0: "FINISHED",
    2: "REFUSED",
    128 + signal.SIGUSR2: "SAVED",
    128 + signal.SIGTERM: "KILLED",
    128 + signal.SIGINT: "KILLED",
    -signal.SIGTERM: "KILLED",
    -signal.SIGINT: "KILLED",
    -signal.SIGUSR2: "SAVED",  # it came before there was anything to save
}
_CRASHES = (signal.SIGKILL, signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGILL)
_POLL_SECONDS = 0.2
_STOP_SECONDS = 60.0


@dataclass
class Task:
    """One run to supervise.

    Attributes:
        key: what the caller calls it.
        command: that trains it.
        log: file that its output is added to.
        finished: whether it has reached its end before; it is then not started.
        end: how it has ended, None while it has not.
        crashes: how often it died by a signal.
    """

    key: int
    command: Sequence[str]
    log: Path
    finished: Callable[[], bool]
    end: End | None = None
    crashes: int = 0


@dataclass
class _Place:
    """A slot, with the process in it."""

    number: int
    task: Task | None = None
    process: "subprocess.Popen[bytes] | None" = None
    output: IO[bytes] | None = None


@dataclass
class Supervisor:
    """Supervises tasks.

    Attributes:
        tasks: in the order in which they start.
        slots: how many run at a time.
        environment: of the process in a slot, by number of the slot.
        max_crashes: how often a task is started again after a death by a signal.
        ended: called when a task has ended for good.
    """

    tasks: Sequence[Task]
    slots: int
    environment: Callable[[int], Mapping[str, str]]
    max_crashes: int
    ended: Callable[[Task], None]
    asked: int | None = field(default=None, init=False)
    asked_times: int = field(default=0, init=False)

    def run(self) -> None:
        """Returns when all tasks have ended, or those that ran after a signal.

        A task that was not started because of a signal has no end.
        """
        places = [_Place(number) for number in range(self.slots)]
        with self._listening():
            try:
                self._until_idle(places)
            finally:  # empty places, unless something here has broken
                _stop(places)

    def _until_idle(self, places: Sequence[_Place]) -> None:
        waiting = list(self.tasks)
        passed_on = 0
        while True:
            for place in places:
                self._look_after(place, waiting)
            if self.asked is not None and self.asked_times > passed_on:
                passed_on = self.asked_times
                log.info("%s: passed on to every run", signal.Signals(self.asked).name)
                for place in places:
                    if place.process is not None:
                        place.process.send_signal(self.asked)
            idle = all(place.task is None for place in places)
            if idle and (not waiting or self.asked is not None):
                return
            time.sleep(_POLL_SECONDS)

    def _look_after(self, place: _Place, waiting: list[Task]) -> None:
        if place.task is not None and place.process is not None:
            code = place.process.poll()
            if code is None:
                return
            task = _emptied(place)
            self._left(task, code)
            if task.end is None:
                waiting.insert(0, task)
            else:
                self.ended(task)
        while waiting and self.asked is None and place.task is None:
            task = waiting.pop(0)
            if task.finished():
                task.end = "FINISHED"
                log.info("run %d has finished before", task.key)
                continue
            try:
                self._start(place, task)
            except OSError as error:
                log.error("run %d can't be started: %s", task.key, error)
                task.end = "FAILED"
                self.ended(_emptied(place))

    def _start(self, place: _Place, task: Task) -> None:
        place.task = task
        task.log.parent.mkdir(parents=True, exist_ok=True)
        place.output = task.log.open("ab")
        place.process = subprocess.Popen(
            task.command,
            stdin=subprocess.DEVNULL,
            stdout=place.output,
            stderr=subprocess.STDOUT,
            env=dict(self.environment(place.number)),
            # A Ctrl-C in the terminal reaches the supervisor alone, which passes it on once.
            start_new_session=True,
        )
        log.info("run %d started: process %d, log %s", task.key, place.process.pid, task.log)

    def _left(self, task: Task, code: int) -> None:
        """Decides what the exit code of a process means."""
        if died := death(code):
            task.crashes += 1
            again = task.crashes <= self.max_crashes and self.asked is None
            task.end = None if again else "FAILED"
            if self.asked == signal.SIGUSR2 and task.crashes <= self.max_crashes:
                task.end = "SAVED"  # up to its last checkpoint; it goes on with the others
            elif self.asked not in (None, signal.SIGUSR2):
                task.end = "KILLED"
            then = task.end or "started again from its last checkpoint"
            log.warning("run %d died by %s: %s", task.key, died.name, then)
            return
        task.end = _ENDS.get(code, "FAILED")
        log.info("run %d: %s (exit code %d)", task.key, task.end, code)

    @contextmanager
    def _listening(self) -> Iterator[None]:
        nohup = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN  # it was asked for: it stays
        heard = [s for s in SIGNALS if not (nohup and s == signal.SIGHUP)]
        before = {signum: signal.signal(signum, self._ask) for signum in heard}
        try:
            yield
        finally:
            for signum, handler in before.items():
                signal.signal(signum, handler)

    def _ask(self, signum: int, _frame: object) -> None:
        signum = signal.SIGTERM if signum == signal.SIGHUP else signum  # the terminal was closed
        if self.asked is None or self.asked == signal.SIGUSR2:
            self.asked = signum
        if signum == self.asked:  # another one would reach runs as a second Ctrl-C
            self.asked_times += 1


def death(code: int) -> signal.Signals | None:
    """The signal that a process has died by, as against one that it has answered.

    Args:
        code: its exit code; negative as Python has it, above 128 as shells and srun have it.
    """
    signum = -code if code < 0 else code - 128
    return signal.Signals(signum) if signum in _CRASHES else None


def worker_command(spec: Path, prefix: Sequence[str] = (), python: str | None = None) -> list[str]:
    """The command that trains the run of a spec file.

    Args:
        spec: the file.
        prefix: what starts it on the right place, such as an srun.
        python: the interpreter; this one by default.
    """
    return [*prefix, python or sys.executable, "-u", "-m", "launch.worker", str(spec)]


def _stop(places: Sequence[_Place]) -> None:
    """Ends the runs that are left: nobody would look after them any more."""
    living = [place.process for place in places if place.process is not None]
    for process in living:
        process.terminate()
    for process in living:
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    for place in places:
        if place.task is not None:
            _emptied(place)


def _emptied(place: _Place) -> Task:
    task, output = place.task, place.output
    assert task is not None
    if output is not None:
        output.close()
    place.task, place.process, place.output = None, None, None
    return task
