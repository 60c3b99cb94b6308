"""What happens with a sweep after its submission: the command again, retry, extend, cancel."""

import pytest

from launch import commands
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
    assert "2 jobs are more than the cluster lets you submit now" in out
    _, out, _ = runs.submit("seed=0,1,2,3,4")
    assert "0 of 5 runs submitted in 0 jobs\n" in out
    for number in range(3):
        slurm.job(f"100_{number}", "RUNNING" if number else "FAILED", "n1")
    _, out, _ = runs.submit("seed=0,1,2,3,4")
    assert "1 of 5 runs submitted in 1 jobs: 101\n" in out
    assert [job.runs for job in runs.read().jobs] == [[0], [1], [2], [3]]


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
