"""Which EGL device draws: the one on the GPU that the job computes on, where there is such a one.

EGL counts its devices in an order of its own: `CUDA_VISIBLE_DEVICES` does not steer it, the order
differs between machines, and some devices are no GPUs at all. So each is asked for its number in
CUDA. A driver numbers only the devices that the asking process may see, hence the question is put
by a process that may see all of them (`harmony.envs.egl_query`), before MuJoCo is imported.

Without such a device pictures are drawn in software: by Mesa through EGL, else by OSMesa.
"""

import functools
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

CUDA_DEVICE = "HARMONY_CUDA_DEVICE"
"""Variable: which of the visible CUDA devices the run computes on; 0 unless set."""

_VISIBLE = "CUDA_VISIBLE_DEVICES"
_NOTHING = ("", "-1", "NoDevFiles")  # what a job without a GPU is told
_GRANTED = ("SLURM_STEP_GPUS", "SLURM_JOB_GPUS")
_SECONDS = 60.0  # a node with eight sleeping GPUs takes several
_CURE = (
    "install NVIDIA's EGL library (libEGL_nvidia); a container needs NVIDIA_DRIVER_CAPABILITIES=all"
)


@dataclass(frozen=True)
class EglDevice:
    """One of EGL's devices.

    Attributes:
        index: in EGL's order, as `MUJOCO_EGL_DEVICE_ID` counts.
        starts: it can be initialised.
        cuda: its number among all CUDA devices of the machine; None: it is no CUDA device.
        software: it draws on the processor.
        drm: its device file; "" where it has none.
    """

    index: int
    starts: bool
    cuda: int | None = None
    software: bool = False
    drm: str = ""


@dataclass(frozen=True)
class Machine:
    """What can draw on a machine.

    Attributes:
        egl: EGL's devices in its order.
        cuda: UUIDs of all CUDA devices in CUDA's order.
        problem: why the devices could not be asked; "" where they could.
    """

    egl: tuple[EglDevice, ...] = ()
    cuda: tuple[str, ...] = ()
    problem: str = ""

    @property
    def has_nvidia(self) -> bool:
        """Whether there is any GPU of NVIDIA's, granted to this job or not."""
        return bool(self.cuda) or any(device.cuda is not None for device in self.egl)


class Choice(NamedTuple):
    """What draws.

    Attributes:
        backend: as `MUJOCO_GL` names it; None: nothing can.
        device: EGL's index; None without EGL.
        line: what is logged.
        wished: False where a GPU should have drawn and something else does.
    """

    backend: Literal["egl", "osmesa"] | None
    device: int | None
    line: str
    wished: bool


def job_gpu(machine: Machine, environ: Mapping[str, str]) -> int | None:
    """The CUDA device that a job computes on.

    Args:
        machine: where it runs.
        environ: `CUDA_VISIBLE_DEVICES` with numbers or UUIDs, which may be cut short, decides;
            else what SLURM has granted; else all devices are the job's.

    Returns:
        Its number among all CUDA devices of the machine; None where the job has none, or a MIG
        slice, which can't draw.
    """
    of_egl = [device.cuda for device in machine.egl if device.cuda is not None]
    count = max([len(machine.cuda), *(number + 1 for number in of_egl)])
    visible = environ.get(_VISIBLE)
    granted = next((environ[name] for name in _GRANTED if environ.get(name)), None)
    if visible is not None:
        gpus = _numbers(visible, machine.cuda, count)
    elif granted is not None and len(granted.split(",")) < count:
        gpus = _numbers(granted, machine.cuda, count)
    else:
        # SLURM hides what it has not granted; the numbers that it tells are those of the node.
        gpus = list(range(count))
    asked = int(environ.get(CUDA_DEVICE) or 0)
    return gpus[asked] if asked < len(gpus) else None


def _numbers(text: str, uuids: tuple[str, ...], count: int) -> list[int]:
    """Numbers of the devices in a list; as in CUDA, the first that is not there ends it."""
    numbers: list[int] = []
    for name in text.split(","):
        name = name.strip()
        if name.isdecimal():
            found = [int(name)] if int(name) < count else []
        else:
            found = [index for index, uuid in enumerate(uuids) if name and uuid.startswith(name)]
        if len(found) != 1:
            break
        numbers += found
    return numbers


def draw_where(device: Any) -> None:  # noqa: ANN401 - PyTorch's, which is not imported here
    """Lets pictures be drawn where it computes; to be called before an environment is made.

    Args:
        device: a `torch.device`.
    """
    if device.type == "cuda":
        os.environ[CUDA_DEVICE] = str(device.index or 0)


def choose_device(machine: Machine, environ: Mapping[str, str], *, osmesa: bool) -> Choice:
    """Matches what can draw with what the job computes on.

    Args:
        machine: where it runs.
        environ: as in `job_gpu`.
        osmesa: whether OSMesa may draw.
    """
    gpu = job_gpu(machine, environ)
    for device in machine.egl:
        if device.starts and gpu is not None and device.cuda == gpu:
            return Choice(
                "egl", device.index, f"{_named(machine, device)} of this job", wished=True
            )
    why, wished = _why_not(machine, environ, gpu)
    others = [device for device in machine.egl if device.starts and device.cuda is None]
    if machine.has_nvidia:
        others.sort(key=lambda device: not device.software)  # the rest may be others' GPUs
    if others:
        return Choice("egl", others[0].index, f"{_named(machine, others[0])}: {why}", wished)
    if osmesa:
        return Choice("osmesa", None, f"OSMesa, in software: {why}", wished)
    for device in machine.egl:
        if device.starts:
            line = f"{_named(machine, device)}, which is not this job's, for want of another: {why}"
            return Choice("egl", device.index, line, wished=False)
    return Choice(None, None, f"nothing: {why}", wished=False)


def _named(machine: Machine, device: EglDevice) -> str:
    kind = "in software" if device.software else device.drm or "a GPU"
    kind = kind if device.cuda is None else f"CUDA device {device.cuda}"
    return f"EGL device {device.index} of {len(machine.egl)} ({kind})"


def _why_not(machine: Machine, environ: Mapping[str, str], gpu: int | None) -> tuple[str, bool]:
    """Why no GPU of the job draws, and whether that is as it should be."""
    if machine.problem:
        return machine.problem, False
    if gpu is not None:
        return f"no EGL device starts on CUDA device {gpu} of this job; {_CURE}", False
    if not machine.has_nvidia:
        return "no CUDA device here", True
    visible = environ.get(_VISIBLE)
    if visible is None:
        return "this job has no GPU", True
    why = f"this job has no GPU that can draw, {_VISIBLE} is {visible!r}"
    return why, visible.strip() in _NOTHING


@functools.cache
def this_machine() -> Machine:
    """The machine that this process runs on, asked once."""
    return ask(Path(__file__).with_name("egl_query.py"))


def ask(script: Path, seconds: float = _SECONDS) -> Machine:
    """Runs a script that prints EGL's and CUDA's devices, in a process of its own.

    Args:
        script: needs nothing but the standard library.
        seconds: that it may take.

    Returns:
        What it found; where it failed, a machine without devices that says why.
    """
    # To a process that sees some GPUs only, old drivers give the same number for several of them.
    environ = {name: value for name, value in os.environ.items() if name != _VISIBLE}
    try:
        done = subprocess.run(
            [sys.executable, "-I", str(script)],
            env=environ,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=True,
        )
        found = json.loads(done.stdout.splitlines()[-1])
    except subprocess.TimeoutExpired:
        return Machine(problem=f"EGL did not answer in {seconds:g} s")
    except subprocess.CalledProcessError as error:
        return Machine(problem=f"asking EGL ended with exit code {error.returncode}")
    except (OSError, IndexError, ValueError) as error:
        return Machine(problem=f"EGL could not be asked ({type(error).__name__})")
    return read_machine(found)


def read_machine(found: Mapping[str, Any]) -> Machine:
    """A machine from what `harmony.envs.egl_query` prints."""
    devices = [
        EglDevice(
            index=index,
            starts=device["starts"],
            cuda=device["cuda"],
            software="EGL_MESA_device_software" in device["extensions"].split(),
            drm=device["drm"],
        )
        for index, device in enumerate(found["egl"])
    ]
    return Machine(tuple(devices), tuple(found["cuda"]))
