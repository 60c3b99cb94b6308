"""The database behind a server: its address, its tables, copies of it, and what is thrown away."""

import importlib.util
import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import psutil

from harmony.errors import ConfigError
from harmony.tracking.uri import sqlite_file
from launch.mlflow_server.admin import BACKEND
from launch.mlflow_server.rest import Answer
from launch.mlflow_server.trouble import blotted, cure

_MINUTES = 60.0
_HOURS = 3600.0
_NETWORK = {"nfs", "nfs4", "lustre", "gpfs", "beegfs", "ceph", "cifs", "smb3", "fuse.sshfs"}
_POSTGRES = "postgresql+psycopg2"
_NO_DRIVER = (
    "expected the package psycopg2 for PostgreSQL, got nothing: "
    "pip install 'harmony-dream[server]' (or pip install psycopg2-binary)"
)


@dataclass(frozen=True)
class Backend:
    """A database that a server writes to.

    Args:
        uri: SQLAlchemy address, `sqlite:////PATH` or `postgresql://...`.
    """

    uri: str

    @property
    def file(self) -> Path | None:
        """The file of sqlite, None for PostgreSQL."""
        return sqlite_file(self.uri)

    def public(self) -> str:
        """The address without password and driver, as PostgreSQL's own programs take it."""
        return re.sub(r"(://[^/@:]*):[^/@]*@", r"\1@", self.uri.replace(_POSTGRES, "postgresql", 1))

    def libpq(self) -> tuple[str, dict[str, str]]:
        """Address and environment for PostgreSQL's own programs: no password in an argument."""
        password = urlsplit(self.uri).password
        return self.public(), {} if password is None else {"PGPASSWORD": unquote(password)}


def backend_of(uri: str | None, directory: Path) -> Backend:
    """Reads --backend.

    Args:
        uri: As typed; None means sqlite in `directory`.
        directory: The server's directory.

    Raises:
        ConfigError: Neither sqlite nor PostgreSQL, or the driver is not installed.
    """
    if not uri:
        return Backend(f"sqlite:///{directory.resolve() / 'mlflow.db'}")
    if (file := sqlite_file(uri)) is not None:
        return Backend(f"sqlite:///{file}")
    # the driver that a plain postgresql:// means depends on SQLAlchemy's version
    uri = re.sub(r"^postgres(ql)?:", f"{_POSTGRES}:", uri)
    if not uri.startswith(f"{_POSTGRES}://"):
        raise ConfigError(
            "expected --backend postgresql://USER@HOST/DATABASE or sqlite:///PATH, "
            f"got {blotted(uri)}"
        )
    if importlib.util.find_spec("psycopg2") is None:
        raise ConfigError(_NO_DRIVER)
    return Backend(uri)


def prepare(backend: Backend, directory: Path) -> dict[str, Any]:
    """Makes or upgrades the tables, once, before any worker starts; keeps a copy of old ones.

    Returns:
        What the database is like: `connections`, `tables`, and `notes` for a person.

    Raises:
        ConfigError: The database can't be used.
    """
    notes = _prepare_file(backend.file) if backend.file is not None else []
    found = _state(backend, "state")
    if found["tables"] == "old":
        end = "db" if backend.file else "dump"
        copy = directory / f"before-upgrade-{time.strftime('%Y%m%d-%H%M%S')}.{end}"
        notes.append(f"the tables were of an older mlflow: upgraded; {save(backend, copy)}")
    if found["tables"] != "current":
        found = _state(backend, "upgrade")
    return {**found, "notes": notes}


def save(backend: Backend, target: Path) -> str:
    """Copies the database into a new file, while the server runs.

    Args:
        backend: The database.
        target: A file that does not exist yet; it appears when it is complete.

    Returns:
        One line that says what was saved.

    Raises:
        ConfigError: There is a file already, or the copy fails.
    """
    if target.exists():
        raise ConfigError(f"expected a new file, {target} exists: choose another name")
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f"{target.name}.part")
    part.unlink(missing_ok=True)
    part.touch(mode=0o600)
    try:
        what = _save_sqlite(backend, part) if backend.file else _save_postgres(backend, part)
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)
    return f"{what} saved to {target} ({target.stat().st_size / 1e6:.1f} MB)"


def retention_arguments(age: str, tracking_uri: str, artifacts: Path) -> list[str]:
    """Arguments of mlflow's gc that remove what was deleted longer ago than `age`.

    Raises:
        ConfigError: `age` is not like 30d or 12h.
    """
    if not re.fullmatch(r"(?=\d)(\d+d)?(\d+h)?(\d+m)?(\d+s)?", age):
        raise ConfigError(f"expected --deleted-older-than 30d, 12h or 1d12h, got {age!r}")
    return [
        *("--older-than", age, "--tracking-uri", tracking_uri),
        *("--artifacts-destination", str(artifacts)),
    ]


def retain(backend: Backend, arguments: Sequence[str], tracking_uri: str) -> str:
    """Removes deleted runs and experiments for good; says in one line what went.

    Raises:
        ConfigError: mlflow's gc fails.
    """
    text = _admin(backend, ["gc", *arguments], _HOURS, {"MLFLOW_TRACKING_URI": tracking_uri})
    runs = len(re.findall(r"^Run with ID", text, re.MULTILINE))
    experiments = len(re.findall(r"^Experiment with ID", text, re.MULTILINE))
    return f"removed for good: {runs} runs, {experiments} experiments"


def network_disk(directory: Path) -> str | None:
    """The kind of network file system that a directory lies on, None for a local disk."""
    mounts = [
        (len(part.mountpoint), part.fstype)
        for part in psutil.disk_partitions(all=True)
        if directory.resolve().is_relative_to(part.mountpoint)
    ]
    kind = max(mounts, default=(0, ""))[1]
    return kind if kind in _NETWORK else None


def _prepare_file(file: Path) -> list[str]:
    """Lets readers and a writer of a sqlite file go on side by side, where the disk allows it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    if kind := network_disk(file.parent):
        return [
            f"warning: {file} is on {kind}, where sqlite is slow and can be damaged: take "
            "backups, never start a second server on it, or use --backend postgresql://..."
        ]
    try:
        with closing(sqlite3.connect(file, timeout=20)) as connection:
            connection.execute("PRAGMA journal_mode=WAL").fetchone()
    except sqlite3.Error as error:
        raise ConfigError(f"expected a sqlite database in {file}, got: {error}") from error
    return []


def _state(backend: Backend, verb: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(_admin(backend, [verb], 10 * _MINUTES).splitlines()[-1])
    return found


def _admin(
    backend: Backend,
    arguments: Sequence[str],
    timeout: float,
    more: Mapping[str, str] | None = None,
) -> str:
    """Runs mlflow's part in a process of its own; returns its stdout."""
    command = [sys.executable, "-m", "launch.mlflow_server.admin", *arguments]
    environ = {
        **os.environ,
        **(more or {}),
        BACKEND: backend.uri,
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    environ["PYTHONPATH"] = os.pathsep.join(entry for entry in sys.path if entry)
    done = _run(command, environ, timeout)
    if done.returncode:
        raise ConfigError(cure(Answer(0, _last(done.stderr)), backend.public()))
    return done.stdout


def _save_sqlite(backend: Backend, part: Path) -> str:
    if backend.file is None or not backend.file.is_file():
        raise ConfigError(f"expected a database in {backend.file}, got nothing: give --dir DIR")
    try:
        with (
            closing(sqlite3.connect(f"{backend.file.as_uri()}?mode=ro", uri=True)) as source,
            closing(sqlite3.connect(part)) as copy,
        ):
            source.backup(copy)
            fine = copy.execute("PRAGMA integrity_check").fetchone()[0]
            (runs,) = copy.execute("SELECT count(*) FROM runs").fetchone()
    except sqlite3.Error as error:
        raise ConfigError(f"expected a sound database in {backend.file}, got: {error}") from error
    if fine != "ok":
        raise ConfigError(f"expected a sound database in {backend.file}, got: {fine}")
    return f"{runs} runs"


def _save_postgres(backend: Backend, part: Path) -> str:
    address, environ = backend.libpq()
    for program in ("pg_dump", "pg_restore"):
        if shutil.which(program) is None:
            raise ConfigError(
                f"expected the program {program}, got nothing: install PostgreSQL's client "
                "programs (Debian: postgresql-client), of the server's version or newer"
            )
    dump = ["pg_dump", "--format=custom", "--no-password", f"--file={part}", f"--dbname={address}"]
    _client(dump, {**os.environ, **environ}, address)
    listed = _client(["pg_restore", "--list", str(part)], dict(os.environ), address)
    tables = len(re.findall(r"TABLE DATA", listed))
    if not re.search(r"TABLE DATA \S+ runs ", listed):
        raise ConfigError(f"expected the table of runs in {address}, got {tables} other tables")
    return f"{tables} tables"


def _client(command: Sequence[str], environ: Mapping[str, str], address: str) -> str:
    done = _run(command, environ, 6 * _HOURS)
    if done.returncode:
        raise ConfigError(cure(Answer(0, _last(done.stderr)), address))
    return done.stdout


def _run(
    command: Sequence[str], environ: Mapping[str, str], timeout: float
) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            command,
            env=environ,
            timeout=timeout,
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except subprocess.TimeoutExpired as error:
        raise ConfigError(
            f"expected {command[0]} to end within {timeout / 60:.0f} minutes, it did not: "
            "look at the database's own log"
        ) from error


def _last(text: str) -> str:
    """The last line that says something."""
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1].strip() if lines else "no message"
