"""A run that is killed again and again ends as the one that was not."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from harmony.replay.store import Replay
from harmony.training.checkpoint import CheckpointStore

ROOT = Path(__file__).parents[2]
OVERRIDES = [
    "debug=smoke", "render=fast", "env.task=cartpole_swingup", "env.action_repeat=2", "device=cpu",
    "training.env_steps=14400", "training.train_every_agent_steps=10",
    "training.log_every_env_steps=500", "replay.capacity=1100", "replay.segment_steps=200",
    "evaluation.every_env_steps=1200", "checkpoint.every_env_steps=240",
    "tracking.flush_seconds=0.5", "tracking.finish_seconds=120",
]  # fmt: skip
PLACED = [
    ("half_written", 1), ("rename", 2), ("evaluation", 1), ("metrics_flush", 2), ("shipping", 2),
    ("release", 2), ("replay_flush", 2), ("metrics_write", 3), ("update", 20), ("env_step", 150),
    ("half_written", 2), ("evaluation", 1),
]  # fmt: skip
RANDOM_KILLS = 10


def environment(root: Path) -> dict[str, str]:
    threads = {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    return {**os.environ, **threads, "HARMONY_RUNS": str(root)}


def start(root: Path, module: list[str]) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", *module, *OVERRIDES, f"run_dir={root / 'run'}"]
    with (root / "output.txt").open("ab") as log:
        return subprocess.Popen(command, cwd=ROOT, env=environment(root), stdout=log, stderr=log)


def checkpoints(root: Path) -> set[str]:
    return {path.name for path in (root / "run" / "checkpoints").glob("checkpoint-*.ckpt")}


def kill_after_progress(root: Path, seconds: float) -> int:
    """SIGKILL from outside, some time after a new checkpoint has appeared."""
    before = checkpoints(root)
    process = start(root, ["harmony"])
    while process.poll() is None and checkpoints(root) <= before:
        time.sleep(0.02)
    time.sleep(seconds)
    process.send_signal(signal.SIGKILL)
    return process.wait()


def rows(root: Path) -> list[dict[str, object]]:
    lines = (root / "run" / "metrics.jsonl").read_text().splitlines()
    parsed = [json.loads(line) for line in lines]
    return [{k: v for k, v in row.items() if not k.startswith("time")} for row in parsed]


def assert_same(one: object, two: object, where: str = "") -> None:
    assert type(one) is type(two), where
    if isinstance(one, dict):
        assert one.keys() == two.keys(), where
        for key in one:
            assert_same(one[key], two[key], f"{where}.{key}")
    elif isinstance(one, list | tuple):
        assert len(one) == len(two), where
        for index, (left, right) in enumerate(zip(one, two, strict=True)):
            assert_same(left, right, f"{where}[{index}]")
    elif isinstance(one, torch.Tensor):
        assert torch.equal(one, two), where
    elif isinstance(one, np.ndarray):
        assert np.array_equal(one, two), where
    else:
        assert one == two, where


def final_state(root: Path) -> dict[str, object]:
    latest = CheckpointStore(root / "run" / "checkpoints").load_latest()
    assert latest is not None
    state = latest[1]
    # Rows hold times of varying length, so the file's size is no part of the comparison.
    del state["metrics_offset"]
    return state


def replay_batches(root: Path, state: dict[str, object]) -> list[dict[str, np.ndarray]]:
    """Batches that a replay in that state gives: they read what is in the files."""
    spec = {
        "image": (np.dtype(np.uint8), (64, 64, 3)),
        "action": (np.dtype(np.float32), (1,)),
        "reward": (np.dtype(np.float32), ()),
        **{name: (np.dtype(np.bool_), ()) for name in ("is_first", "is_last", "is_terminal")},
    }
    replay = Replay(
        record_spec=spec, directory=root / "run" / "replay", capacity=1100, batch_size=16,
        batch_length=8, segment_steps=200,
    )  # fmt: skip
    replay.load_state_dict(state["replay"])
    rng = np.random.default_rng(0)
    return [replay.sample(rng) for _ in range(20)]


def mlflow_points(root: Path) -> dict[str, list[tuple[int, float]]]:
    from harmony.tracking.store import connect

    client = connect(f"sqlite:///{root / 'mlflow.db'}")
    experiments = [e.experiment_id for e in client.search_experiments()]
    runs = client.search_runs(experiments)
    assert len(runs) == 1
    assert runs[0].info.status == "FINISHED"
    run_id = runs[0].info.run_id
    keys = [k for k in runs[0].data.metrics if not k.startswith("time")]
    return {
        key: [(m.step, m.value) for m in client.get_metric_history(run_id, key)] for key in keys
    }


@pytest.mark.slow
@pytest.mark.sim
@pytest.mark.filterwarnings("ignore:The .*noload.* loader strategy:DeprecationWarning")
def test_twenty_kills_change_nothing(tmp_path):
    calm, stormy = tmp_path / "calm", tmp_path / "stormy"
    calm.mkdir()
    stormy.mkdir()
    assert start(calm, ["harmony"]).wait() == 0

    rng = random.Random(7)
    random_kills = [rng.uniform(0.0, 1.0) for _ in range(RANDOM_KILLS)]
    for index, (place, count) in enumerate(PLACED):
        crashing = ["tests.integration.crashing", place, str(count)]
        assert start(stormy, crashing).wait() == -signal.SIGKILL, place
        if index < len(random_kills):
            assert kill_after_progress(stormy, random_kills[index]) == -signal.SIGKILL
    assert len(PLACED) + len(random_kills) >= 20
    assert start(stormy, ["harmony"]).wait() == 0

    one, two = final_state(calm), final_state(stormy)
    assert_same(one, two)
    for left, right in zip(replay_batches(calm, one), replay_batches(stormy, two), strict=True):
        assert_same(left, right)
    assert rows(calm) == rows(stormy)
    points = mlflow_points(stormy)
    assert points == mlflow_points(calm)
    assert points
    for key, values in points.items():
        steps = [step for step, _ in values]
        assert len(steps) == len(set(steps)), key
