"""target=reward of `harmony.probe`: rewards and frames, predicted from actions alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from harmony.analysis.open_loop import Prediction, check_matplotlib, draw, reward_errors
from harmony.analysis.stats import Interval
from harmony.errors import ConfigError
from harmony.probe_request import Request
from harmony.stored_run import StoredRun
from harmony.training.probing import Imagined, Watched, Window, cut_window, imagine
from harmony.training.seeding import Seeds


def probe_reward(
    request: Request, run: StoredRun, episodes: Iterable[Watched], stem: Path
) -> dict[str, Any]:
    """Compares predicted rewards with true ones; draws the first sequences.

    Args:
        request: what was asked for.
        run: whose world model is probed.
        episodes: one sequence is cut out of each that is long enough.
        stem: path of the files without ending.

    Raises:
        UserError: matplotlib is missing, or no episode is long enough.
    """
    check_matplotlib()
    predicted = predict(request, run, episodes)
    picture = stem.with_suffix(".png")
    shown = predicted[: request.shown]
    draw(picture, [_prediction(run, *each) for each in shown], request.context)
    errors = reward_errors(
        np.stack([imagined.true_reward for _, imagined in predicted]),
        np.stack([imagined.reward for _, imagined in predicted]),
        request.context,
    )
    return {
        "reward_transform": run.agent.world_model.reward.transform,
        "errors": {
            key: value._asdict() if isinstance(value, Interval) else value
            for key, value in errors._asdict().items()
        },
        "sequences": [_plain(*each) for each in predicted],
        "picture": str(picture),
    }


def predict(
    request: Request, run: StoredRun, episodes: Iterable[Watched]
) -> list[tuple[Window, Imagined]]:
    """A sequence of each episode that is long enough, and what the model makes of it.

    Pictures are kept of those only that are drawn.

    Raises:
        ConfigError: no episode is long enough.
    """
    seeds = Seeds(request.seed)
    found: list[tuple[Window, Imagined]] = []
    longest = 0
    for watched in episodes:
        longest = max(longest, watched.length)
        if watched.length < request.length:
            continue
        window = cut_window(watched, request.length, seeds)
        imagined = imagine(run.agent, window, seeds, request.context)
        if len(found) >= request.shown:
            window, imagined = window._replace(records={}), imagined._replace(frames=None)
        found.append((window, imagined))
    if not found:
        raise ConfigError(
            f"expected episodes of at least length={request.length} records, got at most "
            f"{longest}; take length={longest} or less"
        )
    return found


def _prediction(run: StoredRun, window: Window, imagined: Imagined) -> Prediction:
    """What is drawn of a sequence."""
    images = run.agent.world_model.encoder.images
    end = window.start + len(imagined.reward) - 1
    return Prediction(
        f"episode {window.episode}{', random actions' if window.is_random else ''}: "
        f"agent steps {window.start} to {end}",
        imagined.true_reward,
        imagined.reward,
        window.records[images[0]] if images else None,
        imagined.frames,
    )


def _plain(window: Window, imagined: Imagined) -> dict[str, Any]:
    """What a file keeps of a sequence."""
    error = imagined.reward.astype(np.float64) - imagined.true_reward
    return {
        "episode": window.episode,
        "is_random": window.is_random,
        "start": window.start,
        "true_reward": imagined.true_reward.tolist(),
        "predicted_reward": imagined.reward.tolist(),
        "error": error.tolist(),
    }


def reward_lines(answer: Mapping[str, Any]) -> list[str]:
    """What a person reads."""
    errors, count = answer["errors"], len(answer["sequences"])
    length, context = len(errors["rmse_by_step"]), answer["context"]
    steps = {"context": f"the {context} steps seen", "imagined": f"the {length - context} imagined"}
    shown = [f"{count} sequences of {length} steps; {answer['checkpoint']} weights"]
    for key, name in steps.items():
        x = errors[key]
        interval = f"{x['low']:.4g} to {x['high']:.4g}"
        shown.append(
            f"squared error of the reward, {name}: {x['estimate']:.4g}  (95 % interval {interval})"
        )
    shown.append(f"variance of the true reward: {errors['variance']:.4g}")
    return [*shown, f"picture: {answer['picture']}", f"file: {answer['file']}"]
