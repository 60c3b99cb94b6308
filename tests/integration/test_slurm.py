"""Sweeps on a real SLURM: whatever happens to its jobs, a run ends as one that nobody disturbed."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from launch.dev_cluster import DevCluster, Settings
from tests.integration.slurm_runs import ROOT, RUN, Cluster, kill, wait
from tests.integration.test_kills import assert_same, final_state, rows

pytestmark = [pytest.mark.slurm, pytest.mark.sim, pytest.mark.timeout(1800)]
LENGTH, LONG = "training.env_steps=12000", "training.env_steps=24000"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    root = tmp_path_factory.mktemp("slurm")
    made = DevCluster(root / "cluster", Settings(nodes=5, requeue_delay_s=5))
    made.start()
    yield Cluster(root, made)
    made.stop(purge=True)


@pytest.fixture(scope="module")
def undisturbed(cluster):
    """Runs that nobody disturbs, by their length, started without SLURM and side by side."""
    roots = {length: cluster.root / name for name, length in (("calm", LENGTH), ("long", LONG))}
    started = []
    for length, root in roots.items():
        root.mkdir()
        environment = {**cluster.environment, "HARMONY_RUNS": str(root)}
        command = [sys.executable, "-m", "harmony", *RUN, length, f"run_dir={root / 'run'}"]
        with (root / "output.txt").open("wb") as log:
            started.append(
                subprocess.Popen(command, env=environment, stdout=log, stderr=log, cwd=root)
            )
    assert [process.wait(600) for process in started] == [0, 0]
    return roots


@pytest.fixture(scope="module")
def calm(undisturbed):
    return undisturbed[LENGTH]


@pytest.fixture(scope="module")
def long_calm(undisturbed):
    return undisturbed[LONG]


def points(store: Path, run_key: str) -> tuple[str, dict[str, list[tuple[int, float]]]]:
    """Status and points of the one MLflow run that a run has."""
    from harmony.tracking.store import connect

    client = connect(f"sqlite:///{store / 'mlflow.db'}")
    experiments = [e.experiment_id for e in client.search_experiments()]
    (run,) = client.search_runs(experiments, f"tags.`harmony.run_key` = '{run_key}'")
    keys = [key for key in run.data.metrics if not key.startswith("time")]
    found = {
        key: [(m.step, m.value) for m in client.get_metric_history(run.info.run_id, key)]
        for key in keys
    }
    return run.info.status, found


def assert_undisturbed(cluster: Cluster, sweep: str, calm: Path, starts: int) -> None:
    """Weights, optimizers, rows and MLflow points are those of the calm run, none twice."""
    assert cluster.wait_for_end(sweep)[0]["state"] == "FINISHED"
    record = cluster.record(sweep)
    assert len(record["attempts"]) == starts
    place = cluster.run_dir(sweep).parent / "as_run"
    place.mkdir()
    (place / "run").symlink_to(cluster.run_dir(sweep))
    assert_same(final_state(place), final_state(calm))
    assert rows(place) == rows(calm)
    status, found = points(cluster.root / "runs", record["run_key"])
    calm_key = json.loads((calm / "run" / "run.json").read_text())["run_key"]
    assert status == "FINISHED"
    assert found == points(calm, calm_key)[1]
    store = cluster.root / "runs"
    assert parent_status(store, sweep) == "FINISHED"


def parent_status(store: Path, sweep: str) -> str:
    from harmony.tracking.store import connect

    client = connect(f"sqlite:///{store / 'mlflow.db'}")
    experiments = [e.experiment_id for e in client.search_experiments()]
    (run,) = client.search_runs(experiments, f"tags.`harmony.sweep_parent` = '{sweep}'")
    return run.info.status


@pytest.fixture(scope="module")
def disturbed(cluster):
    """One run a sweep, each disturbed in another way, all at the same time."""
    places = {
        "timeout": "n[2-5]", "requeue": "n[2-5]", "killed": "n[2-5]",
        "power": "n[1,4-5]", "slurmd": "n[1-3]",
    }  # fmt: skip
    for sweep, elsewhere in places.items():
        limit = ["hydra.launcher.timeout_min=2"] if sweep == "timeout" else []
        length = LONG if sweep == "timeout" else LENGTH
        exclude = f"hydra.launcher.exclude='{elsewhere}'"
        cluster.submit(sweep, length, exclude, *limit)
    cluster.wait_for_step("requeue", 1000)
    cluster.call("scontrol", "requeue", cluster.job("requeue"))
    cluster.wait_for_step("killed", 1000)
    kill(cluster.worker("killed"))
    cluster.wait_for_step("power", 1000)
    cluster.cluster.kill_node("n2")
    cluster.wait_for_step("slurmd", 1000)
    cluster.cluster.kill_slurmd("n4")
    wait(lambda: cluster.attempts("killed") == 2)
    cluster.wait_for_step("killed", max(cluster.checkpoints("killed")) + 500)
    kill(cluster.supervisor("killed"))
    kill(cluster.worker("killed"))
    wait(lambda: cluster.attempts("timeout") > 1)
    # Twice is enough, and on a slow machine a job might do little but begin.
    cluster.call("scontrol", "update", f"JobId={cluster.job('timeout')}", "TimeLimit=30")
    return cluster


def test_requeued_by_hand(disturbed, calm):
    assert_undisturbed(disturbed, "requeue", calm, starts=2)
    assert disturbed.record("requeue")["attempts"][0]["ended"]["status"] == "KILLED"


def test_killed_runs_start_again_within_their_job_and_dead_jobs_by_retry(disturbed, calm):
    assert disturbed.wait_for_end("killed")[0]["state"] == "FAILED"
    record = disturbed.record("killed")
    assert record["attempts"][-1]["ended"]["status"] == "FAILED"
    assert points(disturbed.root / "runs", record["run_key"])[0] == "FAILED"
    assert disturbed.final_accounts("killed") == {disturbed.job("killed"): "FAILED"}
    assert "1 of 1 runs submitted" in disturbed.launch("retry", "killed")
    assert_undisturbed(disturbed, "killed", calm, starts=3)


def test_power_cut_of_a_node(disturbed, calm):
    assert_undisturbed(disturbed, "power", calm, starts=2)


def test_slurmd_killed_under_a_running_job(disturbed, calm):
    """SLURM starts the run elsewhere while it still runs: the second waits and finds it done."""
    disturbed.wait_for_end("slurmd")
    assert_undisturbed(disturbed, "slurmd", calm, starts=disturbed.attempts("slurmd"))


def test_time_out_with_requeue(disturbed, long_calm):
    disturbed.wait_for_end("timeout")
    attempts = disturbed.record("timeout")["attempts"]
    assert len(attempts) >= 2
    assert {attempt["ended"]["status"] for attempt in attempts[:-1]} == {"SCHEDULED"}
    assert_undisturbed(disturbed, "timeout", long_calm, starts=len(attempts))


def test_one_that_raises_among_eight(cluster):
    """It can't write its checkpoints, which is no mistake that was there to see before."""
    tasks = "env.task=cartpole_swingup,cartpole_balance"
    cluster.submit("eight", "seed=0,1", "harmony=on,off", tasks, "training.env_steps=2000")
    cluster.wait_for_step("eight", 250, 5)
    folder = cluster.run_dir("eight", 5) / "checkpoints"
    folder.rename(folder.with_name("aside"))
    folder.write_text("no directory")
    found = cluster.wait_for_end("eight")
    assert [row["state"] for row in found].count("FINISHED") == 7
    assert found[5]["state"] == "FAILED"
    keys = [cluster.record("eight", index)["run_key"] for index in range(8)]
    shown = [points(cluster.root / "runs", key)[0] for key in keys]
    assert shown == [row["state"] for row in found]
    assert parent_status(cluster.root / "runs", "eight") == "FAILED"
    jobs = cluster.final_accounts("eight")
    assert sorted(jobs.values()) == ["COMPLETED"] * 7 + ["FAILED"]
    assert jobs[cluster.job("eight", 5)] == "FAILED"
    assert "NotADirectoryError" in (cluster.run_dir("eight", 5) / "error.txt").read_text()
    folder.unlink()
    folder.with_name("aside").rename(folder)
    assert "1 of 8 runs submitted" in cluster.launch("retry", "eight")
    assert [row["state"] for row in cluster.wait_for_end("eight")] == ["FINISHED"] * 8
    assert parent_status(cluster.root / "runs", "eight") == "FINISHED"


def test_an_edit_after_submission_changes_nothing(cluster, calm):
    """Neither for a job that has not begun nor after a requeue."""
    code = cluster.root / "checkout"
    for name in ("harmony", "launch", "conf"):
        shutil.copytree(ROOT / name, code / name, ignore=shutil.ignore_patterns("__pycache__"))
    edited = Cluster(cluster.root, cluster.cluster, code)
    edited.submit("edited", LENGTH)
    for path in (code / "harmony" / "train.py", code / "launch" / "worker.py"):
        path.write_text("raise RuntimeError('edited')\n")
    shutil.rmtree(code / "conf")
    cluster.wait_for_step("edited", 1000)
    cluster.call("scontrol", "requeue", cluster.job("edited"))
    assert_undisturbed(cluster, "edited", calm, starts=2)


def test_four_runs_on_one_gpu(cluster):
    packed = ["hydra.launcher.runs_per_gpu=4", "hydra.launcher.gpus_per_node=1", "seed=0,1,2,3"]
    alone = [
        "hydra.launcher.cpus_per_task=4",
        "hydra.launcher.max_crashes=0",
        "hydra.launcher.mem_gb=4",
    ]
    cluster.submit("packed", *packed, *alone, "training.env_steps=4000")
    assert len(cluster.sweep("packed")["jobs"]) == 1
    for index in range(4):
        cluster.wait_for_step("packed", 500, index)
    kill(cluster.worker("packed", 2))
    found = cluster.wait_for_end("packed")
    assert [row["state"] for row in found] == ["FINISHED", "FINISHED", "FAILED", "FINISHED"]
    assert set(cluster.final_accounts("packed").values()) == {"FAILED"}
    for index in range(4):
        assert '"CUDA_VISIBLE_DEVICES": "0"' in cluster.log("packed", index)
    assert "1 of 4 runs submitted" in cluster.launch("retry", "packed")
    assert [row["state"] for row in cluster.wait_for_end("packed")] == ["FINISHED"] * 4
    keys = {cluster.record("packed", index)["run_key"] for index in range(4)}
    assert len(keys) == 4
    assert {points(cluster.root / "runs", key)[0] for key in keys} == {"FINISHED"}


def test_cancel_is_killed_everywhere(cluster):
    cluster.submit("cancelled", "seed=0,1", "training.env_steps=60000")
    cluster.wait_for_step("cancelled", 500, 0)
    cluster.launch("cancel", "cancelled")
    assert [row["state"] for row in cluster.rows("cancelled")] == ["KILLED"] * 2
    assert set(cluster.final_accounts("cancelled").values()) <= {"CANCELLED", "CANCELLED by 0"}
    key = cluster.record("cancelled")["run_key"]
    assert points(cluster.root / "runs", key)[0] == "KILLED"
    assert parent_status(cluster.root / "runs", "cancelled") == "KILLED"
