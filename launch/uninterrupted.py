"""Steps that a signal must not cut in two, such as handing jobs over and writing down their ids."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Puts off the signals that end a process, for a block and the commands that it starts.

    A Ctrl-C reaches every process of the terminal. A child inherits what its parent blocks, so a
    command that has just been told the id of a job lives on to say it. The first signal that came
    is raised again after the block. Of use in the main thread only.
    """
    came: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        del frame
        came.append(number)

    before = {number: signal.signal(number, note) for number in _ENDING}
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)  # what waits is noted here
        for number, handler in before.items():
            signal.signal(number, handler)
    if came:
        signal.raise_signal(came[0])
