from pathlib import Path

import pytest

from harmony.config.compose import Composed
from harmony.config.run_names import settled_path
from harmony.errors import ConfigError, RunDirectoryError
from launch import prepare as module
from launch.prepare import prepare, register_sweep, settled
from launch.sweep import SubmittedJob, Sweep, read_spec

pytestmark = pytest.mark.usefixtures("no_git")


def composed(seed=0, sweep="walk", experiment="e", tracking=None):
    config = {
        "seed": seed, "sweep": sweep, "experiment": experiment, "training": {"env_steps": 100},
        "tracking": tracking or {}, "run_dir": None, "runs_root": None,
    }  # fmt: skip
    return Composed(config, {"env": "probe"}, [f"seed={seed}", "hydra/launcher=slurm"], "slurm")


OVERRIDES = ["seed=0,1", "sweep=walk", "hydra/launcher=slurm"]


def prepared(*seeds, overrides=OVERRIDES):
    return prepare([composed(seed) for seed in seeds], overrides, "slurm", {"mem_gb": 1})


def test_a_new_sweep(runs_root):
    made = prepared(0, 1)
    assert made.sweep.directory == runs_root / "walk"
    assert made.sweep.overrides == ["seed=0,1", "sweep=walk"]
    assert made.missing == [0, 1]
    assert made.others == []
    assert made.to_check == made.composed
    assert not runs_root.exists()


def test_a_known_sweep_is_what_was_written(runs_root):
    prepared(0, 1).write()
    again = prepared(0, 1)
    assert again.sweep == Sweep.read(runs_root / "walk")
    assert again.missing == [0, 1]  # nothing was submitted
    assert (runs_root / "walk" / "specs" / "00001.json").exists()


def test_places_mean_the_same_on_every_node(runs_root, monkeypatch, tmp_path):
    path, run = settled(composed())
    assert path.parent == runs_root / "walk"
    assert run.config["run_dir"] == str(path)
    assert run.config["runs_root"] == str(runs_root)
    assert run.launcher == "basic"
    monkeypatch.setenv("HARMONY_RUNS", "elsewhere")
    monkeypatch.chdir(tmp_path)
    assert settled_path(run.config, run.choices) == path


def test_a_run_without_a_sweep_is_refused():
    with pytest.raises(ConfigError, match="add sweep=NAME"):
        settled(composed(sweep=None))


def test_other_overrides_or_other_configurations_are_refused(runs_root):
    prepared(0, 1).write()
    with pytest.raises(RunDirectoryError, match=r"has seed=0,1, got seed=0,1,2.*launch extend"):
        prepared(0, 1, 2, overrides=["seed=0,1,2", "sweep=walk"])
    with pytest.raises(RunDirectoryError, match=r"has seed=0,1, got none of these"):
        prepared(0, overrides=["sweep=walk"])
    with pytest.raises(RunDirectoryError, match=r"configurations of 1 runs have changed.*retry"):
        prepared(0, 7)
    assert len(Sweep.read(runs_root / "walk").runs) == 2


def test_a_broken_off_submission_leaves_neither_old_code_nor_old_configurations(
    runs_root, monkeypatch
):
    first = prepared(0, 1)
    with monkeypatch.context() as patch:
        patch.setattr(Sweep, "write", lambda _self: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            first.write()
    assert not (runs_root / "walk" / "sweep.json").exists()
    (runs_root / "walk" / "code" / "old").touch()

    second = prepared(5, overrides=["seed=5", "sweep=walk"])
    second.write()
    assert read_spec(second.sweep.spec(0)).config["seed"] == 5
    assert not (second.sweep.code / "old").exists()
    assert (second.sweep.code / "copied").exists()


@pytest.mark.usefixtures("runs_root")
def test_code_that_jobs_run_stays():
    made = prepared(0, 1)
    made.write()
    (made.sweep.code / "old").touch()
    made.sweep.jobs.append(SubmittedJob("12", [0]))
    made.write()
    assert (made.sweep.code / "old").exists()


def test_the_parent_run_of_each_experiment_is_made_once(runs_root, monkeypatch):
    opened = []
    monkeypatch.setattr(module, "open_sweep", lambda *given: opened.append(given))
    where = {"tracking_uri": "sqlite:////x.db"}
    runs = [composed(0, tracking=where), composed(1, tracking=where), composed(2, experiment="f")]
    made = prepare(runs, OVERRIDES, "slurm", {})
    register_sweep(made.sweep, made.composed)
    assert opened == [(where, "e", "walk", 2, str(runs_root / "walk"))]  # f has no tracker
    assert Path(opened[0][4]).is_absolute()
