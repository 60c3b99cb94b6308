"""One camera of one MuJoCo model, drawn without a window.

Imports MuJoCo, which reads `MUJOCO_GL` then: call `choose_backend` before the import.
"""

import atexit
import importlib
import warnings
import weakref
from typing import Protocol

import mujoco
import numpy as np

from harmony.envs.opengl import cannot_draw, choose_backend

_MAX_GEOMS = 10_000


class _GLContext(Protocol):
    """What `mujoco.egl`, `mujoco.osmesa` and `mujoco.glfw` make."""

    def make_current(self) -> None: ...

    def free(self) -> None: ...


class Offscreen:
    """Draws one fixed camera into arrays.

    Each instance owns its OpenGL context, so several environments live in one process. A context
    belongs to the thread that draws with it. A forked child can't draw: start workers with spawn.
    dm_control's own `physics.render` must not draw in the same process: it frees its resources in
    whichever context is current.

    Args:
        model: `mujoco.MjModel`, with its quality fields already set.
        data: `mujoco.MjData` of that model.
        camera: index of the camera.
        size: height and width of the picture, pixels.

    Raises:
        EnvError: no rendering context can be made on this machine.
    """

    def __init__(
        self, model: mujoco.MjModel, data: mujoco.MjData, *, camera: int, size: int
    ) -> None:
        self._gl: _GLContext | None = None
        self._model, self._data = model, data
        # The default buffer of 640 x 480 costs more to clear than a small picture to draw.
        model.vis.global_.offwidth = model.vis.global_.offheight = size
        gl, self._context = _open(model, size)
        self._gl = gl
        _remember(self)
        self._scene = mujoco.MjvScene(model, maxgeom=_MAX_GEOMS)
        self._option = mujoco.MjvOption()
        self._perturb = mujoco.MjvPerturb()
        self._camera = mujoco.MjvCamera()
        self._camera.type = mujoco.mjtCamera.mjCAMERA_FIXED
        self._camera.fixedcamid = camera
        self._viewport = mujoco.MjrRect(0, 0, size, size)

    def draw(self) -> np.ndarray:
        """Draws the model's present state.

        Returns:
            A new uint8 (size, size, 3) array whose FIRST row is the BOTTOM of the picture, as
            OpenGL gives it.
        """
        self._make_current()
        mujoco.mjv_updateScene(
            self._model,
            self._data,
            self._option,
            self._perturb,
            self._camera,
            mujoco.mjtCatBit.mjCAT_ALL,
            self._scene,
        )
        mujoco.mjr_render(self._viewport, self._scene, self._context)
        image = np.empty((self._viewport.height, self._viewport.width, 3), np.uint8)
        mujoco.mjr_readPixels(image, None, self._viewport, self._context)
        return image

    def upload_terrain(self) -> None:
        """Copies height fields to the renderer, which keeps those of its creation otherwise."""
        self._make_current()
        for index in range(self._model.nhfield):
            mujoco.mjr_uploadHField(self._model, self._context, index)

    def upload_texture(self, index: int) -> None:
        """Copies one texture to the renderer, likewise.

        Args:
            index: of the texture in the model.
        """
        self._make_current()
        mujoco.mjr_uploadTexture(self._model, self._context, index)

    def _make_current(self) -> None:
        if self._gl is None:
            raise RuntimeError("expected an open camera, got one after close()")
        self._gl.make_current()

    def close(self) -> None:
        """Frees the OpenGL context; calling it twice does no harm."""
        if self._gl is None:
            return
        gl, self._gl = self._gl, None
        gl.make_current()
        self._context.free()
        gl.free()

    def __del__(self) -> None:
        self.close()


def draw_nothing() -> None:
    """Draws a world with nothing in it.

    Raises:
        EnvError: no rendering context can be made on this machine.
    """
    model = mujoco.MjModel.from_xml_string("<mujoco><worldbody><camera/></worldbody></mujoco>")
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    offscreen = Offscreen(model, data, camera=0, size=8)
    offscreen.draw()
    offscreen.close()


def _open(model: mujoco.MjModel, size: int) -> tuple[_GLContext, mujoco.MjrContext]:
    """Makes an OpenGL context and MuJoCo's drawing resources inside it."""
    backend = choose_backend()
    try:
        module = mujoco if backend == "native" else importlib.import_module(f"mujoco.{backend}")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # GLFW warns where the others raise; MjrContext raises
            gl: _GLContext = module.GLContext(size, size)
            gl.make_current()
        context = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_100)
    except Exception as error:  # each OpenGL library fails with exceptions of its own
        raise cannot_draw(backend, str(error) or type(error).__name__) from error
    mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, context)
    return gl, context


_alive: weakref.WeakSet[Offscreen] = weakref.WeakSet()


def _remember(offscreen: Offscreen) -> None:
    """Sees to it that open contexts are freed before the OpenGL library shuts itself down."""
    _alive.add(offscreen)
    # Exit hooks run last in, first out: registered again, ours runs before the library's.
    atexit.unregister(_close_all)
    atexit.register(_close_all)


def _close_all() -> None:
    for offscreen in list(_alive):
        offscreen.close()
