import signal
import sys

import pytest
from submitit.core.utils import UncompletedJobError

from launch import job as module
from launch import supervisor
from launch.job import RunsFailed, SlurmJob
from launch.runs import run_facts

pytestmark = pytest.mark.usefixtures("requeue")

LISTEN = """
import os, signal, sys, time
for signum in (signal.SIGUSR2, signal.SIGTERM, signal.SIGINT):
    signal.signal(signum, lambda s, _: sys.exit(128 + s))
"""
ASK = LISTEN + "os.kill(os.getppid(), signal.{}); time.sleep(30)"
DONE, FAILS = "", "raise ValueError"


class Requeue:
    """Stands in for submitit's handler of SIGUSR2."""

    def __init__(self, ends_with):
        self.ends_with, self.calls = ends_with, 0

    def __call__(self, _signum, _frame):
        self.calls += 1
        raise self.ends_with


@pytest.fixture
def requeue():
    """What submitit installs before it calls a job: requeues, then leaves."""
    handler = Requeue(SystemExit(-1))
    before = signal.signal(signal.SIGUSR2, handler)
    yield handler
    signal.signal(signal.SIGUSR2, before)


@pytest.fixture
def start(make_sweep, monkeypatch):
    """Makes the job of a sweep whose runs are these pieces of Python."""
    monkeypatch.setattr(supervisor, "_POLL_SECONDS", 0.02)

    def start(*codes, failed=(), max_crashes=0):
        sweep = make_sweep(len(codes), {"12": range(len(codes))})

        def command(spec, prefix):
            assert prefix == ["srun", "--ntasks=1"]
            return [sys.executable, "-IS", "-c", codes[int(spec.stem)]]

        monkeypatch.setattr(module, "worker_command", command)
        runs = list(range(len(codes)))
        return sweep, SlurmJob(
            str(sweep.directory), runs, max_crashes, ["srun", "--ntasks=1"], list(failed)
        )

    return start


def test_a_good_end(start, requeue):
    sweep, job = start("print('a')", "print('b')")
    job()
    assert sweep.log(1).read_text() == "b\n"
    assert requeue.calls == 0
    assert job.failed == []


def test_a_failure_is_raised_after_the_others_have_ended(start, requeue):
    sweep, job = start(FAILS, "import time; time.sleep(0.2); print('whole')")
    with pytest.raises(RunsFailed, match=r"failed: run 0 \(r0\); see .*00000-r0.log"):
        job()
    assert sweep.log(1).read_text() == "whole\n"
    assert requeue.calls == 0


def test_a_refusal_fails_the_job_too(start):
    _, job = start("raise SystemExit(2)")
    with pytest.raises(RunsFailed):
        job()


def test_it_is_requeued_when_a_run_was_saved(start, requeue):
    _, job = start(ASK.format("SIGUSR2"))
    with pytest.raises(SystemExit):
        job()
    assert requeue.calls == 1
    assert job.checkpoint().function is job


def test_it_is_not_requeued_when_nothing_is_left(start, requeue):
    finishes = (
        LISTEN.replace("128 + s", "0") + "os.kill(os.getppid(), signal.SIGUSR2); time.sleep(9)"
    )
    _, job = start(finishes)
    job()
    assert requeue.calls == 0


def test_failed_runs_are_not_started_again_after_a_requeue(start, requeue):
    first = "open('{0}/mark', 'w').close(); raise ValueError"
    waits = LISTEN + "import os.path\nwhile not os.path.exists('{0}/mark'): time.sleep(0.01)\n"
    waits += "time.sleep(0.1); os.kill(os.getppid(), signal.SIGUSR2); time.sleep(30)"
    sweep, _ = start()
    sweep, job = start(first.format(sweep.directory), waits.format(sweep.directory))
    with pytest.raises(SystemExit):
        job()
    assert (requeue.calls, job.failed) == (1, [0])

    again = job.checkpoint().function
    sweep.log(0).unlink()
    _, fresh = start(FAILS, DONE, failed=again.failed)
    with pytest.raises(RunsFailed, match=r"run 0 \(r0\)"):
        fresh()  # it has failed all the same, and SLURM is to know
    assert not sweep.log(0).exists()


def test_a_run_that_has_finished_is_not_started_again(start, make_run):
    sweep, job = start(FAILS, DONE)
    make_run(sweep.directory / "r0", ["FINISHED"], [{"env_step": 100, "time": 1.0}])
    job()
    assert not sweep.log(0).exists()


def test_a_run_that_waits_for_its_slot_counts_as_unfinished(start, requeue):
    _, job = start(ASK.format("SIGUSR2"), DONE)
    with pytest.raises(SystemExit):
        job()
    assert requeue.calls == 1


@pytest.mark.parametrize(("name", "code"), [("SIGTERM", 143), ("SIGINT", 130)])
def test_a_cancelled_job_ends_with_the_signal(start, requeue, make_run, name, code):
    sweep, job = start(ASK.format(name))
    run = make_run(sweep.directory / "r0", [None])
    with pytest.raises(SystemExit) as caught:
        job()
    assert caught.value.code == code
    assert requeue.calls == 0
    assert run_facts(run).ended == "KILLED"


def test_a_run_that_died_is_shown_as_failed(start, make_run):
    sweep, job = start("import os; os.kill(os.getpid(), 9)")
    run = make_run(sweep.directory / "r0", [None])
    with pytest.raises(RunsFailed):
        job()
    assert run_facts(run).ended == "FAILED"


def test_a_refused_requeue_is_told_and_raised(start, requeue, make_run):
    requeue.ends_with = UncompletedJobError("Job not requeued because: timed-out too many times.")
    sweep, job = start(ASK.format("SIGUSR2"), DONE)
    saved = make_run(sweep.directory / "r0", ["SCHEDULED"])
    with pytest.raises(UncompletedJobError, match="too many times"):
        job()
    assert run_facts(saved).ended == "KILLED"


def test_runs_of_a_job_start_side_by_side_and_share(start, monkeypatch):
    code = "import os; print(os.environ.get('HARMONY_GPU_SHARE'))"
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    sweep, job = start(code, code)
    job()
    assert sweep.log(0).read_text() == "0.4750\n"
    sweep, job = start(code)
    sweep.log(0).unlink()
    job()
    assert sweep.log(0).read_text() == "None\n"
