"""Signals set a flag; the loop saves at the next boundary and ends."""

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
    def exit_code(self) -> int:
        """128 plus the signal's number, as shells have it."""
        return 128 + self.signum


class StopSignals:
    """Catches SIGINT and SIGTERM while it is entered; a second SIGINT interrupts at once."""

    def __init__(self) -> None:
        self._received: int | None = None
        self._before: dict[int, object] = {}

    def __enter__(self) -> StopSignals:
        """Installs the handlers."""
        for signum in (signal.SIGINT, signal.SIGTERM):
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
        self._received = signum

    def check(self) -> None:
        """Raises `Stopped` where a signal has come."""
        if self._received is not None:
            raise Stopped(self._received)
