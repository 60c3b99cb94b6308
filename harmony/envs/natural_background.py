"""DeepMind Control Suite with videos in the background.

Source: the natural-background tasks of https://github.com/thuml/HarmonyDream (grey clips of driving
cars, as RePo has them), and those of https://github.com/fdeng18/dreamer-pro (another clip in each
episode, in colour). Differs: an evaluation episode draws its clips and first frame from its seed.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from harmony.envs.arguments import check_positive
from harmony.envs.clips import (
    check_clips,
    digest_clips,
    find_clips,
    load_clip,
    load_cv2,
    split_clips,
)
from harmony.envs.dmc import ALIASES, DMC, TASKS, check_task
from harmony.envs.playlist import Playlist, whole_clips
from harmony.envs.render import RenderQuality
from harmony.errors import CheckpointError

__all__ = [
    "REQUIRES",
    "NaturalBackground",
    "check_packages",
    "check_task",
    "is_background",
    "show_behind",
    "tags",
]

REQUIRES = {"dm_control": "natural", "cv2": "natural"}
"""Packages, with the extras that bring them."""

_MAX_CLIPS = 100  # of which one is drawn for each episode
_GREY_FLOORS = ("cheetah", "hopper", "stacker", "walker")  # their floor is no background
_GREY = ((25, 25, 25), (51, 51, 51))
_BLUE = ((25, 25, 102), (51, 51, 204))
"""Dark and light squares of the floor."""
_BLUE_DECORATION = ("stacker",)
_TAN = (0.7, 0.5, 0.3)  # of decoration, which is blue in the stock suite
_WHITE = 255  # stars


class NaturalBackground(DMC):
    """One task of the DeepMind Control Suite whose bluish pixels show a video.

    A pixel is background where its blue is above its red and its green. Physics and rewards are
    those of `DMC`, and so are spaces, repeat and time limit. The video goes on by one frame in each
    agent step, the first observation of an episode included, and on through the ends of episodes:
    the first episode's seed draws clips and first frame, `state_dict` says where they stand.

    Reflection stays on, whatever the quality of the picture: it decides how blue a floor is.

    Args:
        task: as in `DMC`.
        action_repeat: env steps in one agent step.
        image_size: height and width of the picture, pixels.
        camera: index of the task's camera; None: 0, and 2 for quadruped.
        render: quality of the picture.
        observation: the picture, or also the vector of the body's state.
        clips: folder of videos, searched with all its folders; None: stand-ins that come with
            packages.
        num_frames: frames that are played before they are repeated; whole clips in a random order
            until there are so many.
        grey: play shades of grey instead of colours.
        new_clip: play another clip in each episode, one of the first 100 by name; the episode's
            seed draws it and the frame that it begins with, nothing outlives an episode.
        look: original: floors and decoration as the benchmark colours them, where the floor of a
            runner is grey and stays; stock: dm_control's own, where it is background too.
        split: play no clip in both training and evaluation: those below the folder's `train` and
            `test` if both are there, else each fifth is for evaluation.
        evaluation: whether the episodes are those of evaluations; each is decided by its seed.

    Raises:
        EnvError: as `DMC`; no videos, one that can't be read, or too few.
    """

    def __init__(  # noqa: PLR0913 - each argument is a key of the yaml file
        self,
        *,
        task: str,
        action_repeat: int = 2,
        image_size: int = 64,
        camera: int | None = None,
        render: RenderQuality,
        observation: Literal["image", "both"] = "image",
        clips: str | None = None,
        num_frames: int = 1000,
        grey: bool = True,
        new_clip: bool = False,
        look: Literal["original", "stock"] = "original",
        split: bool = False,
        evaluation: bool = False,
    ) -> None:
        check_task(task)
        check_positive(num_frames=num_frames, image_size=image_size)
        self._paths = find_clips(clips)
        self._digest, self._folder = digest_clips(self._paths, clips), clips
        if split:
            self._paths = split_clips(self._paths, clips)[evaluation]
        if new_clip:
            self._paths = self._paths[:_MAX_CLIPS]
        check_clips(self._paths, clips)
        self._domain = TASKS[ALIASES.get(task, task)][0]
        self._look, self._new_clip = look, new_clip
        self._num_frames, self._grey, self._image_size = num_frames, grey, image_size
        self._each_episode = new_clip or evaluation
        self._playlist: Playlist | None = None
        self._seed, self._position = -1, 0  # of the playlist; no episode has begun
        super().__init__(
            task=task,
            action_repeat=action_repeat,
            image_size=image_size,
            camera=camera,
            render=replace(render, reflection=True),
            observation=observation,
        )

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Begins an episode; its seed and the position in the video decide it completely.

        Args:
            seed: in [0, 2**32); None goes on with the generator as it is.
            options: not used.
        """
        observation, info = super().reset(seed=seed, options=options)
        if self._each_episode or self._seed < 0:
            self._seed = int(self.np_random.integers(2**31)) if seed is None else seed
            self._playlist, self._position = self._choose(self._seed)
        elif self._playlist is None:
            self._playlist, _ = self._choose(self._seed)
        return self._show(observation), info

    def step(
        self, action: np.ndarray
    ) -> tuple[dict[str, np.ndarray], float, bool, bool, dict[str, Any]]:
        """Applies the action `action_repeat` times; the video goes on by one frame.

        Args:
            action: (A,) in [-1, 1].
        """
        observation, reward, terminated, truncated, info = super().step(action)
        return self._show(observation), reward, terminated, truncated, info

    def state_dict(self) -> dict[str, int]:
        """What outlives an episode: the seed that drew the clips (-1: none yet), the next frame.

        And which clips these are, so that a run that goes on plays no others.
        """
        return {"seed": self._seed, "position": self._position, "clips": self._digest}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes back to a position in a video; the next reset begins there.

        Args:
            state: from `state_dict` of an environment with the same arguments and clips.

        Raises:
            CheckpointError: the clips are others.
        """
        if state.get("clips", self._digest) != self._digest:
            raise CheckpointError(
                f"env.clips: expected the videos that the run began with, got others in "
                f"{self._folder}; name a folder with the same files, or begin another run"
            )
        self._seed, self._position = int(state["seed"]), int(state["position"])
        self._playlist = None

    def _choose(self, seed: int) -> tuple[Playlist, int]:
        """The playlist and the first frame that a seed draws."""
        rng = np.random.default_rng(seed)
        if self._new_clip:
            clip = self._load(self._paths[rng.integers(len(self._paths))])
            playlist = Playlist([clip], self._num_frames)
        else:
            playlist = whole_clips(self._paths, self._load, self._num_frames, rng)
        return playlist, int(rng.integers(len(playlist)))

    def _load(self, path: Path) -> np.ndarray:
        size, grey, limit = self._image_size, self._grey, self._num_frames
        return load_clip(path, image_size=size, grey=grey, limit=limit)

    def _show(self, observation: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Puts the present frame behind the picture, and goes on to the next one."""
        assert self._playlist is not None  # made by every reset
        frame = self._playlist[self._position]
        self._position = (self._position + 1) % len(self._playlist)
        return {**observation, "image": show_behind(observation["image"], frame)}

    def _prepare(self, physics: Any) -> None:  # noqa: ANN401 - dm_control's
        if self._look == "original":
            _recolor(physics.model, self._domain)


def check_packages(arguments: Mapping[str, Any]) -> None:
    """Says whether there are clips to play, without reading any.

    Args:
        arguments: of the constructor.

    Raises:
        EnvError: no videos, or too few.
    """
    folder = arguments.get("clips")
    clips = find_clips(folder)
    if arguments.get("split"):
        split_clips(clips, folder)


def tags(arguments: Mapping[str, Any]) -> dict[str, str]:
    """What results must have in common to be compared.

    Args:
        arguments: of the constructor.

    Returns:
        Name of the clips' folder, and the keys that decide what is played where.
    """
    folder = arguments["clips"]
    clips = "stand-ins" if folder is None else Path(folder).expanduser().resolve().name
    keys = ("look", "grey", "new_clip", "split", "num_frames")
    return {"clips": clips} | {key: str(arguments[key]).lower() for key in keys}


def is_background(image: np.ndarray) -> np.ndarray:
    """Where blue is above both others; bool (Hi, Wi).

    Args:
        image: (Hi, Wi, 3), red, green and blue.
    """
    red, green, blue = image[..., 0], image[..., 1], image[..., 2]
    mask: np.ndarray = (blue > green) & (blue > red)
    return mask


def show_behind(image: np.ndarray, frame: np.ndarray) -> np.ndarray:
    """A new picture with another background.

    Args:
        image: uint8 (Hi, Wi, 3).
        frame: uint8 (Hi, Wi, 3), or (Hi, Wi, 1) in grey.
    """
    cv2 = load_cv2()  # three times as fast as np.where
    if frame.shape[2] == 1:
        frame = cv2.cvtColor(frame, cv2.COLOR_GRAY2RGB)
    shown: np.ndarray = cv2.copyTo(frame, is_background(image).view(np.uint8), image.copy())
    return shown


def _recolor(model: Any, domain: str) -> None:  # noqa: ANN401 - dm_control's
    """Colours of the benchmark's copy of the suite, in a compiled stock model."""
    floor, sky = _texture(model, "grid"), _texture(model, "skybox")
    if floor is not None:
        dark, light = _GREY if domain in _GREY_FLOORS else _BLUE
        is_light = floor[..., :1] == floor[..., 0].max()
        floor[:] = np.where(is_light, light, dark)
        # Lines between the tiles: dm_control's are light, the benchmark's are dark.
        floor[[0, -1]] = floor[:, [0, -1]] = dark
    if sky is not None and domain != "fish":  # which has a sky of its own
        sky[(sky == _WHITE).all(axis=-1)] = 0
    decoration = _index(model, "MATERIAL", "decoration")
    if decoration >= 0 and domain not in _BLUE_DECORATION:
        model.mat_rgba[decoration, :3] = _TAN


def _texture(model: Any, name: str) -> np.ndarray | None:  # noqa: ANN401 - dm_control's
    """The texels of a compiled model, uint8 (H, W, 3), to be written to; None where it has none."""
    index = _index(model, "TEXTURE", name)
    if index < 0:
        return None
    shape = (model.tex_height[index], model.tex_width[index], model.tex_nchannel[index])
    begin = model.tex_adr[index]
    texels: np.ndarray = model.tex_data[begin : begin + int(np.prod(shape))]
    return texels.reshape(shape)


def _index(model: Any, kind: str, name: str) -> int:  # noqa: ANN401 - dm_control's
    """Of a thing with this name; -1 where there is none."""
    import mujoco

    return int(mujoco.mj_name2id(model.ptr, getattr(mujoco.mjtObj, f"mjOBJ_{kind}"), name))
