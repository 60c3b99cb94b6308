import os
import signal
import sys
import time

import pytest

from harmony.config.compose import Composed
from harmony.errors import ConfigError
from launch import local, supervisor
from launch.local import (
    begin,
    code_environment,
    launch,
    slot_environment,
    supervise,
    visible_gpus,
    wait_for_turn,
)
from launch.states import local_is_alive, process_start, sweep_rows
from launch.sweep import Sweep

PARAMS = {"slots": 2, "runs_per_gpu": 1, "wait": True, "dry_run": False, "max_crashes": 1}
CATCH = "import os, signal, sys, time\nsignal.signal(signal.SIGTERM, lambda *_: sys.exit(143))\n"
OVERRIDES = ["seed=0,1,2", "sweep=walk", "hydra/launcher=local"]


pytestmark = pytest.mark.usefixtures("no_git")


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(supervisor, "_POLL_SECONDS", 0.02)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")


@pytest.fixture
def codes(monkeypatch):
    """What runs do, by index, in place of training."""
    given = {}

    def command(spec):
        return [sys.executable, "-IS", "-c", given.get(int(spec.stem), "")]

    monkeypatch.setattr(local, "worker_command", command)
    return given


def composed(seed):
    config = {
        "seed": seed, "sweep": "walk", "experiment": "e", "training": {"env_steps": 100},
        "tracking": {}, "run_dir": None, "runs_root": None,
    }  # fmt: skip
    return Composed(config, {"env": "probe"}, [f"seed={seed}"], "local")


def start(*seeds, **changes):
    return launch([composed(seed) for seed in seeds], OVERRIDES, PARAMS | changes)


def test_a_sweep_runs_here(runs_root, codes, capsys):
    codes.update({0: "print('zero')", 2: "raise ValueError"})
    assert start(0, 1, 2) == 1
    sweep = Sweep.read(runs_root / "walk")
    assert sweep.log(0).read_text() == "zero\n"
    assert "ValueError" in sweep.log(2).read_text()
    (job,) = sweep.jobs
    assert (job.runs, local_is_alive(job)) == ([0, 1, 2], True)
    out = capsys.readouterr().out
    assert f"watch it:  python -m launch status {sweep.directory}" in out
    assert "3 runs:" in out


@pytest.mark.usefixtures("codes")
def test_a_dry_run_starts_nothing(runs_root, capsys):
    assert start(0, 1, dry_run=True) == 0
    assert capsys.readouterr().out == "would run seed=0\nwould run seed=1\n"
    assert not runs_root.exists()


def test_more_slots_than_room_on_the_gpus_are_refused_before_anything_starts(
    runs_root, codes, monkeypatch
):
    codes[0] = "open('started', 'w')"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    with pytest.raises(ConfigError, match=r"slots.*1 GPUs with 1 runs each have room for 1"):
        start(0, 1, 2)
    assert not runs_root.exists()
    assert start(0) == 0  # one run needs one slot, whatever is set
    assert Sweep.read(runs_root / "walk").log(0).exists()


def test_a_signal_stops_the_sweep_and_the_command_again_goes_on(runs_root, codes):
    codes[0] = CATCH + "os.kill(os.getppid(), signal.SIGTERM); time.sleep(30)"
    codes[1] = CATCH + "time.sleep(30)"
    assert start(0, 1, 2) == 143
    sweep = Sweep.read(runs_root / "walk")
    assert not sweep.log(2).exists()


@pytest.mark.usefixtures("codes")
def test_what_is_left_to_the_background(runs_root, monkeypatch):
    started = []
    monkeypatch.setattr(
        local, "_start_detached", lambda *given: started.append(given) or os.getpid()
    )
    assert start(0, 1, wait=False) == 0
    ((sweep, runs),) = started
    assert runs == [0, 1]
    assert Sweep.read(runs_root / "walk").jobs[0].runs == [0, 1]
    assert [row.state for row in sweep_rows(sweep)] == ["PENDING", "PENDING"]
    assert start(0, 1, wait=False) == 0
    assert len(started) == 1  # the same command again


def test_a_sweep_has_its_slots_once(make_sweep, monkeypatch, caplog):
    caplog.set_level("INFO")
    own = f"local-{os.getpid()}-{process_start(os.getpid())}"
    living = {"local-1-1": 2, "local-2-2": 1}  # how often each is still there
    asked = []

    def lives(job):
        asked.append(job.id)
        living[job.id] -= 1
        return living[job.id] >= 0

    monkeypatch.setattr(local, "local_is_alive", lives)
    monkeypatch.setattr(local, "_TURN_SECONDS", 0.0)
    jobs = {"local-1-1": [0], "9": [0], "local-2-2": [1], own: [2], "local-3-3": [3]}
    sweep = make_sweep(4, jobs, "local")
    wait_for_turn(sweep)
    assert asked == ["local-1-1"] * 3 + ["local-2-2"] * 2
    assert "waiting for the runs that local-1-1 looks after" in caplog.text


def test_runs_that_an_interrupted_sweep_never_began_go_on_with_the_same_command(runs_root, codes):
    codes[0] = CATCH + "os.kill(os.getppid(), signal.SIGHUP); time.sleep(30)"
    codes[1] = CATCH + "time.sleep(30)"
    assert start(0, 1, 2) == 143
    sweep = Sweep.read(runs_root / "walk")
    sweep.jobs[0].id = "local-1-1"  # that process has ended
    sweep.write()
    assert [(row.state, row.why) for row in sweep_rows(sweep)][2] == ("MISSING", "not started")
    codes.update({0: "", 1: "", 2: "print('begun')"})
    start(0, 1, 2)
    assert "begun" in sweep.log(2).read_text()


# its process is left alone
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_process_in_the_background_gets_the_sweeps_code(make_sweep):
    sweep = make_sweep(1, launcher="local", params=PARAMS)
    package = sweep.code / "launch"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "local.py").write_text(
        "import sys, time; print(sys.argv[1:], __file__); time.sleep(9)"
    )
    pid = begin(sweep, [0], detached=True)
    try:
        (job,) = Sweep.read(sweep.directory).jobs
        assert job.id == f"local-{pid}-{process_start(pid)}"
        assert os.getsid(pid) == pid  # it outlives the terminal
        log = sweep.directory / "logs" / "supervisor.log"
        for _ in range(500):
            if f"['{sweep.directory}', '0'] {package}" in log.read_text():
                break
            time.sleep(0.02)
        else:
            raise AssertionError(log.read_text())
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def test_runs_that_have_finished_are_not_started(make_sweep, make_run, codes, capsys):
    sweep = make_sweep(2, launcher="local", params=PARAMS)
    codes[0] = "raise ValueError"
    for index in range(2):
        path = sweep.directory / f"r{index}"
        make_run(path, ["FINISHED"], [{"env_step": 100, "time": 1.0}])
    assert supervise(sweep, [0, 1]) == 0
    assert "2 runs: 2 FINISHED" in capsys.readouterr().out


def test_code_environment(make_sweep):
    sweep = make_sweep()
    assert code_environment(sweep, {"A": "1"}) == {
        "A": "1", "PYTHONPATH": str(sweep.code), "PYTHONSAFEPATH": "1",
    }  # fmt: skip
    assert code_environment(sweep, {"PYTHONPATH": "/x"})["PYTHONPATH"] == f"{sweep.code}:/x"


def test_slots_get_gpus_in_turn():
    gpus = [
        slot_environment({"A": "1"}, slot, ["0", "GPU-7"], 2)["CUDA_VISIBLE_DEVICES"]
        for slot in range(4)
    ]
    assert gpus == ["0", "0", "GPU-7", "GPU-7"]
    assert slot_environment({"A": "1"}, 3, [], 1) == {"A": "1"}


def test_visible_gpus(monkeypatch, tmp_path):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,GPU-ab,")
    assert visible_gpus() == ["2", "GPU-ab"]
    for nothing in ("", "-1"):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", nothing)
        assert visible_gpus() == []
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert visible_gpus() == []
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\nprintf '0\\n1\\n'\n")
    program.chmod(0o755)
    assert visible_gpus() == ["0", "1"]
    program.write_text("#!/bin/sh\nexit 9\n")
    assert visible_gpus() == []


@pytest.mark.parametrize("change", [{"slots": 0}, {"runs_per_gpu": 0}, {"max_crashes": -1}])
def test_numbers_that_make_no_sense_are_refused_before_anything_starts(runs_root, change):
    ((key, value),) = change.items()
    with pytest.raises(ConfigError, match=f"hydra.launcher.{key}={value}: expected at least"):
        start(0, **change)
    assert not runs_root.exists()
