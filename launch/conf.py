"""What ``hydra/launcher=slurm`` and ``local`` take: typed, so that a wrong key is refused."""

from dataclasses import dataclass, field
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra_plugins.hydra_submitit_launcher.config import SlurmQueueConf

SLURM_TARGET = "hydra_plugins.launch.SlurmLauncher"
LOCAL_TARGET = "hydra_plugins.launch.LocalLauncher"


@dataclass
class SlurmConf(SlurmQueueConf):
    """Settings of a sweep on SLURM, beside those of hydra-submitit-launcher.

    Attributes:
        name: of the jobs in squeue; the sweep's by default.
        wait: stay until all runs have ended, rather than give the prompt back.
        dry_run: print the sbatch script and the table, and submit nothing.
        runs_per_gpu: runs that one job holds, which then share what the job asks for.
        srun_args: added to the ``srun`` that starts each run.
        max_crashes: how often a run that dies by a signal is started again within its job.
        python: the interpreter on the nodes; this one by default.
        reservation: of nodes, as sbatch's.
    """

    _target_: str = SLURM_TARGET
    submitit_folder: str = ""  # the sweep's own
    name: str | None = None
    timeout_min: int = 1440
    signal_delay_s: int = 180
    max_num_timeout: int = 1000
    array_parallelism: int = 256
    stderr_to_stdout: bool = True
    wait: bool = False
    dry_run: bool = False
    runs_per_gpu: int = 1
    srun_args: list[str] = field(default_factory=list)
    max_crashes: int = 2
    python: str | None = None
    reservation: str | None = None


@dataclass
class LocalConf:
    """Settings of a sweep on this machine, without a scheduler.

    Attributes:
        slots: runs at a time.
        runs_per_gpu: slots that share a GPU, where there are GPUs.
        wait: stay until all runs have ended; false leaves them to a process in the background.
        dry_run: print the table, and start nothing.
        max_crashes: how often a run that dies by a signal is started again.
    """

    _target_: str = LOCAL_TARGET
    slots: int = 1
    runs_per_gpu: int = 1
    wait: bool = True
    dry_run: bool = False
    max_crashes: int = 2


def register() -> None:
    """Makes the schemas known to Hydra; ``conf/hydra/launcher/*.yaml`` begin with them."""
    store = ConfigStore.instance()
    for name, node in (("slurm_schema", SlurmConf), ("local_schema", LocalConf)):
        made: Any = node
        store.store(group="hydra/launcher", name=name, node=made, provider="harmony")
