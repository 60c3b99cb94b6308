import logging
import sys
import threading
import time
import types

import pytest

from harmony.config.compose import Composed
from harmony.filelock import FileLock
from launch import worker
from launch.sweep import write_spec


@pytest.fixture
def train(monkeypatch):
    """Stands in for harmony.train and writes down what it was asked for."""
    module = types.ModuleType("harmony.train")
    module.checked, module.ran = [], []
    module.check = module.checked.append

    def run(composed, *, launched):
        module.ran.append((composed, launched))
        return 140

    module.run = run
    monkeypatch.setitem(sys.modules, "harmony.train", module)
    monkeypatch.setattr("harmony.train", module, raising=False)
    monkeypatch.setattr(worker, "take_share", lambda _share: None)  # no torch
    return module


@pytest.fixture
def spec(tmp_path):
    config = {"run_dir": str(tmp_path / "run"), "seed": 3}
    write_spec(tmp_path / "0.json", Composed(config, {"env": "probe"}, ["seed=3"]))
    return tmp_path / "0.json"


def test_it_trains_what_the_spec_says_as_launched(train, spec):
    assert worker.main([str(spec)]) == 140
    ((composed, launched),) = train.ran
    assert composed.config["seed"] == 3
    assert composed.choices == {"env": "probe"}
    assert launched is True
    assert train.checked == [composed]


@pytest.mark.parametrize("argv", [[], ["a", "b"]])
def test_wrong_arguments_are_one_line(capsys, argv):
    assert worker.main(argv) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: expected the spec of a run")
    assert err.count("\n") == 1


@pytest.mark.usefixtures("train")
def test_it_says_which_job_it_is(spec, monkeypatch, caplog):
    monkeypatch.setenv("SLURM_JOB_ID", "77")
    monkeypatch.delenv("SLURM_RESTART_COUNT", raising=False)
    with caplog.at_level(logging.INFO):
        worker.main([str(spec)])
    assert '"SLURM_JOB_ID": "77"' in caplog.text


def test_no_directory_is_not_waited_for(tmp_path):
    worker.wait_for_directory(None)
    worker.wait_for_directory(tmp_path / "none")
    assert not (tmp_path / "none").exists()
    worker.wait_for_directory(tmp_path)


def test_it_waits_for_the_process_that_owns_the_directory(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(worker, "_ASK_SECONDS", 0.02)
    lock = FileLock(tmp_path / "run.lock")
    lock.acquire(wait=False)
    began = time.monotonic()
    timer = threading.Timer(0.3, lock.release)
    timer.start()
    with caplog.at_level(logging.INFO):
        worker.wait_for_directory(tmp_path)
    timer.join()
    assert time.monotonic() - began >= 0.3
    assert caplog.text.count("waiting for the process") == 1
    assert lock.acquire(wait=False)  # it is free for the run
    lock.release()


@pytest.mark.usefixtures("train")
def test_a_share_of_the_gpu(spec, monkeypatch):
    shares = []
    monkeypatch.setattr(worker, "take_share", shares.append)
    worker.main([str(spec)])
    monkeypatch.setenv(worker.GPU_SHARE, "0.475")
    worker.main([str(spec)])
    assert shares == [1.0, 0.475]


def test_the_share_is_set_on_every_gpu_and_only_below_one(monkeypatch):
    torch = types.ModuleType("torch")
    torch.cuda = types.SimpleNamespace()
    monkeypatch.setitem(sys.modules, "torch", torch)
    limits = []
    torch.cuda.is_available = lambda: True
    torch.cuda.device_count = lambda: 2
    torch.cuda.set_per_process_memory_fraction = lambda *given: limits.append(given)
    worker.take_share(1.0)
    assert limits == []
    worker.take_share(0.3)
    assert limits == [(0.3, 0), (0.3, 1)]


STEP = {
    "HARMONY_WORLD_SIZE": "2", "SLURM_JOB_ID": "700", "SLURM_STEP_ID": "3", "SLURM_PROCID": "1",
    "SLURM_LOCALID": "1",
}  # fmt: skip


def test_a_process_of_several_is_told_its_place():
    assert worker.place_of_step(STEP) == {
        "HARMONY_RANK": "1",
        "HARMONY_LOCAL_RANK": "1",
        "HARMONY_RENDEZVOUS": "tcp://127.0.0.1:11703",  # 10,000 + (31 * 700 + 3) % 20,000
    }
    # A run of one process is told nothing, however many tasks its job has.
    alone = {name: value for name, value in STEP.items() if name != "HARMONY_WORLD_SIZE"}
    assert worker.place_of_step({**alone, "SLURM_NTASKS": "4"}) == {}
    assert worker.place_of_step({"HARMONY_WORLD_SIZE": "2"}) == {}


@pytest.mark.usefixtures("train")
@pytest.mark.parametrize(("rank", "waits"), [("0", 1), ("1", 0)])
def test_the_first_process_alone_looks_at_the_directory(spec, monkeypatch, rank, waits):
    waited = []
    monkeypatch.setattr(worker, "wait_for_directory", waited.append)
    for name, value in {**STEP, "SLURM_PROCID": rank}.items():
        monkeypatch.setenv(name, value)
    for name in ("HARMONY_RANK", "HARMONY_LOCAL_RANK", "HARMONY_RENDEZVOUS"):
        monkeypatch.setenv(name, "")  # restored afterwards
    assert worker.main([str(spec)]) == 140
    assert len(waited) == waits
