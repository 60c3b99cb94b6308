import json

import pytest

from harmony.filelock import FileLock
from harmony.tracking.base import RunInfo
from harmony.tracking.ledger import Destination, Ledger, Progress
from launch.mend import is_stale, mend
from launch.runs import run_facts

ROWS = [{"env_step": 10, "time": 1000.0, "loss/a": 0.5}]


@pytest.fixture
def tracked():
    """Gives a run a ledger, as its tracker had left it."""

    def make(run, status="RUNNING", closed=False, uri="sqlite:////nowhere/x.db"):
        info = RunInfo(run_dir=run, run_key="key", name=run.name, experiment="test")
        size = (run / "metrics.jsonl").stat().st_size
        progress = Progress(started=5, status=status, closed=closed, committed=size)
        Ledger(info, Destination(uri, None, ["loss/*"]), progress).write()
        return run

    return make


def progress(run):
    return json.loads((run / "mlflow.json").read_text())["progress"]


@pytest.mark.parametrize(
    ("ended", "stale"),
    [
        ([None], True), (["SCHEDULED"], True), (["FAILED", None], True),
        (["FINISHED"], False), (["FAILED"], False), (["SCHEDULED", "KILLED"], False),
    ],
)  # fmt: skip
def test_what_is_stale_without_a_tracker(make_run, tmp_path, ended, stale):
    run = make_run(tmp_path / "r", ended)
    assert is_stale(run) is stale


@pytest.mark.parametrize(
    ("ended", "status", "closed", "stale"),
    [
        ([None], "RUNNING", False, True),
        (["KILLED"], "KILLED", True, False),
        (["KILLED"], "KILLED", False, True),  # the store was away and does not know yet
        (["KILLED"], "RUNNING", False, True),
        (["KILLED"], "SCHEDULED", True, True),
        (["SCHEDULED"], "SCHEDULED", True, True),
    ],
)
def test_what_is_stale_with_one(make_run, tracked, tmp_path, ended, status, closed, stale):
    run = tracked(make_run(tmp_path / "r", ended, ROWS), status, closed)
    assert is_stale(run) is stale


def test_no_run_is_not_stale_and_not_mended(tmp_path):
    assert not is_stale(tmp_path / "none")
    assert not mend(tmp_path / "none", "KILLED")
    assert not (tmp_path / "none").exists()


def test_mending_without_a_tracker(make_run, tmp_path):
    run = make_run(tmp_path / "r", ["SCHEDULED", None])
    assert mend(run, "FAILED")
    assert run_facts(run).ended == "FAILED"
    assert run_facts(run).attempts == 2
    assert not is_stale(run)
    assert not mend(run, "KILLED")
    assert run_facts(run).ended == "FAILED"


def test_a_run_that_would_go_on_is_killed(make_run, tmp_path):
    run = make_run(tmp_path / "r", ["SCHEDULED"])
    mend(run, "KILLED")
    assert run_facts(run).ended == "KILLED"


def test_a_store_that_is_away_is_no_error_and_is_told_later(
    make_run, tracked, tmp_path, caplog, monkeypatch
):
    def away(_outbox):
        raise ConnectionError("refused\nand more")

    monkeypatch.setattr("launch.mend.ship", away)
    run = tracked(make_run(tmp_path / "r", [None], ROWS))
    assert not mend(run, "FAILED")
    assert run_facts(run).ended == "FAILED"
    assert "can't tell sqlite:////nowhere/x.db (ConnectionError: refused)" in caplog.text
    assert progress(run)["status"] == "FAILED"
    assert is_stale(run)  # so the next status tries again


def test_a_run_whose_sender_lives_is_left_to_it(make_run, tracked, tmp_path, caplog):
    run = tracked(make_run(tmp_path / "r", ["KILLED"], ROWS))
    sender = FileLock(run / ".mlflow.json.lock")
    sender.acquire(wait=False)
    try:
        assert not mend(run, "KILLED")
    finally:
        sender.release()
    assert "whose process lives" in caplog.text
    assert progress(run)["status"] == "RUNNING"


@pytest.mark.parametrize("name", ["run.json", "config.yaml"])
def test_a_damaged_run_is_no_end_for_the_others(make_run, tmp_path, caplog, name):
    run = make_run(tmp_path / "r", [None])
    (run / name).write_text("{")
    assert not mend(run, "FAILED")
    assert name in caplog.text
    assert is_stale(run) is (name == "config.yaml")


def test_a_damaged_ledger_is_no_end_for_the_others(make_run, tracked, tmp_path):
    run = tracked(make_run(tmp_path / "r", [None], ROWS))
    (run / "mlflow.json").write_text("{")
    assert is_stale(run)
    mend(run, "FAILED")
    assert not is_stale(run)


class Sink:
    """Stands in for MLflow."""

    def __init__(self, _destination):
        pass

    def open(self, outbox):
        outbox.found("id")

    def send(self, points):
        TOLD.extend((point.key, point.step, point.value) for point in points)

    def close(self, outbox):
        TOLD.append((outbox.progress.status, outbox.progress.ended))


TOLD = []


def test_the_tracker_gets_the_rest_of_the_rows_and_the_end(
    make_run, tracked, tmp_path, monkeypatch
):
    TOLD.clear()
    monkeypatch.setattr("harmony.sync.MLflowSink", Sink)
    run = tracked(make_run(tmp_path / "r", ["SCHEDULED"], ROWS), "SCHEDULED", closed=True)
    assert mend(run, "KILLED")
    moment = int((run / "metrics.jsonl").stat().st_mtime * 1000)
    assert [("loss/a", 10, 0.5), ("KILLED", moment)] == TOLD
    assert not is_stale(run)
    assert not mend(run, "FAILED")
    assert len(TOLD) == 2


def test_an_end_that_the_run_has_said_itself_stays(make_run, tracked, tmp_path, monkeypatch):
    TOLD.clear()
    monkeypatch.setattr("harmony.sync.MLflowSink", Sink)
    run = tracked(make_run(tmp_path / "r", ["FAILED"], ROWS), "FAILED")
    assert mend(run, "KILLED")  # the store was away when it ended
    assert TOLD[-1][0] == "FAILED"
    assert run_facts(run).ended == "FAILED"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The .*noload.* loader strategy:DeprecationWarning")
def test_the_store_is_told(make_run, tracked, tmp_path):
    from harmony.tracking.mlflow import connect

    uri = f"sqlite:///{tmp_path}/mlflow.db"
    run = tracked(make_run(tmp_path / "r", [None], ROWS), uri=uri)
    assert mend(run, "KILLED")
    client = connect(uri)
    (stored,) = client.search_runs([client.get_experiment_by_name("test").experiment_id])
    assert stored.info.status == "KILLED"
    assert stored.info.end_time == int((run / "metrics.jsonl").stat().st_mtime * 1000)
    (point,) = client.get_metric_history(stored.info.run_id, "loss/a")
    assert (point.step, point.value) == (10, 0.5)
    assert not is_stale(run)
    assert not mend(run, "FAILED")
    assert client.get_run(stored.info.run_id).info.status == "KILLED"
