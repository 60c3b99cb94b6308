"""Starts a server and proves that it works."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from harmony.errors import ConfigError
from harmony.filelock import locked
from launch.mlflow_server.admin import BACKEND
from launch.mlflow_server.database import Backend, backend_of, prepare
from launch.mlflow_server.hosts import (
    address_of,
    allowed_hosts,
    allowed_origins,
    loopback_only,
    machine_names,
    public_name,
)
from launch.mlflow_server.record import (
    LOG_FILE,
    MARK,
    Record,
    end,
    forget,
    processes,
    read_record,
    write_record,
)
from launch.mlflow_server.rest import AnswerError, Rest
from launch.mlflow_server.round_trip import Report, check
from launch.mlflow_server.trouble import blotted, cure, probe

OVERFLOW = 10
"""Connections beyond --pool-size; mlflow takes 0 for "not set", so it can't be less."""

_THREADS = 40  # calls that a worker of mlflow's server handles at once
_START_SECONDS = 180.0  # the import of mlflow from a cold network disk
_CALL_SECONDS = 30.0
_LOG_BYTES = 20_000_000


@dataclass(frozen=True)
class Settings:
    """What to start.

    Attributes:
        directory: For the log, the record, files of runs, and the database if it is sqlite.
        host: Address to listen on.
        port: Port to listen on; 0 takes a free one.
        name: Name of this machine in the address for jobs; None takes its host name.
        backend: Address of the database; None means sqlite.
        hosts: Names that are allowed on top of this machine's own.
        workers: Server processes.
        pool_size: Database connections that each of them keeps.
    """

    directory: Path
    host: str = "0.0.0.0"
    port: int = 5000
    name: str | None = None
    backend: str | None = None
    hosts: tuple[str, ...] = ()
    workers: int = 2
    pool_size: int = 50

    @property
    def artifacts(self) -> Path:
        """Where files of runs lie."""
        return self.directory.resolve() / "artifacts"


@dataclass(frozen=True)
class Started:
    """A server that works.

    Attributes:
        record: What is known about it.
        lines: What to tell.
        child: Its process, None if it was up before.
    """

    record: Record
    lines: tuple[str, ...]
    child: subprocess.Popen[bytes] | None


def start(settings: Settings, *, log: bool) -> Started:
    """Starts a server, or finds that it is up.

    Args:
        settings: What to start.
        log: Send its output to DIR/server.log; otherwise it goes where this process's goes.

    Raises:
        ConfigError: It can't be started, or does not work; then nothing is left running.
    """
    directory = settings.directory
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"expected a directory that can be written, got {error}") from error
    with locked(directory / "start.lock"):
        up, notes = _running(directory)
        if up is not None:
            return Started(up, (f"up already: {up.uri}", *_usage(up.uri)), None)
        settings = _with_port(settings)
        backend = backend_of(settings.backend, directory)
        found = prepare(backend, directory)
        _enough_connections(settings, found.get("connections"))
        return _launch(settings, backend, log=log, notes=(*notes, *found["notes"]))


def command(settings: Settings, names: Iterable[str]) -> list[str]:
    """The call of mlflow's server; nothing secret is in it.

    Args:
        settings: What to start.
        names: This machine's names and addresses.
    """
    known = [*names, public_name(settings.host, settings.name)]
    origins = allowed_origins(known, settings.hosts, settings.port)
    return [
        *(sys.executable, "-m", "mlflow", "server"),
        *("--host", settings.host, "--port", str(settings.port)),
        *("--workers", str(settings.workers)),
        *("--serve-artifacts", "--artifacts-destination", str(settings.artifacts)),
        *("--allowed-hosts", ",".join(allowed_hosts(known, settings.hosts))),
        *("--cors-allowed-origins", ",".join(origins)),
        "--uvicorn-opts=--no-access-log",
    ]


def environment(settings: Settings, backend: Backend) -> dict[str, str]:
    """What mlflow's server reads from its environment."""
    return {
        MARK: str(settings.directory.resolve()),
        BACKEND: backend.uri,
        "MLFLOW_SQLALCHEMYSTORE_POOL_SIZE": str(settings.pool_size),
        "MLFLOW_SQLALCHEMYSTORE_MAX_OVERFLOW": str(OVERFLOW),
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # eight processes for evaluating prompts
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "PYTHONUNBUFFERED": "1",
    }


def _running(directory: Path) -> tuple[Record | None, tuple[str, ...]]:
    """The server that is up, or None; and what to tell about one that is not."""
    record = read_record(directory)
    if record is None:
        return None, ()
    if record.here:
        if processes(directory, record.session):
            probe(record.uri, _CALL_SECONDS)
            return record, ()
    else:
        try:
            probe(record.uri, _CALL_SECONDS)
        except ConfigError:
            note = f"the server that ran on {record.host} does not answer; this one takes its place"
            return None, (note,)
        return record, ()
    return None, ()


def _with_port(settings: Settings) -> Settings:
    """Settings with a port that is free.

    Raises:
        ConfigError: It is taken, or can't be used.
    """
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    with socket.socket(family) as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind((settings.host, settings.port))
            trial.listen()
        except (OSError, OverflowError) as error:
            raise ConfigError(
                f"expected a free port, {settings.host}:{settings.port} can't be used "
                f"({error}): give another --port (0 takes a free one), or stop what listens there"
            ) from error
        port: int = trial.getsockname()[1]
    return Settings(**{**vars(settings), "port": port})


def _enough_connections(settings: Settings, limit: int | None) -> None:
    """Compares what the workers may open with what PostgreSQL takes."""
    if limit is None:
        return
    spare = 10  # for the first process, backups and a person
    need = settings.workers * min(settings.pool_size + OVERFLOW, _THREADS) + spare
    if need > limit:
        fits = max((limit - spare) // _THREADS, 1)
        raise ConfigError(
            f"expected room for {need} connections of {settings.workers} workers, PostgreSQL has "
            f"{limit}: --workers {fits}, or ALTER SYSTEM SET max_connections = {need + 20} and "
            "restart PostgreSQL"
        )


def _launch(settings: Settings, backend: Backend, *, log: bool, notes: tuple[str, ...]) -> Started:
    directory = settings.directory
    name = public_name(settings.host, settings.name)
    uri = address_of(name, settings.port)
    child = _spawn(settings, backend, log=log)
    try:
        record = Record(child.pid, socket.gethostname(), uri, backend.public(), time.time())
        write_record(directory, record)
        _wait(child, settings, log=log)
        report = check(uri, _CALL_SECONDS)
    except BaseException:  # whatever went wrong, Ctrl-C included: no half server stays
        end(directory, child.pid)
        child.wait()
        forget(directory)
        raise
    return Started(record, _lines(settings, record, report, notes, log=log), child)


def _spawn(settings: Settings, backend: Backend, *, log: bool) -> subprocess.Popen[bytes]:
    output: IO[Any] | None = _log_file(settings.directory) if log else None
    try:
        return subprocess.Popen(
            command(settings, machine_names()),
            env={**os.environ, **environment(settings, backend)},
            cwd=settings.directory,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT if log else None,
            start_new_session=True,
        )
    finally:
        if output is not None:
            output.close()


def _log_file(directory: Path) -> IO[bytes]:
    """The log, opened at its end; a long one is put aside first."""
    path = directory / LOG_FILE
    if path.exists() and path.stat().st_size > _LOG_BYTES:
        path.replace(path.with_name(f"{LOG_FILE}.1"))
    return path.open("ab")


def _wait(child: subprocess.Popen[bytes], settings: Settings, *, log: bool) -> None:
    """Waits until the server answers on this machine."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)
    rest = Rest(address_of(host, settings.port), timeout=5)
    begin = time.monotonic()
    while True:
        try:
            return rest.health()
        except (AnswerError, OSError) as error:
            trouble = error
        if child.poll() is not None:
            raise ConfigError(f"expected a running server, it ended: {_why(settings, log=log)}")
        if time.monotonic() - begin > _START_SECONDS:
            raise ConfigError(f"no start within {_START_SECONDS:.0f} s: {cure(trouble, rest.uri)}")
        time.sleep(0.2)


def _why(settings: Settings, *, log: bool) -> str:
    if not log:
        return "see the lines above"
    path = settings.directory / LOG_FILE
    lines = [line for line in path.read_text(errors="replace").splitlines() if line.strip()]
    return f"{blotted(lines[-1]).strip() if lines else 'no message'} (see {path})"


def _lines(
    settings: Settings, record: Record, report: Report, notes: tuple[str, ...], *, log: bool
) -> tuple[str, ...]:
    lines = [*notes, report.line(), *_usage(record.uri)]
    name = public_name(settings.host, settings.name)
    if loopback_only(name):
        others = [other for other in machine_names() if not loopback_only(other)]
        other = f", such as --name {others[0]}" if others else ""
        lines.append(
            f"note: {name} means this machine alone in its own files; if other nodes don't "
            f"know the name (python -m launch.mlflow_server check there), use --name{other}"
        )
    if log:
        lines.append(f"log: {settings.directory / LOG_FILE}; stop: {_verb(settings, 'stop')}")
    return tuple(lines)


def _verb(settings: Settings, verb: str) -> str:
    return f"python -m launch.mlflow_server {verb} --dir {settings.directory}"


def _usage(uri: str) -> tuple[str, ...]:
    return (
        f"export MLFLOW_TRACKING_URI={uri}",
        "then: python -m harmony tracking=server env=...   (and open that address in a browser)",
    )
