"""What status shows, of one sweep and of all."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from harmony.config.run_files import LOCK_FILE
from harmony.errors import ConfigError
from harmony.filelock import FileLock
from launch import commands
from launch.runs import run_facts
from tests.launch import fake_slurm


def show(sweep, **given):
    return commands.status(sweep, **({"as_json": False} | given))


def test_an_overview_of_all_sweeps(slurm, make_sweep, make_run, tmp_path, capsys, caplog):
    sweep = make_sweep(3, {"7_0": [0], "7_1": [1]})
    slurm.set(jobs={"7_0": ["RUNNING", "n1", "None"], "7_1": ["PENDING", "", "Priority"]})
    make_run(Path(sweep.runs[0].run_dir), [None], [{"env_step": 60, "time": 1.0}])
    other = replace(sweep, directory=tmp_path / "runs" / "hop", jobs=[], created=sweep.created + 9)
    other.write()
    (tmp_path / "runs" / "torn").mkdir()
    (tmp_path / "runs" / "torn" / "sweep.json").write_text("{")
    assert commands.overview(tmp_path / "runs") == 0
    head, *lines = capsys.readouterr().out.splitlines()
    assert head.split() == ["sweep", "progress", "runs", "made", "what"]
    assert [line.split("  ")[0] for line in lines] == ["hop", "walk"]
    columns = ["walk", "20%", "1 MISSING, 1 PENDING, 1 RUNNING", "0 s ago", "seed=0,1"]
    assert re.split(r"  +", lines[1]) == columns
    (message,) = caplog.messages
    assert message.startswith("left out torn: can't read")


def test_an_overview_of_nothing_is_a_mistake(tmp_path):
    with pytest.raises(ConfigError, match=r"no sweep below .*; set HARMONY_RUNS"):
        commands.overview(tmp_path)


def test_status_tells_what_it_can_where_nobody_can_be_asked(
    slurm, make_sweep, make_run, capsys, caplog
):
    sweep = make_sweep(3, {"12_0": [0], "12_1": [1], "12_2": [2]})
    make_run(Path(sweep.runs[0].run_dir), ["FINISHED"], [{"env_step": 100, "time": 1.0}])
    make_run(Path(sweep.runs[1].run_dir), [None], [{"env_step": 60, "time": 1.0}])
    slurm.fail("squeue", fake_slurm.UNREACHABLE)
    assert show(sweep) == 0
    assert "3 runs: 1 FINISHED, 2 UNKNOWN" in capsys.readouterr().out
    assert "slurmctld does not answer" in caplog.text
    assert run_facts(Path(sweep.runs[1].run_dir)).ended is None
    for job in sweep.jobs:
        job.id, job.host = "local-1-1", "node7"
    assert show(sweep) == 0
    assert "without a scheduler" in caplog.text


def test_a_living_run_that_slurm_does_not_know_is_not_called_dead(
    slurm, make_sweep, make_run, capsys
):
    sweep = make_sweep(1, {"9999": [0]})  # another cluster's, or forgotten
    run = make_run(Path(sweep.runs[0].run_dir), [None])
    slurm.set(jobs={})
    own = FileLock(run / LOCK_FILE)
    own.acquire(wait=False)
    try:
        assert show(sweep) == 0
    finally:
        own.release()
    assert "1 RUNNING" in capsys.readouterr().out
    assert run_facts(run).ended is None
    assert show(sweep) == 1
    assert run_facts(run).ended == "FAILED"


@pytest.mark.usefixtures("slurm")
def test_a_run_that_has_finished_sends_what_it_could_not(make_sweep, make_run, monkeypatch):
    sweep = make_sweep(2, {"12": [0, 1]})
    for run in sweep.runs:
        make_run(Path(run.run_dir), ["FINISHED"], [{"env_step": 100, "time": 1.0}])
    told = []
    monkeypatch.setattr(commands, "is_stale", lambda path: path.name == "r1")
    monkeypatch.setattr(commands, "mend", lambda path, *given: told.append((path.name, *given)))
    assert show(sweep) == 0
    assert told == [("r1", "FINISHED", set())]


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
