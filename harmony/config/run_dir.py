"""The run directory: made once, owned by one process at a time, continued only as itself."""

import contextlib
import json
import os
import platform
import shutil
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import harmony
from harmony.config.compose import as_yaml
from harmony.config.identity import changes, check_same_run, identity
from harmony.config.run_files import (
    CONFIG_FILE,
    LOCK_FILE,
    OWN_FILES,
    RECORD_FILE,
    override_stored,
    read_config,
    read_record,
    write_whole,
)
from harmony.config.run_names import new_name, run_name, runs_root, settled_path
from harmony.errors import RunDirectoryError, UserError
from harmony.filelock import FileLock

_ASKED, _ASK_SECONDS = 5, 0.05


@dataclass
class RunDirectory:
    """A run's directory with its configuration.

    Use `open` to train (a context manager that owns the directory) and `load` to read.

    Attributes:
        path: absolute.
        config: resolved configuration of this start.
        choices: option of each config group, as the run began.
        record: contents of ``run.json``: run_key, name, identity, version, created (unix s),
            choices, overrides and attempts (one entry a start, with what it changed).
        resumed: whether the run was there before.
    """

    path: Path
    config: dict[str, Any]
    choices: dict[str, str]
    record: dict[str, Any]
    resumed: bool
    _lock: FileLock | None = None
    _made: tuple[Path, ...] = ()

    @property
    def run_key(self) -> str:
        """Unique id of the run, the same after every restart."""
        return str(self.record["run_key"])

    @property
    def name(self) -> str:
        """Name to show, without date."""
        return str(self.record["name"])

    @classmethod
    def open(
        cls, config: Mapping[str, Any], choices: Mapping[str, str], overrides: Sequence[str]
    ) -> Self:
        """Make the run's directory, or continue the run that lies there.

        Args:
            config: resolved configuration; ``run_dir``, ``runs_root`` and ``sweep`` say where.
            choices: option of each config group.
            overrides: as they were typed.

        Raises:
            RunDirectoryError: it is owned by a living process, holds something else or another
                run, or can't be written. Nothing is left behind.
        """
        path = settled_path(config, choices)
        made: list[Path] = []
        lock: FileLock | None = None
        try:
            path = _make_settled(path, made) if path else _make_new(config, choices, made)
            _check_ours(path)
            lock = _own(path)
            run = cls(path, dict(config), dict(choices), {}, (path / RECORD_FILE).exists())
            run._lock, run._made = lock, tuple(made)
            run._begin(overrides)
        except (OSError, UserError) as error:
            if path is not None and lock is not None:
                _remove_own(path)
            _release(lock)
            _remove_made(made)
            if isinstance(error, UserError):
                raise
            raise RunDirectoryError(
                f"can't write the run directory {error.filename or path}: {error.strerror}; set "
                "run_dir=PATH or HARMONY_RUNS to a place that can be written"
            ) from error
        return run

    @classmethod
    def load(cls, path: Path | str, overrides: Sequence[str] = ()) -> Self:
        """Read a run that was made before, without owning it.

        Args:
            path: the run directory.
            overrides: ``key=value`` on top of the stored configuration; keys must exist there.

        Raises:
            RunDirectoryError: no run there.
            ConfigError: an override names no stored key.
        """
        where = Path(path).expanduser().absolute()
        if not (where / RECORD_FILE).is_file():
            raise RunDirectoryError(f"no run in {where}: expected {RECORD_FILE} there")
        record = read_record(where)
        config = override_stored(read_config(where), overrides)
        return cls(where, config, dict(record["choices"]), record, resumed=True)

    def end(self, status: str) -> None:
        """Record how this attempt has ended.

        Args:
            status: as the tracker's.
        """
        self.record["attempts"][-1]["ended"] = {"time": time.time(), "status": status}
        write_whole(self.path / RECORD_FILE, json.dumps(self.record, indent=2) + "\n")

    def close(self) -> None:
        """Give the directory up for other processes."""
        _release(self._lock)
        self._lock = None

    @contextmanager
    def undone_on_refusal(self) -> Iterator[None]:
        """Remove a directory made by this start if the block refuses the start (a UserError).

        Keep training out of the block: it deletes everything in the directory.
        """
        try:
            yield
        except UserError:
            if not self.resumed:
                for entry in self.path.iterdir():
                    shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
                self.close()
                _remove_made(self._made)
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _begin(self, overrides: Sequence[str]) -> None:
        changed = self._check_stored() if self.resumed else {}
        if not self.resumed:
            write_whole(self.path / CONFIG_FILE, as_yaml(self.config))
            self.record = {
                "run_key": uuid.uuid4().hex,
                "name": run_name(self.config, self.choices),
                "identity": identity(self.config),
                "version": harmony.__version__,
                "created": time.time(),
                "choices": self.choices,
                "overrides": list(overrides),
                "attempts": [],
            }
        attempt = {"started": time.time(), **_process(), "version": harmony.__version__}
        self.record["attempts"].append({**attempt, "overrides": [*overrides], "changes": changed})
        write_whole(self.path / RECORD_FILE, json.dumps(self.record, indent=2) + "\n")

    def _check_stored(self) -> dict[str, Any]:
        """Check that the stored run is this one; return what this start changes in it."""
        stored, self.record = read_config(self.path), read_record(self.path)
        self.choices = dict(self.record["choices"])
        asked = [a["changes"].get("training.env_steps", 0) for a in self.record["attempts"]]
        latest = json.loads(json.dumps(stored))
        if isinstance(training := latest.get("training"), dict) and "env_steps" in training:
            training["env_steps"] = max(training["env_steps"], *asked, 0)
        check_same_run(str(self.path), latest, self.config)
        return changes(stored, self.config)


def _make_new(config: Mapping[str, Any], choices: Mapping[str, str], made: list[Path]) -> Path:
    root = runs_root(config)
    _make_parents(root, made)
    stem = run_name(config, choices)
    while True:
        path = root / new_name(stem)
        try:
            path.mkdir()
        except FileExistsError:
            continue
        made.append(path)
        return path


def _make_settled(path: Path, made: list[Path]) -> Path:
    if path.exists() and not path.is_dir():
        raise RunDirectoryError(f"run_dir={path} is a file; expected a new or a run directory")
    _make_parents(path, made)
    return path


def _make_parents(path: Path, made: list[Path]) -> None:
    for part in (*reversed(path.parents), path):
        try:
            part.mkdir()
        except FileExistsError:
            continue
        except OSError:
            if part.is_dir():
                continue
            raise
        made.append(part)


def _check_ours(path: Path) -> None:
    names = {entry.name for entry in path.iterdir()}
    if RECORD_FILE not in names and (foreign := sorted(names - OWN_FILES)):
        raise RunDirectoryError(
            f"run_dir={path} is not empty and holds no run (there is {foreign[0]}); take a new "
            "or empty directory"
        )


def _own(path: Path) -> FileLock:
    lock = FileLock(path / LOCK_FILE)
    for _ in range(_ASKED):
        if lock.acquire(wait=False):
            break
        # Who only asks whether the directory is owned holds the lock for an instant.
        time.sleep(_ASK_SECONDS)
    else:
        raise RunDirectoryError(
            f"{path} is in use by {_holder(path / LOCK_FILE)}; wait for its end or take another "
            "run_dir"
        )
    (path / LOCK_FILE).write_text(json.dumps(_process()), encoding="utf-8")
    return lock


def _holder(file: Path) -> str:
    try:
        holder = json.loads(file.read_text(encoding="utf-8"))
    except ValueError:
        return "another process"  # it has the lock and has not yet written who it is
    return f"process {holder['pid']} on {holder['host']}"


def _process() -> dict[str, Any]:
    return {"pid": os.getpid(), "host": platform.node()}


def _release(lock: FileLock | None) -> None:
    if lock is not None:
        with contextlib.suppress(FileNotFoundError):  # the directory may be gone
            os.truncate(lock.path, 0)
        lock.release()


def _remove_own(path: Path) -> None:
    """Remove the files of a start that was refused before its record was there."""
    if not (path / RECORD_FILE).exists():
        for name in OWN_FILES:
            (path / name).unlink(missing_ok=True)


def _remove_made(made: Sequence[Path]) -> None:
    """Remove directories made by this start, until one that others have come to use."""
    for part in reversed(made):
        if any(part.iterdir()):
            break
        part.rmdir()
