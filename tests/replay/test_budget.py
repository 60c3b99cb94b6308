import resource
from collections import namedtuple

import numpy as np
import psutil
import pytest

from harmony.errors import ConfigError, RunDirectoryError
from harmony.replay import budget
from harmony.replay.budget import (
    Space,
    bytes_per_step,
    cgroup_limits,
    check_budget,
    check_machine,
    check_open_files,
    disk_space,
    memory_space,
)
from tests.replay.conftest import SPEC

GB = 10**9
Memory = namedtuple("Memory", ["total", "available"])


def check(**changes):
    """1000 bytes a step, 4 GB capacity, 2 GB needed; 10 GB disk, 8 GB memory."""
    arguments = {
        "step_bytes": 1000,
        "capacity": 4_000_000,
        "run_steps": 2_000_000,
        "storage": "disk",
        "disk": Space(10 * GB, 3 * GB),
        "memory": Space(8 * GB, 5 * GB),
    }
    check_budget(**(arguments | changes))


def test_bytes_of_a_step():
    assert bytes_per_step(SPEC) == 28
    image = {"image": (np.dtype(np.uint8), (64, 64, 3))}
    # 12288 image, 8 action, 4 reward, 3 flags, 1 padding
    assert bytes_per_step(SPEC | image) == 12304


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"storage": "memory"},
        {"disk": Space(4 * GB, 2 * GB)},  # exactly
        {"memory": Space(1, 0)},  # not used by "disk"
        {"disk": Space(10 * GB, GB), "stored_bytes": GB},
        {"run_steps": 10**9, "disk": Space(4 * GB, 4 * GB)},  # the capacity bounds the run
    ],
)
def test_what_fits_passes(changes):
    check(**changes)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"disk": Space(4 * GB - 1, 4 * GB - 1)}, ConfigError, "4 GB of disk, got 4 GB"),
        ({"capacity": 20_000_000}, ConfigError, "10 GB of disk, got 20 GB"),
        ({"disk": Space(10 * GB, GB)}, RunDirectoryError, "expected 2 GB.*got 1 GB"),
        (
            {"disk": Space(10 * GB, GB), "stored_bytes": GB // 2},
            RunDirectoryError,
            "expected 1.5 GB",
        ),
        (
            {"storage": "memory", "memory": Space(3 * GB, 3 * GB)},
            ConfigError,
            "3 GB of memory, got 4 GB",
        ),
        (
            {"storage": "memory", "memory": Space(8 * GB, GB)},
            ConfigError,
            "2 GB of free memory.*got 1 GB",
        ),
        ({"storage": "memory", "disk": Space(10 * GB, GB)}, RunDirectoryError, "disk"),
    ],
)
def test_what_does_not_fit_is_refused(changes, error, message):
    with pytest.raises(error, match=message) as caught:
        check(**changes)
    assert "\n" not in str(caught.value)


def test_open_files():
    check_open_files(capacity=511 * 100, segment_steps=100, limit=1024)
    with pytest.raises(ConfigError, match=r"at most 512 .* got 513: .*segment_steps to 101"):
        check_open_files(capacity=511 * 100 + 1, segment_steps=100, limit=1024)
    check_open_files(capacity=511 * 101, segment_steps=101, limit=1024)


def write(path, **files):
    path.mkdir(parents=True)
    for name, text in files.items():
        (path / name.replace("__", ".")).write_text(text)


def test_cgroup_version_2_from_the_inside_out(tmp_path):
    membership = tmp_path / "cgroup"
    membership.write_text("0::/job/step\n")
    root = tmp_path / "fs"
    write(
        root / "job" / "step",
        memory__max="max\n",
        memory__current="100\n",
        memory__stat="anon 1\ninactive_file 5\n",
    )
    (root / "job" / "memory.max").write_text("1000\n")
    (root / "job" / "memory.current").write_text("600\n")
    (root / "job" / "memory.stat").write_text("anon 1\ninactive_file 200\nactive_file 9\n")
    assert list(cgroup_limits(root, membership)) == [(1000, 400)]


def test_cgroup_version_1_seen_from_a_container(tmp_path):
    """The group's path does not exist below the mount: the mount itself is the group."""
    membership = tmp_path / "cgroup"
    membership.write_text("5:cpu,cpuacct:/x\n4:memory:/docker/abc\n0::/\n")
    write(
        tmp_path / "fs" / "memory",
        memory__limit_in_bytes="2000",
        memory__usage_in_bytes="500",
        memory__stat="total_inactive_file 100\n",
    )
    assert list(cgroup_limits(tmp_path / "fs", membership)) == [(2000, 400)]


def test_no_cgroups(tmp_path):
    assert list(cgroup_limits(tmp_path, tmp_path / "missing")) == []


def test_memory_is_that_of_the_tightest_limit(tmp_path, monkeypatch):
    membership = tmp_path / "cgroup"
    membership.write_text("0::/job\n")
    root = tmp_path / "fs"
    write(root / "job", memory__max="1000", memory__current="900")
    monkeypatch.setattr(psutil, "virtual_memory", lambda: Memory(5000, 3000))
    assert memory_space(root, membership) == Space(1000, 100)
    (root / "job" / "memory.current").write_text("1100")
    assert memory_space(root, membership) == Space(1000, 0)
    (root / "job" / "memory.max").write_text("9223372036854771712")
    assert memory_space(root, membership) == Space(5000, 3000)


def test_disk_of_a_directory_that_does_not_exist_yet(tmp_path):
    assert disk_space(tmp_path / "a" / "b").total == disk_space(tmp_path).total > 0


def test_the_machine_is_asked(tmp_path, monkeypatch):
    def check(**changes):
        arguments = {
            "record_spec": SPEC,
            "capacity": 1000,
            "run_steps": 1000,
            "storage": "disk",
            "segment_steps": 100,
            "directory": tmp_path,
        }
        check_machine(**(arguments | changes))

    monkeypatch.setattr(budget, "disk_space", lambda _: Space(50_000, 10_000))
    with pytest.raises(RunDirectoryError):
        check()
    (tmp_path / "segment-000000.npy").write_bytes(bytes(18_000))
    check()
    monkeypatch.setattr(budget, "memory_space", lambda: Space(27_999, 27_999))
    with pytest.raises(ConfigError, match="memory"):
        check(storage="memory")
    monkeypatch.setattr(resource, "getrlimit", lambda _: (20, 20))
    with pytest.raises(ConfigError, match="segment_steps"):
        check()
    monkeypatch.setattr(resource, "getrlimit", lambda _: (resource.RLIM_INFINITY, 20))
    check()
