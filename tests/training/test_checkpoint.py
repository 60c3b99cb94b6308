import errno
import hashlib
import logging
import os
import random
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch

from harmony.errors import CheckpointError, RunDirectoryError
from harmony.training import checkpoint
from harmony.training.checkpoint import CheckpointStore, DamagedError


class Crash(BaseException):
    """Stands for a kill: nothing catches it."""


@pytest.fixture
def store(tmp_path):
    return CheckpointStore(tmp_path / "checkpoints")


def state(step):
    return {"step": step, "weight": torch.full((300,), float(step))}


def names(store):
    return sorted(path.name for path in store.directory.iterdir())


def assert_equal(left, right):
    assert type(left) is type(right)
    if isinstance(left, dict):
        assert list(left) == list(right)
        for key, value in left.items():
            assert_equal(value, right[key])
    elif isinstance(left, list | tuple):
        assert len(left) == len(right)
        for one, other in zip(left, right, strict=True):
            assert_equal(one, other)
    elif isinstance(left, torch.Tensor):
        assert left.dtype == right.dtype
        assert left.stride() == right.stride()
        assert torch.equal(left, right)
    elif isinstance(left, np.ndarray | np.generic):
        assert left.dtype == right.dtype
        assert left.shape == right.shape
        assert left.tobytes() == right.tobytes()
    else:
        assert left == right


def test_everything_comes_back_exactly(store):
    generator = torch.Generator().manual_seed(3)
    content = {
        "numbers": [0, -1, 2**127 + 1, -(2**127), 0.1, float("inf"), True, None, 1 + 2j],
        "text": "Grüße",
        "tuples": (1, (2.5, "a"), []),
        "keys": {0: "int", 1.5: "float", "": "str"},
        "empty": {"dict": {}, "list": [], "array": np.zeros((0, 3)), "tensor": torch.zeros(0, 2)},
        "arrays": {
            name: np.arange(6).reshape(2, 3).astype(name)
            for name in ("bool", "uint8", "int64", "uint64", "float16", "float32", ">f8", "<U3")
        },
        "order": np.asfortranarray(np.arange(6).reshape(2, 3)),
        "zero_dim": np.array(3, np.int16),
        "scalars": [np.float32(0.1), np.int64(2**62), np.bool_(True)],
        "tensors": {
            str(dtype): torch.arange(6).reshape(2, 3).to(dtype)
            for dtype in (torch.bool, torch.uint8, torch.bfloat16, torch.float64)
        },
        "channels_last": torch.randn(2, 3, 4, 4).to(memory_format=torch.channels_last),
        "pcg64": np.random.default_rng(5).bit_generator.state,
        "mt19937": np.random.RandomState(5).get_state(legacy=False),
        "python": random.Random(5).getstate(),
        "torch": generator.get_state(),
    }
    store.save(7, content)
    assert_equal(store.load(7), content)


def test_random_streams_go_on(store):
    numpy_stream, torch_stream = np.random.default_rng(1), torch.Generator().manual_seed(1)
    numpy_stream.random(10)
    torch.rand(10, generator=torch_stream)
    store.save(1, {"numpy": numpy_stream.bit_generator.state, "torch": torch_stream.get_state()})
    loaded = store.load(1)
    other_numpy, other_torch = np.random.default_rng(2), torch.Generator().manual_seed(2)
    other_numpy.bit_generator.state = loaded["numpy"]
    other_torch.set_state(loaded["torch"])
    assert other_numpy.random(5).tolist() == numpy_stream.random(5).tolist()
    expected = torch.rand(5, generator=torch_stream)
    assert torch.equal(torch.rand(5, generator=other_torch), expected)


def test_modules_and_optimizers_come_back(store):
    def make():
        module = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))
        return module, torch.optim.Adam(module.parameters())

    def update(module, optimizer):
        optimizer.zero_grad()
        module(torch.arange(12.0).reshape(4, 3)).square().sum().backward()
        optimizer.step()

    module, optimizer = make()
    update(module, optimizer)
    store.save(1, {"module": module.state_dict(), "optimizer": optimizer.state_dict()})
    other_module, other_optimizer = make()
    loaded = store.load(1)
    other_module.load_state_dict(loaded["module"])
    other_optimizer.load_state_dict(loaded["optimizer"])
    for _ in range(2):
        update(module, optimizer)
        update(other_module, other_optimizer)
    for key, value in module.state_dict().items():
        assert torch.equal(value, other_module.state_dict()[key])


def test_a_view_does_not_drag_its_storage_along(store):
    path = store.save(1, {"view": torch.zeros(1_000_000)[:2]})
    assert path.stat().st_size < 10_000
    assert store.load(1)["view"].tolist() == [0, 0]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (Path("x"), r"state\['a'\]\[0\].*Path"),
        ({1, 2}, "set"),
        (b"", "bytes"),
        (np.array([None]), "object"),
        (np.zeros(2, [("a", "f4")]), "'a'"),
        (2**3000, "int"),
        ({checkpoint.ARRAY: 1}, "key"),
        ({(1, 2): 1}, "key"),
    ],
)
def test_what_would_not_come_back_is_refused(store, value, message):
    store.save(1, state(1))
    with pytest.raises(TypeError, match=message):
        store.save(2, {"a": [value]})
    assert names(store) == ["checkpoint-000000000001.ckpt"]


def test_nothing_saved_yet(store):
    assert (store.load_latest(), store.steps()) == (None, [])
    with pytest.raises(CheckpointError, match="there is none"):
        store.load(3)


def test_the_last_two_are_kept(store):
    for step in (5, 10, 200, 1_000_000_000_000):
        store.save(step, state(step))
    assert store.steps() == [200, 1_000_000_000_000]
    step, loaded = store.load_latest()
    assert step == loaded["step"] == 1_000_000_000_000
    assert store.load(200)["step"] == 200


def test_saving_a_step_again_replaces_it(store):
    store.save(5, state(5))
    store.save(5, state(6))
    assert store.steps() == [5]
    assert store.load(5)["step"] == 6


def test_a_future_that_was_given_up_is_deleted(store):
    store.save(100, state(100))
    store.save(200, state(200)).write_bytes(b"damaged")
    assert store.load_latest()[0] == 100
    store.save(150, state(150))
    assert store.steps() == [100, 150]


def test_named_states_are_not_pruned(store):
    best = store.save_named("best", {"score": 3.5})
    for step in range(4):
        store.save(step, state(step))
    assert store.load_named(best) == {"score": 3.5}
    assert store.steps() == [2, 3]
    with pytest.raises(ValueError, match="name"):
        store.save_named("checkpoint-1", {})
    with pytest.raises(ValueError, match="keep"):
        CheckpointStore(store.directory, keep=0)


def test_the_checksum_is_written_where_the_docs_say(store):
    content = store.save(1, state(1)).read_bytes()
    assert content[:8] == b"HARMCKPT"
    assert content[8:12] == b"\x01\0\0\0"
    assert int.from_bytes(content[12:20], "little") == len(content) - 52
    assert content[20:52] == hashlib.sha256(content[:20] + content[52:]).digest()


@pytest.mark.parametrize("place", [0, 8, 12, 20, 52, 60, "middle", -1])
def test_a_flipped_bit_is_found(store, place, caplog):
    store.save(1, state(1))
    path = store.save(2, state(2))
    content = bytearray(path.read_bytes())
    content[len(content) // 2 if place == "middle" else place] ^= 1
    path.write_bytes(content)
    with pytest.raises(DamagedError, match=path.name):
        store.load(2)
    with caplog.at_level(logging.WARNING):
        step, loaded = store.load_latest()
    assert (step, loaded["step"]) == (1, 1)
    assert path.name in caplog.text


@pytest.mark.parametrize("size", [0, 7, 51, 52, 53, 1000, "all but one"])
def test_a_cut_file_is_found(store, size):
    store.save(1, state(1))
    path = store.save(2, state(2))
    content = path.read_bytes()
    path.write_bytes(content[: len(content) - 1 if size == "all but one" else size])
    assert store.load_latest()[0] == 1


def test_nothing_is_unpickled_before_the_checksum_is_right(store, monkeypatch):
    path = store.save(1, state(1))
    path.write_bytes(path.read_bytes() + b"x")
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("unpickled"))
    with pytest.raises(DamagedError):
        store.load(1)


def test_all_damaged_is_an_error_not_a_fresh_start(store):
    for step in (1, 2):
        store.save(step, state(step)).write_bytes(b"")
    with pytest.raises(CheckpointError, match="all 2 are damaged"):
        store.load_latest()


def test_a_newer_version_is_refused_not_skipped(store, monkeypatch):
    store.save(1, state(1))
    monkeypatch.setattr(checkpoint, "VERSION", 2)
    store.save(2, state(2))
    monkeypatch.undo()
    with pytest.raises(CheckpointError, match="version 1, got 2"):
        store.load_latest()


@pytest.mark.parametrize("name", ["fsync", "replace"])
@pytest.mark.parametrize("keep", [1, 2])
def test_a_kill_before_the_rename_leaves_the_old_ones(tmp_path, monkeypatch, name, keep):
    store = CheckpointStore(tmp_path, keep=keep)
    for step in range(1, 4):
        store.save(step, state(step))
    before = store.steps()

    def crash(*_):
        raise Crash

    monkeypatch.setattr(os, name, crash)
    with pytest.raises(Crash):
        store.save(4, state(4))
    monkeypatch.undo()
    assert store.steps() == before
    assert store.load_latest()[0] == 3
    assert len(list(store.directory.glob("*.tmp"))) == 1
    store.save(4, state(4))
    assert store.load_latest()[0] == 4
    assert not list(store.directory.glob("*.tmp"))


@pytest.mark.parametrize("keep", [1, 2])
def test_a_kill_after_the_rename_leaves_the_new_one(tmp_path, monkeypatch, keep):
    store = CheckpointStore(tmp_path, keep=keep)
    for step in range(1, 4):
        store.save(step, state(step))

    def crash(*_, **__):
        raise Crash

    # The first deletion after the rename is that of the oldest.
    monkeypatch.setattr(Path, "unlink", crash)
    with pytest.raises(Crash):
        store.save(4, state(4))
    monkeypatch.undo()
    assert store.load_latest()[0] == 4
    assert len(store.steps()) == keep + 1
    store.save(5, state(5))
    assert len(store.steps()) == keep


def test_the_oldest_goes_only_when_the_new_name_is_durable(store, monkeypatch):
    order = []
    real_fsync, real_replace, real_unlink = os.fsync, os.replace, Path.unlink
    for step in (1, 2):
        store.save(step, state(step))
    monkeypatch.setattr(os, "fsync", lambda fd: (order.append("fsync"), real_fsync(fd))[1])
    monkeypatch.setattr(os, "replace", lambda *a: (order.append("rename"), real_replace(*a))[1])
    monkeypatch.setattr(
        Path, "unlink", lambda *a, **k: (order.append("delete"), real_unlink(*a, **k))[1]
    )
    store.save(3, state(3))
    assert order == ["fsync", "rename", "fsync", "delete"]


@pytest.mark.parametrize("name", ["fsync", "replace"])
@pytest.mark.parametrize(
    ("number", "message"),
    [
        (errno.ENOSPC, r"GB free.*disk or quota is full"),
        (errno.EDQUOT, r"GB free.*disk or quota is full"),
        (errno.EIO, "Input/output error"),
    ],
)
def test_a_disk_error_is_one_line_and_leaves_no_rest(store, monkeypatch, name, number, message):
    store.save(1, state(1))

    def full(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, name, full)
    with pytest.raises(RunDirectoryError, match=message) as caught:
        store.save(2, state(2))
    assert "\n" not in str(caught.value)
    assert names(store) == ["checkpoint-000000000001.ckpt"]


@pytest.fixture
def small_disk(tmp_path):
    mount = tmp_path / "disk"
    mount.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(mount)]
    try:
        done = subprocess.run(command, capture_output=True, check=False)
    except FileNotFoundError:
        pytest.skip("no mount command")
    if done.returncode:
        pytest.skip("may not mount a small disk")
    yield mount
    subprocess.run(["umount", str(mount)], check=True)


def test_a_disk_that_is_really_full(small_disk):
    store = CheckpointStore(small_disk)
    store.save(1, {"weight": torch.zeros(100_000)})  # 0.4 MB of 1 MB
    with pytest.raises(RunDirectoryError, match="disk or quota is full"):
        store.save(2, {"weight": torch.zeros(200_000)})
    assert names(store) == ["checkpoint-000000000001.ckpt"]
    assert store.load_latest()[0] == 1
    store.save(3, state(3))
    assert store.steps() == [1, 3]
