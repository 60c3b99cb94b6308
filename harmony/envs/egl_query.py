"""Asks EGL and CUDA what devices there are: a script of its own, which prints one line of JSON.

`harmony.envs.devices` runs it in a process that ends at once, since a driver may crash or hang,
keeps what it has opened, and must not be started twice in one process under two settings. It
needs the standard library only.

Source of names and numbers: the registry's EGL_EXT_device_base, EGL_EXT_device_query_name,
EGL_EXT_device_drm, EGL_NV_device_cuda and EGL_MESA_device_software; CUDA's driver API.
"""

import ctypes
import json
import sys
import uuid
from typing import Any

_MAX_DEVICES = 64
_PLATFORM_DEVICE = 0x313F
_CUDA_DEVICE = 0x323A
_TEXTS = {"vendor": 0x3053, "extensions": 0x3055, "drm": 0x3233, "renderer": 0x335F}
_UUID_BYTES = 16

_POINTER, _INT = ctypes.c_void_p, ctypes.c_int


def egl_devices() -> list[dict[str, Any]]:
    """EGL's devices in EGL's order; empty without EGL."""
    try:
        egl = ctypes.CDLL("libEGL.so.1")
    except OSError:
        return []
    egl.eglGetProcAddress.restype = _POINTER
    egl.eglInitialize.argtypes = [_POINTER, _POINTER, _POINTER]
    egl.eglTerminate.argtypes = [_POINTER]
    query = _function(egl, b"eglQueryDevicesEXT", ctypes.c_uint, _INT, _POINTER, _POINTER)
    devices, count = (_POINTER * _MAX_DEVICES)(), _INT(0)
    if query is None or not query(_MAX_DEVICES, devices, ctypes.byref(count)):
        return []
    return [_egl_device(egl, device) for device in devices[: count.value]]


def _egl_device(egl: ctypes.CDLL, device: int | None) -> dict[str, Any]:
    text = _function(egl, b"eglQueryDeviceStringEXT", ctypes.c_char_p, _POINTER, _INT)
    attribute = _function(egl, b"eglQueryDeviceAttribEXT", ctypes.c_uint, _POINTER, _INT, _POINTER)
    display_of = _function(egl, b"eglGetPlatformDisplayEXT", _POINTER, _INT, _POINTER, _POINTER)
    told = {name: text(device, number) if text else None for name, number in _TEXTS.items()}
    found: dict[str, Any] = {
        name: value.decode(errors="replace") if value else "" for name, value in told.items()
    }
    number = ctypes.c_ssize_t(-1)
    asked = attribute and attribute(device, _CUDA_DEVICE, ctypes.byref(number))
    display = display_of(_PLATFORM_DEVICE, device, None) if display_of else None
    starts = bool(display and egl.eglInitialize(display, None, None))
    if starts:
        egl.eglTerminate(display)
    return found | {"cuda": number.value if asked else None, "starts": starts}


def _function(library: ctypes.CDLL, name: bytes, result: Any, *arguments: Any) -> Any:  # noqa: ANN401
    """A function of an extension; None where this EGL has it not."""
    address = library.eglGetProcAddress(name)
    return ctypes.CFUNCTYPE(result, *arguments)(address) if address else None


def cuda_devices() -> list[str]:
    """UUIDs of CUDA's devices in CUDA's order; empty without a driver."""
    try:
        cuda = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return []
    count = _INT(0)
    if cuda.cuInit(0) or cuda.cuDeviceGetCount(ctypes.byref(count)):
        return []
    found = []
    for index in range(count.value):
        device, data = _INT(0), (ctypes.c_ubyte * _UUID_BYTES)()
        cuda.cuDeviceGet(ctypes.byref(device), index)
        cuda.cuDeviceGetUuid(data, device)
        found.append(f"GPU-{uuid.UUID(bytes=bytes(data))}")
    return found


if __name__ == "__main__":
    sys.stdout.write(json.dumps({"egl": egl_devices(), "cuda": cuda_devices()}) + "\n")
