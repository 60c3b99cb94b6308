"""Whole runs against a tracking store that is new, or gone for a minute."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROBE = ["env=probe", "debug=smoke", "device=cpu", "tracking.flush_seconds=1"]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:The .*noload.* loader strategy:DeprecationWarning"),
]


def train(root: Path, *overrides: str, **variables: str) -> subprocess.Popen[bytes]:
    environment = {
        **os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "HARMONY_RUNS": str(root),
        **variables,
    }  # fmt: skip
    with (root / "output.txt").open("ab") as log:
        command = [sys.executable, "-m", "harmony", *PROBE, *overrides]
        return subprocess.Popen(command, env=environment, stdout=log, stderr=log)


def stored_points(uri: str, name: str, key: str) -> list[tuple[int, float]]:
    from harmony.tracking.store import connect

    client = connect(uri)
    experiments = [e.experiment_id for e in client.search_experiments()]
    runs = [r for r in client.search_runs(experiments) if r.data.tags["run_dir"].endswith(name)]
    assert len(runs) == 1
    assert runs[0].info.status == "FINISHED"
    return [(p.step, p.value) for p in client.get_metric_history(runs[0].info.run_id, key)]


def written_points(run_dir: Path, key: str) -> list[tuple[int, float]]:
    rows = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    return [(row["env_step"], row[key]) for row in rows if key in row]


def test_two_trainings_start_together_on_a_fresh_store(tmp_path):
    names = ("one", "two")
    runs = [train(tmp_path, f"seed={i}", f"run_dir={tmp_path / n}") for i, n in enumerate(names)]
    assert [run.wait(300) for run in runs] == [0, 0]
    for name in names:
        expected = written_points(tmp_path / name, "loss/image")
        assert expected
        found = stored_points(f"sqlite:///{tmp_path / 'mlflow.db'}", name, "loss/image")
        assert found == expected


def test_a_server_that_is_gone_for_a_minute(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    uri = f"http://127.0.0.1:{port}"
    server = start_server(tmp_path, port)
    run_dir = tmp_path / "run"
    run = train(
        tmp_path, "tracking=server", "training.env_steps=60_000", "checkpoint.every_env_steps=500",
        "training.log_every_env_steps=500", "evaluation.every_env_steps=20_000",
        "training.train_every_agent_steps=10", f"run_dir={run_dir}", MLFLOW_TRACKING_URI=uri,
    )  # fmt: skip
    try:
        wait_for(lambda: len(written_points(run_dir, "loss/image")) > 5, 120)
        stop(server)
        before = len(written_points(run_dir, "loss/image"))
        time.sleep(60)
        assert run.poll() is None, "the run must outlive the outage"
        assert len(written_points(run_dir, "loss/image")) > before, "training must not wait"
        server = start_server(tmp_path, port)
        assert run.wait(600) == 0
        for key in ("loss/image", "harmony/sigma/reward", "eval/return"):
            expected = written_points(run_dir, key)
            assert expected
            assert stored_points(uri, "run", key) == expected
    finally:
        run.kill()
        stop(server)


def start_server(root: Path, port: int) -> subprocess.Popen[bytes]:
    store = f"sqlite:///{root / 'server.db'}"
    command = [
        sys.executable, "-m", "mlflow", "server", "--backend-store-uri", store, "--port", str(port),
        "--workers", "1", "--artifacts-destination", str(root / "artifacts"),
    ]  # fmt: skip
    with (root / "server.txt").open("ab") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
    wait_for(lambda: answers(port), 120)
    return server


def stop(server: subprocess.Popen[bytes]) -> None:
    """Ends the server with its workers."""
    if server.poll() is None:
        os.killpg(server.pid, signal.SIGKILL)
    server.wait()


def answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2) as reply:
            return reply.status == 200
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return False


def wait_for(condition, seconds: float) -> None:
    end = time.monotonic() + seconds
    while True:
        try:
            if condition():
                return
        except FileNotFoundError:
            pass
        assert time.monotonic() < end
        time.sleep(0.5)
