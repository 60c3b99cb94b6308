"""How long the end of a run waits for a store that is away."""

import time

import pytest

from harmony.tracking.mlflow import MLflowTracker


@pytest.mark.parametrize(
    ("status", "seconds"), [("FINISHED", 60.0), ("FAILED", 60.0), ("KILLED", 10.0)]
)
def test_a_run_that_has_to_go_waits_briefly(info, write_rows, monkeypatch, status, seconds):
    waited = []
    monkeypatch.setattr("harmony.tracking.shipper.Shipper.start", lambda _self: None)
    monkeypatch.setattr(
        "harmony.tracking.shipper.Shipper.finish", lambda _self, limit: waited.append(limit)
    )
    for given in (60.0, 1.5):
        tracker = MLflowTracker(tracking_uri="http://127.0.0.1:9", finish_seconds=given)
        tracker.start(info)
        tracker.commit(write_rows(1))
        tracker.finish(status)
        tracker._outbox.release()
    assert waited == [seconds, 1.5]


def test_a_run_that_goes_on_elsewhere_does_not_wait_for_a_dead_server(info, write_rows, caplog):
    tracker = MLflowTracker(tracking_uri="http://127.0.0.1:9", finish_seconds=60.0)
    tracker.start(info)
    tracker.commit(write_rows(1))
    begin = time.monotonic()
    tracker.finish("SCHEDULED")
    assert time.monotonic() - begin < 8.0
    assert "the run sends it when it goes on" in caplog.text
    assert "harmony.sync" not in caplog.text
    tracker._shipper.join(60)  # it ends when its last call has
