import dataclasses
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import pytest

from harmony.errors import ConfigError
from harmony.tracking import mlflow as tracking_mlflow
from harmony.tracking.mlflow import MLflowTracker, connect

pytestmark = pytest.mark.filterwarnings(
    "ignore:The .*noload.* loader strategy is deprecated:DeprecationWarning"
)


@pytest.fixture
def uri(empty_store, tmp_path):
    shutil.copy(empty_store, tmp_path / "mlflow.db")
    return f"sqlite:///{tmp_path}/mlflow.db"


@pytest.fixture
def track(uri, tmp_path):
    """Runs one attempt of a run: start, commit, files, finish."""

    def attempt(info, offset=0, files=(), status="FINISHED", **more):
        settings = {"tracking_uri": uri, "artifact_location": str(tmp_path / "artifacts")}
        tracker = MLflowTracker(**{**settings, "flush_seconds": 0.05, **more})
        tracker.start(info)
        if offset:
            tracker.commit(offset)
        for path, folder in files:
            tracker.artifact(path, folder)
        tracker.finish(status)
        return tracker

    return attempt


def runs(uri, experiment="test"):
    client = connect(uri)
    found = client.get_experiment_by_name(experiment)
    return client, client.search_runs([found.experiment_id], order_by=["attributes.start_time"])


def history(client, run, key="loss/a"):
    points = client.get_metric_history(run.info.run_id, key)
    return [(p.step, p.value, p.timestamp) for p in sorted(points, key=lambda p: p.step)]


def test_one_run_with_its_rows_params_tags_and_files(uri, track, info, write_rows):
    params = {f"p{i}": i for i in range(150)} | {"odd=key": True, "text": "x" * 7000}
    info = dataclasses.replace(info, params=params, tags={"task": "walk", "seed": "3"})
    video = info.run_dir / "a.mp4"
    video.write_bytes(b"video")
    track(info, write_rows(1, 2, **{"nonfinite/loss/b": 1, "text": "t"}), [(video, "videos")])

    client, (run,) = runs(uri)
    assert run.info.run_name == "run"
    assert run.info.status == "FINISHED"
    assert run.info.end_time >= run.info.start_time
    assert history(client, run) == [(1, 0.5, 1001000), (2, 1.0, 1002000)]
    assert set(run.data.metrics) == {"loss/a", "nonfinite/loss/b"}
    assert len(run.data.params) == 152
    assert run.data.params["p149"] == "149"
    assert run.data.params["odd_key"] == "True"
    assert run.data.params["text"] == "x" * 6000
    tags = run.data.tags
    assert (tags["task"], tags["seed"], tags["harmony.run_key"]) == ("walk", "3", "key-1")
    assert tags["harmony.attempt"] == "1"
    assert tags["mlflow.source.name"] == "harmony"
    assert tags["mlflow.user"]
    assert [f.path for f in client.list_artifacts(run.info.run_id, "videos")] == ["videos/a.mp4"]


def test_a_restart_continues_the_same_run(uri, track, info, write_rows, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "77")
    first = dataclasses.replace(info, params={"steps": 10})
    track(first, write_rows(1, 2), status="KILLED")
    again = dataclasses.replace(info, params={"steps": 20, "new": 1})  # more steps on resume
    track(again, write_rows(3))
    client, (run,) = runs(uri)
    assert [step for step, *_ in history(client, run)] == [1, 2, 3]
    assert run.data.params == {"steps": "10", "new": "1"}
    assert run.data.tags["harmony.attempt"] == "2"
    assert run.data.tags["harmony.attempt.2.job"] == "77"
    assert run.data.tags["harmony.attempt.1.host"] == socket.gethostname()
    assert run.info.status == "FINISHED"


def test_a_lost_cursor_sends_again_and_stores_once(uri, track, info, write_rows):
    track(info, write_rows(1, 2))
    (info.run_dir / "mlflow.json").unlink()  # crash between sending and noting it
    track(info, write_rows(3))
    client, (run,) = runs(uri)  # found by its key: one run
    assert history(client, run) == [(1, 0.5, 1001000), (2, 1.0, 1002000), (3, 1.5, 1003000)]


def test_status_while_running_and_after_a_kill(uri, track, info, write_rows):
    track(info, write_rows(1), status="FAILED")
    assert runs(uri)[1][0].info.status == "FAILED"
    tracker = MLflowTracker(tracking_uri=uri, flush_seconds=0.05)
    tracker.start(info)
    end = time.monotonic() + 10
    while runs(uri)[1][0].info.status != "RUNNING":
        assert time.monotonic() < end
        time.sleep(0.05)
    tracker.finish("KILLED")
    assert runs(uri)[1][0].info.status == "KILLED"


def test_a_run_deleted_in_the_store_is_made_anew(uri, track, info, write_rows):
    track(info, write_rows(1))
    client, (run,) = runs(uri)
    client.delete_run(run.info.run_id)
    track(info, write_rows(2))
    client, (new,) = runs(uri)
    assert new.info.run_id != run.info.run_id
    assert [step for step, *_ in history(client, new)] == [1, 2]


def test_a_sweep_has_one_parent_that_its_last_child_closes(uri, track, info, write_rows):
    size = write_rows(1)
    children = []
    for i in range(2):
        run_dir = info.run_dir.parent / f"child{i}"
        shutil.copytree(info.run_dir, run_dir)
        child = dataclasses.replace(
            info, run_dir=run_dir, run_key=f"child-{i}", name=f"child{i}", sweep="it's a sweep"
        )
        children.append(child)
    other = MLflowTracker(tracking_uri=uri, flush_seconds=0.05)
    other.start(children[0])
    end = time.monotonic() + 10
    while not (children[0].run_dir / "mlflow.json").read_text().count('"run_id": "'):
        assert time.monotonic() < end
        time.sleep(0.02)
    track(children[1], size)

    client, found = runs(uri)
    by_name = {run.info.run_name: run for run in found}
    assert set(by_name) == {"it's a sweep", "child0", "child1"}
    parent = by_name["it's a sweep"]
    assert parent.info.status == "RUNNING"  # child0 still runs
    for name in ("child0", "child1"):
        assert by_name[name].data.tags["mlflow.parentRunId"] == parent.info.run_id
    other.finish("FINISHED")
    assert client.get_run(parent.info.run_id).info.status == "FINISHED"


def test_the_training_never_waits_for_a_dead_store(track, info, write_rows, caplog):
    begin = time.monotonic()
    tracker = track(
        info,
        write_rows(1),
        tracking_uri="http://127.0.0.1:9",  # nobody listens
        artifact_location=None,
        finish_seconds=0.3,
    )
    assert time.monotonic() - begin < 3.0
    assert f"python -m harmony.sync {info.run_dir}" in caplog.text
    tracker._shipper.join(30.0)
    assert not tracker._shipper.is_alive()
    assert "can't send to http://127.0.0.1:9" in caplog.text


def test_a_client_that_fails_between_batches_leaves_no_gap(
    uri, track, info, write_rows, monkeypatch
):
    real = tracking_mlflow.connect
    broken = iter([True, False, True, True])

    def flaky(address):
        client = real(address)
        log_batch = client.log_batch

        def sometimes(*args, **kwargs):
            result = log_batch(*args, **kwargs)
            if next(broken, False):
                raise ConnectionError("the answer was lost")
            return result

        client.log_batch = sometimes
        return client

    monkeypatch.setattr(tracking_mlflow, "connect", flaky)
    track(info, write_rows(*range(1, 8)), finish_seconds=30.0)
    client, (run,) = runs(uri)
    assert [step for step, *_ in history(client, run)] == [1, 2, 3, 4, 5, 6, 7]
    assert run.info.status == "FINISHED"


def test_a_deleted_experiment_is_named(uri, track, info, write_rows, caplog):
    track(info, write_rows(1))
    client, (run,) = runs(uri)
    client.delete_experiment(run.info.experiment_id)
    track(info, write_rows(2), finish_seconds=0.5)
    assert "mlflow experiments restore" in caplog.text


def test_a_missing_address_is_a_config_error():
    with pytest.raises(ConfigError, match="MLFLOW_TRACKING_URI"):
        MLflowTracker(tracking_uri="")


def test_before_the_start_nothing_happens(tmp_path):
    tracker = MLflowTracker(tracking_uri=f"sqlite:///{tmp_path}/x.db")
    tracker.commit(5)
    tracker.artifact(tmp_path, "")
    tracker.finish("FAILED")
    assert list(tmp_path.iterdir()) == []


def test_importing_the_module_does_not_import_mlflow():
    code = "import sys, harmony.tracking.mlflow, harmony.sync; sys.exit('mlflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


CHILD = """
import sys, json, time, pathlib
from harmony.tracking.base import RunInfo
from harmony.tracking.mlflow import MLflowTracker
root, name = pathlib.Path(sys.argv[1]), sys.argv[2]
run_dir = root / name
run_dir.mkdir()
(run_dir / "metrics.jsonl").write_text('{"env_step": 1, "time": 9.0, "loss/a": 2.0}\\n')
tracker = MLflowTracker(tracking_uri=f"sqlite:///{root}/mlflow.db",
                        artifact_location=str(root / "artifacts"), finish_seconds=100.0)
import mlflow  # both are at the same point when they start
(root / f"{name}.ready").touch()
while len(list(root.glob("*.ready"))) < 2: time.sleep(0.001)
tracker.start(RunInfo(run_dir, name, name, "fresh", sweep="sweep"))
tracker.commit((run_dir / "metrics.jsonl").stat().st_size)
tracker.finish("FINISHED")
sys.exit(not tracker._outbox.complete())
"""


@pytest.mark.slow
def test_two_processes_start_together_on_a_fresh_store(tmp_path):
    command = [sys.executable, "-c", CHILD, str(tmp_path)]
    children = [subprocess.Popen([*command, name]) for name in ("one", "two")]
    assert [child.wait(200) for child in children] == [0, 0]
    client, found = runs(f"sqlite:///{tmp_path}/mlflow.db", "fresh")
    assert sorted(run.info.run_name for run in found) == ["one", "sweep", "two"]
    assert {run.info.status for run in found} == {"FINISHED"}
    for run in found:
        if run.info.run_name != "sweep":
            assert history(client, run) == [(1, 2.0, 9000)]


class Server:
    """`mlflow server` on a free port, with a store of its own."""

    def __init__(self, directory):
        self.directory = directory
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.uri = f"http://127.0.0.1:{self.port}"
        self.process = None

    def start(self):
        command = [sys.executable, "-m", "mlflow", "server", "--workers", "1"]
        command += ["--host", "127.0.0.1", "--port", str(self.port)]
        command += ["--backend-store-uri", f"sqlite:///{self.directory}/server.db"]
        command += ["--artifacts-destination", str(self.directory / "served")]
        self.process = subprocess.Popen(
            command,
            cwd=self.directory,
            env={**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        end = time.monotonic() + 120
        while True:
            try:
                with urllib.request.urlopen(f"{self.uri}/health", timeout=2):
                    return
            except (urllib.error.URLError, OSError):
                assert time.monotonic() < end, "the server does not start"
                time.sleep(0.2)

    def stop(self):
        if self.process is not None:
            os.killpg(self.process.pid, 9)
            self.process.wait(20)
            self.process = None


@pytest.mark.slow
def test_a_server_that_goes_away_for_a_while(tmp_path, info, write_rows, capsys):
    server = Server(tmp_path)
    try:
        server.start()
        tracker = MLflowTracker(tracking_uri=server.uri, flush_seconds=0.5, finish_seconds=60.0)
        tracker.start(info)
        tracker.commit(write_rows(1, 2))
        end = time.monotonic() + 60
        while not tracker._outbox.complete():
            assert time.monotonic() < end
            time.sleep(0.1)
        server.stop()
        begin = time.monotonic()
        tracker.commit(write_rows(3, 4))
        video = info.run_dir / "a.mp4"
        video.write_bytes(b"video")
        tracker.artifact(video, "videos")
        assert time.monotonic() - begin < 1.0
        while not tracker._shipper._failures:
            time.sleep(0.1)
        server.start()
        tracker.commit(write_rows(5))
        tracker.finish("FINISHED")
        client, (run,) = runs(server.uri)
        assert [step for step, *_ in history(client, run)] == [1, 2, 3, 4, 5]
        assert run.info.status == "FINISHED"
        assert client.list_artifacts(run.info.run_id, "videos")[0].path == "videos/a.mp4"
        assert capsys.readouterr().out == ""
    finally:
        server.stop()
