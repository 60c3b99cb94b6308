import pytest

from launch.cluster import (
    ClusterError,
    JobState,
    Partition,
    accounted,
    ask,
    clean_environment,
    cure,
    job_states,
    max_array_size,
    minutes,
    partitions,
    queued,
    room_for_jobs,
    submit_limit,
)
from tests.launch import fake_slurm

# What SLURM 22.05 prints.
SQUEUE = """\
13_1|PENDING||JobArrayTaskLimit
13_2|PENDING||Resources
5|CANCELLED||PartitionTimeLimit
9_3|COMPLETED|n1|None
13_0|RUNNING|gpu[01-02]|None
15|PENDING||BeginTime
16|PENDING||Nodes required for job are DOWN, DRAINED | or reserved
"""
SACCT = """\
3|COMPLETED|n1
5|CANCELLED by 0|None assigned
7|FAILED|None assigned
13_0|OUT_OF_MEMORY|n1
13_[1-3,5%1]|CANCELLED by 1000|None assigned
15|REQUEUED|n1
15|PENDING|None assigned
17_4|NODE_FAIL|n2
17_4|RUNNING|n1
"""
CONFIG = """\
Configuration data as of 2026-11-21T11:36:46
AccountingStorageBackupHost = (null)
MailProg                = /bin/true
MaxArraySize            = 1001
MaxBatchRequeue         = 5
MaxDBDMsgs              = 20008
MaxJobCount             = 20000
"""


def test_queued():
    found = queued(SQUEUE)
    assert found["13_0"] == JobState("RUNNING", "gpu[01-02]")
    assert found["13_1"] == JobState("PENDING", "", "JobArrayTaskLimit")
    assert found["16"].reason == "Nodes required for job are DOWN, DRAINED | or reserved"
    assert found["9_3"] == JobState("COMPLETED", "n1")
    assert len(found) == 7
    assert queued("") == {}


def test_accounted_takes_the_last_start_and_tasks_that_share_a_line():
    found = accounted(SACCT)
    assert found["3"] == JobState("COMPLETED", "n1")
    assert found["5"] == JobState("CANCELLED")
    assert found["15"] == JobState("PENDING")
    assert found["17_4"] == JobState("RUNNING", "n1")
    assert found["13_0"].state == "OUT_OF_MEMORY"
    assert {job for job in found if job.startswith("13_")} == {f"13_{n}" for n in (0, 1, 2, 3, 5)}
    assert found["13_5"] == JobState("CANCELLED")
    assert accounted("") == {}


@pytest.mark.parametrize(
    ("state", "alive"),
    [
        ("PENDING", True), ("RUNNING", True), ("REQUEUED", True), ("COMPLETING", True),
        ("SUSPENDED", True), ("CONFIGURING", True), ("COMPLETED", False), ("FAILED", False),
        ("TIMEOUT", False), ("NODE_FAIL", False), ("CANCELLED", False), ("OUT_OF_MEMORY", False),
        ("PREEMPTED", False), ("BOOT_FAIL", False), ("DEADLINE", False),
    ],
)  # fmt: skip
def test_which_jobs_are_alive(state, alive):
    assert JobState(state).is_alive is alive


@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        ("infinite", None), ("n/a", None), ("", None), ("UNLIMITED", None),
        ("1:00:00", 60), ("30:00", 30), ("0:30", 0), ("45", 45),
        ("2-12:00:00", 3600), ("7-00:00:00", 10080), ("1-06", 1800), ("1-06:30", 1830),
    ],
)  # fmt: skip
def test_minutes(limit, expected):
    assert minutes(limit) == expected


def test_partitions():
    text = (
        "debug*|up|1:00:00|gpu:2|8|8000\n"
        "gpu|up|2-00:00:00|gpu:a100:4(S:0-1),shard:8(S:0,1)|64|515000\n"
        "gpu|up|2-00:00:00|gpu:v100:2|40+|191000+\n"
        "mixed|up|infinite|gpu:a100:2,gpu:h100:4|96|1031000\n"
        "cpu|down|infinite|(null)|128|257000\n"
        "bare|drain|infinite|gpu|8|8000\n"
    )
    assert partitions(text) == [
        Partition("debug", True, True, 60, 2, 8, 8000),
        Partition("gpu", False, True, 2880, 4, 64, 515000),
        Partition("mixed", False, True, None, 6, 96, 1031000),
        Partition("cpu", False, True, None, 0, 128, 257000),
        Partition("bare", False, False, None, 1, 8, 8000),
    ]
    assert partitions("") == []


@pytest.mark.parametrize(
    ("text", "account", "limit"),
    [
        ("default|\n", None, None),
        ("default|100\n", None, 100),
        ("a|100\nb|7\n", "b", 7),
        ("a|100\nb|7\n", None, 100),
        ("a|100\nb|\n", None, None),
        ("a|100\n", "c", None),
        ("", None, None),
    ],
)
def test_submit_limit(text, account, limit):
    assert submit_limit(text, account) == limit


def test_room_for_jobs(slurm):
    assert room_for_jobs(None) is None
    slurm.set(submit_limits=[["default", "3"]])
    assert room_for_jobs(None) == 3
    for number in range(2):
        slurm.job(f"9_{number}", "RUNNING")
    slurm.job("8", "COMPLETED")
    assert room_for_jobs(None) == 1
    slurm.set(submit_limits=[["default", "1"]])
    assert room_for_jobs(None) == 0
    slurm.set(accounting=False)
    assert room_for_jobs(None) is None


def test_max_array_size():
    assert max_array_size(CONFIG) == 1001
    assert max_array_size("MaxJobCount = 3\n") == 1001  # SLURM's default


@pytest.mark.parametrize(
    ("text", "part"),
    [
        (fake_slurm.MUNGE_DOWN, "start munged"),
        (fake_slurm.UNREACHABLE, "slurmctld does not answer"),
        (fake_slurm.NO_ACCOUNT, "set hydra.launcher.account"),
        (fake_slurm.NO_PARTITION, "invalid partition specified: nope: set hydra.launcher.part"),
        (fake_slurm.TOO_MANY, "runs_per_gpu=2"),
        (fake_slurm.POLICY, "more than your account may have"),
        (fake_slurm.TOO_MUCH, "ask for less"),
        (fake_slurm.NO_CONFIG, "set SLURM_CONF"),
        ("sbatch: error: Batch job submission failed: Invalid qos specification", "launcher.qos"),
        ("sbatch: error: Batch job submission failed: Invalid feature specification", "constraint"),
        ("sbatch: error: Invalid generic resource (gres) specification", "gpus_per_node=null"),
        (
            "sbatch: error: Batch job submission failed: Requested time limit is invalid (missing "
            "or exceeds some limit)",
            "timeout_min",
        ),
        ("", "it failed without a word"),
        ("something new\nand more", "something new"),
    ],
)
def test_cure_is_one_line(text, part):
    line = cure(text)
    assert part in line
    assert "\n" not in line
    assert len(line) < 300


def test_clean_environment_keeps_slurm_conf_alone():
    dirty = {
        "PATH": "/bin", "SLURM_CONF": "/etc/slurm.conf", "SLURM_JOB_ID": "7",
        "SLURMD_NODENAME": "n",
        "SBATCH_PARTITION": "x", "SRUN_DEBUG": "3", "SUBMITIT_EXECUTOR": "slurm", "SLURMTOP": "1",
    }  # fmt: skip
    clean = clean_environment(dirty)
    assert clean == {"PATH": "/bin", "SLURM_CONF": "/etc/slurm.conf", "SLURMTOP": "1"}


def test_ask_without_slurm_names_the_ways_out(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ClusterError, match=r"expected sbatch on the path.*hydra/launcher=local"):
        ask(["sbatch", "--version"])


def test_ask_hides_an_outer_job(slurm, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv("SLURM_CONF", "/x/slurm.conf")
    assert ask(["scontrol", "show", "config"]).startswith("Configuration data")
    assert slurm.calls("scontrol") == [(["show", "config"], {"SLURM_CONF": "/x/slurm.conf"})]


def test_ask_tells_of_trouble_and_gives_up_in_time(slurm, monkeypatch):
    slurm.fail("sinfo", fake_slurm.UNREACHABLE)
    with pytest.raises(ClusterError, match=r"sinfo: .*slurmctld does not answer"):
        ask(["sinfo", "--noheader", "--format=%P|%a|%l|%G|%c|%m"])
    monkeypatch.setattr("launch.cluster._SECONDS", 0.2)
    (slurm.path / "sinfo").write_text("#!/bin/sh\nexec sleep 20\n")
    with pytest.raises(ClusterError, match=r"sinfo has not answered for 0\.2 s"):
        ask(["sinfo"])


def test_job_states_ask_the_queue_then_the_accounts(slurm):
    for job, state in (("12_0", "RUNNING"), ("12_1", "COMPLETED"), ("9", "FAILED")):
        slurm.job(job, state, "n1")
    slurm.forget("12_1")
    slurm.forget("9")
    assert job_states(["12_0", "12_1", "9", "77"]) == {
        "12_0": JobState("RUNNING", "n1"),
        "12_1": JobState("COMPLETED", "n1"),
        "9": JobState("FAILED", "n1"),
    }
    ((arguments, _),) = slurm.calls("squeue")
    assert arguments[-1] == "--jobs=9,12,77"


def test_job_states_without_accounts_and_of_forgotten_jobs(slurm):
    slurm.set(accounting=False)
    slurm.job("9", "FAILED")
    slurm.forget("9")
    assert job_states(["9"]) == {}
    assert job_states([]) == {}
    slurm.job("10", "RUNNING", "n2")
    assert job_states(["10"]) == {"10": JobState("RUNNING", "n2")}


def test_job_states_do_not_guess_when_slurm_does_not_answer(slurm):
    slurm.fail("squeue", fake_slurm.UNREACHABLE)
    with pytest.raises(ClusterError, match="slurmctld does not answer"):
        job_states(["10"])


def test_many_jobs_take_several_questions(slurm, monkeypatch):
    monkeypatch.setattr("launch.cluster._MANY", 2)
    for number in range(5):
        slurm.job(f"{number + 1}_0", "RUNNING", "n1")
    assert len(job_states([f"{number + 1}_0" for number in range(5)])) == 5
    assert len(slurm.calls("squeue")) == 3
