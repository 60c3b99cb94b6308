"""Does the replay fit on this machine? Asked before the first step, not hours later."""

from __future__ import annotations

import resource
import shutil
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Literal, NamedTuple

import psutil

from harmony.errors import ConfigError, RunDirectoryError
from harmony.replay.layout import RecordSpec, record_dtype

CGROUPS = Path("/sys/fs/cgroup")
MEMBERSHIP = Path("/proc/self/cgroup")


class Space(NamedTuple):
    """Bytes of a disk or of memory.

    Attributes:
        total: that this process could ever have.
        free: that it can have now.
    """

    total: int
    free: int


def bytes_per_step(record_spec: RecordSpec) -> int:
    """Bytes that one record takes, on disk and in memory, padding included.

    Args:
        record_spec: for each key its dtype and its shape within one step.
    """
    return record_dtype(record_spec).itemsize


def check_budget(
    *,
    step_bytes: int,
    capacity: int,
    run_steps: int,
    storage: Literal["disk", "memory"],
    disk: Space,
    memory: Space,
    stored_bytes: int = 0,
) -> None:
    """Refuse a replay that can't fit.

    Args:
        step_bytes: bytes of one record.
        capacity: agent steps that the replay holds at most.
        run_steps: agent steps of the whole run.
        storage: with "memory" the files come on top, so both must have room.
        disk: of the run directory.
        memory: of this process, its cgroup limit respected.
        stored_bytes: that segment files of this run take already (resume).

    Raises:
        ConfigError: the capacity exceeds the whole disk or memory, or the run the free memory.
        RunDirectoryError: the run's steps don't fit into what is free on the disk.
    """
    full, needed = capacity * step_bytes, min(capacity, run_steps) * step_bytes
    if storage == "memory":
        _check_total(full, memory.total, "memory", 'lower replay capacity or use storage="disk"')
        if needed > memory.free:
            raise ConfigError(
                f"expected {_gb(needed)} GB of free memory for the replay, got "
                f'{_gb(memory.free)} GB: use storage="disk" or lower replay capacity'
            )
    _check_total(full, disk.total, "disk", "lower replay capacity or use a larger disk")
    if needed - stored_bytes > disk.free:
        raise RunDirectoryError(
            f"expected {_gb(needed - stored_bytes)} GB free on the disk of the run directory for "
            f"the replay, got {_gb(disk.free)} GB: free space, choose another run_dir or lower "
            "replay capacity"
        )


def check_open_files(*, capacity: int, segment_steps: int, limit: int, num_envs: int = 1) -> None:
    """Refuse more mapped segments than the process may open files.

    Args:
        capacity: agent steps that the replay ever holds at once.
        segment_steps: records of a segment.
        limit: files that the process may open (`ulimit -n`); half of it is left to others.
        num_envs: environments, of which each has a segment that is not full.

    Raises:
        ConfigError: the segments would be too many.
    """
    segments = -(-capacity // segment_steps) + num_envs
    if segments > limit // 2:
        least = -(-capacity // max(limit // 2 - num_envs, 1))
        raise ConfigError(
            f"expected at most {limit // 2} replay segments (half of ulimit -n), got {segments}: "
            f"set replay segment_steps to {least} or more"
        )


def check_machine(
    *,
    record_spec: RecordSpec,
    capacity: int,
    run_steps: int,
    storage: Literal["disk", "memory"],
    segment_steps: int,
    directory: Path,
    num_envs: int = 1,
) -> None:
    """Measure this machine and call `check_budget` and `check_open_files`.

    Args:
        record_spec: for each key its dtype and its shape within one step.
        capacity: agent steps that the replay holds at most.
        run_steps: agent steps of the whole run.
        storage: as the replay's.
        segment_steps: records of a segment.
        directory: the replay's; need not exist yet.
        num_envs: environments; each has segments of its own, so that so many are not full.

    Raises:
        ConfigError: as those.
        RunDirectoryError: as `check_budget`.
    """
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if storage == "disk" and limit != resource.RLIM_INFINITY:
        check_open_files(
            capacity=min(capacity, run_steps),
            segment_steps=segment_steps,
            limit=limit,
            num_envs=num_envs,
        )
    begun = (num_envs - 1) * segment_steps
    check_budget(
        step_bytes=bytes_per_step(record_spec),
        capacity=capacity + begun,
        run_steps=run_steps + begun,
        storage=storage,
        disk=disk_space(directory),
        memory=memory_space(),
        stored_bytes=sum(path.stat().st_size for path in directory.glob("segment-*.npy")),
    )


def disk_space(directory: Path) -> Space:
    """Space of the disk that holds a directory or, before it exists, its nearest parent."""
    directory = directory.absolute()
    while not directory.exists():
        directory = directory.parent
    usage = shutil.disk_usage(directory)
    return Space(usage.total, usage.free)


def memory_space(cgroups: Path = CGROUPS, membership: Path = MEMBERSHIP) -> Space:
    """Memory of the machine, or of the tightest cgroup around this process.

    Args:
        cgroups: where cgroup file systems are mounted.
        membership: file that lists the process's cgroups.
    """
    machine = psutil.virtual_memory()
    total, free = machine.total, machine.available
    for limit, used in cgroup_limits(cgroups, membership):
        total, free = min(total, limit), min(free, max(limit - used, 0))
    return Space(total, free)


def cgroup_limits(cgroups: Path, membership: Path) -> Iterator[tuple[int, int]]:
    """Memory limit and use, in bytes, of each limited cgroup around this process.

    File pages that the kernel can drop at once don't count as used.

    Args:
        cgroups: where cgroup file systems are mounted.
        membership: file that lists the process's cgroups, versions 1 and 2.
    """
    if not membership.is_file():
        return
    for line in membership.read_text().splitlines():
        _, controllers, inner = line.split(":", 2)
        if not controllers:
            root, names = cgroups, ("memory.max", "memory.current", "inactive_file")
        elif "memory" in controllers.split(","):
            root = cgroups / "memory"
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        else:
            continue
        path = PurePosixPath(inner.lstrip("/"))
        for group in (path, *path.parents):  # a container may see its own group as the root
            limit = _read_limit(root / group, names)
            if limit is not None:
                yield limit


def _read_limit(group: Path, names: tuple[str, str, str]) -> tuple[int, int] | None:
    limit, usage = group / names[0], group / names[1]
    if not (limit.is_file() and usage.is_file()):
        return None
    text = limit.read_text().strip()
    if text == "max":
        return None
    return int(text), int(usage.read_text()) - _droppable(group / "memory.stat", names[2])


def _droppable(statistics: Path, key: str) -> int:
    if not statistics.is_file():
        return 0
    for line in statistics.read_text().splitlines():
        name, _, value = line.partition(" ")
        if name == key:
            return int(value)
    return 0


def _check_total(full: int, total: int, what: str, remedy: str) -> None:
    if full > total:
        raise ConfigError(
            f"expected a replay capacity that fits into {_gb(total)} GB of {what}, got "
            f"{_gb(full)} GB: {remedy}"
        )


def _gb(size: int) -> str:
    return f"{size / 1e9:.3g}"
