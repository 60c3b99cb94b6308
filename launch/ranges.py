"""Which numbers the settings of the launchers may be; asked before anything is written."""

from collections.abc import Mapping
from typing import Any

from harmony.errors import ConfigError

_SIGNAL_SECONDS = 10  # a run stops at the next step, saves, and tells its tracker that it goes on
_LEAST = {
    "timeout_min": (1, "minute"),
    "signal_delay_s": (_SIGNAL_SECONDS, "seconds, in which a run saves and is requeued"),
    "nodes": (1, "node"),
    "tasks_per_node": (1, "process of each run"),
    "gpus_per_node": (0, "GPUs"),
    "gpus_per_task": (1, "GPU, or null"),
    "cpus_per_task": (1, "core, or null"),
    "cpus_per_gpu": (1, "core, or null"),
    "mem_gb": (1, "GB, or null"),
    "runs_per_gpu": (1, "run"),
    "slots": (1, "run at a time"),
    "array_parallelism": (1, "job at a time"),
    "max_num_timeout": (0, "time-outs"),
    "max_crashes": (0, "crashes"),
}


def check_ranges(params: Mapping[str, Any]) -> None:
    """Checks that the numbers of a launcher make sense; asks nobody and reads nothing.

    Args:
        params: of the launcher, slurm or local; keys that it has not are passed over.

    Raises:
        ConfigError: one does not; says what is expected.
    """
    for key, (least, what) in _LEAST.items():
        value = params.get(key)
        if value is not None and value < least:
            raise ConfigError(f"hydra.launcher.{key}={value}: expected at least {least} {what}")
    nodes, tasks = params.get("nodes") or 1, params.get("tasks_per_node") or 1
    if nodes > 1 and tasks == 1:
        others = "the other one" if nodes == 2 else f"the {nodes - 1} others"
        raise ConfigError(
            f"hydra.launcher.nodes={nodes}: a run is on one node, {others} would idle; take "
            "nodes=1, and tasks_per_node for a run on several GPUs"
        )
    for key in ("mem_per_cpu", "mem_per_gpu"):
        if params.get(key) and params.get("mem_gb"):
            raise ConfigError(
                f"hydra.launcher.{key}={params[key]}: mem_gb={params['mem_gb']} is set too, and "
                "sbatch takes one of them; add hydra.launcher.mem_gb=null"
            )
