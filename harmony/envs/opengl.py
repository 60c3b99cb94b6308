"""Decides how MuJoCo reaches OpenGL, before anything is imported that would decide it otherwise.

`MUJOCO_GL` names one of three ways: EGL (with or without a GPU), OSMesa (always software) or GLFW
(needs a display). MuJoCo and dm_control read it when they are imported, and their import fails in
many words when that way is closed; so the libraries are tried first, in another process
(`harmony.envs.devices`). `MUJOCO_EGL_DEVICE_ID` is set to the device on the job's own GPU.
"""

import ctypes.util
import logging
import os
import sys
from collections.abc import MutableMapping

from harmony.envs.devices import Choice, choose_device, this_machine
from harmony.errors import EnvError

logger = logging.getLogger(__name__)

BACKENDS = ("egl", "osmesa", "glfw")

_DEVICE = "MUJOCO_EGL_DEVICE_ID"
_REMEDY = (
    "install libegl1 libgl1-mesa-dri (EGL) or libosmesa6 (OSMesa; names of Debian packages) "
    "and unset MUJOCO_GL"
)


def choose_backend(environ: MutableMapping[str, str] = os.environ) -> str:
    """Decides the backend and EGL's device, and writes them to the environment.

    What the user has set stands. What is chosen is logged once: processes that are started later
    inherit it.

    Args:
        environ: the environment variables; changed in place.

    Returns:
        "egl", "osmesa", "glfw", or "native" where MuJoCo chooses itself (outside Linux).

    Raises:
        EnvError: `MUJOCO_GL` is no backend that can draw, or its library or display is not there.
    """
    wanted = environ.get("MUJOCO_GL", "").strip().lower()
    if sys.platform != "linux":
        return "native"
    if wanted and wanted not in BACKENDS:
        raise EnvError(
            f"rendering: expected MUJOCO_GL to be egl, osmesa or glfw, got {wanted!r}; "
            "unset it to let it be chosen"
        )
    chosen = None
    if not wanted or (wanted == "egl" and not environ.get(_DEVICE)):
        chosen = choose_device(this_machine(), environ, osmesa=not wanted and has_osmesa())
        wanted = wanted or chosen.backend or "osmesa"
    _check_backend(wanted, environ)
    environ["MUJOCO_GL"] = wanted
    if chosen is not None:
        _adopt(chosen, environ)
    return wanted


def _adopt(chosen: Choice, environ: MutableMapping[str, str]) -> None:
    if chosen.device is not None and environ.get(_DEVICE):
        logger.info("rendering: EGL device %s, as %s says", environ[_DEVICE], _DEVICE)
        return
    if chosen.device is not None:
        environ[_DEVICE] = str(chosen.device)
    logger.log(logging.INFO if chosen.wished else logging.WARNING, "rendering: %s", chosen.line)


def has_osmesa() -> bool:
    """Whether OSMesa's library is here."""
    return ctypes.util.find_library("OSMesa") is not None


def cannot_draw(backend: str, cause: str) -> EnvError:
    """Words the error of a machine that can't draw.

    Args:
        backend: as `choose_backend` names it.
        cause: what the library said; cut to one line of 160 characters.
    """
    line = " ".join(cause.split())[:160]
    return EnvError(f"rendering: MUJOCO_GL={backend} can't draw here: {line}; {_REMEDY}")


def _check_backend(backend: str, environ: MutableMapping[str, str]) -> None:
    platform = environ.get("PYOPENGL_PLATFORM", "").lower()
    if backend != "glfw" and platform not in ("", backend):
        raise EnvError(
            f"rendering: expected PYOPENGL_PLATFORM to be {backend} as MUJOCO_GL is, "
            f"got {platform!r}; unset it"
        )
    if backend == "egl":
        _check_egl(environ.get(_DEVICE))
    elif backend == "osmesa" and not has_osmesa():
        also = "" if _usable() else ", and no EGL device starts"
        raise cannot_draw(backend, f"the library libOSMesa is missing{also}")
    elif backend == "glfw" and not (environ.get("DISPLAY") or environ.get("WAYLAND_DISPLAY")):
        raise cannot_draw(backend, "it needs a display, and DISPLAY is not set")


def _check_egl(device: str | None) -> None:
    """Checks that EGL starts, on the device that `MUJOCO_EGL_DEVICE_ID` asks for if it does."""
    usable = _usable()
    if not usable:
        raise cannot_draw("egl", this_machine().problem or "no EGL device starts")
    if device and device not in usable:
        raise EnvError(
            f"rendering: expected {_DEVICE} to be one of {', '.join(usable)}, "
            f"got {device!r}; unset it to let it be chosen"
        )


def _usable() -> list[str]:
    """Indices of EGL's devices that start, GPUs and software alike."""
    return [str(device.index) for device in this_machine().egl if device.starts]
