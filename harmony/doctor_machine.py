"""What `harmony.doctor` says of the machine: versions, GPU, rendering, stores, cluster, space."""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import harmony
from harmony.config.run_names import runs_root
from harmony.envs.devices import EglDevice, Machine, choose_device, this_machine
from harmony.envs.opengl import choose_backend, has_osmesa
from harmony.errors import UserError
from harmony.replay.budget import disk_space, memory_space
from harmony.tracking.uri import checked_uri, sqlite_file

_PACKAGES = ("torch", "numpy", "mujoco", "dm_control", "gymnasium", "mlflow")
_STORE_SECONDS = 60.0
_TORCH_SECONDS = 120.0
_SLURM_SECONDS = 10.0
_ASK_TORCH = """
import json, torch
gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
names = [torch.cuda.get_device_name(gpu) for gpu in range(gpus)]
print(json.dumps({"cuda": torch.version.cuda, "gpus": names}))
"""
_ASK_STORE = "import sys; from harmony.tracking.store import connect; connect(sys.argv[1])"
_PASSWORD = re.compile(r"://[^@/]+@")


class Fact(NamedTuple):
    """One line of the report.

    Attributes:
        name: what it is about.
        value: what was found.
        fine: None where it is neither good nor bad.
        asked: whether the command asked for it by name.
    """

    name: str
    value: str
    fine: bool | None = None
    asked: bool = False


def facts(config: Mapping[str, Any], *, store_asked: bool) -> Iterator[Fact]:
    """The machine, one fact after the other; some take seconds.

    Args:
        config: resolved; its `tracking` and `runs_root` are looked at.
        store_asked: whether the command names the store.
    """
    yield Fact("harmony", f"{harmony.__version__}, {Path(harmony.__file__).parent}")
    yield Fact("python", f"{platform.python_version()}, {sys.executable}")
    yield Fact("packages", ", ".join(f"{name} {version(name)}" for name in _PACKAGES))
    yield gpu()
    yield from rendering(this_machine(), os.environ)
    yield from stores(config, asked=store_asked)
    yield slurm()
    disk, memory = disk_space(runs_root(config)), memory_space()
    yield Fact("runs", f"{runs_root(config)}, {_gb(disk.free)} of {_gb(disk.total)} GB free")
    yield Fact(
        "memory",
        f"{_gb(memory.free)} of {_gb(memory.total)} GB free, "
        f"{len(os.sched_getaffinity(0))} processor cores",
    )


def version(package: str) -> str:
    """Version of an installed package; "not installed" without it."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def gpu() -> Fact:
    """What PyTorch computes on; asked in another process, since a driver may crash or hang."""
    said = _run([sys.executable, "-c", _ASK_TORCH], _TORCH_SECONDS)
    if isinstance(said, Fact):
        return said._replace(name="gpu", value=f"PyTorch {said.value}")
    found = json.loads(said.splitlines()[-1])
    build = f"CUDA {found['cuda']}" if found["cuda"] else "without CUDA"
    names = ", ".join(f"{index}: {name}" for index, name in enumerate(found["gpus"]))
    return Fact("gpu", f"{names or 'none, runs on the processor'}; PyTorch is built {build}")


def rendering(machine: Machine, environ: Mapping[str, str]) -> Iterator[Fact]:
    """What draws, and the map from EGL's devices to CUDA's."""
    settings = ("MUJOCO_GL", "MUJOCO_EGL_DEVICE_ID", "CUDA_VISIBLE_DEVICES")
    given = [f"{name}={environ[name]}" for name in settings if name in environ]
    chosen = dict(environ)
    try:
        backend = choose_backend(chosen)
    except UserError as error:
        yield Fact("rendering", _one_line(error), fine=False)
    else:
        choice = choose_device(machine, environ, osmesa=has_osmesa())
        by_hand = any(environ.get(name) for name in settings[:2])
        how = f"{backend}, as set" if by_hand or choice.backend != backend else choice.line
        fine = by_hand or choice.wished
        yield Fact("rendering", f"{how}; set: {', '.join(given) or 'nothing'}", fine)
    for index, uuid in enumerate(machine.cuda):
        yield Fact(f"cuda {index}", uuid)
    for each in machine.egl:
        yield Fact(f"egl {each.index}", describe(each))
    if machine.problem:
        yield Fact("egl", machine.problem, fine=False)


def describe(device: EglDevice) -> str:
    """One of EGL's devices in words."""
    kind = "draws in software" if device.software else "a GPU that CUDA does not know"
    kind = kind if device.cuda is None else f"CUDA device {device.cuda}"
    drm = f", {device.drm}" if device.drm else ""
    return f"{kind}{drm}{'' if device.starts else ', does not start'}"


def stores(config: Mapping[str, Any], *, asked: bool) -> Iterator[Fact]:
    """Whether MLflow's stores can be reached: that of the configuration, that of the shell."""
    uri = config["tracking"].get("tracking_uri")
    if uri is None:
        yield Fact("mlflow", "off (tracking=none)")
    else:
        yield store(uri, asked=asked)
    shell = os.environ.get("MLFLOW_TRACKING_URI")
    if shell and shell != uri:
        yield store(shell)._replace(name="mlflow, tracking=server")


def store(uri: str, *, asked: bool = False) -> Fact:
    """Whether a store of MLflow can be reached; nothing is made."""
    shown = _PASSWORD.sub("://***@", uri)
    try:
        uri = checked_uri(uri)
    except UserError as error:
        return Fact("mlflow", _one_line(error), fine=False, asked=asked)
    file = sqlite_file(uri)
    if file is not None and not file.exists():
        folder = next(parent for parent in file.parents if parent.exists())
        writable = os.access(folder, os.W_OK)
        ending = "the first run makes it" if writable else f"{folder} can't be written"
        return Fact("mlflow", f"{shown}: {ending}", fine=writable, asked=asked)
    said = _run([sys.executable, "-c", _ASK_STORE, uri], _STORE_SECONDS)
    if isinstance(said, Fact):
        return said._replace(name="mlflow", value=f"{shown} {said.value}", asked=asked)
    return Fact("mlflow", f"{shown} answers", fine=True, asked=asked)


def slurm() -> Fact:
    """Whether SLURM answers, and its partitions."""
    program = shutil.which("sinfo")
    if program is None:
        return Fact("slurm", "not here (no sinfo); sweeps run with hydra/launcher=local")
    said = _run([program, "--noheader", "--format=%P %a %D %G"], _SLURM_SECONDS)
    if isinstance(said, Fact):
        return said._replace(name="slurm", value=f"sinfo {said.value}")
    parts = [line.split() for line in said.splitlines() if line.strip()]
    shown = [f"{name} ({state}, {nodes} nodes, {gres})" for name, state, nodes, gres, *_ in parts]
    return Fact("slurm", "; ".join(shown) or "no partition", fine=bool(shown))


def _run(command: Sequence[str], seconds: float) -> str | Fact:
    """Output of a command, or why there is none."""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=seconds, check=True
        )
    except subprocess.TimeoutExpired:
        return Fact("", f"gave no answer in {seconds:g} s", fine=False)
    except subprocess.CalledProcessError as error:
        said = [line.strip() for line in error.stderr.splitlines() if line.strip()]
        last = _PASSWORD.sub("://***@", said[-1])[:200] if said else "nothing said"
        return Fact("", f"failed (exit code {error.returncode}): {last}", fine=False)
    except OSError as error:
        return Fact("", f"can't be run: {error.strerror}", fine=False)
    return done.stdout


def _gb(size: int) -> str:
    return f"{size / 1e9:.1f}"


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
