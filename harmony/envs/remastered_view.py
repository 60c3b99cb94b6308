"""Cameras and lights of a compiled model, moved and coloured in place.

The fields that MuJoCo derives when it compiles a model are written too, so that the model is as one
that was compiled anew.
"""

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from harmony.envs.remastered_factors import RGB, XYZ

if TYPE_CHECKING:
    import mujoco


class Frame(NamedTuple):
    """A body with all joints at their zero; what hangs on it is placed relative to it.

    Attributes:
        rotation: (3, 3), to the world's frame.
        from_mass: (3,), the body's place from the centre of mass of its subtree, metres.
    """

    rotation: np.ndarray
    from_mass: np.ndarray


def frames(model: "mujoco.MjModel") -> tuple[Frame, Frame]:
    """The bodies that camera 0 and light 0 hang on."""
    import mujoco

    data = mujoco.MjData(model)
    mujoco.mj_kinematics(model, data)
    mujoco.mj_comPos(model, data)
    camera, light = model.cam_bodyid[0], model.light_bodyid[0]
    return _frame(data, camera), _frame(data, light)


def _frame(data: "mujoco.MjData", body: int) -> Frame:
    rotation = np.array(data.xmat[body]).reshape(3, 3)
    return Frame(rotation, data.xpos[body] - data.subtree_com[body])


def move_camera(model: "mujoco.MjModel", position: XYZ, frame: Frame) -> None:
    """Places camera 0 and what MuJoCo derives from its place."""
    model.cam_pos[0] = position
    model.cam_pos0[0] = frame.rotation @ model.cam_pos[0]
    model.cam_poscom0[0] = model.cam_pos0[0] + frame.from_mass


def turn_camera(model: "mujoco.MjModel", angles: XYZ, frame: Frame) -> None:
    """Turns camera 0 and what MuJoCo derives from its direction."""
    import mujoco

    rotation = np.zeros(9)
    radians = np.array([math.radians(angle) for angle in angles])
    mujoco.mju_euler2Quat(model.cam_quat[0], radians, "xyz")
    mujoco.mju_quat2Mat(rotation, model.cam_quat[0])
    model.cam_mat0[0] = (frame.rotation @ rotation.reshape(3, 3)).ravel()


def move_light(model: "mujoco.MjModel", position: XYZ, frame: Frame) -> None:
    """Places light 0 and what MuJoCo derives from its place."""
    model.light_pos[0] = position
    model.light_pos0[0] = frame.rotation @ model.light_pos[0]
    model.light_poscom0[0] = model.light_pos0[0] + frame.from_mass


def color_light(model: "mujoco.MjModel", diffuse: RGB | None, specular: RGB | None) -> None:
    """Colours light 0, where there are colours."""
    if diffuse is not None:
        model.light_diffuse[0] = diffuse
    if specular is not None:
        model.light_specular[0] = specular
