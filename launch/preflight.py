"""Everything that can fail later is asked before a job is submitted; each refusal is one line."""

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from harmony.config.compose import Composed
from harmony.config.identity import check_same_run
from harmony.config.names import nearest
from harmony.config.run_files import RECORD_FILE, read_config
from harmony.errors import ConfigError, RunDirectoryError
from harmony.place import Place
from harmony.replay.budget import bytes_per_step
from harmony.tracking.uri import checked_uri, sqlite_file
from launch.cluster import ClusterError, Partition, ask, max_array_size, partitions
from launch.mlflow_server.trouble import probe
from launch.notices import tell_of_python, tell_of_shell
from launch.ranges import check_ranges
from launch.runs import is_owned, save_seconds

_SAVES = 2.0  # the signal must come this many times the save's length before the limit
_BASE_GB = 0.8  # of a process with torch and a simulator on a CPU, before its replay
_PROBE_SECONDS = 10.0
_FREE_BYTES = 1e9
_ASKS_FOR_GPUS = ("gpus_per_node", "gpus_per_task", "gres")


def check_timing(params: Mapping[str, Any], saves: Sequence[float]) -> None:
    """Checks that a job has time to train and to save.

    Args:
        params: of the launcher; timeout_min and signal_delay_s.
        saves: seconds that saving took in runs of this sweep, if there were any.

    Raises:
        ConfigError: the signal comes too late for a save, or leaves no time to train.
    """
    limit, delay = int(params["timeout_min"]) * 60, int(params["signal_delay_s"])
    needed = _SAVES * max(saves, default=0.0)
    if delay < needed:
        raise ConfigError(
            f"hydra.launcher.signal_delay_s={delay}: saving took {max(saves):.0f} s in this sweep, "
            f"expected at least {needed:.0f}; raise it"
        )
    if delay > limit // 2:
        raise ConfigError(
            f"hydra.launcher.timeout_min={params['timeout_min']} is too short for one checkpoint: "
            f"{delay} s of it are for saving (signal_delay_s); expected at least "
            f"{-(-2 * delay // 60)} minutes, or a smaller signal_delay_s"
        )


def check_partition(params: Mapping[str, Any], known: Sequence[Partition]) -> list[Partition]:
    """Finds the partitions that jobs may go to, and checks what they ask of them.

    Args:
        params: of the launcher; ``partition`` may name several, as sbatch's: ``a,b``. A job begins
            in the first that has room, so one that fits is enough.
        known: the cluster's partitions.

    Raises:
        ConfigError: there is no such partition, it is down, or has less than is asked for.
    """
    named, names = str(params.get("partition") or ""), [p.name for p in known]
    wanted = named.split(",") if named else [p.name for p in known if p.is_default]
    if not wanted:
        raise ConfigError(
            f"hydra.launcher.partition is not set and the cluster has no default; it has "
            f"{', '.join(names)}"
        )
    for name in wanted:
        if name not in names:
            whole = f" {name!r}" if name != named else ""
            raise ConfigError(
                f"hydra.launcher.partition={named}: the cluster has no such partition{whole}"
                f"{nearest(name, names)}"
            )
    found = [p for p in known if p.name in wanted]
    lacks = [_lack(params, partition) for partition in found]
    if all(lacks):
        raise ConfigError(f"{lacks[0]} (there are {', '.join(names)})")
    return found


def _lack(params: Mapping[str, Any], partition: Partition) -> str | None:
    """What a partition lacks for the jobs, and what to do; None if nothing."""
    if not partition.is_up:
        return f"hydra.launcher.partition={partition.name}: it takes no jobs now; name another one"
    asked: dict[str, tuple[float, float | None]] = {
        "timeout_min": (float(params["timeout_min"]), partition.limit_min),
        "gpus_per_node": (float(params.get("gpus_per_node") or 0), partition.gpus),
        "cpus_per_task": (float(params.get("cpus_per_task") or 0), partition.cpus),
        "mem_gb": (float(params.get("mem_gb") or 0), partition.memory_mb / 1024),
    }
    for key, (wanted, most) in asked.items():
        if most is not None and wanted > most:
            instead = f"{int(most)}" if int(most) else "null"
            return (
                f"hydra.launcher.{key}={params[key]}: partition {partition.name} has {most:g} at "
                f"most; ask for {instead}, or name another partition"
            )
    return None


def check_memory(params: Mapping[str, Any], runs: Sequence[Composed]) -> None:
    """Checks that the memory that is asked for is enough for the runs of a job.

    A replay on disk needs none of it; one in memory needs its capacity, or the run's steps.

    Args:
        params: of the launcher; mem_gb is a job's, which holds runs_per_gpu runs.
        runs: of the sweep.

    Raises:
        ConfigError: it is not, says how much is.
    """
    if not params.get("mem_gb"):
        return
    together = int(params["runs_per_gpu"])
    most = max((memory_gb(run.config) for run in runs), default=0.0) * together
    if most > float(params["mem_gb"]):
        raise ConfigError(
            f"hydra.launcher.mem_gb={params['mem_gb']}: a job of {together} runs needs about "
            f"{most:.0f} GB; raise it, lower replay.capacity, or take replay.storage=disk"
        )


def check_processes(params: Mapping[str, Any], runs: Sequence[Composed]) -> None:
    """Checks that several processes can share each run, where they are asked for.

    Args:
        params: of the launcher; tasks_per_node are the processes of a run.
        runs: of the sweep.

    Raises:
        ConfigError: they can't; says why.
    """
    tasks = int(params.get("tasks_per_node") or 1)
    if tasks == 1:
        return
    asked = f"hydra.launcher.tasks_per_node={tasks}"
    if int(params["runs_per_gpu"]) > 1:
        raise ConfigError(f"{asked}: a run on several GPUs shares none; take runs_per_gpu=1")
    if int(params.get("nodes") or 1) > 1:
        raise ConfigError(f"{asked}: the processes of a run are on one node; take nodes=1")
    gpus = int(params.get("gpus_per_node") or 0)
    if 0 < gpus < tasks:
        raise ConfigError(f"{asked} needs a GPU for each; set gpus_per_node={tasks}, got {gpus}")
    for run in runs:
        Place(size=tasks).check(int(run.config["replay"]["batch_size"]))


def memory_gb(config: Mapping[str, Any]) -> float:
    """About what a run needs, GB: a process, and its replay where that is in memory."""
    replay, env = config["replay"], config["env"]
    if replay.get("storage") != "memory":
        return _BASE_GB
    side = int(env.get("image_size", 64))
    uint8, float32, flag = (np.dtype(kind) for kind in ("uint8", "float32", "bool"))
    spec = {"image": (uint8, (side, side, 3)), "action": (float32, (8,)), "reward": (float32, ())}
    spec |= dict.fromkeys(("is_first", "is_last", "is_terminal"), (flag, ()))
    repeat = int(env.get("action_repeat", 1))
    steps = min(int(replay["capacity"]), int(config["training"]["env_steps"]) // repeat)
    return _BASE_GB + steps * bytes_per_step(spec) / 1e9


def check_directories(runs: Sequence[tuple[Path, Composed]]) -> None:
    """Checks that each run's directory is free, or holds just this run.

    Raises:
        RunDirectoryError: it holds another run or something else, or a process is at work there.
    """
    for path, run in runs:
        if (path / RECORD_FILE).is_file():
            stored = read_config(path)
            check_same_run(str(path), stored, run.config)
            if is_owned(path):
                raise RunDirectoryError(f"{path}: a process is at work there; wait for its end")
        elif path.is_dir() and any(path.iterdir()):
            raise RunDirectoryError(f"{path} is not empty and holds no run; take another sweep=")


def check_place(directory: Path) -> None:
    """Checks that a directory can be made or written, and its disk is not full; writes nothing.

    Raises:
        RunDirectoryError: it can't.
    """
    try:
        there = next(path for path in (directory, *directory.parents) if path.exists())
    except OSError as error:
        raise _closed(directory, str(error.strerror)) from error
    if not there.is_dir():
        raise _closed(directory, f"{there} is no directory")
    if not os.access(there, os.W_OK | os.X_OK):
        raise _closed(directory, f"{there} is not yours to write")
    if (free := shutil.disk_usage(there).free) < _FREE_BYTES:
        raise RunDirectoryError(f"{there} has {free / 1e9:.1f} GB left; make room first")


def check_room(directory: Path) -> None:
    """Makes a directory and checks that it can be written and its disk is not full.

    Raises:
        RunDirectoryError: it can't.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        trial = directory / ".trial"
        trial.write_text("x")
        trial.unlink()
    except OSError as error:
        raise _closed(directory, str(error.strerror)) from error
    check_place(directory)


def _closed(directory: Path, why: str) -> RunDirectoryError:
    return RunDirectoryError(
        f"can't write {directory}: {why}; set HARMONY_RUNS or runs_root to a directory that all "
        "nodes share"
    )


def check_tracking(config: Mapping[str, Any], hosts: int) -> None:
    """Checks that the store of the runs answers, and bears so many machines.

    Args:
        config: of a run.
        hosts: machines that runs may be on.

    Raises:
        ConfigError: it does not; names the cure.
    """
    if "tracking_uri" not in config["tracking"]:
        return
    uri = checked_uri(str(config["tracking"]["tracking_uri"] or ""))
    if urlsplit(uri).scheme in ("http", "https"):
        probe(uri, _PROBE_SECONDS)
    elif (file := sqlite_file(uri)) is not None and hosts > 1:
        raise ConfigError(
            f"tracking.tracking_uri={uri}: sqlite breaks when several machines write, and {hosts} "
            f"may ({file}); start a server (python -m launch.mlflow_server start) and use "
            "tracking=server, or tracking=none"
        )


def check_devices(params: Mapping[str, Any], runs: Sequence[Composed]) -> None:
    """Checks that jobs ask for a GPU where runs want one.

    Args:
        params: of the launcher.
        runs: of the sweep.

    Raises:
        ConfigError: they don't.
    """
    more = params.get("additional_parameters") or {}
    if any(params.get(key) for key in _ASKS_FOR_GPUS) or {"gpus", "gres"} & more.keys():
        return
    for device in {str(run.config.get("device")) for run in runs}:
        if device.startswith("cuda"):
            raise ConfigError(
                f"device={device}: the jobs ask for no GPU; set hydra.launcher.gpus_per_node=1, "
                "or device=cpu (device=auto where nodes have GPUs that SLURM does not know)"
            )


def check_cluster(params: Mapping[str, Any]) -> tuple[int, int]:
    """Asks the cluster.

    Args:
        params: of the launcher.

    Returns:
        Jobs that fit into one array, and machines of the partitions.

    Raises:
        ClusterError: SLURM is not there or does not answer.
        ConfigError: it has not what is asked for.
    """
    ask(["sbatch", "--version"])
    known = partitions(ask(["sinfo", "--noheader", "--format=%P|%a|%l|%G|%c|%m"]))
    if not known:
        raise ClusterError("sinfo shows no partition; ask the admin")
    found = ",".join(partition.name for partition in check_partition(params, known))
    names = ask(["sinfo", "--noheader", "--Node", f"--partition={found}", "--format=%n"])
    return max_array_size(ask(["scontrol", "show", "config"])), len(set(names.split()))


def check_all(params: Mapping[str, Any], runs: Sequence[tuple[Path, Composed]]) -> int:
    """Checks a submission, quick and local things first.

    Args:
        params: of the launcher.
        runs: with their directories.

    Returns:
        Jobs that fit into one array.

    Raises:
        UserError: something is wrong; names it and the cure.
    """
    check_ranges(params)
    composed = [run for _, run in runs]
    check_timing(params, [s for path, _ in runs if (s := save_seconds(path)) is not None])
    check_memory(params, composed)
    check_processes(params, composed)
    check_devices(params, composed)
    check_directories(runs)
    largest, hosts = check_cluster(params)
    tell_of_shell(params, os.environ)
    tell_of_python(params)
    for tracking in {str(r.config["tracking"]): r.config for r in composed}.values():
        check_tracking(tracking, hosts)
    return largest
