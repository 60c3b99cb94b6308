import errno
import os
import subprocess

import numpy as np
import pytest

from harmony.errors import RunDirectoryError
from harmony.replay import segments
from harmony.replay.layout import record_dtype
from harmony.replay.segments import Segments, allocate
from harmony.replay.store import Replay
from tests.replay.conftest import SPEC, add_episode, assert_same_batches, batches

DTYPE = record_dtype(SPEC)


def full(*_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def make(directory, storage):
    return Segments(directory, DTYPE, 4, storage)


def fill(array, first):
    array["reward"] = first + np.arange(4)


def test_a_file_is_an_ordinary_numpy_file(tmp_path, storage):
    store = make(tmp_path, storage)
    store.create(0)
    fill(store[0], 10)
    store.flush(0, 4)
    loaded = np.load(store.path(0), mmap_mode="r")
    assert loaded["reward"].tolist() == [10, 11, 12, 13]
    assert store.path(0).stat().st_size == store.file_bytes


def test_records_are_read_across_borders(tmp_path, storage):
    store = make(tmp_path, storage)
    for number in range(3):
        store.create(number)
        fill(store[number], 4 * number)
    pieces = [(done, records["reward"].tolist()) for done, records in store.read(3, 7)]
    assert pieces == [(0, [3]), (1, [4, 5, 6, 7]), (5, [8, 9])]
    assert [done for done, _ in store.read(4, 4)] == [0]
    assert list(store.read(4, 0)) == []


def test_a_file_has_all_its_blocks_from_the_beginning(tmp_path):
    store = Segments(tmp_path, DTYPE, 10_000, "disk")
    store.create(0)
    assert store.path(0).stat().st_blocks * 512 >= 10_000 * DTYPE.itemsize


def test_memory_writes_the_delta_only(tmp_path):
    store = make(tmp_path, "memory")
    store.create(0)
    fill(store[0], 10)
    store.flush(0, 2)
    assert np.load(store.path(0))["reward"].tolist() == [10, 11, 0, 0]
    inode = store.path(0).stat().st_ino
    store[0]["reward"][0] = 99  # not part of the next delta
    store.flush(2, 4)
    assert np.load(store.path(0))["reward"].tolist() == [10, 11, 12, 13]
    assert store.path(0).stat().st_ino == inode


def test_memory_never_removes_a_file_with_its_own_records(tmp_path):
    store = make(tmp_path, "memory")
    store.create(0)
    store.flush(0, 1)
    reopened = make(tmp_path, "memory")
    reopened.open(0)
    with store.path(0).open("rb") as old:  # held open, so that its inode is not given away
        reopened.flush(0, 1)
        assert store.path(0).stat().st_ino == os.fstat(old.fileno()).st_ino


def test_a_forgotten_file_is_replaced(tmp_path, storage):
    old = make(tmp_path, storage)
    old.create(0)
    fill(old[0], 10)
    old.flush(0, 4)
    new = make(tmp_path, storage)
    new.create(0)
    new[0]["reward"][0] = 1
    new.flush(0, 1)
    assert np.load(new.path(0))["reward"].tolist() == [1, 0, 0, 0]


def test_foreign_files_are_left_alone(tmp_path, storage):
    (tmp_path / "segment-notes.npy").touch()
    (tmp_path / "other.txt").touch()
    assert make(tmp_path, storage).on_disk() == []


def test_no_space_while_allocating(tmp_path, monkeypatch):
    store = make(tmp_path, "disk")
    monkeypatch.setattr(segments, "allocate", full)
    with pytest.raises(RunDirectoryError, match=r"GB free.*disk or quota is full") as caught:
        store.create(0)
    assert "\n" not in str(caught.value)
    assert store.on_disk() == []


def test_another_disk_error_is_named(tmp_path, monkeypatch):
    def broken(*_):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    store = make(tmp_path, "memory")
    store.create(0)
    monkeypatch.setattr(os, "fsync", broken)
    with pytest.raises(RunDirectoryError, match="Input/output error"):
        store.flush(0, 1)


@pytest.mark.parametrize("native", [True, False])
def test_allocate_gives_the_size(tmp_path, monkeypatch, native):
    if not native:
        monkeypatch.delattr(os, "posix_fallocate", raising=False)
    with (tmp_path / "file").open("xb") as file:
        allocate(file.fileno(), 3_000_001)
    assert (tmp_path / "file").stat().st_size == 3_000_001
    assert (tmp_path / "file").stat().st_blocks * 512 >= 3_000_001


@pytest.fixture
def small_disk(tmp_path):
    mount = tmp_path / "disk"
    mount.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(mount)]
    try:
        done = subprocess.run(command, capture_output=True, check=False)
    except FileNotFoundError:
        pytest.skip("no mount command")
    if done.returncode:
        pytest.skip("may not mount a small disk")
    yield mount
    subprocess.run(["umount", "--lazy", str(mount)], check=True)


def test_a_disk_that_is_really_full(small_disk, storage):
    """An error, not SIGBUS, and the state before it is whole."""

    def replay():
        return Replay(
            record_spec=SPEC,
            directory=small_disk / "replay",
            capacity=10_000,
            batch_size=4,
            batch_length=5,
            storage=storage,
            segment_steps=600,  # 17 kB
        )

    one = replay()
    add_episode(one, 1, 1000)
    state, sampled = one.state_dict(), batches(one, 0)

    def go_on():
        for episode in range(2, 6):
            add_episode(one, episode, 1000)
            one.state_dict()

    with pytest.raises(RunDirectoryError, match="disk or quota is full"):
        go_on()
    one.close(finished=False)
    resumed = replay()
    resumed.load_state_dict(state)
    assert_same_batches(batches(resumed, 0), sampled)
