"""Runs that never ran: as a report holds them, and as directories."""

import json

import yaml

from harmony.analysis.curves import Curve
from harmony.analysis.runs import Run

METRIC, SUCCESS = "eval/return", "eval/success"


def make_run(values=(1.0,), *, seed=0, task="walk", harmony="on", name=None, **changes):
    """A finished run of 100 env steps, evaluated at even distances; any attribute can be given.

    Values of `settings` and `choices` are added to what it has.
    """
    steps = [100 * (k + 1) // len(values) for k in range(len(values))]
    given = {
        "name": name or f"{task}-{harmony}-{seed}",
        "suite": "dmc",
        "seed": seed,
        "env_steps": 100,
        "choices": {"env": "dmc", "harmony": harmony, **changes.pop("choices", {})},
        "settings": {"env.task": task, **changes.pop("settings", {})},
        "facts": {"evaluation.episodes": "10"},
        "curves": {METRIC: Curve(steps, list(values)), **changes.pop("curves", {})},
        "metrics": {METRIC},
    }
    return Run(**{**given, **changes})


def seeds(*values, **changes):
    """One run a value, which is its last evaluation; seeds from 0."""
    return [make_run((value,), seed=seed, **changes) for seed, value in enumerate(values)]


def write_run(path, rows, *, seed=0, task="walker_walk", env="dmc", harmony="on", **changes):
    """A run directory as training leaves it.

    Args:
        path: of the directory.
        rows: of metrics.jsonl, without time.
        seed: of the run.
        task: of the environment.
        env: option of the group.
        harmony: option of the group.
        changes: `status` of its end (None: it has none), `env_steps`, `episodes`, `overrides`,
            `choices`, `config` (added to a section each), `attempts`.
    """
    path.mkdir(parents=True)
    status = changes.get("status", "FINISHED")
    ended = {} if status is None else {"ended": {"time": 2.0, "status": status}}
    config = {
        "env": {"_target_": "harmony.envs.dmc.DMC", "_partial_": True, "task": task},
        "seed": seed,
        "training": {"env_steps": changes.get("env_steps", 100)},
        "evaluation": {"episodes": changes.get("episodes", 10), "every_env_steps": 50},
        "replay": {"batch_size": 16, "keep": "all"},
        "harmony": {"_target_": f"harmony.harmonizer.{harmony}"},
        "algorithm": {"lr": 0.0001},
        "run_dir": None,
        "experiment": "here",
    }
    for section, values in changes.get("config", {}).items():
        config[section] = {**config.get(section, {}), **values}
    record = {
        "name": path.name,
        "choices": {
            "env": env, "algorithm": "dreamerv2", "harmony": harmony, "size": "tiny",
            "tracking": "none", **changes.get("choices", {}),
        },
        "overrides": [f"env.task={task}", f"seed={seed}", *changes.get("overrides", [])],
        "attempts": changes.get("attempts") or [{"started": 1.0, "changes": {}, **ended}],
    }  # fmt: skip
    (path / "run.json").write_text(json.dumps(record))
    (path / "config.yaml").write_text(yaml.safe_dump(config))
    (path / "provenance.json").write_text(json.dumps({"git_commit": "0123456789"}))
    lines = [json.dumps({"time": 1.0, **row}) + "\n" for row in rows]
    (path / "metrics.jsonl").write_text("".join(lines))
    return path


def evaluations(*values, key=METRIC, every=50):
    """Rows of evaluations at even distances."""
    return [{"env_step": every * (k + 1), key: value} for k, value in enumerate(values)]
