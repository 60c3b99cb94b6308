"""Runs of two processes on a real SLURM: disturbed ones end as the one that nobody disturbed."""

import os
import signal

import psutil
import pytest

from harmony.training.checkpoint import CheckpointStore
from launch.dev_cluster import DevCluster, Settings
from tests import tiny
from tests.integration.slurm_runs import Cluster, kill, wait
from tests.integration.test_kills import assert_same

pytestmark = [pytest.mark.slurm, pytest.mark.sim, pytest.mark.timeout(1800)]
TWO = ("hydra.launcher.tasks_per_node=2", "training.env_steps=5000")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    root = tmp_path_factory.mktemp("two")
    made = DevCluster(root / "cluster", Settings(nodes=1, requeue_delay_s=5))
    made.start()
    yield Cluster(root, made)
    made.stop(purge=True)


def process_of(cluster, sweep, rank):
    """The process of a rank, of all that this machine has."""
    spec = str(cluster.directory(sweep) / "specs" / "00000.json")
    for process in psutil.process_iter(["cmdline", "environ"]):
        environment = process.info["environ"] or {}
        of_step = environment.get("SLURM_PROCID"), environment.get("HARMONY_WORLD_SIZE")
        if (process.info["cmdline"] or [""])[-1] == spec and of_step == (str(rank), "2"):
            return process.pid
    raise AssertionError(f"no process {rank} of {sweep}")


def state(run_dir):
    _, found = CheckpointStore(run_dir / "checkpoints").load_latest()
    del found["metrics_offset"]  # rows hold times of varying length
    return found


def assert_undisturbed(cluster, sweep, calm, starts):
    assert [row["state"] for row in cluster.wait_for_end(sweep)] == ["FINISHED"]
    assert cluster.attempts(sweep) == starts
    assert_same(state(cluster.run_dir(sweep)), state(calm))
    assert tiny.rows(cluster.run_dir(sweep)) == tiny.rows(calm)


@pytest.fixture(scope="module")
def calm(cluster):
    cluster.submit("calm", *TWO)
    assert [row["state"] for row in cluster.wait_for_end("calm")] == ["FINISHED"]
    assert "2 processes share the batch of each update" in cluster.log("calm", 0)
    assert cluster.attempts("calm") == 1
    return cluster.run_dir("calm")


@pytest.mark.parametrize("rank", [0, 1])
def test_a_process_that_is_killed_ends_the_start_and_another_follows(cluster, calm, rank):
    sweep = f"killed{rank}"
    cluster.submit(sweep, *TWO)
    cluster.wait_for_step(sweep, 500)
    kill(process_of(cluster, sweep, rank))
    wait(lambda: cluster.attempts(sweep) == 2)
    assert_undisturbed(cluster, sweep, calm, starts=2)


def test_the_signal_before_the_time_limit_saves_and_requeues(cluster, calm):
    cluster.submit("signalled", *TWO)
    cluster.wait_for_step("signalled", 500)
    os.kill(cluster.supervisor("signalled"), signal.SIGUSR2)
    assert_undisturbed(cluster, "signalled", calm, starts=2)
    first, last = cluster.record("signalled")["attempts"]
    assert (first["ended"]["status"], last["ended"]["status"]) == ("SCHEDULED", "FINISHED")
