"""The worker's half of the bridge to old worlds, and the messages that cross it.

This file runs under the simulator's own interpreter, Python 3.8 to 3.12, and needs NumPy alone:
no word of it may need a newer Python. `bridge.py` starts it and speaks the same messages.

A message is four bytes of magic, the length of the header (uint32, little-endian), a header in
JSON, and the raw bytes of its arrays one after another. No pickle: it differs between versions of
NumPy. The parent sends [method, arguments], first of all ["make", keyword arguments]; the worker
answers {"value": ...} or {"error": one line}. Message and answer carry the same number.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib.util
import json
import os
import select
import signal
import struct
import sys
import threading
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

MAGIC = b"HRM1"
PREFIX = struct.Struct("<4sI")
MAX_HEADER = 2**28
"""Bytes; more is a sign of garbage."""
MAX_ARRAYS = 2**33
"""Bytes of all arrays of a message; likewise."""
SIGNALLED = 128
"""Exit codes from here on stand for signals."""

_KINDS = "biufcSU"  # booleans, numbers, strings
_SUBREAPER, _DEATH_SIGNAL = 36, 1  # of prctl(2)


class ProtocolError(ValueError):
    """What came is no message."""


def encode(number: int, body: object) -> list[bytes | memoryview]:
    """Writes a message.

    Args:
        number: of the call.
        body: None, bool, int, float, str, lists, dicts and NumPy arrays, nested as you like.

    Returns:
        Buffers to send one after another.

    Raises:
        TypeError: something of it is none of these.
    """
    arrays: list[np.ndarray] = []
    packed = _pack(body, arrays)
    kinds = [(array.dtype.str, array.shape) for array in arrays]
    header = json.dumps([number, packed, kinds]).encode()
    return [PREFIX.pack(MAGIC, len(header)) + header, *(_raw(array) for array in arrays)]


def decode(fill: Callable[[memoryview], None]) -> tuple[int, Any]:
    """Reads a message.

    Args:
        fill: fills a buffer with the bytes that come next.

    Returns:
        Number of the call, and what `encode` was given.

    Raises:
        ProtocolError: it is none.
    """
    magic, length = PREFIX.unpack(_take(fill, PREFIX.size))
    if magic != MAGIC or length > MAX_HEADER:
        raise ProtocolError(f"no message begins with {magic!r}")
    try:
        number, packed, kinds = json.loads(bytes(_take(fill, length)))
        arrays = _read_arrays(fill, kinds)
        return int(number), _unpack(packed, arrays)
    except (ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
        raise ProtocolError(f"no message has such a header: {error}") from error


def _pack(value: Any, arrays: list[np.ndarray]) -> Any:  # noqa: ANN401 - any plain value
    """A value as JSON; its arrays are put aside."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (list, tuple)):
        return [_pack(item, arrays) for item in value]
    if isinstance(value, Mapping):
        return {"dict": [[_key(key), _pack(item, arrays)] for key, item in value.items()]}
    return _pack_numpy(value, arrays)


def _key(key: object) -> object:
    if key is None or isinstance(key, (bool, int, float, str)):
        return key
    raise TypeError(f"keys of a dict must be plain values, got {type(key).__name__}")


def _pack_numpy(value: Any, arrays: list[np.ndarray]) -> Any:  # noqa: ANN401 - any plain value
    import numpy as np  # not above: its threads must not be there when the worker forks

    if isinstance(value, (np.bool_, np.integer)):
        return value.item()
    if isinstance(value, np.floating):
        return float(value)
    if not isinstance(value, np.ndarray) or value.dtype.kind not in _KINDS:
        kind = getattr(value, "dtype", type(value).__name__)
        raise TypeError(f"only plain values and arrays can cross the bridge, got {kind}")
    arrays.append(value)
    return {"array": len(arrays) - 1}


def _raw(array: np.ndarray) -> memoryview:
    """The bytes of an array in C order."""
    import numpy as np

    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data


def _read_arrays(fill: Callable[[memoryview], None], kinds: Any) -> list[np.ndarray]:  # noqa: ANN401
    import numpy as np

    arrays, total = [], 0
    for name, shape in kinds:
        dtype = np.dtype(name)
        size = dtype.itemsize
        for side in shape:
            size *= int(side)
        total += size
        if size < 0 or total > MAX_ARRAYS or dtype.kind not in _KINDS:
            raise ProtocolError(f"no array is {name} {shape}")
        raw = np.empty(size, np.uint8)
        fill(raw.data)
        arrays.append(raw.view(dtype).reshape(shape))
    return arrays


def _unpack(node: Any, arrays: list[np.ndarray]) -> Any:  # noqa: ANN401 - any plain value
    if isinstance(node, list):
        return [_unpack(item, arrays) for item in node]
    if isinstance(node, dict):
        if "array" in node:
            return arrays[node["array"]]
        return {key: _unpack(item, arrays) for key, item in node["dict"]}
    return node


def _take(fill: Callable[[memoryview], None], size: int) -> bytearray:
    buffer = bytearray(size)
    fill(memoryview(buffer))
    return buffer


class _Channel:
    """The worker's ends of the two pipes."""

    def __init__(self, request_fd: int, reply_fd: int) -> None:
        self._requests = os.fdopen(request_fd, "rb")
        self._reply_fd = reply_fd

    def fill(self, view: memoryview) -> None:
        """Fills a buffer.

        Raises:
            EOFError: the parent is gone.
        """
        if self._requests.readinto(view) < len(view):
            raise EOFError("the parent is gone")

    def reply(self, number: int, body: object) -> None:
        """Answers a call."""
        try:
            buffers = encode(number, body)
        except TypeError as error:  # a result that can't cross
            traceback.print_exc()
            buffers = encode(number, {"error": f"TypeError: {error}"})
        for buffer in buffers:
            view = memoryview(buffer)
            while len(view):
                view = view[os.write(self._reply_fd, view) :]


def serve(channel: _Channel, world: str) -> None:
    """Makes the simulator and does what is asked, until it is asked to close.

    Args:
        channel: to the parent.
        world: path of the world file.
    """
    simulator: Any = None
    while True:
        number, (method, arguments) = decode(channel.fill)
        try:
            if method == "make":
                simulator = _load(world).make(**arguments)
                value = None
            elif method == "close":
                value = getattr(simulator, "close", lambda: None)()
            else:
                value = getattr(simulator, method)(*arguments)
        except Exception as error:  # whatever it is, the parent has to know
            traceback.print_exc()
            channel.reply(number, {"error": _one_line(error)})
        else:
            channel.reply(number, {"value": value})
        sys.stdout.flush()
        sys.stderr.flush()
        if method == "close":
            return


def _load(world: str) -> Any:  # noqa: ANN401 - a module of the simulator's
    spec = importlib.util.spec_from_file_location("world", world)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["world"] = module
    spec.loader.exec_module(module)
    return module


def _one_line(error: Exception) -> str:
    """The last line of the traceback, and where in the code it was raised."""
    lines = traceback.format_exception_only(type(error), error)
    frame = traceback.extract_tb(error.__traceback__)[-1]
    place = f"{Path(frame.filename).name}:{frame.lineno}"
    return f"{' '.join(''.join(lines).split())} ({place})"


def _keep(worker: int, request_fd: int) -> int:
    """Watches the worker, and ends it with everything that it started when the parent is gone.

    It is a process of its own because a simulator that hangs may hold Python's lock for good, and
    because one that crashes leaves its children, such as a game, behind.

    Args:
        worker: its process id.
        request_fd: the pipe from the parent; it is only watched here.

    Returns:
        Exit code of the worker, or 128 plus its signal.
    """

    def watch() -> None:
        poll = select.poll()
        poll.register(request_fd, 0)  # no event: a hang-up is told anyway
        poll.poll()
        with contextlib.suppress(ProcessLookupError):
            os.kill(worker, signal.SIGKILL)

    threading.Thread(target=watch, daemon=True).start()
    pid, status = os.wait()
    while pid != worker:
        pid, status = os.wait()
    _end_children()
    if os.WIFSIGNALED(status):
        return SIGNALLED + os.WTERMSIG(status)
    return os.WEXITSTATUS(status)


def _end_children() -> None:
    """Kills and reaps all descendants: those of a dead one become children of the keeper."""
    while True:
        for pid in (entry.name for entry in Path("/proc").iterdir() if entry.name.isdigit()):
            if _parent_of(pid) == os.getpid():
                os.kill(int(pid), signal.SIGKILL)
        try:
            os.wait()
        except ChildProcessError:
            return


def _parent_of(pid: str) -> int | None:
    try:
        stat = Path("/proc", pid, "stat").read_bytes()
    except OSError:  # it ended in the meantime
        return None
    return int(stat.rpartition(b")")[2].split()[1])


def main() -> int:
    """Runs a keeper with a worker below it.

    Returns:
        Exit code.
    """
    request_fd, reply_fd, world = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
        # The parent decides when it ends: schedulers signal all processes of a job. A handler,
        # since what is ignored outright would stay ignored in programs that the simulator starts.
        signal.signal(number, lambda *_: None)
    prctl = ctypes.CDLL(None).prctl
    prctl(_SUBREAPER, 1, 0, 0, 0)
    worker = os.fork()
    if worker:
        os.close(reply_fd)
        return _keep(worker, request_fd)
    prctl(_DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0)
    try:
        serve(_Channel(request_fd, reply_fd), world)
    except EOFError:
        return 0
    except BaseException:  # also sys.exit() of a simulator: the parent reads it in the log
        traceback.print_exc()
        return 1
    return 0


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # not through the interpreter's end, where threads of a simulator may hang
