import os

import pytest

from launch.mps import sharing
from launch.worker import GPU_SHARE


@pytest.fixture
def control(tmp_path, monkeypatch):
    """Stands in for nvidia-cuda-mps-control; writes down what it was asked."""
    script = tmp_path / "bin" / "nvidia-cuda-mps-control"
    script.parent.mkdir()
    script.write_text(
        f'#!/bin/sh\necho "$# $1 $(cat) $CUDA_MPS_PIPE_DIRECTORY" >> {tmp_path}/asked\n'
        f"test ! -e {tmp_path}/broken\n"
    )
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{script.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    return tmp_path


def test_one_run_alone_shares_nothing(control):
    with sharing(1) as environment:
        assert environment == dict(os.environ)
    assert not (control / "asked").exists()


def test_without_mps_each_run_has_its_part_of_the_memory(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    with sharing(4) as environment:
        assert float(environment[GPU_SHARE]) == pytest.approx(0.95 / 4, abs=1e-4)
        assert "CUDA_MPS_PIPE_DIRECTORY" not in environment
    assert GPU_SHARE not in os.environ


def test_without_a_gpu_nothing_is_started(control, monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    with sharing(2):
        pass
    assert not (control / "asked").exists()


def test_the_server_starts_before_and_quits_after(control):
    with sharing(2) as environment:
        pipes = environment["CUDA_MPS_PIPE_DIRECTORY"]
        assert os.path.isdir(pipes)  # noqa: PTH112 - as a program would see it
        assert os.path.isdir(environment["CUDA_MPS_LOG_DIRECTORY"])  # noqa: PTH112
        assert (control / "asked").read_text() == f"1 -d  {pipes}\n"
    assert (control / "asked").read_text().splitlines()[1] == f"0  quit {pipes}"
    assert not os.path.exists(pipes)  # noqa: PTH110


def test_it_quits_after_an_error_too(control):
    with pytest.raises(ZeroDivisionError), sharing(2):
        raise ZeroDivisionError
    assert " quit " in (control / "asked").read_text()


def test_a_server_that_does_not_start_is_only_slower(control, caplog):
    (control / "broken").touch()
    with sharing(2) as environment:
        assert "CUDA_MPS_PIPE_DIRECTORY" not in environment
        assert GPU_SHARE in environment
    assert "take turns" in caplog.text
