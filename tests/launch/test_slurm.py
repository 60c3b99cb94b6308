"""Whole submissions, from the command line to sbatch."""

import copy
import functools
import os
import pickle
import re
import sys
from dataclasses import replace
from pathlib import Path

import hydra
import pytest
from omegaconf import OmegaConf

from harmony.__main__ import main
from harmony.config.cli import report_errors
from harmony.config.compose import hydra_session
from harmony.config.compose_many import compose_all
from harmony.config.sweep import expand
from launch import commands, job
from launch import slurm as slurm_module
from launch.slurm import register
from launch.sweep import Sweep, read_spec
from tests.launch import fake_slurm

RECORDED = Path(__file__).parent / "recorded"
COMMON = ["env=probe", "size=micro", "tracking=none", "training.env_steps=1000"]

pytestmark = pytest.mark.usefixtures("slurm", "no_git")


@functools.cache
def composed(overrides):
    """The runs of a sweep: Hydra takes most of the time of a submission."""
    return tuple(compose_all(expand(overrides)))


@functools.cache
def launcher_params(launcher, own):
    register()
    with hydra_session():
        overrides = [f"hydra/launcher={launcher}", *own]
        cfg = hydra.compose("config", overrides, return_hydra_config=True)
        params = OmegaConf.to_container(cfg.hydra.launcher, resolve=True)
    return {key: value for key, value in params.items() if key != "_target_"}


@pytest.fixture
def runs(runs_root, capsys):
    """What a test looks at; `command` is the whole one, `submit` does without Hydra."""

    class Runs:
        root, directory = runs_root, runs_root / "walk"

        def read(self):
            return Sweep.read(self.directory)

        def command(self, *overrides, launcher="slurm_dev"):
            capsys.readouterr()
            code = main(["-m", f"hydra/launcher={launcher}", *COMMON, "sweep=walk", *overrides])
            return code, *capsys.readouterr()

        def submit(self, *overrides):
            capsys.readouterr()
            own = tuple(o for o in overrides if o.startswith("hydra"))
            task = (*COMMON, "sweep=walk", *(o for o in overrides if o not in own))
            place = {"runs_root": str(runs_root)}
            made = [replace(run, config=run.config | place) for run in composed(task)]
            params = copy.deepcopy(launcher_params("slurm_dev", own))
            with report_errors() as outcome:
                outcome.code = slurm_module.launch(made, [*task, *own], "slurm", params)
            return outcome.code, *capsys.readouterr()

    return Runs()


def one_line(err, *parts):
    (line,) = [line for line in err.splitlines() if line.startswith("error: ")]
    assert err.splitlines()[-1] == line
    for part in parts:
        assert part in line
    return True


def settled_text(script, directory):
    """A script with placeholders in the place of this machine's paths."""
    return script.replace(str(directory), "SWEEP").replace(sys.executable, "PYTHON")


def test_a_sweep_is_submitted(runs, slurm):
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
    assert Path(spec.config["runs.root"]).is_absolute()
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
    code, _, err = runs.command(*overrides, launcher=launcher)
    assert (code, err) == (0, "")
    (script,) = slurm.scripts
    path = RECORDED / f"{name}.sbatch"
    text = settled_text(script, runs.directory)
    if os.environ.get("HARMONY_RECORD"):
        path.write_text(text)
    assert text == path.read_text()


def test_one_run_is_no_array(runs, slurm):
    runs.submit("seed=0")
    assert [j.id for j in runs.read().jobs] == ["100"]
    assert "--array" not in slurm.scripts[0]


def test_the_same_command_again_submits_nothing(runs, slurm):
    runs.command("seed=0,1")
    before = runs.read()
    code, out, _ = runs.command("seed=0,1")
    assert code == 0
    assert "0 of 2 runs submitted in 0 jobs\n" in out
    assert "2 wait" in out
    assert len(slurm.scripts) == 1
    assert runs.read() == before


def test_the_same_command_again_submits_what_was_cancelled_but_not_what_failed(runs, slurm):
    runs.submit("seed=0,1,2")
    slurm.job("100_0", "CANCELLED")
    slurm.job("100_1", "FAILED")
    slurm.job("100_2", "RUNNING", "n1")
    code, out, _ = runs.submit("seed=0,1,2")
    assert code == 0
    assert "1 of 3 runs submitted in 1 jobs: 101" in out
    assert f"1 have failed; python -m launch retry {runs.directory}" in out
    assert runs.read().jobs[-1].id == "101"
    assert runs.read().jobs[-1].runs == [0]


def test_other_overrides_in_the_same_sweep_are_refused(runs, slurm):
    runs.command("seed=0,1")
    before = (runs.directory / "sweep.json").read_bytes()
    code, out, err = runs.command("seed=0,1,2")
    assert (code, out) == (2, "")
    assert one_line(err, "it has seed=0,1, got seed=0,1,2", "take another sweep=NAME", "extend")
    assert (runs.directory / "sweep.json").read_bytes() == before
    assert len(slurm.scripts) == 1


def test_other_settings_of_the_launcher_are_no_other_sweep(runs):
    runs.submit("seed=0,1")
    code, _, _ = runs.submit("seed=0,1", "hydra.launcher.mem_gb=4")
    assert code == 0
    assert runs.read().params["mem_gb"] == 4


def test_changed_configurations_are_not_mixed_into_a_sweep(runs, slurm, monkeypatch):
    runs.submit("seed=0,1")
    monkeypatch.setattr("harmony.config.run_names.identity", lambda _config: "12345678")
    code, _, err = runs.submit("seed=0,1")
    assert code == 2
    assert one_line(err, "have changed since", "take another sweep=NAME")
    assert len(runs.read().runs) == 2
    assert len(slurm.scripts) == 1


def test_a_dry_run_leaves_nothing_behind(runs, slurm):
    slurm.set(array_size=3)
    code, out, err = runs.command("seed=0,1,2,3,4", "hydra.launcher.dry_run=true")
    assert (code, err) == (0, "")
    assert "#SBATCH --array=0-2%3" in out
    assert "would submit 5 runs in 5 jobs, 2 arrays of at most 3" in out
    assert len(re.findall(r"^  .*seed=\d", out, re.MULTILINE)) == 5
    assert slurm.scripts == []
    assert not runs.root.exists()
    assert not list(Path().iterdir())


def test_a_dry_run_of_a_known_sweep_changes_nothing(runs, slurm):
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


def test_what_was_submitted_before_an_error_is_written_down(runs, slurm):
    slurm.set(array_size=2)
    slurm.fail("sbatch", fake_slurm.TOO_MANY, after=1)
    code, _, err = runs.submit("seed=0,1,2,3,4")
    assert code == 2
    assert one_line(err, "AssocMaxSubmitJobLimit", "runs_per_gpu=2")
    assert [j.id for j in runs.read().jobs] == ["100_0", "100_1"]
    assert len(runs.read().runs) == 5

    slurm.mend("sbatch")
    code, out, _ = runs.submit("seed=0,1,2,3,4")
    assert code == 0
    assert "3 of 5 runs submitted" in out
    assert [(j.id, j.runs) for j in runs.read().jobs] == [
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
        (["hydra.launcher.signal_delay_s=1000"], "too short for one checkpoint"),
        (["replay.storage=memory", "replay.capacity=2000000", "training.env_steps=9000000"], "mem_gb"),
        (["tracking=local"], "sqlite breaks when several machines write"),
        (["hydra.launcher.timeout_mins=5"], "timeout_mins"),
    ],
)  # fmt: skip
def test_what_can_not_work_is_refused_before_anything_is_written(runs, slurm, overrides, part):
    code, out, err = runs.command("seed=0,1", *overrides)
    assert (code, out) == (2, "")
    assert one_line(err, part)
    assert slurm.scripts == []
    assert not (runs.directory / "sweep.json").exists()


@pytest.mark.parametrize(
    ("override", "part"),
    [
        ("seed=0,1,two,3", "(in run 3 of 4: seed=two)"),
        ("training.env_steps=10,20,-5", "(in run 3 of 3: training.env_steps=-5)"),
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


def test_runs_that_share_a_job(runs, slurm):
    code, out, _ = runs.submit("seed=0,1,2", "hydra.launcher.runs_per_gpu=2")
    assert code == 0
    assert "3 of 3 runs submitted in 2 jobs: 100" in out
    assert [(j.id, j.runs) for j in runs.read().jobs] == [("100_0", [0, 1]), ("100_1", [2])]


def test_what_a_job_unpickles_can_run(runs, slurm):
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


def test_waiting_shows_how_it_has_ended(runs, slurm, monkeypatch):
    def ended(_seconds):
        slurm.job("100_0", "FAILED", "n1")
        slurm.job("100_1", "COMPLETED", "n1")

    monkeypatch.setattr("launch.slurm.time.sleep", ended)
    code, out, _ = runs.submit("seed=0,1", "hydra.launcher.wait=true")
    assert code == 1
    assert "2 runs: 2 FAILED" in out


def test_retry_submits_only_what_has_failed(runs, slurm, capsys):
    runs.submit("seed=0,1,2,3")
    slurm.job("100_0", "RUNNING", "n1")
    slurm.job("100_1", "NODE_FAIL", "n2")
    slurm.job("100_2", "FAILED", "n2")
    assert commands.retry(runs.read()) == 0
    out = capsys.readouterr().out
    assert "2 of 4 runs submitted in 2 jobs: 101" in out
    assert [(j.id, j.runs) for j in runs.read().jobs[4:]] == [("101_0", [1]), ("101_1", [2])]
    assert commands.retry(runs.read()) == 0
    assert "nothing to submit" in capsys.readouterr().out
    assert len(slurm.scripts) == 2


def test_extend_adds_runs_and_keeps_the_old_ones(runs, slurm, capsys):
    runs.submit("seed=0,1", "harmony=on,off")
    code = (runs.read().code / "copied").stat().st_mtime_ns
    spec = runs.read().spec(0).read_bytes()
    assert commands.extend(runs.read(), ["seed=1,2"]) == 0
    assert "2 of 6 runs submitted in 2 jobs: 101" in capsys.readouterr().out
    sweep = runs.read()
    assert [(j.id, j.runs) for j in sweep.jobs[4:]] == [("101_0", [4]), ("101_1", [5])]
    assert [read_spec(sweep.spec(i)).config["seed"] for i in range(6)] == [0, 0, 1, 1, 2, 2]
    assert (sweep.code / "copied").stat().st_mtime_ns == code
    assert sweep.spec(0).read_bytes() == spec
    assert (
        runs.submit("seed=0,1", "harmony=on,off")[0] == 0
    )  # the first command still means the sweep


def test_cancel_marks_and_tells_slurm(runs, slurm, capsys):
    runs.submit("seed=0,1,2")
    assert commands.cancel(runs.read(), [1]) == 0
    assert slurm.calls("scancel")[0][0] == ["100_1"]
    assert [j.cancelled for j in runs.read().jobs] == [False, True, False]
    assert "cancelled 1 runs" in capsys.readouterr().out
    assert commands.cancel(runs.read(), []) == 0
    assert sorted(slurm.calls("scancel")[1][0]) == ["100_0", "100_2"]
    assert "3 runs: 3 KILLED" in capsys.readouterr().out
    assert set(slurm.jobs.values()) == {"CANCELLED"}
