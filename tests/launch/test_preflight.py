import os
import shutil
from collections import namedtuple

import pytest

from harmony.config.compose import Composed
from harmony.config.run_dir import RunDirectory
from harmony.errors import ConfigError, RunDirectoryError
from launch import preflight
from launch.cluster import ClusterError, Partition
from launch.preflight import (
    check_all,
    check_cluster,
    check_devices,
    check_directories,
    check_memory,
    check_partition,
    check_place,
    check_processes,
    check_room,
    check_timing,
    check_tracking,
    memory_gb,
)
from tests.launch import fake_slurm

PARAMS = {
    "timeout_min": 60, "signal_delay_s": 60, "runs_per_gpu": 1, "mem_gb": 4, "gpus_per_node": 1,
    "cpus_per_task": 4, "partition": None,
}  # fmt: skip
GPU = Partition("gpu", True, True, 120, 2, 16, 64000)
CPU = Partition("cpu", False, True, None, 0, 64, 256000)
CLOSED = Partition("old", False, False, None, 4, 64, 256000)


PROCESS = 0.8  # GB of a run without its replay


def params(**changes):
    return PARAMS | changes


def composed(path, seed=0, env_steps=1000, storage="disk", capacity=10_000, uri=None):
    tracking = {} if uri is None else {"tracking_uri": uri}
    config = {
        "seed": seed,
        "run_dir": str(path),
        "training": {"env_steps": env_steps},
        "replay": {"storage": storage, "capacity": capacity},
        "env": {"image_size": 64, "action_repeat": 2},
        "tracking": tracking,
    }
    return Composed(config, {}, [f"seed={seed}"])


def test_timing_that_fits():
    check_timing(params(), [])
    check_timing(params(), [30.0, 12.0])
    check_timing(params(timeout_min=2), [])


@pytest.mark.parametrize(
    ("changes", "saves", "part"),
    [
        (
            {},
            [31.0, 5.0],
            "signal_delay_s=60: saving took 31 s in this sweep, expected at least 62",
        ),
        ({"timeout_min": 1}, [], "timeout_min=1 is too short for one checkpoint.*at least 2 min"),
        ({"signal_delay_s": 1801}, [], "timeout_min=60 is too short.*at least 61 minutes"),
    ],
)
def test_timing_that_does_not(changes, saves, part):
    with pytest.raises(ConfigError, match=part):
        check_timing(params(**changes), saves)


def test_the_partition_is_the_default_or_the_one_that_is_named():
    assert check_partition(params(), [CPU, GPU]) == [GPU]
    assert check_partition(params(partition="cpu", gpus_per_node=None), [GPU, CPU]) == [CPU]
    assert check_partition(params(partition="cpu", gpus_per_node=0, mem_gb=None), [CPU]) == [CPU]


def test_of_several_partitions_one_that_fits_is_enough():
    both = params(partition="cpu,gpu")
    assert check_partition(both, [GPU, CPU, CLOSED]) == [GPU, CPU]
    assert check_partition(params(partition="old,gpu"), [GPU, CPU, CLOSED]) == [GPU, CLOSED]


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"partition": "gpus"}, "partition=gpus: the cluster has no such partition.*'gpu'"),
        ({"timeout_min": 121}, "timeout_min=121: partition gpu has 120 at most"),
        ({"gpus_per_node": 3}, "gpus_per_node=3: partition gpu has 2 at most; ask for 2"),
        ({"partition": "cpu"}, "gpus_per_node=1: partition cpu has 0 at most; ask for null"),
        ({"cpus_per_task": 17}, "cpus_per_task=17: partition gpu has 16"),
        (
            {"mem_gb": 63},
            "mem_gb=63: partition gpu has 62.5 at most; ask for 62,.*there are gpu, cpu, old",
        ),
        ({"partition": "old"}, "partition=old: it takes no jobs"),
        ({"partition": "gpu,cqu"}, "partition=gpu,cqu: .* no such partition 'cqu'.*'cpu'"),
        ({"partition": "gpu,"}, "partition=gpu,: the cluster has no such partition ''"),
        ({"partition": "cpu,gpu", "gpus_per_node": 3}, "partition gpu has 2 at most"),
    ],
)
def test_a_partition_that_has_less_is_refused(changes, part):
    with pytest.raises(ConfigError, match=part):
        check_partition(params(**changes), [GPU, CPU, CLOSED])


def test_a_cluster_without_a_default_wants_a_name():
    with pytest.raises(ConfigError, match="partition is not set and the cluster has no default"):
        check_partition(params(), [CPU, CLOSED])


def test_memory_of_a_replay_on_disk_is_that_of_a_process(tmp_path):
    assert memory_gb(composed(tmp_path).config) == PROCESS
    check_memory(params(mem_gb=1), [composed(tmp_path)])
    with pytest.raises(ConfigError, match="mem_gb=1: a job of 4 runs needs about 3 GB"):
        check_memory(params(mem_gb=1, runs_per_gpu=4), [composed(tmp_path)])


def test_memory_of_a_replay_in_memory_counts(tmp_path):
    large = composed(tmp_path, env_steps=2_000_000, storage="memory", capacity=500_000)
    small = composed(tmp_path, env_steps=20_000, storage="memory", capacity=500_000)
    # 64 x 64 x 3 bytes a step and a bit; the run has no more steps than env_steps / action_repeat
    assert PROCESS + 6.14 < memory_gb(large.config) < PROCESS + 6.3
    assert PROCESS + 0.12 < memory_gb(small.config) < PROCESS + 0.13
    check_memory(params(mem_gb=8), [small, large])
    check_memory(params(mem_gb=None), [large])
    with pytest.raises(ConfigError, match=r"mem_gb=6: a job of 1 runs needs about 7 GB"):
        check_memory(params(mem_gb=6), [small, large])
    with pytest.raises(ConfigError, match=r"mem_gb=8: a job of 2 runs needs about 14 GB"):
        check_memory(params(mem_gb=8, runs_per_gpu=2), [large])


@pytest.fixture
def begun(tmp_path):
    """A run that was begun with `composed`."""

    def begin(**changes):
        run = composed(tmp_path / "r", **changes)
        return RunDirectory.open(run.config, run.choices, run.overrides)

    return begin


def test_directories_that_are_free_or_hold_the_same_run(tmp_path, begun):
    path = tmp_path / "r"
    check_directories([(path, composed(path))])
    assert not path.exists()
    path.mkdir()
    check_directories([(path, composed(path))])
    begun().close()
    check_directories([(path, composed(path))])
    check_directories([(path, composed(path, env_steps=5000))])  # more steps are welcome


def test_directories_of_others(tmp_path, begun):
    path = tmp_path / "r"
    with begun(), pytest.raises(RunDirectoryError, match="a process is at work there"):
        check_directories([(path, composed(path))])
    with pytest.raises(RunDirectoryError, match="is another run, they differ in seed"):
        check_directories([(path, composed(path, seed=1))])
    with pytest.raises(RunDirectoryError, match="can only grow"):
        check_directories([(path, composed(path, env_steps=10))])
    other = tmp_path / "notes"
    other.mkdir()
    (other / "thesis.tex").touch()
    with pytest.raises(RunDirectoryError, match="not empty and holds no run"):
        check_directories([(other, composed(other))])


def test_room(tmp_path):
    check_room(tmp_path / "runs" / "walk")
    assert list((tmp_path / "runs" / "walk").iterdir()) == []


def test_a_place_that_is_only_looked_at(tmp_path):
    check_place(tmp_path / "runs" / "walk")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("check", [check_room, check_place])
def test_no_place_to_write(tmp_path, check):
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path / "file" / "walk"):
        with pytest.raises(RunDirectoryError, match=r"can't write .*; set HARMONY_RUNS"):
            check(path)
    if os.geteuid():
        (tmp_path / "closed").mkdir(mode=0o500)
        with pytest.raises(RunDirectoryError, match="Permission denied"):
            check_room(tmp_path / "closed" / "walk")


def test_a_place_of_another(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, _mode: path != tmp_path)
    with pytest.raises(RunDirectoryError, match=f"walk: {tmp_path} is not yours to write; set"):
        check_place(tmp_path / "runs" / "walk")


def test_a_full_disk(tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage(10**12, 10**12, 4 * 10**8))
    with pytest.raises(RunDirectoryError, match=r"has 0.4 GB left"):
        check_room(tmp_path)


def test_tracking(monkeypatch):
    check_tracking({"tracking": {}}, 100)
    check_tracking({"tracking": {"tracking_uri": "sqlite:////x.db"}}, 1)
    with pytest.raises(ConfigError, match=r"sqlite breaks when several machines write, and 2 may"):
        check_tracking({"tracking": {"tracking_uri": "sqlite:////x.db"}}, 2)
    asked = []
    monkeypatch.setattr(preflight, "probe", lambda *given: asked.append(given))
    check_tracking({"tracking": {"tracking_uri": "http://host:5000"}}, 2)
    assert asked == [("http://host:5000", 10.0)]


@pytest.mark.parametrize(
    ("uri", "part"),
    [
        ("", "got nothing: set MLFLOW_TRACKING_URI=http://HOST:PORT"),
        ("login01:5000", "http.*HOST:PORT, got login01:5000"),
        ("http://me:secret@login01:5000", "without a password"),
    ],
)
def test_an_address_that_is_none_is_refused(uri, part):
    with pytest.raises(ConfigError, match=part):
        check_tracking({"tracking": {"tracking_uri": uri}}, 1)


def test_jobs_ask_for_the_gpu_that_runs_want(tmp_path):
    run = composed(tmp_path)
    for device in ("cpu", "auto"):
        run.config["device"] = device
        check_devices(params(gpus_per_node=None), [run])
    run.config["device"] = "cuda"
    for given in ({}, {"gres": "gpu:a100:1"}, {"additional_parameters": {"gpus": 1}}):
        check_devices({"gpus_per_node": None, **given} if given else params(), [run])
    for gpus in (None, 0):
        with pytest.raises(
            ConfigError, match=r"ask for no GPU; set hydra\.launcher\.gpus_per_node=1"
        ):
            check_devices(params(gpus_per_node=gpus, additional_parameters={"x": 1}), [run])


def test_a_server_that_is_away_is_refused():
    with pytest.raises(ConfigError, match="nothing listens there"):
        check_tracking({"tracking": {"tracking_uri": "http://127.0.0.1:9"}}, 2)


def test_the_cluster_is_asked(slurm):
    slurm.set(array_size=501)
    assert check_cluster(params()) == (501, 2)
    slurm.set(nodes=["vm", "vm"])  # two nodes of one machine
    assert check_cluster(params(partition="long")) == (501, 1)
    assert slurm.calls("sinfo")[-1][0][2] == "--partition=long"


@pytest.mark.parametrize(
    ("command", "text", "part"),
    [
        ("sinfo", fake_slurm.UNREACHABLE, "slurmctld does not answer"),
        ("sinfo", fake_slurm.NO_CONFIG, "set SLURM_CONF"),
        ("scontrol", fake_slurm.MUNGE_DOWN, "start munged"),
    ],
)
def test_a_cluster_in_trouble(slurm, command, text, part):
    slurm.fail(command, text)
    with pytest.raises(ClusterError, match=part):
        check_cluster(params())


def test_a_cluster_without_partitions_or_commands(slurm, monkeypatch, tmp_path):
    slurm.set(partitions="")
    with pytest.raises(ClusterError, match="sinfo shows no partition"):
        check_cluster(params())
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    with pytest.raises(ClusterError, match="expected sbatch on the path"):
        check_cluster(params())


def test_everything_is_checked_local_things_first(slurm, tmp_path, make_run):
    path = tmp_path / "r"
    good = [(path, composed(path))]
    assert check_all(params(mem_gb=4), good) == 1001
    before = len(slurm.calls("sinfo"))
    with pytest.raises(ConfigError, match=r"mem_gb=0: expected at least 1 GB"):
        check_all(params(mem_gb=0), good)
    with pytest.raises(ConfigError, match="a job of 4 runs needs about 3 GB"):
        check_all(params(mem_gb=1, runs_per_gpu=4), good)
    make_run(path, ["KILLED"], [{"env_step": 1, "time": 1.0, "time/save_s": 50.0}])
    with pytest.raises(ConfigError, match="saving took 50 s"):
        check_all(params(), good)
    assert len(slurm.calls("sinfo")) == before
    local = tmp_path / "l"
    with pytest.raises(ConfigError, match="sqlite breaks"):
        check_all(params(), [(local, composed(local, uri="sqlite:////x.db"))])


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"runs_per_gpu": 2}, "a run on several GPUs shares none; take runs_per_gpu=1"),
        ({"nodes": 2}, "are on one node; take nodes=1"),
        ({"gpus_per_node": 3}, "set gpus_per_node=4, got 3"),
        ({"gpus_per_node": 4}, "batch_size=6 can't be divided among 4 processes"),
    ],
)
def test_processes_that_can_not_share_a_run(changes, part, tmp_path):
    run = composed(tmp_path)
    run.config["replay"]["batch_size"] = 6
    with pytest.raises(ConfigError, match=part) as caught:
        check_processes(params(tasks_per_node=4, **changes), [run])
    assert "\n" not in str(caught.value)
    run.config["replay"]["batch_size"] = 8
    check_processes(params(tasks_per_node=4, gpus_per_node=4), [run])
    check_processes(params(tasks_per_node=4, gpus_per_node=None), [run])
    check_processes(params(tasks_per_node=1, runs_per_gpu=2), [run])
