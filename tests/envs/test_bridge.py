"""A worker under this interpreter: what crosses, and what goes wrong."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest

from harmony.envs.bridge import Bridge
from harmony.envs.bridge_worker import encode
from harmony.errors import EnvError

WORLD = Path(__file__).parents[1] / "fakes" / "bridge_world.py"
VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"


@pytest.fixture(autouse=True)
def logs(tmp_path, monkeypatch):
    """Where the logs of workers go."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


@pytest.fixture
def make():
    """Makes bridges that are closed in the end."""
    made = []

    def opened(world=WORLD, *, timeout_s=20.0, start_timeout_s=None, **arguments):
        settings = {"timeout_s": timeout_s, "start_timeout_s": start_timeout_s}
        made.append(
            Bridge(sys.executable, str(world), arguments, version=VERSION, name="old", **settings)
        )
        return made[-1]

    yield opened
    for bridge in made:
        bridge.close()


@pytest.fixture
def bridge(make):
    return make()


def is_alive(pid):
    try:
        return Path("/proc", str(pid), "stat").read_bytes().rpartition(b") ")[2][:1] != b"Z"
    except OSError:
        return False


def wait_for_end(pids, seconds=10.0):
    deadline = time.monotonic() + seconds
    while any(map(is_alive, pids)) and time.monotonic() < deadline:
        time.sleep(0.01)
    return [pid for pid in pids if is_alive(pid)]


@pytest.mark.parametrize("what", ["set", "object", "complex", "keys"])
def test_other_results_are_one_line(bridge, what):
    with pytest.raises(
        EnvError, match=r"^env old: give\(\) raised TypeError: .*plain values.*log$"
    ):
        bridge.call("give", what)
    assert bridge.call("add") == 1


def test_calls_keep_their_order(make):
    first, second = make(start=10), make(start=100)
    assert [first.call("add") for _ in range(50)] == list(range(11, 61))
    assert [(first.call("add"), second.call("add", 2)) for _ in range(3)] == [
        *((61, 102), (62, 104), (63, 106)),
    ]


def test_what_is_printed_goes_to_the_log_and_the_log_goes_in_the_end(bridge, logs):
    bridge.call("tell", "hello")
    assert bridge.call("echo", 1) == [1]
    assert bridge.log.read_text() == "hello\nhello from a program\n"
    assert list(logs.iterdir()) == [bridge.log]
    bridge.close()
    assert list(logs.iterdir()) == []


def test_a_talkative_simulator_does_not_fill_the_disk(bridge, monkeypatch):
    monkeypatch.setattr("harmony.envs.bridge._MAX_LOG", 1000)
    for _ in range(5):
        bridge.call("tell", "x" * 300)
        assert bridge.log.stat().st_size <= 1000


def test_an_exception_is_one_line_and_the_worker_runs_on(bridge):
    with pytest.raises(EnvError) as caught:
        bridge.call("fail")
    place = WORLD.read_text().splitlines().index('        raise ValueError("two\\nlines")') + 1
    assert str(caught.value) == (
        f"env old: fail() raised ValueError: two lines (bridge_world.py:{place}); see {bridge.log}"
    )
    assert bridge.running
    assert bridge.call("add") == 1
    bridge.close()
    assert "Traceback" in bridge.log.read_text()  # it stays where the message says


def test_an_unknown_method_is_one_line(bridge):
    with pytest.raises(EnvError, match=r"fly\(\) raised AttributeError: .* no attribute 'fly'"):
        bridge.call("fly")


@pytest.mark.parametrize(
    ("method", "argument", "said"),
    [
        ("exit", [0], "ended with exit code 0$"),
        ("exit", [3], "ended with exit code 3$"),
        ("kill", [signal.SIGKILL.value], "ended with signal SIGKILL$"),
        ("kill", [signal.SIGSEGV.value], "SIGSEGV; it said 'Fatal Python error: Segmentation.*log"),
        ("leave", [], "exit code 1; it said 'SystemExit: no licence', all of it is in .*log$"),
    ],
)
def test_a_crash_is_one_line_and_a_restart_is_a_fresh_simulator(make, method, argument, said):
    bridge = make(start=5)
    bridge.call("tell", "of no interest")
    bridge.call("add")
    with pytest.raises(EnvError, match=rf"^env old: in {method}\(\) its worker .*{said}"):
        bridge.call(method, *argument)
    assert not bridge.running
    with pytest.raises(EnvError, match=r"worker is gone, so add\(\) can't be called; restart it$"):
        bridge.call("add")
    bridge.restart()
    assert bridge.call("add") == 6


def test_a_hanging_simulator_is_ended_with_all_that_it_started(make):
    bridge = make(timeout_s=0.3, start_timeout_s=30.0)
    pids = bridge.call("pids")
    assert all(map(is_alive, pids))
    begun = time.monotonic()
    with pytest.raises(EnvError, match=r"in hang\(\) its worker gave no answer within 0\.3 s, so"):
        bridge.call("hang")
    assert time.monotonic() - begun < 5
    assert wait_for_end(pids) == []
    assert not bridge.running


def test_a_call_can_have_a_time_of_its_own(bridge):
    with pytest.raises(EnvError, match=r"no answer within 0\.2 s"):
        bridge.call("hang", timeout_s=0.2)


def test_a_stopped_worker_takes_no_arguments(bridge):
    """The pipe is full before all of it is sent."""
    os.kill(bridge.call("pids")[0], signal.SIGSTOP)
    with pytest.raises(EnvError, match=r"in echo\(\) its worker gave no answer within 0\.3 s"):
        bridge.call("echo", np.zeros(10**6), timeout_s=0.3)


@pytest.mark.parametrize(
    "raw",
    [
        np.frombuffer(b"Warning: this is no message", np.uint8),
        np.frombuffer(b"HRM1\x05\x00\x00\x00{nope", np.uint8),
        np.frombuffer(b"HRM1\xff\xff\xff\xff", np.uint8),
        np.frombuffer(b"HRM1\x02\x00\x00\x00{}", np.uint8),
        np.frombuffer(b"".join(encode(1, {"value": 1})), np.uint8),
        np.frombuffer(b"".join(encode(2, "no dict")), np.uint8),
    ],
    ids=["text", "json", "length", "header", "number", "answer"],
)
def test_garbage_is_one_line_and_ends_the_worker(bridge, raw):
    with pytest.raises(
        EnvError, match=r"^env old: in write\(\) its worker sent garbage, so it was"
    ):
        bridge.call("write", raw)
    assert not bridge.running
    bridge.restart()
    assert bridge.call("add") == 1


def test_a_pipe_that_was_closed_is_told(bridge):
    with pytest.raises(EnvError, match=r"in shut\(\) its worker ended with signal SIGKILL"):
        bridge.call("shut")


def test_an_interrupted_call_leaves_no_answer_for_the_next(bridge, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(bridge._worker, "fill", interrupt)
    with pytest.raises(KeyboardInterrupt):
        bridge.call("add")
    assert not bridge.running


def test_a_simulator_that_does_not_start_is_one_line(make):
    place = r"\(bridge_world\.py:\d+\); see /.*log$"
    with pytest.raises(
        EnvError, match=rf"^env old: make\(\) raised RuntimeError: no display {place}"
    ):
        make(trouble="raises")
    with pytest.raises(EnvError, match=r"in make\(\) its worker gave no answer within 0\.5 s"):
        make(trouble="hangs", start_timeout_s=0.5)


def test_a_world_file_that_is_none_is_one_line(make, tmp_path):
    with pytest.raises(EnvError, match=r"make\(\) raised FileNotFoundError: .*none\.py"):
        make(tmp_path / "none.py")
    empty = tmp_path / "empty.py"
    empty.touch()
    with pytest.raises(EnvError, match=r"make\(\) raised AttributeError: .*'world' .*'make'"):
        make(empty)


def test_closing_ends_everything_and_twice_does_no_harm(bridge):
    pids = bridge.call("pids")
    bridge.close()
    assert wait_for_end(pids) == []
    bridge.close()
    with pytest.raises(EnvError, match="restart it"):
        bridge.call("add")


def test_closing_goes_on_when_the_simulator_fails(make, caplog):
    bridge = make(trouble="stays")
    pids = bridge.call("pids")
    bridge.close()
    assert "close() raised OSError: still saving" in caplog.text
    assert wait_for_end(pids) == []


def test_restarting_replaces_a_healthy_worker(bridge):
    pids = bridge.call("pids")
    assert bridge.call("add") == 1
    bridge.restart()
    assert bridge.call("add") == 1
    assert wait_for_end(pids) == []


def test_only_the_parent_decides_when_it_ends(bridge):
    """Schedulers send their signals to every process of a job."""
    worker, keeper, *_ = bridge.call("pids")
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
        os.kill(worker, number)
        os.kill(keeper, number)
    assert bridge.call("add") == 1


def test_the_worker_without_its_keeper_ends(bridge):
    worker, keeper, *others = bridge.call("pids")
    os.kill(keeper, signal.SIGKILL)
    assert wait_for_end([worker]) == []
    with pytest.raises(EnvError, match="ended with signal SIGKILL"):
        bridge.call("add")
    assert wait_for_end(others[:1]) == []  # nobody is left to find one in another session
    os.kill(others[1], signal.SIGKILL)


def test_nothing_of_this_interpreter_reaches_the_other(make, monkeypatch, tmp_path):
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("PYTHONHOME", sys.prefix)
    monkeypatch.setenv("JAVA_HOME", "/java8")
    path, env, stdin = make().call("surroundings")
    assert str(tmp_path) not in path
    assert not any("harmony/envs" in folder for folder in path)  # modules named as simulators
    assert {"PYTHONPATH", "PYTHONHOME"} & set(env) == set()
    assert env["JAVA_HOME"] == "/java8"
    assert stdin == "/dev/null"


PARENT = f"""
import sys, threading, time
from harmony.envs.bridge import Bridge
made = []
def start():
    made.append(Bridge(sys.executable, {str(WORLD)!r}, {{}}, version={VERSION!r},
                       timeout_s=1000, name="old"))
thread = threading.Thread(target=start)
thread.start()
thread.join()
print(*made[0].call("pids"), flush=True)
getattr(made[0], "call")(sys.argv[1])
time.sleep(1000)
"""


@pytest.mark.parametrize("method", ["add", "hang"], ids=["idle", "in a call"])
def test_the_worker_dies_with_its_parent(method, tmp_path):
    """However the parent dies, and although the thread that started the worker is long gone."""
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, method],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(tmp_path), "PYTHONPATH": str(WORLD.parents[2])},
    )
    with parent:
        pids = [int(pid) for pid in parent.stdout.readline().split()]
        assert len(pids) == 4
        time.sleep(0.3)
        assert all(map(is_alive, pids))
        parent.kill()
    assert wait_for_end(pids) == []
