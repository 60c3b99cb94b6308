"""What the doctor says of machines, most of them faked."""

import json

import pytest

from harmony import doctor_machine
from harmony.doctor_machine import Fact
from harmony.envs.devices import EglDevice, Machine


def test_the_map_from_egl_to_cuda():
    machine = Machine(
        (
            EglDevice(0, starts=True, cuda=1, drm="/dev/dri/card1"),
            EglDevice(1, starts=False, cuda=0),
            EglDevice(2, starts=True, software=True),
        ),
        ("GPU-a", "GPU-b"),
    )
    given = {"MUJOCO_GL": "osmesa", "CUDA_VISIBLE_DEVICES": "1"}
    facts = {fact.name: fact.value for fact in doctor_machine.rendering(machine, given)}
    assert facts["egl 0"] == "CUDA device 1, /dev/dri/card1"
    assert facts["egl 1"] == "CUDA device 0, does not start"
    assert facts["egl 2"] == "draws in software"
    assert (facts["cuda 0"], facts["cuda 1"]) == ("GPU-a", "GPU-b")
    assert given == {"MUJOCO_GL": "osmesa", "CUDA_VISIBLE_DEVICES": "1"}


def test_a_machine_that_cannot_draw_is_a_problem():
    first, *_ = doctor_machine.rendering(Machine(), {"MUJOCO_GL": "nonsense"})
    assert first.fine is False
    assert "expected MUJOCO_GL to be egl, osmesa or glfw" in first.value


def test_torch_that_is_broken_is_a_problem(monkeypatch):
    monkeypatch.setattr(doctor_machine, "_ASK_TORCH", "raise ImportError('libcudart.so.13')")
    fact = doctor_machine.gpu()
    assert fact.fine is False
    assert fact.value.endswith("PyTorch failed (exit code 1): ImportError: libcudart.so.13")


def test_gpus_are_listed(monkeypatch):
    found = {"cuda": "13.0", "gpus": ["NVIDIA H200", "NVIDIA L4"]}
    monkeypatch.setattr(doctor_machine, "_ASK_TORCH", f"print({json.dumps(json.dumps(found))})")
    value = doctor_machine.gpu().value
    assert value == "0: NVIDIA H200, 1: NVIDIA L4; PyTorch is built CUDA 13.0"


def test_a_store_that_is_not_there_yet_is_not_made(tmp_path):
    file = tmp_path / "new" / "mlflow.db"
    fact = doctor_machine.store(f"sqlite:///{file}")
    assert fact.fine
    assert fact.value.endswith("mlflow.db: the first run makes it")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "expected", "fine"),
    [
        ("pass", "postgresql://***@db/x answers", True),
        ("raise OSError('postgresql://me:secret@db/x refused')", "refused", False),
        ("import time; time.sleep(60)", "gave no answer in 0.5 s", False),
    ],
)
def test_a_store_is_asked_and_its_password_never_shown(monkeypatch, text, expected, fine):
    monkeypatch.setattr(doctor_machine, "_ASK_STORE", text)
    monkeypatch.setattr(doctor_machine, "_STORE_SECONDS", 0.5 if "sleep" in text else 30.0)
    fact = doctor_machine.store("postgresql://me:secret@db/x", asked=True)
    assert (fact.fine, fact.asked) == (fine, True)
    assert expected in fact.value
    assert "secret" not in fact.value


def test_a_wrong_address_is_one_line():
    fact = doctor_machine.store("")
    assert fact.fine is False
    assert "expected tracking.tracking_uri" in fact.value


def test_no_slurm_is_no_problem(monkeypatch):
    monkeypatch.setattr(doctor_machine.shutil, "which", lambda _: None)
    assert doctor_machine.slurm().fine is None


@pytest.mark.parametrize(
    ("script", "value", "fine"),
    [
        ("echo 'gpu* up 4 gpu:8'; echo 'cpu up 2 (null)'",
         "gpu* (up, 4 nodes, gpu:8); cpu (up, 2 nodes, (null))", True),
        ("echo 'sinfo: error: no controller' >&2; exit 1",
         "sinfo failed (exit code 1): sinfo: error: no controller", False),
        ("sleep 60", "sinfo gave no answer in 0.3 s", False),
    ],
)  # fmt: skip
def test_slurm_is_asked(monkeypatch, tmp_path, script, value, fine):
    program = tmp_path / "sinfo"
    program.write_text(f"#!/bin/sh\n{'exec ' if 'sleep' in script else ''}{script}\n")
    program.chmod(0o755)
    monkeypatch.setattr(doctor_machine.shutil, "which", lambda _: str(program))
    seconds = 0.3 if "sleep" in script else 30.0
    monkeypatch.setattr(doctor_machine, "_SLURM_SECONDS", seconds)
    assert doctor_machine.slurm() == Fact("slurm", value, fine)


def test_every_fact_comes(monkeypatch, tmp_path):
    monkeypatch.setattr(doctor_machine, "gpu", lambda: Fact("gpu", "none"))
    config = {"tracking": {}, "runs_root": str(tmp_path)}
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    names = [fact.name for fact in doctor_machine.facts(config, store_asked=False)]
    assert names[:5] == ["harmony", "python", "packages", "gpu", "rendering"]
    assert names[-4:] == ["mlflow", "slurm", "runs", "memory"]
