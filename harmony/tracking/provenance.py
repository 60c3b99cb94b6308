"""Where a run comes from: code, machine, versions."""

import json
import os
import platform
import shutil
import socket
import subprocess
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

import psutil

import harmony

SNAPSHOT_FILE = "snapshot.json"
"""Beside a copy of the package that was made for a sweep: git_commit, git_dirty, git_diff."""

_PACKAGES = ("torch", "numpy", "gymnasium", "mujoco", "metaworld", "mlflow")


def provenance(modules: Iterable[str] = ()) -> dict[str, str]:
    """Collects what is needed to understand a run later; never fails.

    Args:
        modules: that the run imports besides, such as those of its suite; the versions of the
            packages that bring them are told too.

    Returns:
        git_commit, git_dirty ("true" or "false"), git_diff (all three "" outside a git checkout),
        hostname, cpu, cores, ram_gb, gpu ("" without CUDA), and a version for harmony, python and
        each important package ("" if not installed), by the name that pip knows it by.
    """
    return {
        **git_facts(),
        "hostname": socket.gethostname(),
        "cpu": _cpu(),
        "cores": str(len(os.sched_getaffinity(0))),
        "ram_gb": f"{psutil.virtual_memory().total / 1e9:.1f}",
        "gpu": _gpu(),
        "harmony": harmony.__version__,
        "python": platform.python_version(),
        **{package: _version(package) for package in (*_PACKAGES, *_packages_of(modules))},
    }


def git_commit() -> str:
    """Commit of the checkout that the package is imported from; "" outside one."""
    return _snapshot().get("git_commit") or _git("rev-parse", "HEAD").strip()


def git_facts() -> dict[str, str]:
    """The code: git_commit, git_dirty and git_diff, of a snapshot those of where it was taken."""
    if facts := _snapshot():
        return facts
    commit = git_commit()
    dirty = "true" if _git("status", "--porcelain").strip() else "false"
    diff = _git("diff", "HEAD")
    return {"git_commit": commit, "git_dirty": dirty if commit else "", "git_diff": diff}


def job_id() -> str:
    """The id of the SLURM job that this process runs in, such as 12 or 12_3; "" outside one."""
    env = os.environ
    if array := env.get("SLURM_ARRAY_JOB_ID"):
        return f"{array}_{env['SLURM_ARRAY_TASK_ID']}"
    return env.get("SLURM_JOB_ID", "")


def _snapshot() -> dict[str, str]:
    path = Path(harmony.__file__).resolve().parent.parent / SNAPSHOT_FILE
    if not path.is_file():
        return {}
    stored = json.loads(path.read_text(encoding="utf-8"))
    return {name: str(stored[name]) for name in ("git_commit", "git_dirty", "git_diff")}


def _git(*arguments: str) -> str:
    """Output of a git command in the package's own checkout, or "" if it has none.

    A package installed into a virtual environment that happens to lie in some repository is not
    part of that repository: git must know the package's files.
    """
    folder = Path(harmony.__file__).parent
    git = shutil.which("git")
    if git is None:
        return ""
    try:
        _run(git, folder, "ls-files", "--error-unmatch", "__init__.py")
        return _run(git, folder, *arguments)
    except (OSError, subprocess.SubprocessError):
        return ""


def _run(git: str, folder: Path, *arguments: str) -> str:
    command = [git, "--no-optional-locks", "-C", str(folder), *arguments]
    done = subprocess.run(command, capture_output=True, check=True, timeout=20)
    return done.stdout.decode(errors="replace")


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor())


def _gpu() -> str:
    import torch  # slow, and those who only want the commit don't need it

    return torch.cuda.get_device_name() if torch.cuda.is_available() else ""


def _packages_of(modules: Iterable[str]) -> list[str]:
    """The installed packages that bring some modules."""
    wanted = set(modules)
    found = metadata.packages_distributions() if wanted else {}
    return sorted({package for module in wanted for package in found.get(module, ())})


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""
