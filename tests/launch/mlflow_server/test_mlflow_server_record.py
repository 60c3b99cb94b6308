import os
import signal
import subprocess
import sys
import time

import pytest

from harmony.errors import ConfigError
from launch.mlflow_server.record import (
    MARK,
    Record,
    end,
    forget,
    processes,
    read_record,
    write_record,
)

RECORD = Record(123, "login01", "http://login01:5000", "postgresql://mlflow@h/d", 1.5)
PARENT = """
import subprocess, sys, time
code = "import time; print('up', flush=True); time.sleep(60)"
subprocess.Popen([sys.executable, "-c", code])
time.sleep(60)
"""


@pytest.fixture
def parent(tmp_path):
    """A process with a child, in a session of its own, marked as of tmp_path."""
    with subprocess.Popen(
        [sys.executable, "-c", PARENT],
        env={**os.environ, MARK: str(tmp_path)},
        stdout=subprocess.PIPE,
        start_new_session=True,
    ) as started:
        started.stdout.readline()
        yield started
        end(tmp_path, started.pid)


def test_a_record_comes_back_and_can_be_forgotten(tmp_path):
    assert read_record(tmp_path) is None
    write_record(tmp_path, RECORD)
    assert read_record(tmp_path) == RECORD
    assert not RECORD.here
    assert (tmp_path / "address").read_text() == "http://login01:5000\n"
    forget(tmp_path)
    forget(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", ["{", "[]", '{"session": 1}'])
def test_a_damaged_record_is_named(tmp_path, text):
    (tmp_path / "server.json").write_text(text)
    with pytest.raises(ConfigError, match=r"server\.json"):
        read_record(tmp_path)


def test_all_processes_of_a_server_end(tmp_path, parent):
    assert len(processes(tmp_path, parent.pid)) == 2
    assert end(tmp_path, parent.pid) == 2
    assert processes(tmp_path, parent.pid) == []


def test_what_a_killed_parent_left_is_found_and_ends(tmp_path, parent):
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    assert len(processes(tmp_path, parent.pid)) == 1
    assert end(tmp_path, parent.pid) == 1
    assert processes(tmp_path, parent.pid) == []


def test_a_process_id_that_was_used_again_is_left_alone(tmp_path, parent):
    elsewhere = tmp_path / "other"
    elsewhere.mkdir()
    assert processes(elsewhere, parent.pid) == []
    assert end(elsewhere, parent.pid) == 0
    time.sleep(0.05)
    assert parent.poll() is None
