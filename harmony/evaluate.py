"""Evaluates a run that was trained before: python -m harmony.evaluate run=RUN episodes=20.

RUN is a run directory, or an MLflow run id whose directory lies below runs_root.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import time
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harmony.config.cli import report_errors
from harmony.config.compose import Composed
from harmony.config.run_dir import RunDirectory
from harmony.errors import CheckpointError, ConfigError, RunDirectoryError
from harmony.tracking.ledger import read_ledger

if TYPE_CHECKING:
    from harmony.training.evaluation import Evaluation

log = logging.getLogger(__name__)
USAGE = (
    "python -m harmony.evaluate run=RUN_DIR|MLFLOW_RUN_ID [episodes=20] [video=true] "
    "[checkpoint=newest|best|last] [seed=1] [KEY=VALUE of the stored configuration ...]"
)


@dataclass(frozen=True)
class Request:
    """What was asked for.

    Attributes:
        run: directory of the run.
        episodes: how many.
        video: whether the first is kept as a video.
        checkpoint: newest, best or last.
        seed: of the episodes; another one than training's gives episodes never seen in training.
        overrides: on top of the stored configuration.
    """

    run: Path
    episodes: int
    video: bool
    checkpoint: str
    seed: int
    overrides: list[str]


def parse(arguments: Sequence[str]) -> Request:
    """Reads the command line; values stay text, since a run id such as 12e4567 is no number.

    Raises:
        ConfigError: no run, or a value that can't be meant.
    """
    own = {"run": "", "episodes": "20", "video": "true", "checkpoint": "newest", "seed": "1"}
    overrides: list[str] = []
    for argument in arguments:
        key, equals, value = argument.partition("=")
        if key in own and equals:
            own[key] = value
        else:
            overrides.append(argument)
    if not own["run"]:
        raise ConfigError(f"run=... is missing; usage: {USAGE}")
    for key in ("episodes", "seed"):
        if not own[key].isdigit():
            raise ConfigError(f"{key} must be a whole number, got {own[key]!r}")
    if int(own["episodes"]) < 1:
        raise ConfigError("episodes must be at least 1, got 0")
    if own["video"] not in ("true", "false"):
        raise ConfigError(f"video must be true or false, got {own['video']!r}")
    if own["checkpoint"] not in ("newest", "best", "last"):
        raise ConfigError(f"checkpoint must be newest, best or last, got {own['checkpoint']!r}")
    return Request(
        find_run(own["run"]),
        int(own["episodes"]),
        own["video"] == "true",
        own["checkpoint"],
        int(own["seed"]),
        overrides,
    )


def find_run(name: str) -> Path:
    """The run directory that a path or an MLflow run id means.

    Raises:
        RunDirectoryError: neither.
    """
    path = Path(name).expanduser()
    if path.is_dir():
        return path
    root = Path(os.environ.get("HARMONY_RUNS", "runs"))
    for ledger in sorted(root.glob("**/mlflow.json")):
        found = read_ledger(ledger.parent)
        if found is not None and found.progress.run_id == name:
            return ledger.parent
    raise RunDirectoryError(
        f"run={name} is no directory, and no run below {root} has that MLflow run id; set "
        "HARMONY_RUNS where runs live elsewhere"
    )


def weights(run: Path, checkpoint: str) -> dict[str, Any]:
    """Weights of a run by name.

    Raises:
        CheckpointError: there are none.
    """
    from harmony.training.checkpoint import CheckpointStore

    if not (run / "checkpoints").is_dir():
        raise CheckpointError(f"{run} has no checkpoints yet")
    store = CheckpointStore(run / "checkpoints")
    if checkpoint != "newest":
        found = store.load_named(run / "checkpoints" / f"{checkpoint}.ckpt")["modules"]
    else:
        latest = store.load_latest()
        if latest is None:
            raise CheckpointError(f"{run} has no checkpoint yet")
        agent = latest[1]["agent"]
        assert isinstance(agent, dict)
        found = agent["modules"]
    assert isinstance(found, dict)
    return found


def summary(result: Evaluation) -> dict[str, Any]:
    """Return, and success where the suite knows one, with 95 % intervals."""
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
    return found


def evaluate(request: Request) -> dict[str, Any]:
    """Runs the episodes and writes their results below evaluations/ of the run.

    Raises:
        UserError: no such run, no weights, or an environment that can't be made.
    """
    from harmony.build import build_agent, build_device, build_env, check, observation_shapes
    from harmony.tracking.video import write_video
    from harmony.training.evaluation import Evaluator
    from harmony.training.seeding import Seeds
    from harmony.training.weights import put_weights

    run = RunDirectory.load(request.run, request.overrides)
    # The weights are there: those that the run began with are not needed.
    check(Composed(run.config | {"init_from": None}, run.choices, request.overrides))
    modules = weights(run.path, request.checkpoint)
    config: Mapping[str, Any] = run.config
    folder = run.path / "evaluations"
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise RunDirectoryError(f"can't write {folder}: {error.strerror}") from error
    env, device = build_env(config), build_device(config["device"])
    agent = build_agent(
        config, observation_shapes(env), env.action_space, device, Seeds(config["seed"])
    )
    put_weights(agent, modules, request.run)
    started = time.time()
    evaluator = Evaluator(env, Seeds(request.seed))
    result = evaluator.evaluate(agent, "stand-alone evaluation", request.episodes)
    found = summary(result) | {
        "checkpoint": request.checkpoint,
        "seed": request.seed,
        "overrides": request.overrides,
        "seconds": round(time.time() - started, 1),
    }
    stem = f"{request.checkpoint}-seed{request.seed}-{request.episodes}episodes"
    if request.overrides:
        # Evaluations under other settings are other results.
        stem += f"-{zlib.crc32(' '.join(request.overrides).encode()):08x}"
    if request.video and result.frames is not None:
        found["video"] = str(folder / f"{stem}.mp4")
        write_video(folder / f"{stem}.mp4", result.frames, 20)
    (folder / f"{stem}.json").write_text(json.dumps(found, indent=2) + "\n")
    found["file"] = str(folder / f"{stem}.json")
    env.close()
    return found


def lines(found: Mapping[str, Any]) -> list[str]:
    """What a person reads."""
    shown = [f"{found['episodes']} episodes of the {found['checkpoint']} weights"]
    for name, digits in (("return", 1), ("success", 2)):
        if name in found:
            x = found[name]
            interval = f"{x['low']:.{digits}f} to {x['high']:.{digits}f}"
            shown.append(f"{name}: {x['estimate']:.{digits}f}  (95 % interval {interval})")
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
