"""The texts of slurm.conf, gres.conf and slurmdbd.conf."""

from launch.dev_cluster.layout import Layout
from launch.dev_cluster.settings import Settings, Stored

CLUSTER = "dev"


def slurm_conf(stored: Stored, layout: Layout, host: str) -> str:
    """The cluster's configuration, read by daemons and commands.

    Args:
        stored: What the cluster has, and where it listens.
        layout: Where its files lie.
        host: Short name of this machine.
    """
    settings = stored.settings
    parts = [
        _control(stored.ports, layout, host),
        _behaviour(settings),
        _accounting(stored, layout),
        *([] if not settings.gpus else ["GresTypes=gpu"]),
        *(_node(name, stored, host) for name in settings.node_names),
        _partitions(settings),
    ]
    return "\n".join(part.strip("\n") for part in parts) + "\n"


def gres_conf(settings: Settings, layout: Layout) -> str:
    """The GPUs: character devices of our own, since SLURM refuses plain files."""
    if not settings.gpus:
        return ""
    nodes, devices = f"n[1-{settings.nodes}]", f"{layout.gpu}/gpu[0-{settings.gpus - 1}]"
    # The flag is what sets CUDA_VISIBLE_DEVICES for jobs.
    return f"NodeName={nodes} Name=gpu Flags=nvidia_gpu_env File={devices}\n"


def slurmdbd_conf(ports: dict[str, int], layout: Layout) -> str:
    """The accounting daemon's configuration; it must be readable by its user only."""
    return f"""\
AuthType=auth/munge
AuthInfo=socket={layout.munge_socket}
DbdHost=localhost
DbdAddr=127.0.0.1
DbdPort={ports["slurmdbd"]}
SlurmUser=root
LogFile={layout.log}/slurmdbd.log
DebugLevelSyslog=quiet
PidFile={layout.state}/slurmdbd.pid
StorageType=accounting_storage/mysql
# The way to the database is the environment variable MYSQL_UNIX_PORT.
StorageHost=localhost
StorageUser=root
StorageLoc=slurm
"""


def _control(ports: dict[str, int], layout: Layout, host: str) -> str:
    return f"""\
ClusterName={CLUSTER}
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports["slurmctld"]}
SlurmUser=root
AuthType=auth/munge
StateSaveLocation={layout.state}
SlurmdSpoolDir={layout.spool}/%n
SlurmctldPidFile={layout.state}/slurmctld.pid
SlurmdPidFile={layout.spool}/%n.pid
SlurmctldLogFile={layout.log}/slurmctld.log
SlurmdLogFile={layout.log}/%n.log
SlurmctldSyslogDebug=quiet
SlurmdSyslogDebug=quiet
MailProg=/bin/true"""


def _behaviour(settings: Settings) -> str:
    return f"""\
# More CPUs and memory than the machine has are believed.
SlurmdParameters=config_overrides
# No cgroups: they need rights that a container lacks.
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/linux
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
# Without it, a job that names no memory takes the whole node.
DefMemPerCPU={max(1, settings.memory_mb // settings.cpus)}
PriorityType=priority/basic
# Jobs are looked at often, so that short tests are short.
SchedulerParameters=bf_interval=5,sched_interval=5
MaxJobCount=20000
MaxArraySize={settings.max_array_size}
JobRequeue=1
# A dead node is noticed after this many seconds, and its jobs are requeued.
SlurmdTimeout=20
# Seconds from SIGTERM to SIGKILL.
KillWait=30
# A node that was down is used again as soon as its slurmd is back.
ReturnToService=2"""


def _accounting(stored: Stored, layout: Layout) -> str:
    # cred_expire is also how long a requeued job waits; `scontrol update jobid=N StartTime=now`
    # starts it at once.
    auth = f"AuthInfo=socket={layout.munge_socket},cred_expire={stored.settings.requeue_delay_s}"
    if not stored.settings.accounting:
        return f"{auth}\nAccountingStorageType=accounting_storage/none"
    gpus = "AccountingStorageTRES=gres/gpu\n" if stored.settings.gpus else ""
    return f"""\
{auth}
{gpus}AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort={stored.ports["slurmdbd"]}
AccountingStoragePass=socket={layout.munge_socket}"""


def _node(name: str, stored: Stored, host: str) -> str:
    settings = stored.settings
    gres = f" Gres=gpu:{settings.gpus}" if settings.gpus else ""
    return (
        f"NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={stored.ports[name]} "
        f"Boards=1 SocketsPerBoard=1 CoresPerSocket={settings.cpus} ThreadsPerCore=1 "
        f"RealMemory={settings.memory_mb}{gres}"
    )


def _partitions(settings: Settings) -> str:
    nodes = f"n[1-{settings.nodes}]"
    # A partition that is DOWN queues jobs and starts none; one that is INACTIVE refuses them.
    return f"""\
PartitionName=debug Nodes={nodes} Default=YES MaxTime=60
PartitionName=long Nodes={nodes} DefaultTime=60 MaxTime=UNLIMITED
PartitionName=stopped Nodes={nodes} State=DOWN"""
