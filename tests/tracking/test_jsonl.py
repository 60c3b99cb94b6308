import json
import logging
import math
import time

import numpy as np
import pytest

from harmony.errors import RunDirectoryError
from harmony.tracking.jsonl import MetricsLog, read_rows


def rows_of(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_row_gets_its_time_and_keeps_its_types(tmp_path):
    log = MetricsLog(tmp_path / "metrics.jsonl", None)
    before = time.time()
    log.write({"env_step": 8, "loss/image": 0.5, "phase": "train", "updates": np.int64(3)})
    log.close()
    (row,) = rows_of(tmp_path / "metrics.jsonl")
    assert abs(row.pop("time") - before) < 5
    assert row == {"env_step": 8, "loss/image": 0.5, "phase": "train", "updates": 3}
    assert isinstance(row["updates"], int)


def test_a_given_time_stays(tmp_path):
    log = MetricsLog(tmp_path / "metrics.jsonl", None)
    log.write({"env_step": 0, "time": 12.5})
    log.close()
    assert rows_of(tmp_path / "metrics.jsonl") == [{"env_step": 0, "time": 12.5}]


def test_nonfinite_values_are_counted_and_left_out(tmp_path):
    log = MetricsLog(tmp_path / "metrics.jsonl", None)
    log.write(
        {"env_step": 1, "time": 1.0, "a": math.nan, "b": np.float32("inf"), "c": np.float32(2)}
    )
    log.close()
    assert rows_of(tmp_path / "metrics.jsonl") == [
        {"env_step": 1, "time": 1.0, "nonfinite/a": 1, "nonfinite/b": 1, "c": 2.0}
    ]


def test_a_row_without_env_step_is_refused(tmp_path):
    log = MetricsLog(tmp_path / "metrics.jsonl", None)
    with pytest.raises(ValueError, match="env_step"):
        log.write({"loss": 1.0})
    log.close()


def test_resume_cuts_back_to_the_offset_and_goes_on(tmp_path):
    path = tmp_path / "metrics.jsonl"
    log = MetricsLog(path, None)
    log.write({"env_step": 1, "time": 1.0})
    offset = log.flush()
    assert offset == path.stat().st_size == len('{"time":1.0,"env_step":1}\n')
    log.write({"env_step": 2, "time": 2.0})
    log.close()
    with path.open("a") as file:
        file.write('{"env_step": 3, "ti')  # killed within a write

    log = MetricsLog(path, offset)
    log.write({"env_step": 2, "time": 9.0})
    assert log.flush() == path.stat().st_size
    log.close()
    assert rows_of(path) == [{"time": 1.0, "env_step": 1}, {"time": 9.0, "env_step": 2}]


def test_a_new_run_drops_what_an_attempt_without_checkpoint_left(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"env_step":1,"time":1.0}\n')
    MetricsLog(path, None).close()
    assert path.read_bytes() == b""


def test_a_file_shorter_than_the_checkpoint_says_is_refused_and_left_alone(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"env_step":1}\n')
    with pytest.raises(RunDirectoryError, match=r"99 bytes .* got 15"):
        MetricsLog(path, 99)
    assert path.read_text() == '{"env_step":1}\n'


def test_an_offset_within_a_row_is_refused(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"env_step":1}\n')
    with pytest.raises(RunDirectoryError, match="middle"):
        MetricsLog(path, 5)


def test_an_unwritable_file_is_one_line_that_says_why(tmp_path):
    with pytest.raises(RunDirectoryError, match="No such file") as caught:
        MetricsLog(tmp_path / "missing" / "metrics.jsonl", None)
    assert "\n" not in str(caught.value)


def test_a_full_disk_is_a_user_error():
    from pathlib import Path

    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("no /dev/full")
    log = MetricsLog.__new__(MetricsLog)
    log.path = full
    log._file = full.open("wb", buffering=0)
    with pytest.raises(RunDirectoryError, match="No space left"):
        log.write({"env_step": 1})
    log.close()


def test_reading_stops_before_a_torn_line_and_at_the_end_offset(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"env_step":1}\n{"env_step":2}\n{"env_step":3}\n{"env_s')
    assert list(read_rows(path)) == [
        (15, {"env_step": 1}),
        (30, {"env_step": 2}),
        (45, {"env_step": 3}),
    ]
    assert list(read_rows(path, 15, 30)) == [(30, {"env_step": 2})]
    assert list(read_rows(path, 0, 29)) == [(15, {"env_step": 1})]
    assert list(read_rows(path, 45)) == []


def test_reading_a_missing_file_has_no_rows(tmp_path):
    assert list(read_rows(tmp_path / "none.jsonl")) == []


def test_a_damaged_line_is_skipped_with_a_warning(tmp_path, caplog):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"env_step":1}\n\x00\x00garbage\n{"env_step":2}\n')
    with caplog.at_level(logging.WARNING):
        assert [row["env_step"] for _, row in read_rows(path)] == [1, 2]
    assert "byte 15" in caplog.text
