"""Whole submissions, from the command line to sbatch."""

import os
import re
import sys
from pathlib import Path

import pytest

from harmony.__main__ import main
from launch import commands, job
from launch.sweep import Sweep, read_spec
from tests.launch import fake_slurm

RECORDED = Path(__file__).parent / "recorded"
COMMON = ["env=probe", "size=micro", "tracking=none", "training.env_steps=1000"]

pytestmark = pytest.mark.usefixtures("slurm", "no_git")


@pytest.fixture
def submit(runs_root, capsys):
    """Runs the command; returns its exit code, what it printed, and its errors."""

    def submit(*overrides, launcher="slurm_dev", sweep="walk"):
        capsys.readouterr()
        code = main(["-m", f"hydra/launcher={launcher}", *COMMON, f"sweep={sweep}", *overrides])
        out, err = capsys.readouterr()
        return code, out, err

    submit.directory = runs_root / "walk"
    submit.read = lambda: Sweep.read(runs_root / "walk")
    return submit


def one_line(err, *parts):
    (line,) = [line for line in err.splitlines() if line.startswith("error: ")]
    assert err.splitlines()[-1] == line
    for part in parts:
        assert part in line
    return True


def settled_text(script, directory):
    """A script with placeholders in the place of this machine's paths."""
    return script.replace(str(directory), "SWEEP").replace(sys.executable, "PYTHON")


def test_a_sweep_is_submitted(submit, slurm):
    code, out, err = submit("seed=0,1", "harmony=on,off")
    assert (code, err) == (0, "")
    assert "sweep walk: 4 of 4 runs submitted in 4 jobs: 100" in out
    assert f"watch it:  python -m launch status {submit.directory}" in out
    assert "4 runs: 4 PENDING" in out

    sweep = submit.read()
    assert [(j.id, j.runs) for j in sweep.jobs] == [(f"100_{i}", [i]) for i in range(4)]
    assert sweep.launcher == "slurm"
    assert [run.overrides[-2:] for run in sweep.runs] == [
        ["seed=0", "harmony=on"], ["seed=0", "harmony=off"],
        ["seed=1", "harmony=on"], ["seed=1", "harmony=off"],
    ]  # fmt: skip
    assert all(Path(run.run_dir).parent == submit.directory for run in sweep.runs)
    assert not any(Path(run.run_dir).exists() for run in sweep.runs)
    assert (sweep.code / "copied").exists()
    spec = read_spec(sweep.spec(3))
    assert (spec.config["seed"], spec.choices["harmony"]) == (1, "off")
    assert spec.config["run_dir"] == sweep.runs[3].run_dir
    assert Path(spec.config["runs_root"]).is_absolute()
    assert len(list((submit.directory / "jobs").glob("100_*_submitted.pkl"))) == 4


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
def test_the_script_is_the_recorded_one(submit, slurm, name, overrides, launcher):
    slurm.set(partitions=fake_slurm.PARTITIONS.replace("8|8000", "16|64000"))
    code, _, err = submit(*overrides, launcher=launcher)
    assert (code, err) == (0, "")
    (script,) = slurm.scripts
    path = RECORDED / f"{name}.sbatch"
    text = settled_text(script, submit.directory)
    if os.environ.get("HARMONY_RECORD"):
        path.write_text(text)
    assert text == path.read_text()


def test_one_run_is_no_array(submit, slurm):
    submit("seed=0")
    assert [j.id for j in submit.read().jobs] == ["100"]
    assert "--array" not in slurm.scripts[0]


def test_the_same_command_again_submits_nothing(submit, slurm):
    submit("seed=0,1")
    before = submit.read()
    code, out, _ = submit("seed=0,1")
    assert code == 0
    assert "0 of 2 runs submitted in 0 jobs\n" in out
    assert "2 wait" in out
    assert len(slurm.scripts) == 1
    assert submit.read() == before


def test_the_same_command_again_submits_what_was_cancelled_but_not_what_failed(submit, slurm):
    submit("seed=0,1,2")
    slurm.job("100_0", "CANCELLED")
    slurm.job("100_1", "FAILED")
    slurm.job("100_2", "RUNNING", "n1")
    code, out, _ = submit("seed=0,1,2")
    assert code == 0
    assert "1 of 3 runs submitted in 1 jobs: 101" in out
    assert f"1 have failed; python -m launch retry {submit.directory}" in out
    assert submit.read().jobs[-1].id == "101"
    assert submit.read().jobs[-1].runs == [0]


def test_other_overrides_in_the_same_sweep_are_refused(submit, slurm):
    submit("seed=0,1")
    before = (submit.directory / "sweep.json").read_bytes()
    code, out, err = submit("seed=0,1,2")
    assert (code, out) == (2, "")
    assert one_line(err, "it has seed=0,1, got seed=0,1,2", "take another sweep=NAME", "extend")
    assert (submit.directory / "sweep.json").read_bytes() == before
    assert len(slurm.scripts) == 1


def test_other_settings_of_the_launcher_are_no_other_sweep(submit):
    submit("seed=0,1")
    code, _, _ = submit("seed=0,1", "hydra.launcher.mem_gb=4")
    assert code == 0
    assert submit.read().params["mem_gb"] == 4


def test_changed_configurations_are_not_mixed_into_a_sweep(submit, slurm, monkeypatch):
    submit("seed=0,1")
    monkeypatch.setattr("harmony.config.run_names.identity", lambda _config: "12345678")
    code, _, err = submit("seed=0,1")
    assert code == 2
    assert one_line(err, "have changed since", "take another sweep=NAME")
    assert len(submit.read().runs) == 2
    assert len(slurm.scripts) == 1


def test_a_dry_run_leaves_nothing_behind(submit, slurm, runs_root):
    slurm.set(array_size=3)
    code, out, err = submit("seed=0,1,2,3,4", "hydra.launcher.dry_run=true")
    assert (code, err) == (0, "")
    assert "#SBATCH --array=0-2%3" in out
    assert "would submit 5 runs in 5 jobs, 2 arrays of at most 3" in out
    assert len(re.findall(r"^  .*seed=\d", out, re.MULTILINE)) == 5
    assert slurm.scripts == []
    assert not runs_root.exists()
    assert not list(Path().iterdir())


def test_a_dry_run_of_a_known_sweep_changes_nothing(submit, slurm):
    submit("seed=0,1")
    before = {p: p.stat().st_mtime_ns for p in submit.directory.rglob("*") if p.is_file()}
    code, out, _ = submit("seed=0,1", "hydra.launcher.dry_run=true")
    assert code == 0
    assert "would submit 0 runs in 0 jobs" in out
    after = {p: p.stat().st_mtime_ns for p in submit.directory.rglob("*") if p.is_file()}
    assert after == before


def test_arrays_are_as_large_as_the_cluster_takes(submit, slurm):
    slurm.set(array_size=2)
    code, out, _ = submit("seed=0,1,2,3,4")
    assert code == 0
    assert "5 of 5 runs submitted in 5 jobs: 100, 101, 102" in out
    assert [j.id for j in submit.read().jobs] == ["100_0", "100_1", "101_0", "101_1", "102"]


def test_what_was_submitted_before_an_error_is_written_down(submit, slurm):
    slurm.set(array_size=2)
    slurm.fail("sbatch", fake_slurm.TOO_MANY, after=1)
    code, _, err = submit("seed=0,1,2,3,4")
    assert code == 2
    assert one_line(err, "AssocMaxSubmitJobLimit", "runs_per_gpu=2")
    assert [j.id for j in submit.read().jobs] == ["100_0", "100_1"]
    assert len(submit.read().runs) == 5

    slurm.mend("sbatch")
    code, out, _ = submit("seed=0,1,2,3,4")
    assert code == 0
    assert "3 of 5 runs submitted" in out
    assert [(j.id, j.runs) for j in submit.read().jobs] == [
        ("100_0", [0]), ("100_1", [1]), ("101_0", [2]), ("101_1", [3]), ("102", [4]),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "part"),
    [
        (fake_slurm.MUNGE_DOWN, "start munged"),
        (fake_slurm.NO_ACCOUNT, "set hydra.launcher.account"),
        (fake_slurm.TOO_MUCH, "ask for less"),
        ("sbatch: error: something new\n", "sbatch: error: something new"),
    ],
)
def test_what_sbatch_says_is_one_line_with_a_cure(submit, slurm, text, part):
    slurm.fail("sbatch", text)
    code, _, err = submit("seed=0,1")
    assert code == 2
    assert one_line(err, part)
    assert submit.read().jobs == []


@pytest.mark.parametrize(
    ("overrides", "part"),
    [
        (["hydra.launcher.partition=nope"], "the cluster has no such partition"),
        (["hydra.launcher.timeout_min=600"], "partition debug has 60 at most"),
        (["hydra.launcher.signal_delay_s=1000"], "too short for one checkpoint"),
        (["replay.storage=memory", "replay.capacity=2000000", "training.env_steps=9000000"], "mem_gb"),
        (["tracking=local"], "sqlite breaks when several machines write"),
        (["hydra.launcher.timeout_mins=5"], "timeout_mins"),
    ],
)  # fmt: skip
def test_what_can_not_work_is_refused_before_anything_is_written(submit, slurm, overrides, part):
    code, out, err = submit("seed=0,1", *overrides)
    assert (code, out) == (2, "")
    assert one_line(err, part)
    assert slurm.scripts == []
    assert not (submit.directory / "sweep.json").exists()


@pytest.mark.parametrize(
    ("override", "part"),
    [
        ("seed=0,1,two,3", "(in run 3 of 4: seed=two)"),
        ("env.action_repeat=1,2,0,4", "(in run 3 of 4: env.action_repeat=0)"),
    ],
)
def test_one_wrong_run_among_many_is_named_and_nothing_is_written(
    submit, slurm, runs_root, override, part
):
    code, out, err = submit(override)
    assert (code, out) == (2, "")
    assert one_line(err, part)
    assert slurm.calls("sbatch") == []
    assert not runs_root.exists()


def test_an_outer_job_does_not_reach_sbatch(submit, slurm, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv("SLURM_CPU_BIND", "quiet,mask_cpu:0x1")
    monkeypatch.setenv("SBATCH_PARTITION", "nope")
    monkeypatch.setenv("SLURM_CONF", "/x/slurm.conf")
    assert submit("seed=0,1")[0] == 0
    for command in ("sbatch", "squeue", "sinfo", "scontrol"):
        assert slurm.calls(command)
        assert {str(env) for _, env in slurm.calls(command)} == {"{'SLURM_CONF': '/x/slurm.conf'}"}
    assert os.environ["SLURM_JOB_ID"] == "7"


def test_runs_that_share_a_job(submit, slurm):
    code, out, _ = submit("seed=0,1,2", "hydra.launcher.runs_per_gpu=2")
    assert code == 0
    assert "3 of 3 runs submitted in 2 jobs: 100" in out
    assert [(j.id, j.runs) for j in submit.read().jobs] == [("100_0", [0, 1]), ("100_1", [2])]


def test_what_a_job_unpickles_can_run(submit, slurm):
    import pickle

    submit("seed=0,1", "hydra.launcher.max_crashes=5", "hydra.launcher.srun_args=[--mpi=none]")
    path = next((submit.directory / "jobs").glob("100_1_submitted.pkl"))
    function = pickle.loads(path.read_bytes()).function
    assert isinstance(function, job.SlurmJob)
    assert (function.runs, function.max_crashes) == ([1], 5)
    assert function.srun[0] == "srun"
    assert function.srun[-1] == "--mpi=none"
    assert Path(function.sweep) == submit.directory


def test_waiting_shows_how_it_has_ended(submit, slurm, monkeypatch):
    def ended(_seconds):
        slurm.job("100_0", "FAILED", "n1")
        slurm.job("100_1", "COMPLETED", "n1")

    monkeypatch.setattr("launch.slurm.time.sleep", ended)
    code, out, _ = submit("seed=0,1", "hydra.launcher.wait=true")
    assert code == 1
    assert "2 runs: 2 FAILED" in out


def test_retry_submits_only_what_has_failed(submit, slurm, capsys):
    submit("seed=0,1,2,3")
    slurm.job("100_0", "RUNNING", "n1")
    slurm.job("100_1", "NODE_FAIL", "n2")
    slurm.job("100_2", "FAILED", "n2")
    assert commands.retry(submit.read()) == 0
    out = capsys.readouterr().out
    assert "2 of 4 runs submitted in 2 jobs: 101" in out
    assert [(j.id, j.runs) for j in submit.read().jobs[4:]] == [("101_0", [1]), ("101_1", [2])]
    assert commands.retry(submit.read()) == 0
    assert "nothing to submit" in capsys.readouterr().out
    assert len(slurm.scripts) == 2


def test_extend_adds_runs_and_keeps_the_old_ones(submit, slurm, capsys):
    submit("seed=0,1", "harmony=on,off")
    code = (submit.read().code / "copied").stat().st_mtime_ns
    spec = submit.read().spec(0).read_bytes()
    assert commands.extend(submit.read(), ["seed=1,2"]) == 0
    assert "2 of 6 runs submitted in 2 jobs: 101" in capsys.readouterr().out
    sweep = submit.read()
    assert [(j.id, j.runs) for j in sweep.jobs[4:]] == [("101_0", [4]), ("101_1", [5])]
    assert [read_spec(sweep.spec(i)).config["seed"] for i in range(6)] == [0, 0, 1, 1, 2, 2]
    assert (sweep.code / "copied").stat().st_mtime_ns == code
    assert sweep.spec(0).read_bytes() == spec
    assert submit("seed=0,1", "harmony=on,off")[0] == 0  # the first command still means the sweep


def test_cancel_marks_and_tells_slurm(submit, slurm, capsys):
    submit("seed=0,1,2")
    assert commands.cancel(submit.read(), [1]) == 0
    assert slurm.calls("scancel")[0][0] == ["100_1"]
    assert [j.cancelled for j in submit.read().jobs] == [False, True, False]
    assert "cancelled 1 runs" in capsys.readouterr().out
    assert commands.cancel(submit.read(), []) == 0
    assert sorted(slurm.calls("scancel")[1][0]) == ["100_0", "100_2"]
    assert "3 runs: 3 KILLED" in capsys.readouterr().out
    assert set(slurm.jobs.values()) == {"CANCELLED"}
