"""What is known about the server of a directory, and its processes."""

import dataclasses
import json
import os
import signal
import socket
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

from harmony.errors import ConfigError

MARK = "HARMONY_MLFLOW_DIR"
"""Environment variable of a server's processes: the directory that they belong to."""

RECORD_FILE = "server.json"
ADDRESS_FILE = "address"
LOG_FILE = "server.log"

_STOP_SECONDS = 20.0


@dataclass(frozen=True)
class Record:
    """A started server.

    Attributes:
        session: Its process and session id.
        host: Machine that it runs on.
        uri: Address for jobs.
        backend: Its database, without the password.
        started: Unix seconds.
    """

    session: int
    host: str
    uri: str
    backend: str
    started: float

    @property
    def here(self) -> bool:
        """Whether it was started on this machine."""
        return self.host == socket.gethostname()


def read_record(directory: Path) -> Record | None:
    """The record in a directory, None if no server was left running there.

    Raises:
        ConfigError: The file is damaged.
    """
    path = directory / RECORD_FILE
    try:
        return Record(**json.loads(path.read_text()))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError) as error:
        raise ConfigError(
            f"expected the record of a server in {path}, got {error}: delete the file when no "
            "mlflow server runs there"
        ) from error


def write_record(directory: Path, record: Record) -> None:
    """Writes the record, and the address alone, for `$(cat DIR/address)`."""
    _replace(directory / RECORD_FILE, json.dumps(dataclasses.asdict(record), indent=1) + "\n")
    _replace(directory / ADDRESS_FILE, f"{record.uri}\n")


def forget(directory: Path) -> None:
    """Removes record and address."""
    (directory / RECORD_FILE).unlink(missing_ok=True)
    (directory / ADDRESS_FILE).unlink(missing_ok=True)


def processes(directory: Path, session: int) -> list[psutil.Process]:
    """The living processes of a server on this machine, also when the first of them is gone.

    A process id can be used again, so the mark in the environment counts, too.
    """
    mark = str(directory.resolve())
    return [process for process in psutil.process_iter() if _belongs(process, session, mark)]


def end(directory: Path, session: int) -> int:
    """Stops a server: asks first, and kills what is left after 20 s.

    Returns:
        How many processes it had.
    """
    found = processes(directory, session)
    left, told = found, set[int]()
    until = time.monotonic() + _STOP_SECONDS
    while left and time.monotonic() < until:
        alive = {process.pid for process in left}
        for process in left:
            if process.pid not in told and _parent(process) not in alive:
                told.add(process.pid)  # a parent tells its children, so only orphans are told
                _signal(process, signal.SIGTERM)
        _, left = psutil.wait_procs(left, timeout=0.2)
    left = [*left, *processes(directory, session)]
    for process in left:
        _signal(process, signal.SIGKILL)
    psutil.wait_procs(left, timeout=_STOP_SECONDS)
    return len(found)


def _belongs(process: psutil.Process, session: int, mark: str) -> bool:
    try:
        if os.getsid(process.pid) != session or process.status() == psutil.STATUS_ZOMBIE:
            return False
        return process.environ().get(MARK) == mark
    except (psutil.Error, OSError):  # gone, or another user's
        return False


def _parent(process: psutil.Process) -> int:
    try:
        return int(process.ppid())
    except psutil.NoSuchProcess:
        return 0


def _signal(process: psutil.Process, number: signal.Signals) -> None:
    try:
        process.send_signal(number)
    except psutil.NoSuchProcess:
        return


def _replace(path: Path, text: str) -> None:
    new = path.with_name(f"{path.name}.new")
    new.write_text(text)
    new.replace(path)
