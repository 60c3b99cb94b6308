"""The quality of simulators' pictures, and whether this machine can draw any."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from harmony.envs.opengl import choose_backend
from harmony.errors import EnvError

if TYPE_CHECKING:
    import mujoco


@dataclass(frozen=True)
class RenderQuality:
    """What the rasteriser spends its time on; physics and rewards never depend on it.

    With software OpenGL the picture costs far more than the physics, in this order: shadow map,
    multisampling, reflection. Sky and textures belong to the task and cost nothing: they stay.

    Args:
        shadow_size: side of the square shadow map, texels; 0 makes none. MuJoCo's default is 4096.
        samples: samples per pixel of the multisampling; 0 turns it off. MuJoCo's default is 4.
        cast_shadows: lights cast shadows.
        reflection: reflecting materials, such as the floor, reflect.

    Raises:
        EnvError: shadow_size or samples is negative.
    """

    shadow_size: int
    samples: int
    cast_shadows: bool
    reflection: bool

    def __post_init__(self) -> None:
        if self.shadow_size < 0 or self.samples < 0:
            raise EnvError(
                "render: expected shadow_size and samples of 0 or more, "
                f"got {self.shadow_size} and {self.samples}"
            )

    def apply(self, model: "mujoco.MjModel") -> None:
        """Writes the quality into a model.

        The fields are read when a rendering context is made, so call this before the first one.

        Args:
            model: a `mujoco.MjModel`, or dm_control's wrapper of one.
        """
        model.vis.quality.shadowsize = self.shadow_size
        model.vis.quality.offsamples = self.samples
        if not self.cast_shadows:
            model.light_castshadow[:] = 0
        if not self.reflection:
            model.mat_reflectance[:] = 0


def check_rendering() -> str:
    """Draws one tiny picture, to fail here rather than after minutes of set-up.

    Returns:
        The backend that works, as `choose_backend` names it.

    Raises:
        EnvError: this machine can't draw (the message names the Debian packages that mend it), or
            MuJoCo is missing.
    """
    backend = choose_backend()
    try:
        from harmony.envs.offscreen import draw_nothing
    except ModuleNotFoundError as error:
        raise EnvError(
            f"rendering: package {error.name!r} is missing; "
            "pip install 'harmony-dream[dmc,metaworld]'"
        ) from error
    draw_nothing()
    return backend
