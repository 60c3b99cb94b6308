import json
import threading
import time
from pathlib import Path

import pytest

from harmony.config.compose import Composed
from harmony.errors import RunDirectoryError
from launch.sweep import SubmittedJob, Sweep, read_spec, without_launcher, write_spec


def composed(seed, steps=100):
    return Composed(
        {"seed": seed, "training": {"env_steps": steps}, "experiment": "e"},
        {"env": "probe"},
        [f"seed={seed}", "hydra/launcher=slurm", "hydra.launcher.mem_gb=1"],
    )


def test_written_and_read_back_the_same(make_sweep):
    sweep = make_sweep(3, {"12_0": [0, 1], "12_1": [2]}, params={"setup": ["a b"], "qos": None})
    sweep.jobs[0].cancelled = True
    sweep.write()
    assert Sweep.read(sweep.directory) == sweep
    assert not list(sweep.directory.glob("*.tmp"))


def test_read_takes_a_relative_directory(make_sweep, monkeypatch):
    sweep = make_sweep()
    monkeypatch.chdir(sweep.directory.parent)
    assert Sweep.read(Path("walk")).directory == sweep.directory


@pytest.mark.parametrize(
    ("text", "part"),
    [
        (None, "no sweep in"),
        ("", "can't read"),
        ("{", "can't read"),
        ("[]", "can't read"),
        ('{"version": 2, "runs": [], "jobs": []}', "of another version"),
        ('{"version": 1, "runs": [], "jobs": []}', "can't read"),
        ('{"version": 1, "runs": [{"new": 1}], "jobs": []}', "can't read"),
    ],
)
def test_a_damaged_or_missing_sweep_is_one_line(tmp_path, text, part):
    if text is not None:
        (tmp_path / "sweep.json").write_text(text)
    with pytest.raises(RunDirectoryError, match=part) as caught:
        Sweep.read(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_file_in_place_of_the_directory_is_one_line(make_sweep):
    sweep = make_sweep()
    with pytest.raises(RunDirectoryError, match="no sweep in"):
        Sweep.read(sweep.directory / "sweep.json")


def test_places(make_sweep):
    sweep = make_sweep(2)
    assert sweep.name == "walk"
    assert sweep.code == sweep.directory / "code"
    assert sweep.spec(7) == sweep.directory / "specs" / "00007.json"
    assert sweep.log(1) == sweep.directory / "logs" / "00001-r1.log"


def test_the_latest_job_of_a_run_counts(make_sweep):
    sweep = make_sweep(3, {"12_0": [0], "12_1": [1], "13": [0]})
    assert sweep.latest_job(0).id == "13"
    assert sweep.latest_job(1).id == "12_1"
    assert sweep.latest_job(2) is None


def test_add_runs_adds_what_is_new_in_order(make_sweep):
    sweep = make_sweep(2)
    root = sweep.directory
    new = sweep.add_runs(
        [(root / "r1", composed(1)), (root / "r9", composed(9, 50)), (root / "r9", composed(9))]
    )
    (run,) = new
    assert (run.index, run.name, run.env_steps, run.experiment) == (2, "r9", 50, "e")
    assert run.overrides == ["seed=9"]
    assert sweep.runs[2] is run
    assert len(sweep.runs) == 3


def test_specs_are_what_the_worker_reads(tmp_path):
    write_spec(tmp_path / "specs" / "0.json", composed(3))
    again = read_spec(tmp_path / "specs" / "0.json")
    assert again.config == composed(3).config
    assert again.choices == {"env": "probe"}
    assert again.overrides == ["seed=3"]
    assert again.launcher == "basic"


def test_the_spec_of_a_submitted_run_stays_and_one_that_was_never_submitted_is_renewed(make_sweep):
    sweep = make_sweep(2, {"12": [0]})
    first = [(sweep.directory / f"r{i}", composed(i)) for i in range(2)]
    sweep.write_specs(first)
    sweep.write_specs([(path, composed(7)) for path, _ in first])
    assert [read_spec(sweep.spec(i)).config["seed"] for i in range(2)] == [0, 7]


def test_without_launcher():
    given = ["seed=0,1", "hydra/launcher=slurm", "+hydra.launcher.x=1", "~hydra.y", "hydrant=1"]
    assert without_launcher(given) == ["seed=0,1", "hydrant=1"]


def test_the_lock_makes_commands_wait(make_sweep):
    sweep = make_sweep()
    seen = []

    def other():
        with Sweep.lock(sweep.directory):
            seen.append("other")

    with Sweep.lock(sweep.directory):
        thread = threading.Thread(target=other)
        thread.start()
        time.sleep(0.1)
        seen.append("first")
    thread.join(10)
    assert seen == ["first", "other"]


def test_a_job_knows_when_it_was_submitted(make_sweep):
    before = time.time()
    job = SubmittedJob("12", [0])
    assert before <= job.submitted <= time.time()
    sweep = make_sweep(1, {"12": [0]})
    assert json.loads((sweep.directory / "sweep.json").read_text())["jobs"][0]["id"] == "12"
