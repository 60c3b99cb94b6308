import json
import os
import platform
import signal
import subprocess
import sys
import time
from collections import namedtuple
from pathlib import Path

import pytest

from harmony.config.run_files import LOCK_FILE
from harmony.errors import ConfigError, RunDirectoryError
from launch import commands
from launch.runs import run_facts
from launch.settings import changed
from launch.states import process_start, sweep_rows
from launch.sweep import Sweep

Shown = namedtuple("Shown", "index state")


def show(sweep, **given):
    return commands.status(sweep, **({"as_json": False} | given))


def logs(sweep, run=None, lines=20, follow=False):
    return commands.logs(sweep, run, lines, follow=follow)


def test_logs_of_all_runs_and_of_one(make_sweep, capsys):
    sweep = make_sweep(3, {"12_0": [0], "local-1-1": [1]})
    sweep.log(2).parent.mkdir()
    sweep.log(2).write_text("".join(f"line {i}\n" for i in range(30)))
    assert logs(sweep) == 0
    out = capsys.readouterr().out
    assert f"== run 0: {sweep.log(0)}" in out
    assert f"nothing yet; its job's own log: {sweep.directory}/jobs/12_0_0_log.out" in out
    assert "line 9\n" not in out
    assert "line 10\n" in out
    logs(sweep, 2, lines=2)
    assert capsys.readouterr().out == f"== run 2: {sweep.log(2)}\nline 28\nline 29\n"
    logs(sweep, 2, lines=0)
    assert capsys.readouterr().out == f"== run 2: {sweep.log(2)}\n"


def test_logs_of_bytes_that_are_no_text(make_sweep, capsys):
    sweep = make_sweep(1)
    sweep.log(0).parent.mkdir()
    sweep.log(0).write_bytes(b"a\xffb\n")
    logs(sweep, 0)
    assert "a�b" in capsys.readouterr().out


def test_logs_of_a_run_that_is_not_there_and_of_several_to_follow(make_sweep):
    sweep = make_sweep(2)
    with pytest.raises(ConfigError, match="run 2: the sweep has runs 0 to 1"):
        logs(sweep, 2)
    with pytest.raises(ConfigError, match="expected 0 or more"):
        logs(sweep, lines=-3)
    with pytest.raises(ConfigError, match="--follow shows one run"):
        logs(sweep, follow=True)


def test_follow_goes_on_from_the_end(make_sweep, monkeypatch):
    called = []
    monkeypatch.setattr(commands.subprocess, "run", lambda command, **_: called.append(command))
    sweep = make_sweep(1)
    logs(sweep, 0, follow=True)
    assert called == [["tail", "-n", "0", "-F", str(sweep.log(0))]]


def test_cancel_of_one_of_two_runs_in_a_job_is_refused(slurm, make_sweep):
    sweep = make_sweep(2, {"12": [0, 1]})
    slurm.job("12", "RUNNING", "n1")
    with pytest.raises(ConfigError, match="job 12 also holds run 1"):
        commands.cancel(sweep, [0])
    assert slurm.calls("scancel") == []
    assert not Sweep.read(sweep.directory).jobs[0].cancelled


def test_cancel_of_what_is_over_changes_nothing(slurm, make_sweep, make_run, capsys):
    sweep = make_sweep(2, {"12_0": [0], "12_1": [1]})
    make_run(sweep.directory / "r0", ["FINISHED"], [{"env_step": 100, "time": 1.0}])
    slurm.job("12_0", "COMPLETED")
    slurm.job("12_1", "FAILED")
    assert commands.cancel(sweep, []) == 0
    assert "cancelled 0 runs" in capsys.readouterr().out
    assert slurm.calls("scancel") == []
    assert not any(job.cancelled for job in Sweep.read(sweep.directory).jobs)


def test_cancel_of_an_unknown_run(make_sweep):
    with pytest.raises(ConfigError, match="run 7"):
        commands.cancel(make_sweep(2), [0, 7])


@pytest.fixture
def process():
    """Starts a process that ends with SIGTERM; stops it at the end."""
    made = []

    def start(code="import time; time.sleep(60)", *arguments):
        command = [sys.executable, "-IS", "-c", code, *arguments]
        made.append(subprocess.Popen(command, stdout=subprocess.PIPE))
        return made[-1]

    yield start
    for started in made:
        started.kill()
        started.communicate()


def test_cancel_of_a_local_sweep_stops_its_supervisor(make_sweep, process, monkeypatch, capsys):
    monkeypatch.setattr(commands, "_POLL_SECONDS", 0.02)
    supervisor = process()
    own = f"local-{supervisor.pid}-{process_start(supervisor.pid)}"
    sweep = make_sweep(1, {own: [0]}, "local")
    monkeypatch.setattr(commands, "_wait_for_end", lambda *_: supervisor.wait(10))
    assert commands.cancel(sweep, []) == 0
    assert supervisor.returncode == -signal.SIGTERM
    assert "1 KILLED" in capsys.readouterr().out


OWNS = """
import fcntl, json, os, platform, sys, time
file = open(sys.argv[1], "w")
fcntl.flock(file, fcntl.LOCK_EX)
json.dump({"pid": os.getpid(), "host": sys.argv[2] or platform.node()}, file); file.flush()
print(1, flush=True); time.sleep(60)
"""


@pytest.fixture
def own(process):
    """Starts a process that owns a run's directory."""

    def start(run_dir, host=""):
        owner = process(OWNS, str(run_dir / LOCK_FILE), host)
        owner.stdout.readline()
        return owner

    return start


DEAD = "local-1-1"  # a supervisor that was killed; another process has its number


def test_owners_are_the_living_processes_of_this_machine(make_sweep, make_run, own):
    sweep = make_sweep(5, {DEAD: [0, 1, 2, 3], "12": [4]}, "local")
    paths = [make_run(sweep.directory / f"r{index}", [None]) for index in range(5)]
    first, _elsewhere = own(paths[0]), own(paths[1], "node7")
    # one is left of a process that was killed, one was never begun
    (paths[2] / LOCK_FILE).write_text(f'{{"pid": {os.getpid()}, "host": "{platform.node()}"}}')
    assert commands.owners(sweep, sweep.jobs[0]) == [first.pid]
    last = own(paths[4])
    assert commands.owners(sweep, sweep.jobs[1]) == [last.pid]


def test_an_owner_that_has_not_yet_said_who_it_is_is_none(make_sweep, make_run, own):
    sweep = make_sweep(1, {DEAD: [0]}, "local")
    path = make_run(sweep.directory / "r0", [None])
    own(path)
    os.truncate(path / LOCK_FILE, 0)
    assert commands.owners(sweep, sweep.jobs[0]) == []


def test_cancel_of_a_local_sweep_without_its_supervisor_stops_what_is_left(
    make_sweep, make_run, own, monkeypatch, capsys
):
    monkeypatch.setattr(commands, "_POLL_SECONDS", 0.02)
    sweep = make_sweep(3, {DEAD: [0, 1, 2]}, "local")
    paths = [make_run(sweep.directory / f"r{index}", [None]) for index in range(3)]
    left = [own(path) for path in paths[:2]]
    assert commands.cancel(sweep, []) == 0
    assert [owner.wait(10) for owner in left] == [-signal.SIGTERM] * 2
    out = capsys.readouterr().out
    assert "cancelled 2 runs" in out
    assert "3 runs: 3 KILLED" in out
    assert Sweep.read(sweep.directory).jobs[0].cancelled
    assert [run_facts(path).ended for path in paths] == ["KILLED"] * 3


def test_an_owner_that_ends_before_its_signal_is_no_error(make_sweep, process, monkeypatch):
    gone = process("")
    gone.wait()
    sweep = make_sweep(1, {DEAD: [0]}, "local")
    monkeypatch.setattr(commands, "owners", lambda _sweep, _job: [gone.pid])
    commands._stop(sweep, sweep.jobs)


@pytest.mark.parametrize("command", [commands.retry, lambda s: commands.cancel(s, [])])
def test_a_local_sweep_of_another_machine_is_left_alone(make_sweep, process, command):
    supervisor = process()
    sweep = make_sweep(1, {f"local-{supervisor.pid}-{process_start(supervisor.pid)}": [0]}, "local")
    sweep.jobs[0].host = "node7"
    sweep.write()
    before = (sweep.directory / "sweep.json").read_bytes()
    with pytest.raises(RunDirectoryError, match="the sweep runs on node7 without a scheduler"):
        command(sweep)
    assert supervisor.poll() is None
    assert (sweep.directory / "sweep.json").read_bytes() == before


@pytest.mark.usefixtures("slurm")
def test_retry_keeps_no_settings_where_nothing_is_submitted(make_sweep, make_run):
    sweep = make_sweep(1, {"12": [0]})
    make_run(Path(sweep.runs[0].run_dir), ["FINISHED"], [{"env_step": 100, "time": 1.0}])
    with pytest.raises(ConfigError, match=r"nothing is to submit, so .*mem_gb=2 is not kept"):
        commands.retry(sweep, ["hydra.launcher.mem_gb=2"])


@pytest.mark.parametrize(
    "override",
    ["sweep=b", "run_dir=x", "+runs_root=x", "hydra.launcher.mem_gb=2", "hydra/launcher=x"],
)
def test_extend_does_not_lead_out_of_the_sweep(make_sweep, override):
    with pytest.raises(ConfigError, match="extend adds runs where and as the sweep has them"):
        commands.extend(make_sweep(), ["seed=4", override])


def test_cancel_waits_for_the_end(make_sweep, monkeypatch):
    monkeypatch.setattr(commands, "_POLL_SECONDS", 0.0)
    seen = []

    def rows(_sweep):
        seen.append(1)
        state = "RUNNING" if len(seen) < 3 else "KILLED"
        return [Shown(0, state), Shown(1, "RUNNING")]

    monkeypatch.setattr(commands, "sweep_rows", rows)
    commands._wait_for_end(make_sweep(2), {0})
    assert len(seen) == 3
    monkeypatch.setattr(commands, "_KILL_SECONDS", 0.0)
    commands._wait_for_end(make_sweep(2), {1})  # in the end it gives up


@pytest.mark.usefixtures("no_git")
def test_retry_of_a_local_sweep_starts_in_the_background(make_sweep, make_run, monkeypatch, capsys):
    params = {"slots": 1, "runs_per_gpu": 1, "max_crashes": 0, "wait": True}
    sweep = make_sweep(2, {"local-1-1": [0, 1]}, "local", params)
    config = {"seed": 0}
    for index in range(2):
        ended = "FINISHED" if index else "FAILED"
        make_run(sweep.directory / f"r{index}", [ended], [{"env_step": 100, "time": 1.0}])
        sweep.spec(index).parent.mkdir(exist_ok=True)
        sweep.spec(index).write_text(
            f'{{"config": {{"seed": {config["seed"]}}}, "choices": {{}}, "overrides": []}}'
        )
    began = []
    monkeypatch.setattr(
        "launch.local._start_detached", lambda _sweep, runs: began.append(runs) or os.getpid()
    )
    assert commands.retry(sweep, ["hydra.launcher.slots=3"]) == 0
    assert began == [[0]]
    assert "1 runs started in the background" in capsys.readouterr().out
    again = Sweep.read(sweep.directory)
    assert again.jobs[-1].runs == [0]
    assert again.jobs[-1].host == platform.node()
    assert again.params == params | {"slots": 3}
    assert sweep_rows(again)[0].state != "FAILED"


def test_changed_settings(make_sweep):
    params = {"mem_gb": 4, "setup": ["cd ${TMPDIR}"], "extra": 1, "dry_run": False}
    sweep = make_sweep(params=params)
    assert changed(sweep, []) == params
    changes = ["hydra.launcher.mem_gb=64", "hydra.launcher.qos=long", "timeout_min=90"]
    assert changed(sweep, changes) == params | {
        "mem_gb": 64, "qos": "long", "timeout_min": 90,
    }  # fmt: skip
    assert changed(sweep, ["hydra.launcher.mem_gb=null"]) == params | {"mem_gb": None}
    setup = ["module load cuda", "cd ${SCRATCH}"]
    given = [f"hydra.launcher.setup={json.dumps(setup)}"]
    assert changed(sweep, given) == params | {"setup": setup}
    assert sweep.params == params


@pytest.mark.parametrize(
    ("launcher", "change", "part"),
    [
        ("slurm", "hydra.launcher.mem_bg=64", "KEY=VALUE; did you mean 'mem_gb'?"),
        ("slurm", "hydra.launcher.slots=2", "KEY=VALUE (has: account,"),
        ("local", "hydra.launcher.mem_gb=64", "(has: max_crashes, runs_per_gpu, slots)"),
        ("slurm", "hydra.launcher.mem_gb", "KEY=VALUE; did you mean 'mem_gb'?"),
        ("slurm", "seed=5", "KEY=VALUE (has: account,"),
        ("slurm", "3", "KEY=VALUE (has: account,"),
        ("slurm", "hydra.launcher.mem_gb=lots", "expected a whole number of GB, got lots"),
        ("local", "hydra.launcher.slots=1.5", "expected a whole number, got 1.5"),
        ("slurm", "hydra.launcher.timeout_min=null", "expected a value, got null"),
        ("slurm", "hydra.launcher.runs_per_gpu=0", "=0: expected at least 1 run"),
        ("slurm", "hydra.launcher.setup=[a", "while parsing a flow sequence"),
        # a submission's own
        ("slurm", "hydra.launcher.dry_run=true", "expected hydra.launcher.KEY=VALUE"),
        ("local", "hydra.launcher.wait=true", "expected hydra.launcher.KEY=VALUE"),
        ("slurm", "hydra.launcher._target_=os.system", "expected hydra.launcher.KEY=VALUE"),
    ],
)
def test_a_wrong_change_is_refused_in_one_line(make_sweep, launcher, change, part):
    sweep = make_sweep(launcher=launcher, params={"runs_per_gpu": 1})
    before = (sweep.directory / "sweep.json").read_bytes()
    with pytest.raises(ConfigError) as caught:
        commands.retry(sweep, ["hydra.launcher.runs_per_gpu=2", change])
    assert str(caught.value).startswith(change.partition("=")[0])
    assert part in str(caught.value)
    assert "\n" not in str(caught.value)
    assert (sweep.directory / "sweep.json").read_bytes() == before


def test_a_second_command_waits_for_the_first(make_sweep, process, slurm):
    sweep = make_sweep(1, {"12": [0]})
    slurm.job("12", "RUNNING")
    holder = process(
        "import fcntl, time\n"
        f"file = open({str(sweep.directory / '.sweep.json.lock')!r}, 'ab')\n"
        "fcntl.flock(file, fcntl.LOCK_EX); print(1, flush=True); time.sleep(0.3)"
    )
    holder.stdout.readline()
    began = time.monotonic()
    commands.retry(sweep)
    assert time.monotonic() - began > 0.2
