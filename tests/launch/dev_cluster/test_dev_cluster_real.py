"""Starts a real SLURM; needs root and the programs."""

import os
import subprocess
import tempfile
import time
from pathlib import Path

import psutil
import pytest

from harmony.errors import ConfigError, UserError
from launch.dev_cluster import DevCluster, Settings, conf_files, daemons

pytestmark = pytest.mark.slurm


@pytest.fixture
def directory():
    """Below /tmp, as sockets need short paths."""
    with tempfile.TemporaryDirectory(prefix="dev_cluster_") as made:
        directory = Path(made) / "c"
        try:
            daemons.check_programs(Settings(), DevCluster(directory).layout)
        except UserError as error:
            pytest.skip(str(error))
        if os.geteuid() != 0:
            pytest.skip("needs root")
        yield directory
        DevCluster(directory).stop(purge=True)


def run(cluster: DevCluster, *argv: str) -> str:
    done = subprocess.run(
        argv,
        env=os.environ | cluster.environment(),
        cwd=cluster.layout.root.parent,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def wait_for(cluster: DevCluster, wanted: str, *argv: str, seconds: float = 45) -> None:
    deadline = time.monotonic() + seconds
    while (found := run(cluster, *argv)) != wanted:
        assert time.monotonic() < deadline, found
        time.sleep(0.3)


def mentions(directory: Path) -> list[str]:
    """Command lines of living processes that name the directory."""
    lines = [" ".join(p.info["cmdline"] or []) for p in psutil.process_iter(["cmdline"])]
    return [line for line in lines if str(directory) in line]


def test_jobs_from_start_to_stop(directory):
    cluster = DevCluster(directory, Settings(requeue_delay_s=5))
    assert cluster.start()
    assert not cluster.start()
    with pytest.raises(ConfigError, match="other values of nodes: stop it first"):
        DevCluster(directory, Settings(nodes=3, requeue_delay_s=5)).start()

    gpu = run(cluster, "sbatch", "-W", "--parsable", "--gpus=1", "-o", "gpu.txt", "--wrap",
              "echo gpu $CUDA_VISIBLE_DEVICES")  # fmt: skip
    assert (directory.parent / "gpu.txt").read_text() == "gpu 0\n"
    wait_for(cluster, f"{gpu}|COMPLETED", "sacct", "-XnP", "-j", gpu, "-o", "jobid,state")

    many = run(cluster, "sbatch", "--parsable", "-p", "stopped", "--array=0-999", "--wrap", "true")
    assert len(run(cluster, "squeue", "-rh", "-j", many).splitlines()) == 1000
    run(cluster, "scancel", many)

    script = "echo $SLURM_RESTART_COUNT >> restarts.txt; sleep 300"
    job = run(cluster, "sbatch", "--parsable", "-w", "n1", "--wrap", script)
    state = ("squeue", "-h", "-j", job, "-o", "%T %N")
    wait_for(cluster, "RUNNING n1", *state)
    run(cluster, "scontrol", "requeue", job)
    run(cluster, "scontrol", "update", f"jobid={job}", "StartTime=now")
    wait_for(cluster, "RUNNING n1", *state)
    run(cluster, "scontrol", "requeue", job)
    run(cluster, "scontrol", "update", f"jobid={job}", "ReqNodeList=", "StartTime=now")
    wait_for(cluster, "RUNNING n1", *state)

    cluster.kill_node("n1")
    assert cluster.status()["n1"] is None
    wait_for(cluster, "RUNNING n2", *state, seconds=90)
    cluster.restart_node("n1")
    run(cluster, "srun", "-w", "n1", "true")
    assert (directory.parent / "restarts.txt").read_text().split() == ["1", "2", "3"]

    cluster.stop()
    assert not any(cluster.status().values())
    assert mentions(directory) == []
    assert DevCluster(directory).start()  # with the last settings: the job comes back
    wait_for(cluster, job, "squeue", "-h", "-o", "%i")
    cluster.stop(purge=True)
    cluster.stop(purge=True)
    assert not directory.exists()
    assert mentions(directory) == []


def test_a_daemon_that_dies_leaves_nothing_running(directory, monkeypatch):
    text = conf_files.slurm_conf
    monkeypatch.setattr(conf_files, "slurm_conf", lambda *a: text(*a) + "Nonsense=1\n")
    with pytest.raises(UserError, match=r"slurmctld to run, it ended and said: .*; see"):
        DevCluster(directory, Settings(accounting=False)).start()
    assert mentions(directory) == []
