import json

import pytest

from harmony.filelock import FileLock
from launch.runs import RunFacts, is_owned, run_facts, save_seconds


def row(step, **more):
    return {"env_step": step, "time": 1000.0 + step, **more}


def test_no_run_has_no_facts(tmp_path):
    assert run_facts(tmp_path / "none") == RunFacts()
    assert run_facts(tmp_path) == RunFacts()
    assert not (tmp_path / "none").exists()
    (tmp_path / "run.json").write_text("{")
    assert run_facts(tmp_path) == RunFacts()


def test_facts_of_a_run(make_run, tmp_path):
    rows = [
        row(10, **{"episode/return": 1.0, "time/frames_per_s": 50.0}),
        row(20, **{"eval/return": 7.5}),
        row(30, **{"episode/return": 2.0, "time/save_s": 0.5}),
        row(40, **{"time/frames_per_s": 60.0}),
    ]
    run = make_run(tmp_path / "r", ["SCHEDULED", None], rows)
    facts = run_facts(run)
    assert facts == RunFacts(
        attempts=2,
        ended=None,
        ended_at=None,
        host="n1",
        env_step=40,
        last_return=7.5,  # of the evaluation, though an episode came later
        frames_per_s=60.0,
        updated=1040.0,
    )
    assert save_seconds(run) == 0.5


def test_the_last_attempt_counts(make_run, tmp_path):
    run = make_run(tmp_path / "r", ["FAILED", "FINISHED"], [row(100)])
    facts = run_facts(run)
    assert facts.ended == "FINISHED"
    assert facts.ended_at is not None
    assert facts.has_reached(100)
    assert not facts.has_reached(101)  # it was asked for more since
    assert not run_facts(make_run(tmp_path / "s", ["KILLED"], [row(100)])).has_reached(100)


def test_before_the_first_row(make_run, tmp_path):
    facts = run_facts(make_run(tmp_path / "r", [None]))
    assert (facts.attempts, facts.env_step, facts.last_return) == (1, 0, None)
    assert save_seconds(tmp_path / "r") is None
    assert save_seconds(tmp_path / "none") is None


@pytest.mark.parametrize("tail", [b'{"env_step": 99, "ti', b"\n\n", b"\x00" * 40, b"12\n", b"\xff"])
def test_a_truncated_last_row_is_left_out(make_run, tmp_path, tail):
    run = make_run(tmp_path / "r", [None], [row(10), row(20)])
    with (run / "metrics.jsonl").open("ab") as file:
        file.write(tail)
    assert run_facts(run).env_step == 20


def test_only_the_end_of_a_large_file_is_read(make_run, tmp_path, monkeypatch):
    monkeypatch.setattr("launch.runs._TAIL_BYTES", 300)
    rows = [row(step, **{"episode/return": float(step)}) for step in range(100)]
    run = make_run(tmp_path / "r", [None], [row(0, **{"eval/return": 1.0}), *rows])
    facts = run_facts(run)
    assert facts.env_step == 99
    assert facts.last_return == 99.0  # the evaluation lies too far back


def test_ownership(make_run, tmp_path):
    run = make_run(tmp_path / "r", [None])
    assert not is_owned(run)
    assert not (run / "run.lock").exists()
    lock = FileLock(run / "run.lock")
    lock.acquire(wait=False)
    assert is_owned(run)
    lock.release()
    assert not is_owned(run)
    assert lock.acquire(wait=False)  # asking has not taken it
    lock.release()


def test_facts_can_be_printed(make_run, tmp_path):
    assert "null" in json.dumps(vars(run_facts(make_run(tmp_path / "r", [None]))))
