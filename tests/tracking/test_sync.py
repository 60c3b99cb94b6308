import shutil
import subprocess
import sys

import pytest

from harmony import sync
from harmony.tracking.mlflow import MLflowTracker, connect

pytestmark = pytest.mark.filterwarnings(
    "ignore:The .*noload.* loader strategy is deprecated:DeprecationWarning"
)


@pytest.fixture
def offline_run(info, write_rows, monkeypatch):
    """A run that has ended while its server could not be reached: two rows and a file to send."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    (info.run_dir / "config.yaml").write_text("seed: 0\n")
    tracker = MLflowTracker(tracking_uri="http://127.0.0.1:9", finish_seconds=0.1)
    tracker.start(info)
    tracker.commit(write_rows(1, 2))
    write_rows(3)  # no checkpoint covers it
    tracker.artifact(info.run_dir / "config.yaml", "")
    tracker.finish("FINISHED")
    tracker._shipper.join(60.0)
    return info.run_dir


def test_sync_sends_what_was_committed_once(offline_run, empty_store, tmp_path, capsys):
    shutil.copy(empty_store, tmp_path / "mlflow.db")
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    assert sync.main([str(offline_run)]) == 1  # the server is still away
    error = capsys.readouterr().err
    assert "can't send to http://127.0.0.1:9" in error
    assert error.count("\n") == 1

    overrides = [
        f"tracking.tracking_uri={uri}",
        f"tracking.artifact_location={tmp_path}/artifacts",
    ]
    assert sync.main([str(offline_run), *overrides]) == 0
    assert capsys.readouterr().out.startswith(f"sent 2 points to {uri}: run ")
    assert sync.main([str(offline_run)]) == 0  # the new address is remembered
    assert capsys.readouterr().out.startswith(f"sent 0 points to {uri}: run ")

    client = connect(uri)
    experiment = client.get_experiment_by_name("test")
    (run,) = client.search_runs([experiment.experiment_id])
    steps = [point.step for point in client.get_metric_history(run.info.run_id, "loss/a")]
    assert sorted(steps) == [1, 2]
    assert run.info.status == "FINISHED"
    assert run.data.tags["harmony.attempt"] == "1"
    assert [f.path for f in client.list_artifacts(run.info.run_id)] == ["config.yaml"]


def test_a_run_whose_process_was_killed_is_closed_as_killed(
    make_outbox, info, write_rows, empty_store, tmp_path, capsys
):
    shutil.copy(empty_store, tmp_path / "mlflow.db")
    outbox = make_outbox(f"sqlite:///{tmp_path}/mlflow.db")
    outbox.own(new_attempt=True)
    outbox.commit(write_rows(1))
    assert sync.main([str(info.run_dir)]) == 2  # its process lives
    assert "wait for its end" in capsys.readouterr().err
    outbox.release()
    assert sync.main([str(info.run_dir)]) == 0
    assert "status KILLED" in capsys.readouterr().out


def test_wrong_arguments_are_one_line_and_two(tmp_path, capsys):
    for arguments in ([], [str(tmp_path), "more"], [str(tmp_path)], [str(tmp_path / "missing")]):
        assert sync.main(arguments) == 2
        error = capsys.readouterr().err
        assert error.startswith("expected ")
        assert error.count("\n") == 1


def test_a_wrong_address_is_refused(offline_run, capsys):
    assert sync.main([str(offline_run), "tracking.tracking_uri=./mlruns"]) == 2
    assert "got ./mlruns" in capsys.readouterr().err


def test_the_entry_point_runs(tmp_path):
    command = [sys.executable, "-m", "harmony.sync", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("expected a run directory")
