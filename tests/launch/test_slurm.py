"""Whole submissions, from the command line to sbatch."""

import os
import pickle
import re
import signal
import sys
from pathlib import Path

import pytest

from launch import job, submission
from launch.sweep import Sweep, read_spec
from tests.launch import fake_slurm
from tests.launch.submitting import one_line

LONG = ["training.env_steps=9_000_000", "env.image_size=64"]
RECORDED = Path(__file__).parent / "recorded"

pytestmark = pytest.mark.usefixtures("slurm", "no_git")


def settled_text(script, directory):
    """A script with placeholders in the place of this machine's paths."""
    return script.replace(str(directory), "SWEEP").replace(sys.executable, "PYTHON")


def test_a_sweep_is_submitted(runs):
    code, out, err = runs.command("seed=0,1", "harmony=on,off")
    assert (code, err) == (0, "")
    assert "sweep walk: 4 of 4 runs submitted in 4 jobs: 100" in out
    assert f"watch it:  python -m launch status {runs.directory}" in out
    assert "4 runs: 4 PENDING" in out

    sweep = runs.read()
    assert [(j.id, j.runs) for j in sweep.jobs] == [(f"100_{i}", [i]) for i in range(4)]
    assert sweep.launcher == "slurm"
    assert [run.overrides[-2:] for run in sweep.runs] == [
        ["seed=0", "harmony=on"], ["seed=0", "harmony=off"],
        ["seed=1", "harmony=on"], ["seed=1", "harmony=off"],
    ]  # fmt: skip
    assert all(Path(run.run_dir).parent == runs.directory for run in sweep.runs)
    assert not any(Path(run.run_dir).exists() for run in sweep.runs)
    assert (sweep.code / "copied").exists()
    spec = read_spec(sweep.spec(3))
    assert (spec.config["seed"], spec.choices["harmony"]) == (1, "off")
    assert spec.config["run_dir"] == sweep.runs[3].run_dir
    assert Path(spec.config["runs_root"]).is_absolute()
    assert len(list((runs.directory / "jobs").glob("100_*_submitted.pkl"))) == 4


@pytest.mark.parametrize(
    ("name", "overrides", "launcher"),
    [
        ("slurm", ["seed=0,1,2", "hydra.launcher.timeout_min=50"], "slurm"),
        ("slurm_dev", ["seed=0"], "slurm_dev"),
        (
            "site",
            [
                "seed=0,1,2,3,4", "hydra.launcher.runs_per_gpu=2", "hydra.launcher.partition=long",
                "hydra.launcher.cpus_per_task=8", "hydra.launcher.mem_gb=7",
                "hydra.launcher.constraint=null", "hydra.launcher.array_parallelism=2",
                "+hydra.launcher.additional_parameters.mail-user=me@example.org",
            ],
            "sites/example",
        ),
    ],
)  # fmt: skip
def test_the_script_is_the_recorded_one(runs, slurm, name, overrides, launcher):
    slurm.set(partitions=fake_slurm.PARTITIONS.replace("8|8000", "16|64000"))
    code, _, err = runs.submit(*overrides, launcher=launcher)
    assert (code, err) == (0, "")
    (script,) = slurm.scripts
    path = RECORDED / f"{name}.sbatch"
    text = settled_text(script, runs.directory)
    if os.environ.get("HARMONY_RECORD"):
        path.write_text(text)
    assert text == path.read_text()


def test_more_options_of_sbatch_from_the_command_line(runs, slurm):
    more = "hydra.launcher.additional_parameters"
    code, _, err = runs.command(
        "seed=0,1", f"{more}={{mail-user: me@example.org}}", f"{more}.mail-type=END",
        f"{more}.requeue=false", "hydra.launcher.reservation=icml",
    )  # fmt: skip
    assert (code, err) == (0, "")
    (script,) = slurm.scripts
    for line in ("mail-user=me@example.org", "mail-type=END", "reservation=icml"):
        assert f"#SBATCH --{line}\n" in script
    assert "requeue" not in script


def test_one_run_is_no_array(runs, slurm):
    runs.submit("seed=0")
    assert [j.id for j in runs.read().jobs] == ["100"]
    assert "--array" not in slurm.scripts[0]


def test_a_dry_run_leaves_nothing_behind(runs, slurm):
    slurm.set(array_size=3)
    code, out, err = runs.submit("seed=0,1,2,3,4", "hydra.launcher.dry_run=true")
    assert (code, err) == (0, "")
    assert "#SBATCH --array=0-2%3" in out
    assert "would submit 5 runs in 5 jobs, 2 arrays of at most 3" in out
    assert len(re.findall(r"^  .*seed=\d", out, re.MULTILINE)) == 5
    assert slurm.scripts == []
    assert not runs.root.exists()
    assert not list(Path().iterdir())


@pytest.mark.parametrize(
    ("text", "part"),
    [
        (fake_slurm.TOO_MUCH, "ask for less"),
        ("allocation failure: Invalid node name specified\n", "mend hydra.launcher.exclude"),
        (
            "sbatch: error: Invalid --mail-type specification\n",
            "sbatch: error: Invalid --mail-type specification: mend the setting of that name",
        ),
    ],
)
def test_a_dry_run_asks_slurm_whether_it_would_take_the_job(runs, slurm, text, part):
    dry = "hydra.launcher.dry_run=true"
    assert runs.submit("seed=0,1", dry)[0] == 0
    assert slurm.calls("sbatch")[-1][0] == ["--test-only"]
    slurm.fail("sbatch", text)
    code, _, err = runs.submit("seed=0,1", dry)
    assert code == 2
    assert one_line(err, "error: sbatch: ", part)
    assert "sbatch: sbatch:" not in err
    assert not runs.root.exists()


@pytest.mark.parametrize("dry", [True, False])
def test_a_root_that_can_not_be_written(runs, monkeypatch, dry):
    monkeypatch.setattr(os, "access", lambda _path, _mode: False)
    code, _, err = runs.submit("seed=0,1", f"hydra.launcher.dry_run={dry}")
    assert code == 2
    assert one_line(err, "can't write", "set HARMONY_RUNS")
    assert not runs.root.exists()


def test_a_dry_run_of_a_known_sweep_changes_nothing(runs):
    runs.submit("seed=0,1")
    before = {p: p.stat().st_mtime_ns for p in runs.directory.rglob("*") if p.is_file()}
    code, out, _ = runs.submit("seed=0,1", "hydra.launcher.dry_run=true")
    assert code == 0
    assert "would submit 0 runs in 0 jobs" in out
    after = {p: p.stat().st_mtime_ns for p in runs.directory.rglob("*") if p.is_file()}
    assert after == before


def test_arrays_are_as_large_as_the_cluster_takes(runs, slurm):
    slurm.set(array_size=2)
    code, out, _ = runs.submit("seed=0,1,2,3,4")
    assert code == 0
    assert "5 of 5 runs submitted in 5 jobs: 100, 101, 102" in out
    assert [j.id for j in runs.read().jobs] == ["100_0", "100_1", "101_0", "101_1", "102"]


@pytest.mark.parametrize(
    ("text", "part"),
    [
        (fake_slurm.MUNGE_DOWN, "start munged"),
        (fake_slurm.NO_ACCOUNT, "set hydra.launcher.account"),
        (fake_slurm.TOO_MUCH, "ask for less"),
        ("sbatch: error: something new\n", "sbatch: error: something new"),
    ],
)
def test_what_sbatch_says_is_one_line_with_a_cure(runs, slurm, text, part):
    slurm.fail("sbatch", text)
    code, _, err = runs.submit("seed=0,1")
    assert code == 2
    assert one_line(err, part)
    assert runs.read().jobs == []


@pytest.mark.parametrize(
    ("overrides", "part"),
    [
        (["hydra.launcher.partition=nope"], "the cluster has no such partition"),
        (["hydra.launcher.timeout_min=600"], "partition debug has 60 at most"),
        (["hydra.launcher.runs_per_gpu=0"], "runs_per_gpu=0: expected at least 1 run"),
        (["hydra.launcher.signal_delay_s=1000"], "too short for one checkpoint"),
        (["replay.storage=memory", "replay.capacity=2_000_000", *LONG], "mem_gb"),
        (["device=cuda"], "the jobs ask for no GPU"),
        (["tracking=server", "tracking.tracking_uri=''"], "set MLFLOW_TRACKING_URI="),
        (["tracking=server", "tracking.tracking_uri=login01:5000"], "got login01:5000"),
        (["tracking=local"], "sqlite breaks when several machines write"),
    ],
)  # fmt: skip
def test_what_can_not_work_is_refused_before_anything_is_written(
    runs, slurm, monkeypatch, overrides, part
):
    monkeypatch.setattr(Sweep, "lock", lambda _directory: pytest.fail("it waits for others"))
    code, out, err = runs.submit("seed=0,1", *overrides)
    assert (code, out) == (2, "")
    assert one_line(err, part)
    assert slurm.scripts == []
    assert not runs.root.exists()


@pytest.mark.parametrize("state", ["up", "down", "drain", "inact"])
def test_jobs_may_wait_in_a_partition_that_is_down_but_not_in_one_that_takes_none(
    runs, slurm, state
):
    slurm.set(partitions=fake_slurm.PARTITIONS.replace("long|up", f"long|{state}"))
    code, _, err = runs.submit("seed=0,1", "hydra.launcher.partition=long")
    if state in ("up", "down"):
        assert (code, err) == (0, "")
        assert len(runs.read().jobs) == 2
    else:
        assert code == 2
        assert one_line(err, "partition=long: it takes no jobs now", "there are debug, long")
        assert not runs.root.exists()


@pytest.mark.parametrize(
    ("overrides", "part"),
    [
        (["device=cuda"], "device=cuda needs a CUDA device that is not here (0 found)"),
        (["precision=fp16"], "precision=fp16 needs a CUDA device, got device=cpu"),
        (["device=cuda", "precision=fp16"], "device=cuda needs a CUDA device that is not here"),
    ],
)
def test_the_device_is_asked_of_the_machine_that_trains(runs, slurm, monkeypatch, overrides, part):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    for launcher in ("basic", "local"):
        code, out, err = runs.command("seed=0,1", *overrides, launcher=launcher)
        assert (code, out) == (2, "")
        assert one_line(err, part)
        assert not runs.root.exists()
    memory = ["hydra.launcher.mem_gb=4", "hydra.launcher.timeout_min=60"]
    code, _, err = runs.command("seed=0,1", *overrides, *memory, launcher="slurm")
    assert (code, err) == (0, "")
    assert len(slurm.scripts) == 1
    given = [read_spec(runs.read().spec(index)).config for index in range(2)]
    for key, _, value in (override.partition("=") for override in overrides):
        wanted = {"format": value} if key == "precision" else value
        assert [config[key] == wanted or wanted.items() <= config[key].items() for config in given]


@pytest.mark.parametrize(
    ("override", "part"),
    [
        ("seed=0,1,two,3", "(in run 3 of 4: seed=two)"),
        ("harmony=on,off,onn", "(in run 3 of 3: harmony=onn)"),
        ("hydra.launcher.timeout_mins=5", "timeout_mins"),
    ],
)
def test_one_wrong_run_among_many_is_named_and_nothing_is_written(runs, slurm, override, part):
    code, out, err = runs.command(override)
    assert (code, out) == (2, "")
    assert one_line(err, part)
    assert slurm.calls("sbatch") == []
    assert not runs.root.exists()


def test_an_outer_job_does_not_reach_sbatch(runs, slurm, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv("SLURM_CPU_BIND", "quiet,mask_cpu:0x1")
    monkeypatch.setenv("SBATCH_PARTITION", "nope")
    monkeypatch.setenv("SLURM_CONF", "/x/slurm.conf")
    assert runs.submit("seed=0,1")[0] == 0
    for command in ("sbatch", "squeue", "sinfo", "scontrol"):
        assert slurm.calls(command)
        assert {str(env) for _, env in slurm.calls(command)} == {"{'SLURM_CONF': '/x/slurm.conf'}"}
    assert os.environ["SLURM_JOB_ID"] == "7"


def test_a_job_that_the_sweep_does_not_know_is_not_submitted_beside(runs, slurm):
    slurm.set(comments=f"7|{runs.directory}\n8|(null)\n9|{runs.directory}x\n")
    code, _, err = runs.submit("seed=0,1")
    assert code == 2
    assert one_line(err, "job 7 of this sweep is in the queue", "scancel 7, then the same command")
    assert slurm.scripts == []
    slurm.set(comments="")
    assert runs.submit("seed=0,1")[0] == 0
    slurm.job("100_1", "CANCELLED")
    slurm.set(comments=f"100|{runs.directory}\n")
    assert runs.submit("seed=0,1")[0] == 0  # 100 is its own


def test_an_interrupted_submission_loses_no_job(runs, slurm, monkeypatch):
    slurm.set(array_size=2)
    whole = submission._hand_over

    def interrupted(*given):
        os.kill(os.getpid(), signal.SIGINT)
        return whole(*given)

    monkeypatch.setattr(submission, "_hand_over", interrupted)
    code, _, err = runs.submit("seed=0,1,2")
    assert code == 130
    assert err == "interrupted: 2 jobs are submitted, 1 are not; the same command goes on\n"
    assert [(j.id, j.runs) for j in runs.read().jobs] == [("100_0", [0]), ("100_1", [1])]
    monkeypatch.setattr(submission, "_hand_over", whole)
    assert runs.submit("seed=0,1,2")[0] == 0
    assert [(j.id, j.runs) for j in runs.read().jobs][2:] == [("101", [2])]


def test_runs_that_share_a_job(runs):
    code, out, _ = runs.submit("seed=0,1,2", "hydra.launcher.runs_per_gpu=2")
    assert code == 0
    assert "3 of 3 runs submitted in 2 jobs: 100" in out
    assert [(j.id, j.runs) for j in runs.read().jobs] == [("100_0", [0, 1]), ("100_1", [2])]


def test_what_a_job_unpickles_can_run(runs):
    runs.submit(
        "seed=0,1", "hydra.launcher.max_crashes=5", 'hydra.launcher.srun_args=["--mpi=none"]'
    )
    path = next((runs.directory / "jobs").glob("100_1_submitted.pkl"))
    function = pickle.loads(path.read_bytes()).function
    assert isinstance(function, job.SlurmJob)
    assert (function.runs, function.max_crashes) == ([1], 5)
    assert function.srun[0] == "srun"
    assert function.srun[-1] == "--mpi=none"
    assert Path(function.sweep) == runs.directory
