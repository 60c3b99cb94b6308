"""The process and the pipes behind a bridge to an old world."""

import contextlib
import logging
import os
import select
import signal
import subprocess
import time
from typing import IO

from harmony.envs.bridge_worker import SIGNALLED

log = logging.getLogger(__name__)

_LOOK_S = 0.5  # between looks whether the process still runs, while its pipe is silent
_GRACE_S = 10.0
_FOREIGN = ("PYTHONPATH", "PYTHONHOME")  # made for this interpreter


class WorkerProcess:
    """A keeper process with the worker below it, and the parent's ends of two pipes.

    When the request pipe closes, be it because the parent died, the keeper ends the worker and all
    that it started.

    Args:
        command: starts the worker file; the two file descriptors and the world file are added.
        world: path of the world file.
        printed: takes what it prints.
    """

    def __init__(self, command: list[str], world: str, printed: IO[bytes]) -> None:
        self._broken = False
        request_fd, self._request_fd = os.pipe()
        self._reply_fd, reply_fd = os.pipe()
        for fd in (self._request_fd, self._reply_fd):
            os.set_blocking(fd, False)
        try:
            self._process = subprocess.Popen(
                [*command, str(request_fd), str(reply_fd), world],
                pass_fds=(request_fd, reply_fd),
                stdin=subprocess.DEVNULL,
                stdout=printed,
                stderr=printed,
                env={name: value for name, value in os.environ.items() if name not in _FOREIGN},
                start_new_session=True,
            )
        except BaseException:
            os.close(self._request_fd)
            os.close(self._reply_fd)
            raise
        finally:
            os.close(request_fd)
            os.close(reply_fd)

    def send(self, buffer: bytes | memoryview, deadline: float) -> None:
        """Writes all of a buffer.

        Args:
            buffer: bytes.
            deadline: of time.monotonic().

        Raises:
            TimeoutError: it was not taken in time.
            EOFError: the worker is gone.
        """
        view = memoryview(buffer)
        while len(view):
            try:
                view = view[os.write(self._request_fd, view) :]
            except BlockingIOError:
                self._wait(self._request_fd, select.POLLOUT, deadline)
            except BrokenPipeError as error:
                self._broken = True
                raise EOFError from error

    def fill(self, view: memoryview, deadline: float) -> None:
        """Fills a buffer.

        Args:
            view: the buffer.
            deadline: of time.monotonic().

        Raises:
            TimeoutError: not enough came in time.
            EOFError: the worker is gone.
        """
        while len(view):
            try:
                count = os.readv(self._reply_fd, [view])
            except BlockingIOError:
                self._wait(self._reply_fd, select.POLLIN, deadline)
                continue
            if not count:
                self._broken = True
                raise EOFError
            view = view[count:]

    @property
    def exit(self) -> str:
        """How it ended: exit code or signal."""
        code = self._process.returncode
        number = -code if code < 0 else code - SIGNALLED
        if number in set(signal.Signals):
            return f"signal {signal.Signals(number).name}"
        return f"exit code {code}"

    def end(self) -> None:
        """Ends the worker with all that it started."""
        # One whose pipe broke is about to end; what it ended with shall be told.
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_LOOK_S if self._broken else 0)
        os.close(self._request_fd)
        os.close(self._reply_fd)
        try:
            self._process.wait(_GRACE_S)
        except subprocess.TimeoutExpired:
            log.warning("worker %d does not end; killing its group", self._process.pid)
            self._process.kill()
            self._process.wait()
        if self._process.returncode < 0:  # the keeper itself was killed, and could do nothing
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def _wait(self, fd: int, event: int, deadline: float) -> None:
        """Waits until a pipe is ready, or the process has ended."""
        poll = select.poll()
        poll.register(fd, event)
        while True:
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError
            # A pipe alone does not tell: processes of the simulator may hold its other end open.
            ended = self._process.poll() is not None
            if poll.poll(1000 * min(left, _LOOK_S)):
                return
            if ended:
                raise EOFError
