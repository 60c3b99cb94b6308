import json

import pytest

from harmony.tracking.base import RunInfo
from harmony.tracking.ledger import Destination, Ledger, Progress
from harmony.tracking.mlflow import connect
from harmony.tracking.outbox import Outbox


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory):
    """A sqlite file with mlflow's tables: making them takes longer than all the tests."""
    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    connect(f"sqlite:///{path}")
    return path


@pytest.fixture
def info(tmp_path):
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    return RunInfo(run_dir=run_dir, run_key="key-1", name="run", experiment="test")


@pytest.fixture
def write_rows(info):
    """Appends rows with the given env_steps to the run's metrics.jsonl; returns its size.

    The row of step s was written at second 1000 + s and has loss/a = s / 2.
    """

    def write(*steps, **more):
        path = info.run_dir / "metrics.jsonl"
        with path.open("a") as file:
            for step in steps:
                row = {"env_step": step, "time": 1000.0 + step, "loss/a": step / 2, **more}
                file.write(json.dumps(row) + "\n")
        return path.stat().st_size

    return write


@pytest.fixture
def make_outbox(info):
    """Makes outboxes of the one run, as the attempts of a run do; frees them at the end."""
    made = []

    def make(uri="sqlite:////x.db"):
        ledger = Ledger(info, Destination(uri, None, ["loss/*"]), Progress(started=5))
        made.append(Outbox(ledger))
        return made[-1]

    yield make
    for outbox in made:
        outbox.release()
