"""Tries one environment: the process that `harmony.doctor` starts for each suite.

Its last line of output is JSON: what was measured; or `error`, one line for the user, and
`missing`, whether the machine lacks something that the environment needs.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from harmony.errors import EnvError, UserError

if TYPE_CHECKING:
    from harmony.envs.stream import EpisodeStream

STEPS = 100


def trial(overrides: Sequence[str], steps: int = STEPS) -> dict[str, Any]:
    """Makes the environment of a configuration, resets it and takes random steps.

    Args:
        overrides: with `env=`.
        steps: agent steps to time.

    Returns:
        seconds: until it was made; reset_ms: of a reset that is not the first; steps_per_s and
        frames_per_s: agent steps and env steps, resets not counted; image: its shape, None without
        one; colors: how many the first picture has; actions: the action space.

    Raises:
        UserError: it can't be made.
    """
    from harmony.build import build_device, build_env, check
    from harmony.config.compose import compose
    from harmony.envs.devices import draw_where
    from harmony.envs.stream import EpisodeStream
    from harmony.training.seeding import Seeds

    composed = compose(overrides)
    check(composed)
    draw_where(build_device(composed.config["device"]))  # as training does
    seeds = Seeds(composed.config["seed"])
    began = time.perf_counter()
    env = build_env(composed.config)
    try:
        return _measure(
            EpisodeStream(env, lambda k: seeds.integer("env", 0, k)), seeds, steps, began
        )
    except EnvError as error:  # it was made, so nothing is missing
        raise UserError(str(error)) from error
    finally:
        env.close()


def _measure(stream: Any, seeds: Any, steps: int, began: float) -> dict[str, Any]:  # noqa: ANN401
    """See `trial`; the stream is that of an environment that has just been made."""
    image = stream.reset().get("image")
    found: dict[str, Any] = {"seconds": time.perf_counter() - began, "image": None}
    if image is not None:
        colors = len({bytes(pixel) for pixel in image.reshape(-1, image.shape[-1])})
        found |= {"image": list(image.shape), "colors": colors}
    began = time.perf_counter()
    stream.reset()
    found["reset_ms"] = 1e3 * (time.perf_counter() - began)
    stepping = step(stream, seeds, steps)
    found["steps_per_s"] = steps / stepping
    found["frames_per_s"] = steps * stream.action_repeat / stepping
    found["actions"] = str(stream.action_space)
    return found


def step(stream: EpisodeStream, seeds: Any, steps: int) -> float:  # noqa: ANN401 - torch's module
    """Seconds that random steps take, resets between them not counted."""
    from harmony.training.collect import random_action

    rng, seconds = seeds.numpy("doctor"), 0.0
    for _ in range(steps):
        if stream.needs_reset:
            stream.reset()
        action = random_action(stream.action_space, rng)
        began = time.perf_counter()
        stream.step(action)
        seconds += time.perf_counter() - began
    return seconds


def main(arguments: Sequence[str]) -> int:
    """Entry point; every other end than 0 is a crash."""
    try:
        found = trial(arguments)
    except UserError as error:
        found = {"error": " ".join(str(error).split()), "missing": isinstance(error, EnvError)}
    sys.stdout.write("\n" + json.dumps(found) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
