"""Signals set a flag; the loop saves at the next boundary and ends.

SIGINT and SIGTERM mean the end. SIGUSR2 is what a scheduler sends before it takes the machine away:
time is nearly up, or another job goes first.
"""

from __future__ import annotations

import signal
from types import FrameType, TracebackType


class Stopped(Exception):  # noqa: N818 - nothing went wrong
    """The run was asked to stop.

    Attributes:
        signum: the signal.
    """

    def __init__(self, signum: int) -> None:
        super().__init__(signal.Signals(signum).name)
        self.signum = signum

    @property
    def continues(self) -> bool:
        """Whether a launcher starts the run again, where one has started it."""
        return self.signum == signal.SIGUSR2

    @property
    def exit_code(self) -> int:
        """128 plus the signal's number, as shells have it."""
        return 128 + self.signum


class StopSignals:
    """Catches the signals while it is entered; a second SIGINT interrupts at once."""

    def __init__(self) -> None:
        self._received: int | None = None
        self._before: dict[int, object] = {}

    def __enter__(self) -> StopSignals:
        """Installs the handlers."""
        for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR2):
            self._before[signum] = signal.signal(signum, self._handle)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Puts the old handlers back."""
        for signum, handler in self._before.items():
            signal.signal(signum, handler)  # type: ignore[arg-type]

    def _handle(self, signum: int, _frame: FrameType | None) -> None:
        if self._received == signal.SIGINT == signum:
            raise KeyboardInterrupt
        if self._received not in (signal.SIGINT, signal.SIGTERM) or signum != signal.SIGUSR2:
            self._received = signum  # the end outweighs the wish to go on elsewhere

    def check(self) -> None:
        """Raises `Stopped` where a signal has come."""
        if self._received is not None:
            raise Stopped(self._received)
