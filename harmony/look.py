"""Shows what an agent will see: python -m harmony.look env=ENV [env.task=TASK].

Random actions in the environment of a configuration, made as training makes it: the same keys, the
same seeds, no network. Writes a PNG with some frames of each episode, one row an episode, the frame
of its reset first, and an mp4 with all of them. Pixels are repeated, never smoothed.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from harmony.config.cli import report_errors
from harmony.config.compose import Composed, compose
from harmony.config.run_names import run_name
from harmony.errors import ConfigError
from harmony.stored_run import one_of, split_arguments, whole_number

USAGE = (
    "python -m harmony.look env=ENV [env.task=TASK] [out=./look] [episodes=3] [frames=8] "
    "[steps=100] [evaluation=false] [seed=0] [KEY=VALUE ...]"
)
KEYS = {
    "out": "./look",  # folder that is written to; made where it is missing
    "episodes": "3",
    "frames": "8",  # of each episode in the PNG
    "steps": "100",  # agent steps after which an episode is left
    "evaluation": "false",  # true: the environment as evaluations make it
}
"""Own keys with what they are unless said otherwise."""
MARGIN = 2  # pixels between frames
_WHITE = 255
_LEAST_SIDE = 128  # pixels of a frame in the sheet


@dataclass(frozen=True)
class Request:
    """What was asked for.

    Attributes:
        composed: the configuration.
        out: folder for the files.
        episodes: how many.
        frames: of each in the sheet.
        steps: most agent steps of an episode.
        evaluation: an environment of evaluations.
    """

    composed: Composed
    out: Path
    episodes: int
    frames: int
    steps: int
    evaluation: bool


class Seen(NamedTuple):
    """An episode, or its beginning.

    Attributes:
        images: uint8 (T + 1, Hi, Wi, 3), the frame of the reset first.
        reward_sum: of its steps.
        end: terminal, time limit, or left.
        success: any step was one; None where the suite doesn't say.
    """

    images: np.ndarray
    reward_sum: float
    end: str
    success: bool | None


def parse(arguments: Sequence[str]) -> Request:
    """Reads the command line and checks the configuration, as training does.

    Raises:
        UserError: no env, one that is not installed, or a value that can't be meant.
    """
    from harmony.build import check

    own, overrides = split_arguments(arguments, KEYS)
    if not any(override.startswith("env=") for override in overrides):
        raise ConfigError(f"env=... is missing; usage: {USAGE}")
    request = Request(
        out=Path(own["out"]).expanduser(),
        episodes=whole_number("episodes", own["episodes"], least=1),
        frames=whole_number("frames", own["frames"], least=1),
        steps=whole_number("steps", own["steps"], least=1),
        evaluation=one_of("evaluation", own["evaluation"], ("true", "false")) == "true",
        composed=compose(overrides),
    )
    check(request.composed)
    return request


def watch(request: Request) -> Iterator[Seen]:
    """The episodes, one after the other.

    Raises:
        UserError: the environment can't be made or has no image.
    """
    from harmony.build import build_device, build_env
    from harmony.envs.devices import draw_where
    from harmony.envs.stream import EpisodeStream
    from harmony.training.seeding import Seeds

    draw_where(build_device(request.composed.config["device"]))  # as training does
    seeds = Seeds(request.composed.config["seed"])
    env = build_env(request.composed.config, evaluation=request.evaluation)
    try:
        stream = EpisodeStream(env, lambda k: seeds.integer("env", 0, k))
        if "image" not in stream.observation_space.spaces:
            names = ", ".join(stream.observation_space)
            raise ConfigError(
                f"this env shows no image, only {names}; take env.observation=image where it has "
                "that key"
            )
        for episode in range(request.episodes):
            yield _play(stream, seeds.numpy("look", episode), request.steps)
    finally:
        env.close()


def _play(stream: Any, rng: np.random.Generator, steps: int) -> Seen:  # noqa: ANN401
    from harmony.training.collect import random_action

    record = stream.reset()
    images = [record["image"]]
    while not stream.needs_reset and len(images) <= steps:
        record = stream.step(random_action(stream.action_space, rng))
        images.append(record["image"])
    end = "left"
    if record["is_last"]:
        end = "terminal" if record["is_terminal"] else "time limit"
    return Seen(np.stack(images), stream.episode_return, end, stream.success)


def sheet(episodes: Sequence[np.ndarray], frames: int) -> np.ndarray:
    """Frames of episodes side by side, one row an episode.

    Args:
        episodes: each uint8 (T, Hi, Wi, 3) with a length of its own.
        frames: of each, the first and the last among them; fewer where an episode has fewer.

    Returns:
        uint8 (Ho, Wo, 3); what no frame covers is white.
    """
    height, width = episodes[0].shape[1:3]
    scale = max(1, _LEAST_SIDE // min(height, width))
    cell = height * scale + MARGIN, width * scale + MARGIN
    picture = np.full(
        (len(episodes) * cell[0] + MARGIN, frames * cell[1] + MARGIN, 3), _WHITE, np.uint8
    )
    for row, images in enumerate(episodes):
        for column, index in enumerate(spread(len(images), frames)):
            image = images[index].repeat(scale, axis=0).repeat(scale, axis=1)
            top, left = row * cell[0] + MARGIN, column * cell[1] + MARGIN
            picture[top : top + image.shape[0], left : left + image.shape[1]] = image
    return picture


def spread(length: int, count: int) -> list[int]:
    """At most `count` indices below `length`, evenly spread: the first, then the last too."""
    if length <= count:
        return list(range(length))
    return [int(index) for index in np.linspace(0, length - 1, count).round()]


def look(request: Request) -> list[str]:
    """Writes the files.

    Returns:
        What a person reads: an episode a line, then the files.

    Raises:
        UserError: as `watch`, or the folder can't be written.
    """
    import imageio.v3 as imageio

    from harmony.tracking.video import write_video

    try:
        request.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"out={request.out} can't be made: {error.strerror}") from error
    if not os.access(request.out, os.W_OK):
        raise ConfigError(f"out={request.out} can't be written; take another folder")
    episodes = list(watch(request))
    composed = request.composed
    stem = run_name(composed.config, {"env": composed.choices["env"]})
    png, mp4 = (request.out / f"{stem}.{ending}" for ending in ("png", "mp4"))
    imageio.imwrite(png, sheet([seen.images for seen in episodes], request.frames))
    write_video(mp4, np.concatenate([seen.images for seen in episodes]))
    lines = [_line(number, seen) for number, seen in enumerate(episodes)]
    return [*lines, f"sheet: {png}", f"video: {mp4}"]


def _line(number: int, seen: Seen) -> str:
    success = "" if seen.success is None else f", success {'yes' if seen.success else 'no'}"
    height, width = seen.images.shape[1:3]
    return (
        f"episode {number}: {len(seen.images) - 1} agent steps ({seen.end}), "
        f"return {seen.reward_sum:.1f}{success}, frames {height} x {width}"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; 2 where the user can mend what was wrong."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if not arguments or arguments[0] in ("-h", "--help"):
        sys.stdout.write(f"{__doc__}\n{USAGE}\n")
        return 0
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    for chatty in ("absl", "OpenGL"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    with report_errors() as outcome:
        sys.stdout.write("\n".join(look(parse(arguments))) + "\n")
    return outcome.code


if __name__ == "__main__":
    sys.exit(main())
