"""DMC Remastered: tasks of the DeepMind Control Suite that look different in every episode.

Source: https://github.com/QData/dmc_remastered, as HarmonyDream uses it. The compiled model is
edited in place, where the original compiles a new one for each episode; given the original's
images, the pictures are the same.

Differs: the shadow map keeps the size that `render` gives it, and a floor that does not vary has
the suite's checker of 300 x 300 texels, not one of 800 x 800.
"""

import functools
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import gymnasium
import numpy as np

from harmony.envs.arguments import check_name
from harmony.envs.dmc import ALIASES, DMC
from harmony.envs.dmc import TASKS as SUITE
from harmony.envs.remastered_factors import (
    DOMAINS,
    FACTORS,
    Factor,
    Look,
    View,
    draw_look,
    draw_view,
    tilt_angle,
)
from harmony.envs.remastered_view import (
    color_light,
    frames,
    move_camera,
    move_light,
    turn_camera,
)
from harmony.envs.render import RenderQuality
from harmony.envs.textures import (
    GeneratedTextures,
    PhotoTextures,
    Portion,
    Textures,
    list_images,
)
from harmony.errors import CheckpointError, EnvError

if TYPE_CHECKING:
    import mujoco

REQUIRES = {"dm_control": "dmc", "PIL": "dmc"}
"""Packages, with the extras that bring them."""
_LEFT_OUT = ("cartpole_three_poles", "cartpole_two_poles", "finger_turn_easy", "finger_turn_hard")
TASKS = tuple(
    task
    for task, (domain, name) in SUITE.items()
    if domain in DOMAINS and task not in _LEFT_OUT and name != "run_pure_state"
)
"""Names of the tasks."""

_NUM_VISUALS, _NUM_DYNAMICS = 1_000_000, 100_000
_TRAINED_ON = 0.8  # of either, where the ranges are disjoint
_SKY_SIDE, _FLOOR_SIDE = 800, 300  # largest pictures, pixels: those of the original's
_FLOOR_REPEATS = 3.0  # of the picture, a metre

logger = logging.getLogger(__name__)


class DMCRemastered(DMC):
    """One task of DMC Remastered.

    As `DMC`, but each episode draws a visual seed, which decides sky, floor, colours, camera and
    light, and a dynamics seed, which decides how the task begins. Both are in the info of `reset`,
    and both come from the seed of `reset`. Bodies, rewards and time limits are those of the suite.

    Args:
        task: domain and task joined by an underscore, e.g. cheetah_run; cup_catch is an alias.
        action_repeat: env steps in one agent step.
        image_size: height and width of the picture, pixels.
        camera: index of the task's camera; None: 0, the one whose pose varies.
        render: quality of the picture; without reflection no floor reflects.
        observation: the picture, the vector of the body's state, or both.
        vary: what varies: bg, floor, body, target, reflectance, camera, light. Each is drawn
            whether or not it is named, so leaving one out changes no other.
        textures: folder with subfolders `skies` and `floors` of images; None: generated ones.
        seeds: original: training and evaluation draw from the same visual seeds 1 to 1,000,000 and
            dynamics seeds 1 to 100,000. disjoint: the last fifth of either, and every fifth
            picture, is seen in evaluation alone.
        evaluation: whether the episodes are evaluated rather than trained on.

    Raises:
        EnvError: unknown task, factor or camera, unusable pictures, a package is missing, or the
            machine can't draw.
    """

    def __init__(
        self,
        *,
        task: str,
        action_repeat: int = 2,
        image_size: int = 64,
        camera: int | None = None,
        render: RenderQuality,
        observation: Literal["image", "vector", "both"] = "image",
        vary: Sequence[Factor] = FACTORS,
        textures: str | None = None,
        seeds: Literal["original", "disjoint"] = "original",
        evaluation: bool = False,
    ) -> None:
        check_task(task)
        _check_factors(vary)
        self._vary = frozenset(vary)
        self._domain, _ = SUITE[ALIASES.get(task, task)]
        self._reflects = render.reflection
        self._textures, self._digest = _open_textures(textures)
        self._folder = textures
        self._visual_seeds, self._dynamics_seeds = (1, _NUM_VISUALS), (1, _NUM_DYNAMICS)
        if seeds == "disjoint":
            self._textures = Portion(self._textures, evaluation=evaluation)
            self._visual_seeds = _part_of(_NUM_VISUALS, evaluation=evaluation)
            self._dynamics_seeds = _part_of(_NUM_DYNAMICS, evaluation=evaluation)
        super().__init__(
            task=task,
            action_repeat=action_repeat,
            image_size=image_size,
            camera=camera,
            render=render,
            observation=observation,
        )

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Begins an episode with a look of its own; the seed decides it completely.

        Args:
            seed: not negative; None goes on with the generator as it is.
            options: not used.
        """
        gymnasium.Env.reset(self, seed=seed, options=options)
        visual = int(self.np_random.integers(*self._visual_seeds, endpoint=True))
        dynamics = int(self.np_random.integers(*self._dynamics_seeds, endpoint=True))
        self.dress(visual)
        return self._begin(dynamics), {"visual_seed": visual, "dynamics_seed": dynamics}

    def state_dict(self) -> dict[str, int]:
        """Which pictures these are; nothing else outlives an episode."""
        return {"textures": self._digest}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Sees that the pictures are those of a run that goes on.

        Args:
            state: of `state_dict`.

        Raises:
            CheckpointError: they are not.
        """
        if state.get("textures", self._digest) != self._digest:
            raise CheckpointError(
                f"env.textures: expected the pictures that the run began with, got others in "
                f"{self._folder}; name a folder with the same files, or begin another run"
            )

    def dress(self, visual_seed: int) -> None:
        """Gives the model the look of a visual seed, as far as `vary` allows.

        Args:
            visual_seed: 1 or more.
        """
        if self._camera is None:
            return  # nothing is drawn
        look = draw_look(visual_seed, self._textures.num_skies, self._textures.num_floors)
        self._paint(look)
        self._color(look)
        self._place(draw_view(visual_seed, self._domain))

    def _prepare(self, physics: Any) -> None:  # noqa: ANN401 - dm_control's
        """Makes the original's changes to the suite's models, and room for pictures."""
        model = self._model = physics.model.ptr
        _adapt(model, self._domain)
        if self._shows_sky:
            # One square for all six sides; its place in the model is as large as six.
            sky = model.texture("skybox").id
            model.tex_width[sky] = model.tex_height[sky] = _SKY_SIDE
        self._camera_frame, self._light_frame = frames(model)
        self._place(_START.get(self._domain, View(None)), every=True)

    @property
    def _shows_sky(self) -> bool:
        """The fish has a sky of its own, which the original leaves alone."""
        return "bg" in self._vary and self._domain != "fish"

    def _paint(self, look: Look) -> None:
        """Shows the pictures of sky and floor."""
        if self._shows_sky:
            self._upload("skybox", self._textures.sky(look.sky, _SKY_SIDE))
        if "floor" in self._vary:
            self._upload("grid", self._textures.floor(look.floor, _FLOOR_SIDE))

    def _upload(self, name: str, image: np.ndarray) -> None:
        model, texture = self._model, self._model.texture(name).id
        begin = model.tex_adr[texture]
        model.tex_height[texture], model.tex_width[texture] = image.shape[:2]
        model.tex_data[begin : begin + image.size] = image.ravel()
        assert self._camera is not None
        self._camera.upload_texture(texture)

    def _color(self, look: Look) -> None:
        """Colours materials and the light of the camera."""
        model = self._model
        if "reflectance" in self._vary and self._reflects:
            model.material("grid").reflectance[:] = look.reflectance
        if "body" in self._vary:
            model.material("self").rgba[:] = look.body
            model.material("effector").rgba[:] = look.effector
        if "target" in self._vary:
            model.material("target").rgba[:] = look.target
        if "light" in self._vary:
            light = model.vis.headlight
            light.ambient[:], light.diffuse[:] = look.ambient, look.diffuse
            light.specular[:] = look.specular

    def _place(self, view: View, *, every: bool = False) -> None:
        """Moves camera 0 and light 0, where they vary or in any case."""
        if every or "camera" in self._vary:
            if view.camera_angles is not None:
                turn_camera(self._model, view.camera_angles, self._camera_frame)
            if view.camera_position is not None:
                move_camera(self._model, view.camera_position, self._camera_frame)
        if every or "light" in self._vary:
            if view.light_position is not None:
                move_light(self._model, view.light_position, self._light_frame)
            color_light(self._model, view.light_diffuse, view.light_specular)


_START = {
    "ball_in_cup": View(camera_position=(0.0, -1.0, 0.9)),
    "pendulum": View(camera_position=(0.1, -1.0, 1.5), camera_angles=(tilt_angle(0.5), 0.0, 0.0)),
    "reacher": View(camera_position=None, light_position=(0.0, 0.0, 0.5)),
}
"""Where the original's models, before anything varies, differ from those of the suite."""


def check_task(task: str) -> None:
    """Says whether DMC Remastered has the task, without importing the suite.

    Args:
        task: as in `DMCRemastered`.

    Raises:
        EnvError: it has not; names the nearest ones.
    """
    check_name(task, TASKS, "DMC Remastered", aliases=ALIASES, env="dmc_remastered")


def check_packages(arguments: Mapping[str, Any]) -> None:
    """Says whether there are pictures and such factors, without reading any picture.

    Args:
        arguments: of the constructor.

    Raises:
        EnvError: a folder is missing or has too few pictures; no such factor, or one twice.
    """
    _check_factors(arguments.get("vary", FACTORS))
    folder = arguments.get("textures")
    if folder is not None:
        list_images(Path(folder))


def tags(arguments: Mapping[str, Any]) -> dict[str, str]:
    """What results must have in common to be compared.

    Args:
        arguments: of the constructor.

    Returns:
        Where the pictures come from, what varies, and whose seeds are whose.
    """
    folder = arguments["textures"]
    textures = "generated" if folder is None else Path(folder).expanduser().resolve().name
    return {
        "textures": textures,
        "vary": ",".join(sorted(arguments["vary"])),
        "seeds": str(arguments["seeds"]),
    }


def _open_textures(folder: str | None) -> tuple[Textures, int]:
    """The pictures, and which they are; 0 means generated ones."""
    if folder is None:
        return _stand_ins(), 0
    photos = PhotoTextures(Path(folder))
    return photos, photos.digest


@functools.cache  # so that it is said once
def _stand_ins() -> GeneratedTextures:
    logger.info(
        "DMC Remastered: env.textures names no folder, so skies and floors are generated; they "
        "stand in for the benchmark's photographs, and returns compare with no published ones"
    )
    return GeneratedTextures()


def _check_factors(vary: Sequence[str]) -> None:
    unknown = [factor for factor in vary if factor not in FACTORS]
    if unknown:
        raise EnvError(f"env.vary: expected some of {', '.join(FACTORS)}, got {unknown[0]!r}")
    twice = [factor for factor in dict.fromkeys(vary) if list(vary).count(factor) > 1]
    if twice:
        raise EnvError(f"env.vary: expected each factor once, got {twice[0]} twice; name it once")


def _part_of(count: int, *, evaluation: bool) -> tuple[int, int]:
    """First and last seed that training or evaluation draws."""
    last = int(count * _TRAINED_ON)
    return (last + 1, count) if evaluation else (1, last)


def _adapt(model: "mujoco.MjModel", domain: str) -> None:
    model.material("grid").texrepeat[:] = _FLOOR_REPEATS
    if domain == "cheetah":
        model.geom("ground").size[:] = (100.0, 15.0, 0.5)
