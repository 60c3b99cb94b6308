import os
import platform
import subprocess
import sys
import time

import pytest

from harmony.errors import RunDirectoryError
from harmony.filelock import FileLock
from launch.cluster import ClusterError, JobState
from launch.runs import RunFacts
from launch.states import (
    judge,
    local_is_alive,
    make_row,
    process_start,
    shared_overrides,
    sweep_rows,
)
from launch.sweep import SubmittedJob, SweepRun
from tests.launch import fake_slurm

T = 1000.0  # when the job was submitted
JOB = SubmittedJob("12", [0], submitted=T)
LOCAL = SubmittedJob("local-1-1", [0], submitted=T)
CANCELLED = SubmittedJob("12", [0], submitted=T, cancelled=True)


def facts(attempts=1, ended=None, at=None, step=50):
    return RunFacts(attempts=attempts, ended=ended, ended_at=at, env_step=step)


NONE = RunFacts()
LIVES = facts()
BEFORE = {"at": T - 1}  # of an older job
SINCE = {"at": T + 1}


@pytest.mark.parametrize(
    ("run", "job", "slurm", "alive", "state", "why"),
    [
        # never submitted
        (NONE, None, None, False, "MISSING", "not submitted"),
        (facts(ended="KILLED", at=5.0), None, None, False, "MISSING", "not submitted"),
        # it is there, whatever the rest says
        (facts(ended="FINISHED", step=100), None, None, False, "FINISHED", ""),
        (facts(ended="FINISHED", step=100), CANCELLED, None, False, "FINISHED", ""),
        (facts(ended="FINISHED", step=100), JOB, JobState("RUNNING"), True, "FINISHED", ""),
        # finished, and asked for more since
        (facts(ended="FINISHED", step=90, **BEFORE), JOB, JobState("PENDING"), True, "PENDING",
         "to go on"),
        # the job waits
        (NONE, JOB, JobState("PENDING", "", "Priority"), True, "PENDING", "Priority"),
        (LIVES, JOB, JobState("PENDING", "", "BeginTime"), True, "PENDING", "to go on; BeginTime"),
        (facts(ended="SCHEDULED", **SINCE), JOB, JobState("PENDING", "", "BeginTime"), True,
         "PENDING", "to go on; BeginTime"),
        (NONE, JOB, JobState("SUSPENDED"), True, "PENDING", ""),
        # the job runs
        (LIVES, JOB, JobState("RUNNING", "n1"), True, "RUNNING", ""),
        (NONE, JOB, JobState("RUNNING", "n1"), True, "PENDING", "starts"),
        (facts(ended="SCHEDULED", **SINCE), JOB, JobState("RUNNING"), True, "PENDING", "starts"),
        (facts(ended="FAILED", **BEFORE), JOB, JobState("RUNNING"), True, "PENDING", "starts"),
        (LIVES, JOB, JobState("COMPLETING"), True, "RUNNING", ""),
        # one of the runs of a job has failed, the job goes on with the others
        (facts(ended="FAILED", **SINCE), JOB, JobState("RUNNING"), True, "FAILED",
         "see its error.txt and log"),
        # the job is over
        (facts(ended="FAILED", **SINCE), JOB, JobState("FAILED"), False, "FAILED",
         "see its error.txt and log"),
        (NONE, JOB, JobState("FAILED"), False, "FAILED", "failed"),
        (NONE, JOB, JobState("COMPLETED"), False, "FAILED", "its job has ended without it"),
        (LIVES, JOB, JobState("OUT_OF_MEMORY"), False, "FAILED", "out_of_memory"),
        (LIVES, JOB, JobState("TIMEOUT"), False, "FAILED", "timeout"),
        (LIVES, JOB, JobState("NODE_FAIL"), False, "FAILED", "node_fail"),
        (facts(ended="FAILED", **BEFORE), JOB, JobState("TIMEOUT"), False, "FAILED", "timeout"),
        (facts(ended="KILLED", **SINCE), JOB, JobState("FAILED"), False, "KILLED", "stopped"),
        (facts(ended="KILLED", **SINCE), JOB, JobState("CANCELLED"), False, "KILLED", "cancelled"),
        (LIVES, JOB, JobState("CANCELLED"), False, "KILLED", "cancelled"),
        (NONE, JOB, JobState("CANCELLED"), False, "KILLED", "cancelled"),
        (LIVES, CANCELLED, None, False, "KILLED", "cancelled"),
        # SLURM has forgotten the job
        (LIVES, JOB, None, False, "FAILED", "its job is gone"),
        (NONE, JOB, None, False, "FAILED", "its job is gone"),
        (NONE, LOCAL, None, False, "MISSING", "not started"),
        (LIVES, LOCAL, None, False, "FAILED", "its job is gone"),
        # it has failed, and its job waits, or was cancelled, with the others that it holds
        (facts(ended="FAILED", **SINCE), JOB, JobState("PENDING", "", "BeginTime"), True, "FAILED",
         "see its error.txt and log"),
        (facts(ended="FAILED", **SINCE), CANCELLED, JobState("CANCELLED"), False, "FAILED",
         "see its error.txt and log"),
        (facts(ended="KILLED", **SINCE), JOB, None, False, "KILLED", "stopped"),
    ],
)  # fmt: skip
def test_judge(run, job, slurm, alive, state, why):
    assert judge(run, 100, job, slurm, alive=alive) == (state, why)


def test_a_row_of_a_run_that_runs(make_run, tmp_path):
    row = {
        "env_step": 40, "time": 1.0, "episode/return": 3.0, "time/frames_per_s": 20.0,
    }  # fmt: skip
    path = make_run(tmp_path / "r0", ["SCHEDULED", None], [row])
    run = SweepRun(0, str(path), ["env=dmc", "seed=0"], 100, "e")
    made = make_row(
        run, SubmittedJob("12_3", [0]), {"12_3": JobState("RUNNING", "n7")}, {"env=dmc"}
    )
    assert made.state == "RUNNING"
    assert (made.what, made.name, made.job, made.node) == ("seed=0", "r0", "12_3", "n7")
    assert (made.env_step, made.env_steps, made.restarts) == (40, 100, 1)
    assert (made.frames_per_s, made.seconds_left, made.last_return) == (20.0, 3.0, 3.0)


def test_a_row_of_a_run_that_waits_shows_no_speed(make_run, tmp_path):
    row = {"env_step": 40, "time": 1.0, "time/frames_per_s": 20.0}
    path = make_run(tmp_path / "r0", ["SCHEDULED"], [row])
    run = SweepRun(0, str(path), [], 100, "e")
    made = make_row(run, SubmittedJob("12", [0]), {"12": JobState("PENDING", "", "Resources")})
    assert (made.state, made.why) == ("PENDING", "to go on; Resources")
    assert (made.frames_per_s, made.seconds_left) == (None, None)
    assert made.node == "n0"  # where it ran last


def test_shared_overrides():
    runs = [SweepRun(i, "", ["env=dmc", f"seed={i}"], 1, "e") for i in range(3)]
    assert shared_overrides(runs) == {"env=dmc"}
    assert shared_overrides([]) == set()


def test_rows_of_a_sweep_ask_slurm_once(slurm, make_sweep):
    sweep = make_sweep(3, {"12_0": [0], "12_1": [1]})
    slurm.job("12_0", "RUNNING", "n1")
    slurm.job("12_1", "PENDING", reason="Resources")
    rows = sweep_rows(sweep)
    assert [row.state for row in rows] == ["PENDING", "PENDING", "MISSING"]
    assert [row.why for row in rows] == ["starts", "Resources", "not submitted"]
    assert [row.what for row in rows] == ["seed=0", "seed=1", "seed=2"]
    assert len(slurm.calls("squeue")) == 1


def test_a_failure_is_told_in_the_runs_own_words(slurm, make_sweep, make_run):
    sweep = make_sweep(3, {"12_0": [0], "12_1": [1], "12_2": [2]})
    for number in range(3):
        slurm.job(f"12_{number}", "FAILED", "n1")
    run = make_run(sweep.directory / "r0", ["FAILED"])
    (run / "error.txt").write_text("Sat\nTraceback\n  File\nValueError: no such arm\n\n")
    sweep.log(1).parent.mkdir()
    sweep.log(1).write_text("12:00 job\nerror: device=cuda needs a GPU\nbye\n")
    sweep.job_log(sweep.jobs[2]).parent.mkdir()
    sweep.job_log(sweep.jobs[2]).write_text("line 3: /no/python: No such file or directory\n")
    assert [row.why for row in sweep_rows(sweep)] == [
        "ValueError: no such arm (error.txt and its log say more)",
        "failed: error: device=cuda needs a GPU",
        "failed: line 3: /no/python: No such file or directory",
    ]


def test_rows_without_jobs_ask_nobody(make_sweep, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert [row.state for row in sweep_rows(make_sweep(2))] == ["MISSING", "MISSING"]


def test_slurm_that_does_not_answer_is_no_reason_to_call_runs_dead(slurm, make_sweep):
    slurm.fail("squeue", fake_slurm.UNREACHABLE)
    with pytest.raises(ClusterError):
        sweep_rows(make_sweep(1, {"12": [0]}))


def here(name):
    return SubmittedJob(name, [0], host=platform.node())


def test_a_process_is_known_by_its_start_too():
    pid = os.getpid()
    assert local_is_alive(here(f"local-{pid}-{process_start(pid)}"))
    assert not local_is_alive(here(f"local-{pid}-1"))  # another one with its number
    child = subprocess.Popen([sys.executable, "-IS", "-c", ""])
    child.wait()
    assert process_start(child.pid) is None
    assert not local_is_alive(here(f"local-{child.pid}-None")), "no process, no start"


def test_a_process_of_another_machine_is_not_judged_from_here(make_sweep):
    own = f"local-{os.getpid()}-{process_start(os.getpid())}"
    sweep = make_sweep(1, {own: [0]}, "local")
    sweep.jobs[0].host = "node7"
    with pytest.raises(RunDirectoryError, match=r"^the sweep runs on node7 .*steer it there$"):
        local_is_alive(sweep.jobs[0])
    with pytest.raises(RunDirectoryError, match="the sweep runs on node7"):
        sweep_rows(sweep)


def test_a_local_run_lives_while_its_supervisor_or_its_process_does(make_sweep, make_run):
    own = f"local-{os.getpid()}-{process_start(os.getpid())}"
    sweep = make_sweep(1, {own: [0]}, "local")
    run = make_run(sweep.directory / "r0", [None])
    assert sweep_rows(sweep)[0].state == "RUNNING"
    sweep.jobs[0].id = "local-1-1"
    assert sweep_rows(sweep)[0].why == "its job is gone"
    lock = FileLock(run / "run.lock")
    lock.acquire(wait=False)
    try:
        assert sweep_rows(sweep)[0].state == "RUNNING"
    finally:
        lock.release()


def test_the_clock_of_the_job_is_that_of_its_submission(make_sweep):
    assert make_sweep(1, {"12": [0]}).jobs[0].submitted == pytest.approx(time.time(), abs=60)
