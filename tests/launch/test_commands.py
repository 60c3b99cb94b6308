import os
import signal
import subprocess
import sys
import time
from collections import namedtuple

import pytest

from harmony.errors import ConfigError
from launch import commands
from launch.runs import run_facts
from launch.states import process_start, sweep_rows
from launch.sweep import Sweep

Shown = namedtuple("Shown", "index state")


def show(sweep, **given):
    return commands.status(sweep, **({"as_json": False} | given))


def logs(sweep, run=None, lines=20, follow=False):
    return commands.logs(sweep, run, lines, follow=follow)


def test_status_shows_and_tells_of_failures(slurm, make_sweep, capsys):
    sweep = make_sweep(2, {"12_0": [0], "12_1": [1]})
    slurm.job("12_0", "RUNNING", "n1")
    slurm.job("12_1", "PENDING")
    assert show(sweep) == 0
    assert "2 runs: 2 PENDING" in capsys.readouterr().out
    slurm.job("12_1", "FAILED", "n1")
    assert show(sweep) == 1
    assert "1 FAILED, 1 PENDING" in capsys.readouterr().out
    assert show(sweep, as_json=True) == 1
    assert '"state": "FAILED"' in capsys.readouterr().out


@pytest.mark.usefixtures("capsys")
@pytest.mark.parametrize(
    ("state", "ended"),
    [("NODE_FAIL", "FAILED"), ("CANCELLED", "KILLED"), ("RUNNING", None), ("PENDING", None)],
)
def test_status_mends_what_has_died_without_a_word(slurm, make_sweep, make_run, state, ended):
    sweep = make_sweep(1, {"12": [0]})
    run = make_run(sweep.directory / "r0", [None])
    slurm.job("12", state, "n1")
    show(sweep)
    assert run_facts(run).ended == ended


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

    def start(code="import time; time.sleep(60)"):
        made.append(subprocess.Popen([sys.executable, "-IS", "-c", code], stdout=subprocess.PIPE))
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
    assert commands.retry(sweep) == 0
    assert began == [[0]]
    assert "1 runs started in the background" in capsys.readouterr().out
    again = Sweep.read(sweep.directory)
    assert again.jobs[-1].runs == [0]
    assert sweep_rows(again)[0].state != "FAILED"


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
