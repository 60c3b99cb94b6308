"""What DMC Remastered varies: numbers drawn from a visual seed, without a simulator.

Source: https://github.com/QData/dmc_remastered. The same visual seed gives the original's own
numbers: they come from Python's generator, in the original's order, and each of them is drawn
whether or not it is used. Its pictures are the same too where the lists of pictures are as long and
in the same order; the original takes them as the file system lists them, we sort them by name.

Differs: negative seeds, which recolour the sky and the floor instead of taking pictures, are left
out, as are the finger's turning tasks, which the original can't make.
"""

import math
import random
from typing import Literal, NamedTuple, get_args

Factor = Literal["bg", "floor", "body", "target", "reflectance", "camera", "light"]
"""What may vary: picture of the sky, picture of the floor, colours of the body and its effector,
colour of the target, reflectance of the floor, pose of the camera, and the lights."""
FACTORS: tuple[Factor, ...] = get_args(Factor)

RGB = tuple[float, float, float]
"""Red, green and blue, 0 to 1."""
RGBA = tuple[float, float, float, float]
"""And opacity, 0 to 1."""
XYZ = tuple[float, float, float]
"""Metres, or degrees of rotation about the axes, one after the other."""


class Look(NamedTuple):
    """What the domains have in common.

    Attributes:
        sky: index of the picture of the sky.
        floor: index of the picture of the floor.
        reflectance: of the floor.
        body: colour of the body.
        effector: colour of what it acts with.
        target: colour of the target.
        ambient: of the light that goes with the camera.
        diffuse: likewise.
        specular: likewise.
        shadow_size: side of the shadow map, texels. Drawn and not used: it belongs to `render`.
    """

    sky: int
    floor: int
    reflectance: float
    body: RGBA
    effector: RGBA
    target: RGBA
    ambient: RGB
    diffuse: RGB
    specular: RGB
    shadow_size: int


class View(NamedTuple):
    """What belongs to a domain; None: as it is.

    Attributes:
        camera_position: of camera 0, in the frame of the body that it hangs on.
        camera_angles: of camera 0, likewise.
        light_position: of light 0, likewise.
        light_diffuse: of light 0.
        light_specular: of light 0.
    """

    camera_position: XYZ | None
    camera_angles: XYZ | None = None
    light_position: XYZ | None = None
    light_diffuse: RGB | None = None
    light_specular: RGB | None = None


class Ranges(NamedTuple):
    """Bounds of what is drawn uniformly for one domain, in the order of the draws.

    Attributes:
        camera_tilt: height of the camera's upward axis over its depth; drawn before all others.
        camera_position: x, y, z, metres.
        camera_angles: about x, y, z, degrees.
        light_position: x, y, z, metres.
        light_colors: the light itself has a diffuse and a specular brightness that vary.
    """

    camera_position: tuple[tuple[float, float], ...]
    camera_angles: tuple[tuple[float, float], ...] = ()
    light_position: tuple[tuple[float, float], ...] = ()
    camera_tilt: tuple[tuple[float, float], ...] = ()
    light_colors: bool = False


DOMAINS = {
    "ball_in_cup": Ranges(
        camera_position=((-0.05, 0.05), (-0.9, -1.1), (0.8, 1.0)),
        light_position=((-0.5, 0.5), (-0.5, 0.5), (1.2, 2.7)),
    ),
    "cartpole": Ranges(
        camera_position=((-0.15, 0.15), (-5.0, -3.0), (0.8, 1.2)),
        light_position=((-1.0, 1.0), (-1.0, 1.0), (4.5, 7.5)),
    ),
    "cheetah": Ranges(
        camera_position=((-0.25, 0.25), (-3.2, -2.8), (-0.25, 0.25)),
        light_position=((-2.0, 2.0), (-2.0, 2.0), (1.0, 5.0)),
    ),
    "finger": Ranges(
        camera_position=((-0.02, 0.02), (-1.01, -0.99), (0.7, 1.0)),
        light_position=((-0.8, 0.8), (-0.8, 0.8), (1.0, 3.0)),
        light_colors=True,
    ),
    "fish": Ranges(
        camera_position=((-0.05, 0.05), (-0.05, 0.05), (0.8, 1.2)),
        light_position=((-0.3, 0.3), (-0.3, 0.3), (0.0, 1.0)),
    ),
    "hopper": Ranges(
        camera_position=((-0.15, 0.15), (-3.0, -2.6), (0.6, 1.0)),
        camera_angles=((85.0, 95.0), (-5.0, 5.0), (-5.0, 5.0)),
    ),
    "humanoid": Ranges(
        camera_position=((-3.5, -2.5), (-0.5, 0.5), (0.5, 1.5)),
        light_position=((-0.7, 0.7), (-0.7, 0.7), (1.2, 1.8)),
    ),
    "pendulum": Ranges(
        camera_position=((0.0, 0.2), (-1.1, -0.97), (1.3, 1.6)),
        light_position=((-0.5, 0.5), (-0.2, 0.2), (1.2, 2.8)),
        camera_tilt=((0.4, 0.6),),
    ),
    "reacher": Ranges(
        camera_position=((-0.05, 0.05), (-0.05, 0.05), (0.7, 0.8)),
        light_position=((-0.2, 0.2), (-0.2, 0.2), (0.15, 0.75)),
    ),
    "walker": Ranges(camera_position=((-0.3, 0.3), (-2.05, -1.95), (0.6, 0.8))),
}
"""Domain -> what is drawn for its camera and its light."""


def draw_look(visual_seed: int, num_skies: int, num_floors: int) -> Look:
    """Draws what the domains have in common.

    Args:
        visual_seed: 1 or more.
        num_skies: pictures of the sky to choose from.
        num_floors: pictures of the floor.
    """
    rng = random.Random(visual_seed)
    return Look(
        sky=rng.choice(range(num_skies)),
        floor=rng.choice(range(num_floors)),
        reflectance=rng.uniform(0.0, 0.5),
        body=_color(rng),
        effector=_color(rng),
        target=_color(rng),
        ambient=_brightness(rng, (0.1, 0.8), 0.05),
        diffuse=_brightness(rng, (0.4, 0.9), 0.1),
        specular=_brightness(rng, (0.05, 0.3), 0.02),
        shadow_size=rng.randint(1548, 2548),
    )


def draw_view(visual_seed: int, domain: str) -> View:
    """Draws camera and light of a domain, from a generator that begins anew.

    So the first number here and the choice of the sky are made from the same bits: the camera's
    place and the sky's index rise together, as in the original.

    Args:
        visual_seed: 1 or more.
        domain: one of `DOMAINS`.
    """
    rng, ranges = random.Random(visual_seed), DOMAINS[domain]
    tilt = _within(rng, ranges.camera_tilt)
    position = _within(rng, ranges.camera_position)
    angles = _within(rng, ranges.camera_angles)
    light = _within(rng, ranges.light_position)
    if tilt:
        angles = [tilt_angle(tilt[0]), 0.0, 0.0]
    return View(
        camera_position=_xyz(position),
        camera_angles=_xyz(angles),
        light_position=_xyz(light),
        light_diffuse=_brightness(rng, (0.5, 1.1), 0.02) if ranges.light_colors else None,
        light_specular=_brightness(rng, (0.0, 1.2), 0.02) if ranges.light_colors else None,
    )


def tilt_angle(tilt: float) -> float:
    """Rotation about x, degrees, of a camera whose upward axis is (0, tilt, 1)."""
    return math.degrees(math.atan2(1.0, tilt))


def _color(rng: random.Random) -> RGBA:
    alpha = rng.uniform(0.75, 1.0)  # the original draws it before the three colours
    return (rng.random(), rng.random(), rng.random(), alpha)


def _brightness(rng: random.Random, bounds: tuple[float, float], tint: float) -> RGB:
    """One brightness for all channels, and a little of its own for each."""
    base = rng.uniform(*bounds)
    return (
        base + rng.uniform(-tint, tint),
        base + rng.uniform(-tint, tint),
        base + rng.uniform(-tint, tint),
    )


def _within(rng: random.Random, bounds: tuple[tuple[float, float], ...]) -> list[float]:
    return [rng.uniform(low, high) for low, high in bounds]


def _xyz(values: list[float]) -> XYZ | None:
    return (values[0], values[1], values[2]) if values else None
