from pathlib import Path

from launch.dev_cluster.conf_files import gres_conf, slurm_conf, slurmdbd_conf
from launch.dev_cluster.layout import Layout
from launch.dev_cluster.settings import Settings, Stored

LAYOUT = Layout(Path("/c"))
PORTS = {"slurmctld": 17001, "slurmdbd": 17002, "n1": 17003, "n2": 17004}


def lines(settings: Settings) -> list[str]:
    return slurm_conf(Stored(settings, PORTS), LAYOUT, "box").splitlines()


def test_slurm_conf():
    found = lines(Settings())
    for line in (
        "SlurmctldHost=box(127.0.0.1)",
        "SlurmctldPort=17001",
        "AuthInfo=socket=/c/munge/munge.socket,cred_expire=120",
        "StateSaveLocation=/c/state",
        "SlurmdSpoolDir=/c/spool/%n",
        "SlurmdLogFile=/c/log/%n.log",
        "SlurmdParameters=config_overrides",
        "ProctrackType=proctrack/linuxproc",
        "TaskPlugin=task/none",
        "SelectType=select/cons_tres",
        "SelectTypeParameters=CR_Core_Memory",
        "DefMemPerCPU=1000",
        "PriorityType=priority/basic",
        "MaxJobCount=20000",
        "MaxArraySize=1001",
        "JobRequeue=1",
        "SlurmdTimeout=20",
        "KillWait=30",
        "GresTypes=gpu",
        "AccountingStorageTRES=gres/gpu",
        "AccountingStorageType=accounting_storage/slurmdbd",
        "AccountingStoragePort=17002",
        "AccountingStoragePass=socket=/c/munge/munge.socket",
        "PartitionName=debug Nodes=n[1-2] Default=YES MaxTime=60",
        "PartitionName=long Nodes=n[1-2] DefaultTime=60 MaxTime=UNLIMITED",
        "PartitionName=stopped Nodes=n[1-2] State=DOWN",
    ):
        assert line in found
    assert [line for line in found if line.startswith("NodeName=")] == [
        "NodeName=n1 NodeHostname=box NodeAddr=127.0.0.1 Port=17003 Boards=1 SocketsPerBoard=1 "
        "CoresPerSocket=8 ThreadsPerCore=1 RealMemory=8000 Gres=gpu:2",
        "NodeName=n2 NodeHostname=box NodeAddr=127.0.0.1 Port=17004 Boards=1 SocketsPerBoard=1 "
        "CoresPerSocket=8 ThreadsPerCore=1 RealMemory=8000 Gres=gpu:2",
    ]


def test_every_line_is_a_key_once():
    keys = [line.partition("=")[0] for line in lines(Settings()) if not line.startswith("#")]
    once = [key for key in keys if key not in ("NodeName", "PartitionName")]
    assert len(once) == len(set(once))
    assert all(key.isidentifier() for key in keys)


def test_settings_reach_the_text():
    found = lines(Settings(nodes=1, cpus=3, memory_mb=700, max_array_size=50, requeue_delay_s=7))
    assert "DefMemPerCPU=233" in found
    assert "MaxArraySize=50" in found
    assert "AuthInfo=socket=/c/munge/munge.socket,cred_expire=7" in found
    assert "PartitionName=stopped Nodes=n[1-1] State=DOWN" in found
    assert sum(line.startswith("NodeName=") for line in found) == 1


def test_without_gpus_nothing_speaks_of_them():
    settings = Settings(gpus=0)
    assert "gpu" not in "\n".join(lines(settings))
    assert gres_conf(settings, LAYOUT) == ""


def test_without_accounting():
    found = lines(Settings(accounting=False))
    assert "AccountingStorageType=accounting_storage/none" in found
    assert "AuthInfo=socket=/c/munge/munge.socket,cred_expire=120" in found
    assert not any(line.startswith("AccountingStorageHost") for line in found)


def test_gres_conf():
    assert gres_conf(Settings(nodes=3, gpus=4), LAYOUT) == (
        "NodeName=n[1-3] Name=gpu Flags=nvidia_gpu_env File=/c/gpu/gpu[0-3]\n"
    )


def test_slurmdbd_conf():
    found = slurmdbd_conf(PORTS, LAYOUT).splitlines()
    for line in (
        "AuthInfo=socket=/c/munge/munge.socket",
        "DbdPort=17002",
        "StorageHost=localhost",
        "PidFile=/c/state/slurmdbd.pid",
    ):
        assert line in found
