import sys

import pytest

from launch.cluster import ClusterError
from launch.submission import arrays, make_jobs, script, setup_lines, srun, submit
from tests.launch import fake_slurm

PARAMS = {
    "submitit_folder": "", "timeout_min": 60, "cpus_per_task": 8, "gpus_per_node": 1,
    "tasks_per_node": 1, "mem_gb": 4, "nodes": 1, "name": "harmony", "stderr_to_stdout": True,
    "partition": None, "signal_delay_s": 60, "max_num_timeout": 1000, "array_parallelism": 256,
    "additional_parameters": {"requeue": True}, "setup": None, "wait": False, "dry_run": False,
    "runs_per_gpu": 1, "srun_args": [], "max_crashes": 2, "python": None,
}  # fmt: skip


@pytest.fixture
def sweep(make_sweep):
    def made(count=3, written=True, **changes):
        return make_sweep(count, params=PARAMS | changes, written=written)

    return made


@pytest.mark.parametrize(
    ("count", "largest", "parts"),
    [(0, 3, []), (1, 3, [1]), (3, 3, [3]), (4, 3, [3, 1]), (7, 2, [2, 2, 2, 1])],
)
def test_arrays(count, largest, parts):
    made = list(arrays(count, largest))
    assert [len(part) for part in made] == parts
    assert [number for part in made for number in part] == list(range(count))


def test_srun():
    assert srun(PARAMS, 1) == [
        "srun", "--ntasks=1", "--nodes=1", "--unbuffered", "--cpus-per-task=8",
    ]  # fmt: skip
    shared = srun(PARAMS | {"srun_args": ["--cpu-bind=none"]}, 3)
    assert shared[-3:] == ["--cpus-per-task=2", "--overlap", "--cpu-bind=none"]
    assert srun(PARAMS | {"cpus_per_task": 2}, 4)[4] == "--cpus-per-task=1"
    assert not any("cpus" in word for word in srun(PARAMS | {"cpus_per_task": None}, 1))


def test_runs_are_packed_into_jobs(sweep):
    made = make_jobs(sweep(5, runs_per_gpu=2, max_crashes=7), [0, 2, 3, 4])
    assert [job.runs for job in made] == [[0, 2], [3, 4]]
    assert {job.max_crashes for job in made} == {7}
    assert all("--overlap" in job.srun for job in made)
    (single,) = make_jobs(sweep(5, runs_per_gpu=2), [1])
    assert "--overlap" not in single.srun
    assert make_jobs(sweep(), []) == []


def test_setup_lines_quote_and_keep_what_is_there(tmp_path):
    lines = setup_lines(tmp_path / "it's here", ["module load cuda"])
    assert lines[0] == "module load cuda"
    assert lines[1].endswith("${PYTHONPATH:+:$PYTHONPATH}")
    assert "'\"'\"'" in lines[1]
    assert lines[2].startswith("export PYTHONSAFEPATH=1")


@pytest.mark.usefixtures("slurm")
def test_a_script_leaves_nothing_behind(sweep):
    made = sweep(written=False)
    text = script(made, 3)
    assert "#SBATCH --array=0-2%3\n" in text
    assert "#SBATCH --signal=B:USR2@60\n" in text
    assert "#SBATCH --requeue\n" in text
    assert f"\nexec {sys.executable} -u -m submitit.core._submit {made.directory}/jobs\n" in text
    assert "srun" not in text
    assert "--array" not in script(made, 1)
    assert not made.directory.exists()


@pytest.mark.usefixtures("slurm")
def test_what_a_site_asks_for(sweep):
    text = script(
        sweep(
            partition="long", account="me", qos="low", gres="gpu:a100:1", gpus_per_node=None,
            additional_parameters=None, setup=["module load x"], python="/opt/my python",
            array_parallelism=2,
        ),
        3,
    )  # fmt: skip
    for line in ("partition=long", "account=me", "qos=low", "gres=gpu:a100:1", "array=0-2%2"):
        assert f"#SBATCH --{line}\n" in text
    assert "gpus-per-node" not in text
    assert "requeue" not in text
    assert "\nexec '/opt/my python' -u -m" in text
    assert text.index("module load x") < text.index("export PYTHONPATH")


@pytest.mark.usefixtures("slurm")
def test_more_options_of_sbatch(sweep):
    more = {"mail-user": "me@example.org", "exclusive": True, "requeue": False, "x": None}
    text = script(sweep(additional_parameters=more, reservation="icml"), 1)
    for line in ("mail-user=me@example.org", "exclusive", "reservation=icml", "signal=B:USR2@60"):
        assert f"#SBATCH --{line}\n" in text
    for word in ("requeue", "False", "None", "--x"):
        assert word not in text
    assert "reservation" not in script(sweep(), 1)


@pytest.mark.usefixtures("slurm")
def test_jobs_have_the_name_and_the_directory_of_the_sweep(sweep):
    made = sweep(name=None, comment=None)
    text = script(made, 1)
    assert "#SBATCH --job-name=walk\n" in text
    assert f"#SBATCH --comment={made.directory}\n" in text
    text = script(sweep(name="it's mine", comment="a b"), 1)
    assert "#SBATCH --job-name='it'\"'\"'s mine'\n" in text
    assert "#SBATCH --comment='a b'\n" in text


def test_ids_are_written_down_after_every_array(slurm, sweep):
    made, seen = sweep(3), []

    def submitted():
        seen.append([job.id for job in type(made).read(made.directory).jobs])

    submit(made, make_jobs(made, [0, 1, 2]), 2, submitted)
    assert seen == [["100_0", "100_1"], ["100_0", "100_1", "101"]]
    assert slurm.jobs == dict.fromkeys(("100_0", "100_1", "101"), "PENDING")


@pytest.mark.parametrize(
    ("text", "part"),
    [
        (fake_slurm.NO_PARTITION, "sbatch: .*nope: set hydra.launcher.partition"),
        (fake_slurm.TIMED_OUT, "may be there all the same: squeue --me --name=harmony shows them"),
        (fake_slurm.POLICY, "more than your account may have"),
        ("", "sbatch"),
    ],
)
def test_a_refusal_is_one_line(slurm, sweep, text, part):
    slurm.fail("sbatch", text)
    made = sweep(2)
    with pytest.raises(ClusterError, match=part) as caught:
        submit(made, make_jobs(made, [0, 1]), 10, lambda: None)
    assert "\n" not in str(caught.value)
    assert type(made).read(made.directory).jobs == []


def test_the_processes_of_a_run_start_and_end_together():
    params = {"tasks_per_node": 2, "cpus_per_task": 4, "srun_args": ["--mpi=none"]}
    assert srun(params, 1) == [
        "srun", "--ntasks=2", "--nodes=1", "--unbuffered", "--cpus-per-task=4",
        "--kill-on-bad-exit=1", "--mpi=none", "env", "HARMONY_WORLD_SIZE=2",
    ]  # fmt: skip
