"""Decides how MuJoCo reaches OpenGL, before anything is imported that would decide it otherwise.

`MUJOCO_GL` names one of three ways: EGL (with or without a GPU), OSMesa (always software) or GLFW
(needs a display). MuJoCo and dm_control read it when they are imported, and their import fails in
many words when that way is closed; so the libraries are tried first, through ctypes, in
milliseconds.
"""

import ctypes
import ctypes.util
import functools
import logging
import os
import sys
from collections.abc import MutableMapping

from harmony.errors import EnvError

logger = logging.getLogger(__name__)

BACKENDS = ("egl", "osmesa", "glfw")

_EGL_PLATFORM_DEVICE = 0x313F
_MAX_EGL_DEVICES = 32
_REMEDY = (
    "install libegl1 libgl1-mesa-dri (EGL) or libosmesa6 (OSMesa; names of Debian packages) "
    "and unset MUJOCO_GL"
)


def choose_backend(environ: MutableMapping[str, str] = os.environ) -> str:
    """Decides the backend and writes it to `MUJOCO_GL`.

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
    if not wanted:
        wanted = "egl" if any(egl_devices()) else "osmesa"
        logger.debug("MUJOCO_GL is not set: using %s", wanted)
    if wanted not in BACKENDS:
        raise EnvError(
            f"rendering: expected MUJOCO_GL to be egl, osmesa or glfw, got {wanted!r}; "
            "unset it to let it be chosen"
        )
    _check_backend(wanted, environ)
    environ["MUJOCO_GL"] = wanted
    return wanted


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
        _check_egl(environ.get("MUJOCO_EGL_DEVICE_ID"))
    elif backend == "osmesa" and ctypes.util.find_library("OSMesa") is None:
        also = "" if any(egl_devices()) else ", and no EGL device starts"
        raise cannot_draw(backend, f"the library libOSMesa is missing{also}")
    elif backend == "glfw" and not (environ.get("DISPLAY") or environ.get("WAYLAND_DISPLAY")):
        raise cannot_draw(backend, "it needs a display, and DISPLAY is not set")


def _check_egl(device: str | None) -> None:
    """Checks that EGL starts, on the device that `MUJOCO_EGL_DEVICE_ID` asks for if it does."""
    working = egl_devices()
    if not any(working):
        raise cannot_draw("egl", "no EGL device starts")
    if device is None:
        return
    usable = [str(index) for index, works in enumerate(working) if works]
    if device not in usable:
        raise EnvError(
            f"rendering: expected MUJOCO_EGL_DEVICE_ID to be one of {', '.join(usable)}, "
            f"got {device!r}; unset it to take the first"
        )


@functools.cache
def egl_devices() -> tuple[bool, ...]:
    """Tries EGL's devices, GPUs and software alike.

    Returns:
        For each device in EGL's order whether it starts; empty without EGL.
    """
    try:
        egl = ctypes.CDLL("libEGL.so.1")
    except OSError:
        return ()
    egl.eglGetProcAddress.restype = ctypes.c_void_p
    query = egl.eglGetProcAddress(b"eglQueryDevicesEXT")
    get_display = egl.eglGetProcAddress(b"eglGetPlatformDisplayEXT")
    if not query or not get_display:
        return ()
    pointer, integer = ctypes.c_void_p, ctypes.c_int
    query_devices = ctypes.CFUNCTYPE(ctypes.c_uint, integer, pointer, pointer)(query)
    display_of = ctypes.CFUNCTYPE(pointer, integer, pointer, pointer)(get_display)
    egl.eglInitialize.argtypes = [pointer, pointer, pointer]
    devices, count = (pointer * _MAX_EGL_DEVICES)(), integer(0)
    if not query_devices(_MAX_EGL_DEVICES, devices, ctypes.byref(count)):
        return ()
    displays = [display_of(_EGL_PLATFORM_DEVICE, each, None) for each in devices[: count.value]]
    return tuple(bool(each and egl.eglInitialize(each, None, None)) for each in displays)
