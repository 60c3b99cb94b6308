"""Evaluates a run that was trained before: python -m harmony.evaluate run=RUN episodes=20.

RUN is a run directory, or an MLflow run id whose directory lies below runs_root.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harmony.config.cli import report_errors
from harmony.errors import ConfigError, EnvError
from harmony.stored_run import (
    CHECKPOINTS,
    find_run,
    load_run,
    one_of,
    results_folder,
    results_stem,
    split_arguments,
    whole_number,
)

if TYPE_CHECKING:
    from harmony.envs.pool import EnvPool, SeedOf
    from harmony.stored_run import StoredRun
    from harmony.training.evaluation import Evaluation

USAGE = (
    "python -m harmony.evaluate run=RUN_DIR|MLFLOW_RUN_ID [episodes=20] [video=true] "
    "[checkpoint=newest|best|last] [seed=1] [num_envs=1] "
    "[KEY=VALUE of the stored configuration ...]"
)

DEFAULTS = {
    "run": "",
    "episodes": "20",
    "video": "true",
    "checkpoint": "newest",
    "seed": "1",
    "num_envs": "1",
}
"""Own keys with what they are unless said otherwise."""


@dataclass(frozen=True)
class Request:
    """What was asked for.

    Attributes:
        run: directory of the run.
        episodes: how many.
        video: whether the first is kept as a video.
        checkpoint: newest, best or last.
        seed: of the episodes; another one than training's gives episodes never seen in training.
        num_envs: environments that play at the same time; more than one are processes of their own.
        overrides: on top of the stored configuration.
    """

    run: Path
    episodes: int
    video: bool
    checkpoint: str
    seed: int
    num_envs: int
    overrides: list[str]


def parse(arguments: Sequence[str]) -> Request:
    """Reads the command line.

    Raises:
        ConfigError: no run, or a value that can't be meant.
    """
    own, overrides = split_arguments(arguments, DEFAULTS)
    if not own["run"]:
        raise ConfigError(f"run=... is missing; usage: {USAGE}")
    return Request(
        episodes=whole_number("episodes", own["episodes"], least=1),
        seed=whole_number("seed", own["seed"]),
        num_envs=whole_number("num_envs", own["num_envs"], least=1),
        video=one_of("video", own["video"], ("true", "false")) == "true",
        checkpoint=one_of("checkpoint", own["checkpoint"], CHECKPOINTS),
        run=find_run(own["run"]),
        overrides=overrides,
    )


def summary(result: Evaluation) -> dict[str, Any]:
    """Return, and success where the suite knows one, with 95 % intervals; the suite's measures."""
    from harmony.analysis.stats import bootstrap_mean, wilson

    returns = [episode.reward_sum for episode in result.episodes]
    found: dict[str, Any] = {
        "episodes": len(returns),
        "return": bootstrap_mean(returns)._asdict(),
        "returns": returns,
    }
    known = [episode.success for episode in result.episodes if episode.success is not None]
    if known:
        found["success"] = wilson(sum(known), len(known))._asdict()
    return found | ({"scores": dict(result.scores)} if result.scores else {})


def evaluate(request: Request) -> dict[str, Any]:
    """Runs the episodes and writes their results below evaluations/ of the run.

    Raises:
        UserError: no such run, no weights, or an environment that can't be made or is lost.
    """
    from harmony.envs.pool import EnvLost
    from harmony.tracking.video import write_video
    from harmony.training.evaluation import Evaluator
    from harmony.training.seeding import Seeds

    run = load_run(request.run, request.checkpoint, request.overrides)
    folder = results_folder(run.path, "evaluations")
    started = time.time()
    try:
        evaluator = Evaluator(partial(_open, run, request, folder), Seeds(request.seed))
        with closing(evaluator.pool):
            result = evaluator.evaluate(run.agent, "stand-alone evaluation", request.episodes)
    except EnvLost as lost:
        raise EnvError(str(lost)) from lost
    found = summary(result) | {
        "checkpoint": request.checkpoint,
        "seed": request.seed,
        "num_envs": request.num_envs,
        "overrides": request.overrides,
        "seconds": round(time.time() - started, 1),
    }
    stem = results_stem(
        request.checkpoint,
        f"seed{request.seed}",
        f"{request.episodes}episodes",
        *([f"{request.num_envs}envs"] if request.num_envs > 1 else []),
        settings=request.overrides,
    )
    if request.video and result.frames is not None:
        found["video"] = str(folder / f"{stem}.mp4")
        write_video(folder / f"{stem}.mp4", result.frames, 20)
    (folder / f"{stem}.json").write_text(json.dumps(found, indent=2) + "\n")
    found["file"] = str(folder / f"{stem}.json")
    return found


def _open(run: StoredRun, request: Request, folder: Path, seed_of: SeedOf) -> EnvPool:
    """The environments; the one that the run was loaded with, where one is enough."""
    from harmony.build import env_factory
    from harmony.envs.pool import EnvPool, Spawned

    if request.num_envs == 1:
        return EnvPool([run.env], seed_of)
    run.env.close()
    make = env_factory(run.config, evaluation=True)
    return Spawned(num_envs=request.num_envs).open(make, seed_of, folder / "envs")


def lines(found: Mapping[str, Any]) -> list[str]:
    """What a person reads."""
    shown = [f"{found['episodes']} episodes of the {found['checkpoint']} weights"]
    for name, digits in (("return", 1), ("success", 2)):
        if name in found:
            x = found[name]
            interval = f"{x['low']:.{digits}f} to {x['high']:.{digits}f}"
            shown.append(f"{name}: {x['estimate']:.{digits}f}  (95 % interval {interval})")
    shown += [f"{name}: {score:.3f}" for name, score in found.get("scores", {}).items()]
    shown += [f"{name}: {found[name]}" for name in ("video", "file") if name in found]
    return shown


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; 2 where the user can mend what was wrong."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if not arguments or arguments[0] in ("-h", "--help"):
        sys.stdout.write(f"{__doc__}\n{USAGE}\n")
        return 0
    with report_errors() as outcome:
        found = evaluate(parse(arguments))
        sys.stdout.write("\n".join(lines(found)) + "\n")
    return outcome.code


if __name__ == "__main__":
    sys.exit(main())
