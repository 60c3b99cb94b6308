import json
import os
import platform
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import harmony
from harmony.config.run_dir import RunDirectory
from harmony.errors import ConfigError, EnvError, RunDirectoryError

CHOICES = {"env": "dmc", "algorithm": "dreamerv2", "harmony": "on"}
OVERRIDES = ["seed=0"]
HOLD = """
import sys, time
from harmony.config.run_dir import RunDirectory
config = {"seed": 0, "run_dir": sys.argv[1], "training": {"env_steps": 100}}
with RunDirectory.open(config, {}, []):
    print("held", flush=True)
    time.sleep(60)
"""


def configuration(**changed):
    config = {
        "seed": 0,
        "run_dir": None,
        "device": "cpu",
        "env": {"task": "walk"},
        "training": {"env_steps": 100},
        "lr": 1e-4,
        "name": "1e-4",
    }
    return {**config, **changed}


def start(**changed):
    return RunDirectory.open(configuration(**changed), CHOICES, OVERRIDES)


def tree(path):
    return sorted(str(entry.relative_to(path)) for entry in path.rglob("*"))


def test_a_new_run_writes_what_it_is(tmp_path):
    path = tmp_path / "deep" / "run"
    with start(run_dir=str(path)) as run:
        assert run.path == path
        assert not run.resumed
        assert (path / "run.lock").read_text() == json.dumps(
            {"pid": os.getpid(), "host": platform.node()}
        )
    record = json.loads((path / "run.json").read_text())
    assert record["run_key"] == run.run_key
    assert len(run.run_key) == 32
    assert record["name"] == run.name == "dmc-walk-dreamerv2-on-seed0"
    assert record["choices"] == CHOICES
    assert record["overrides"] == OVERRIDES
    assert record["version"] == harmony.__version__
    assert abs(record["created"] - time.time()) < 60
    assert len(record["identity"]) == 64
    assert [attempt["pid"] for attempt in record["attempts"]] == [os.getpid()]
    assert tree(path) == ["config.yaml", "run.json", "run.lock"]
    assert (path / "run.lock").read_text() == ""


def test_default_directories_are_new_and_below_the_root(tmp_path, monkeypatch):
    monkeypatch.setenv("HARMONY_RUNS", str(tmp_path / "all"))
    monkeypatch.setattr("harmony.config.run_names.time.strftime", lambda _format: "20261121-051500")
    with start() as first, start() as second:
        assert first.path != second.path
        assert first.path.parent == second.path.parent == tmp_path / "all"
        assert first.path.name.startswith("dmc-walk-dreamerv2-on-seed0-20261121-051500-")


def test_a_taken_default_name_is_not_shared(tmp_path, monkeypatch):
    monkeypatch.setattr("harmony.config.run_names.time.strftime", lambda _format: "now")
    tokens = iter(["aaaa", "aaaa", "bbbb"])
    monkeypatch.setattr("harmony.config.run_names.secrets.token_hex", lambda _n: next(tokens))
    with start(runs_root=str(tmp_path)) as first, start(runs_root=str(tmp_path)) as second:
        assert first.path.name.endswith("-now-aaaa")
        assert second.path.name.endswith("-now-bbbb")


def test_a_run_continues_as_itself_and_may_change_machine_keys(tmp_path):
    path = str(tmp_path / "run")
    with start(run_dir=path) as first:
        stored = (first.path / "config.yaml").read_bytes()
    more = {"env_steps": 200}
    with start(run_dir=path, device="cuda", training=more) as second:
        assert second.resumed
        assert second.run_key == first.run_key
        assert second.config["device"] == "cuda"
        assert (second.path / "config.yaml").read_bytes() == stored
    attempts = second.record["attempts"]
    assert [attempt["changes"] for attempt in attempts] == [
        {},
        {"device": "cuda", "training.env_steps": 200},
    ]


def test_steps_asked_for_once_are_not_taken_back(tmp_path):
    path = str(tmp_path / "run")
    start(run_dir=path).close()
    start(run_dir=path, training={"env_steps": 300}).close()
    with pytest.raises(RunDirectoryError, match="can only grow, it was 300, got 200"):
        start(run_dir=path, training={"env_steps": 200})


def test_another_run_is_refused_named_and_left_as_it_is(tmp_path):
    path = tmp_path / "run"
    start(run_dir=str(path)).close()
    before = {name: (path / name).read_bytes() for name in tree(path)}
    with pytest.raises(RunDirectoryError, match=r"differ in lr \(has 0.0001, got 0.5\)"):
        start(run_dir=str(path), lr=0.5)
    assert {name: (path / name).read_bytes() for name in tree(path)} == before
    start(run_dir=str(path)).close()  # and it is free again


def test_a_moved_run_continues(tmp_path):
    with start(run_dir=str(tmp_path / "a")) as first:
        pass
    (tmp_path / "a").rename(tmp_path / "b")
    with start(run_dir=str(tmp_path / "b")) as second:
        assert second.run_key == first.run_key


def test_a_foreign_directory_is_refused_untouched(tmp_path):
    path = tmp_path / "mine"
    path.mkdir()
    (path / "thesis.tex").write_text("x")
    with pytest.raises(RunDirectoryError, match=r"not empty and holds no run \(there is thesis"):
        start(run_dir=str(path))
    assert tree(path) == ["thesis.tex"]


def test_a_file_is_no_run_directory(tmp_path):
    (tmp_path / "x").touch()
    with pytest.raises(RunDirectoryError, match="is a file"):
        start(run_dir=str(tmp_path / "x"))
    with pytest.raises(RunDirectoryError, match=r"can't write .*x/y: Not a directory"):
        start(run_dir=str(tmp_path / "x" / "y"))


def test_a_start_that_died_half_way_is_begun_again(tmp_path):
    path = tmp_path / "run"
    path.mkdir()
    for name in ("config.yaml", "run.json.tmp", "run.lock"):
        (path / name).write_text("half")
    with start(run_dir=str(path)) as run:
        assert not run.resumed


def test_a_place_that_cannot_be_written_leaves_nothing(tmp_path, monkeypatch):
    def full(path, _text):
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr("harmony.config.run_dir.write_whole", full)
    with pytest.raises(RunDirectoryError, match=r"can't write .*config.yaml: No space left"):
        start(run_dir=str(tmp_path / "deep" / "run"))
    assert not (tmp_path / "deep").exists()


def test_permission_is_one_line(tmp_path, monkeypatch):
    def denied(self, *_args, **_kwargs):
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "mkdir", denied)
    with pytest.raises(RunDirectoryError, match=r"deep: Permission denied; set run_dir=PATH"):
        start(run_dir=str(tmp_path / "deep" / "run"))


@pytest.fixture
def holder(tmp_path):
    root = Path(__file__).parents[2]
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path / "run")],
        env={**os.environ, "PYTHONPATH": str(root)},
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_a_living_process_is_named_and_a_dead_one_taken_over(tmp_path, holder):
    config = {"seed": 0, "run_dir": str(tmp_path / "run"), "training": {"env_steps": 100}}
    message = f"in use by process {holder.pid} on {platform.node()}"
    with pytest.raises(RunDirectoryError, match=message):
        RunDirectory.open(config, {}, [])
    holder.send_signal(signal.SIGKILL)
    holder.wait(timeout=20)
    with RunDirectory.open(config, {}, []) as run:
        assert run.resumed
        assert [attempt["pid"] for attempt in run.record["attempts"]] == [holder.pid, os.getpid()]


def test_a_refused_build_undoes_a_new_directory_with_its_parents(tmp_path):
    def refused():
        with start(run_dir=str(tmp_path / "deep" / "run")) as run, run.undone_on_refusal():
            (run.path / "replay").mkdir()
            (run.path / "replay" / "segment").touch()
            (run.path / "metrics.jsonl").touch()
            raise EnvError("no such task")

    with pytest.raises(EnvError):
        refused()
    assert not (tmp_path / "deep").exists()


def test_a_refused_build_of_a_resumed_run_or_another_failure_keeps_everything(tmp_path):
    def build(error):
        with start(run_dir=str(tmp_path / "run")) as run, run.undone_on_refusal():
            raise error

    with pytest.raises(RuntimeError):
        build(RuntimeError("a bug"))
    with pytest.raises(EnvError):
        build(EnvError("no GPU today"))
    assert (tmp_path / "run" / "run.json").exists()


def test_load_reads_without_owning_and_puts_overrides_on_top(tmp_path):
    with start(run_dir=str(tmp_path / "run")) as run:
        loaded = RunDirectory.load(tmp_path / "run", ["device=cuda", "env.task='1e5'"])
    assert loaded.config == {**run.config, "device": "cuda", "env": {"task": "1e5"}}
    assert type(loaded.config["lr"]) is float
    assert loaded.config["name"] == "1e-4"
    assert loaded.choices == CHOICES
    assert loaded.run_key == run.run_key


def test_load_refuses_what_is_not_there(tmp_path):
    with pytest.raises(RunDirectoryError, match=r"no run in .*12e4567: expected run.json"):
        RunDirectory.load(tmp_path / "12e4567")
    start(run_dir=str(tmp_path / "run")).close()
    with pytest.raises(ConfigError, match=r"no such value; did you mean 'env\.task'"):
        RunDirectory.load(tmp_path / "run", ["env.tsk=hop"])
    with pytest.raises(ConfigError, match="expected KEY=VALUE"):
        RunDirectory.load(tmp_path / "run", ["device"])


def test_damaged_files_are_named(tmp_path):
    start(run_dir=str(tmp_path / "run")).close()
    (tmp_path / "run" / "run.json").write_text("{")
    with pytest.raises(RunDirectoryError, match=r"run.json is damaged"):
        RunDirectory.load(tmp_path / "run")
    with pytest.raises(RunDirectoryError, match=r"run.json is damaged"):
        start(run_dir=str(tmp_path / "run"))
    assert (tmp_path / "run" / "config.yaml").exists()
