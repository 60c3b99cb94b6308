"""What happens with a sweep after its submission: the command again, retry, extend, cancel."""

import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from harmony.errors import ConfigError
from launch import commands
from launch.states import sweep_rows
from launch.sweep import read_spec
from tests.launch import fake_slurm
from tests.launch.submitting import one_line

pytestmark = pytest.mark.usefixtures("slurm", "no_git")


def test_the_same_command_again_submits_nothing(runs, slurm):
    runs.submit("seed=0,1")
    before = runs.read()
    code, out, _ = runs.submit("seed=0,1")
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
    runs.submit("seed=0,1")
    before = (runs.directory / "sweep.json").read_bytes()
    code, out, err = runs.submit("seed=0,1,2")
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


def test_what_the_cluster_has_no_room_for_is_submitted_by_the_same_command_later(runs, slurm):
    slurm.set(submit_limits=[["default", "3"]])
    code, out, _ = runs.submit("seed=0,1,2,3,4")
    assert code == 0
    assert "3 of 5 runs submitted in 3 jobs: 100\n" in out
    later = f"(MaxSubmitJobs); later: python -m launch retry {runs.directory}\n"
    assert f"  2 jobs are more than the cluster lets you submit now {later}" in out
    assert "5 runs: 2 MISSING, 3 PENDING" in out
    assert [job.runs for job in runs.read().jobs] == [[0], [1], [2]]
    _, out, _ = runs.submit("seed=0,1,2,3,4")
    assert "0 of 5 runs submitted in 0 jobs\n" in out
    assert f"  2 jobs are more than the cluster lets you submit now {later}" in out
    for number in range(3):
        slurm.job(f"100_{number}", "RUNNING" if number else "FAILED", "n1")
    _, out, _ = runs.submit("seed=0,1,2,3,4")
    assert "1 of 5 runs submitted in 1 jobs: 101\n" in out
    assert [job.runs for job in runs.read().jobs] == [[0], [1], [2], [3]]
    assert f"  1 jobs are more than the cluster lets you submit now {later}" in out
    slurm.set(submit_limits=[["default", "10"]])
    _, out, _ = runs.submit("seed=0,1,2,3,4")
    assert "1 of 5 runs submitted in 1 jobs: 102\n" in out
    assert "more than the cluster" not in out
    assert [job.runs for job in runs.read().jobs] == [[0], [1], [2], [3], [4]]


def test_retry_submits_what_the_cluster_had_no_room_for(runs, slurm, capsys):
    slurm.set(submit_limits=[["default", ""], ["mine", "2"]])
    packed = ("hydra.launcher.account=mine", "hydra.launcher.runs_per_gpu=2")
    _, out, _ = runs.submit("seed=0,1,2,3,4", *packed)
    assert "4 of 5 runs submitted in 2 jobs: 100\n" in out
    assert "1 jobs are more than the cluster lets you submit now" in out
    for job in slurm.jobs:
        slurm.job(job, "RUNNING", "n1")
    assert commands.retry(runs.read()) == 0
    assert "0 of 5 runs submitted in 0 jobs\n" in capsys.readouterr().out
    slurm.job("100_0", "CANCELLED", "n1")
    assert commands.retry(runs.read()) == 0
    assert "2 of 5 runs submitted in 1 jobs: 101\n" in capsys.readouterr().out
    slurm.set(submit_limits=[["default", ""], ["mine", ""]])
    assert commands.retry(runs.read()) == 0
    assert "1 of 5 runs submitted in 1 jobs: 102\n" in capsys.readouterr().out
    assert [job.runs for job in runs.read().jobs] == [[0, 1], [2, 3], [0, 1], [4]]


def clock(sleep):
    """The module `time` for those that wait; subprocess sleeps too, with its own."""
    return SimpleNamespace(sleep=sleep, monotonic=time.monotonic)


def test_waiting_shows_how_it_has_ended(runs, slurm, monkeypatch):
    def ended(_seconds):
        slurm.job("100_0", "FAILED", "n1")
        slurm.job("100_1", "COMPLETED", "n1")

    monkeypatch.setattr("launch.slurm.time", clock(ended))
    code, out, _ = runs.submit("seed=0,1", "hydra.launcher.wait=true")
    assert code == 1
    assert "2 runs: 2 FAILED" in out


def test_waiting_is_said_and_can_be_left(runs, slurm, monkeypatch):
    def interrupted(_seconds):
        raise KeyboardInterrupt

    monkeypatch.setattr("launch.slurm.time", clock(interrupted))
    code, out, err = runs.submit("seed=0,1", "hydra.launcher.wait=true")
    assert code == 130
    assert "2 of 2 runs submitted" in out
    first, *others = err.splitlines()
    assert first == "waiting for the end of all runs; Ctrl-C leaves, and the jobs go on"
    assert others == [
        "no longer waiting; the jobs go on",
        f"watch them:  python -m launch status {runs.directory}",
        f"cancel them: python -m launch cancel {runs.directory}",
    ]
    assert set(slurm.jobs.values()) == {"PENDING"}


def test_waiting_outlasts_a_controller_that_does_not_answer(runs, slurm, monkeypatch, caplog):
    slept = []

    def sleep(seconds):
        slept.append(seconds)
        if len(slept) == 1:
            slurm.fail("squeue", fake_slurm.UNREACHABLE)
        elif len(slept) == 2:
            slurm.mend("squeue")
        else:
            slurm.job("100", "FAILED", "n1")

    monkeypatch.setattr("launch.slurm.time", clock(sleep))
    code, out, _ = runs.submit("seed=0", "hydra.launcher.wait=true")
    assert code == 1
    assert "1 runs: 1 FAILED" in out
    assert slept == [20.0] * 3
    (warning,) = [r.getMessage() for r in caplog.records if r.name == "launch.slurm"]
    assert "slurmctld does not answer" in warning
    assert warning.endswith("; asked again in 20 s")


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


def test_retry_with_other_settings_of_the_launcher(runs, slurm, capsys):
    runs.submit("seed=0,1,2")
    assert "#SBATCH --mem=3GB" in slurm.scripts[0]
    slurm.job("100_1", "OUT_OF_MEMORY", "n1")
    before = runs.read().params
    assert commands.retry(runs.read(), ["hydra.launcher.mem_gb=7"]) == 0
    assert "1 of 3 runs submitted in 1 jobs: 101\n" in capsys.readouterr().out
    assert "#SBATCH --mem=7GB" in slurm.scripts[1]
    assert runs.read().params == before | {"mem_gb": 7}
    slurm.job("101", "OUT_OF_MEMORY", "n1")
    assert commands.retry(runs.read()) == 0  # from now on
    assert "#SBATCH --mem=7GB" in slurm.scripts[2]


def test_retry_with_settings_that_the_cluster_does_not_have_changes_nothing(runs, slurm):
    runs.submit("seed=0,1")
    slurm.job("100_1", "OUT_OF_MEMORY", "n1")
    before = (runs.directory / "sweep.json").read_bytes()
    with pytest.raises(ConfigError, match=r"mem_gb=64: partition debug has 7\.8125 at most"):
        commands.retry(runs.read(), ["hydra.launcher.mem_gb=64"])
    assert (runs.directory / "sweep.json").read_bytes() == before
    assert len(slurm.scripts) == 1


def test_extend_submits_new_runs_alone(runs, slurm, capsys):
    slurm.set(submit_limits=[["default", "2"]])
    runs.submit("seed=0,1,2")
    slurm.set(submit_limits=[["default", ""]])
    slurm.job("100_0", "CANCELLED")
    slurm.job("100_1", "FAILED")
    assert commands.extend(runs.read(), ["seed=2,5"]) == 0
    out = capsys.readouterr().out
    assert "1 of 4 runs submitted in 1 jobs: 101\n" in out
    assert "4 runs: 1 FAILED, 1 KILLED, 1 MISSING, 1 PENDING" in out
    assert [job.runs for job in runs.read().jobs] == [[0], [1], [3]]
    assert commands.extend(runs.read(), ["seed=2,5"]) == 0
    assert capsys.readouterr().out == "nothing to submit\n"


def test_extend_lets_runs_train_longer(runs, slurm, make_run, capsys):
    runs.submit("seed=0,1")
    assert commands.extend(runs.read(), ["training.env_steps=900"]) == 0  # fewer: nothing changes
    assert capsys.readouterr().out == "nothing to submit\n"
    with pytest.raises(ConfigError, match="run 0 is at work and can't be told to train longer"):
        commands.extend(runs.read(), ["training.env_steps=2000"])
    assert runs.read().runs[0].env_steps == 1000
    for number in (0, 1):
        slurm.job(f"100_{number}", "COMPLETED", "n1")
        composed = read_spec(runs.read().spec(number)).config
        path = Path(runs.read().runs[number].run_dir)
        make_run(path, ["FINISHED"], [{"env_step": 1000, "time": 1.0}], config=composed)
    assert commands.extend(runs.read(), ["seed=1,2", "training.env_steps=2000"]) == 0
    sweep = runs.read()
    assert [run.env_steps for run in sweep.runs] == [1000, 2000, 2000]
    assert [job.runs for job in sweep.jobs[2:]] == [[2], [1]]
    assert read_spec(sweep.spec(1)).config["training"]["env_steps"] == 2000
    assert read_spec(sweep.spec(0)).config["training"]["env_steps"] == 1000
    assert [row.state for row in sweep_rows(sweep)] == ["FINISHED", "PENDING", "PENDING"]


def test_extend_asks_the_machine_that_trains_for_its_device(runs, monkeypatch):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    runs.submit("seed=0", "hydra.launcher.gpus_per_node=1")
    assert commands.extend(runs.read(), ["seed=1", "device=cuda"]) == 0
    assert read_spec(runs.read().spec(1)).config["device"] == "cuda"
    sweep = runs.read()
    sweep.launcher = "local"
    with pytest.raises(ConfigError, match="device=cuda needs a CUDA device that is not here"):
        commands.extend(sweep, ["seed=2", "device=cuda"])


def test_extend_adds_runs_and_keeps_the_old_ones(runs, capsys):
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
