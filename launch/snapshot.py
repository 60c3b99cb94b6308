"""A copy of the code for a sweep, so that an edit after submission changes none of its jobs."""

import json
import secrets
import shutil
import subprocess
from pathlib import Path

import harmony
import launch
from harmony.config.conf_dir import find_conf_dir
from harmony.tracking.provenance import SNAPSHOT_FILE, git_facts


def take_snapshot(target: Path) -> None:
    """Copies the packages and ``conf/`` to a directory; does nothing if it is there.

    From a checkout, git's list of files is taken, changed and new ones included, ignored ones not.
    The copy appears whole or not at all. ``snapshot.json`` in it names commit and changes.

    Args:
        target: directory to make.
    """
    if target.exists():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
    try:
        for source in (_folder(harmony.__file__), _folder(launch.__file__), find_conf_dir()):
            for file in _files(source):
                copy = partial / source.name / file.relative_to(source)
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(file, copy)
        (partial / SNAPSHOT_FILE).write_text(json.dumps(git_facts(), indent=1), encoding="utf-8")
        _settle(partial, target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _settle(partial: Path, target: Path) -> None:
    try:
        partial.rename(target)
    except OSError:
        if not target.is_dir():
            raise
        # another submission was faster, with the same code


def _folder(file: str | None) -> Path:
    assert file is not None  # regular packages, both of them
    return Path(file).resolve().parent


def _files(source: Path) -> list[Path]:
    """The files of a package: those that git knows or would add, else all but byte code."""
    command = ["git", "-C", str(source), "ls-files", "-z", "--cached", "--others"]
    try:
        done = subprocess.run(
            [*command, "--exclude-standard"], capture_output=True, check=True, timeout=60
        )
    except (OSError, subprocess.SubprocessError):
        listed = []
    else:
        listed = [source / name for name in done.stdout.decode().split("\0") if name]
    found = [path for path in listed if path.is_file()]
    if found:
        return found
    return [p for p in source.rglob("*") if p.is_file() and "__pycache__" not in p.parts]
