import logging

import pytest

from harmony.envs import opengl
from harmony.envs.devices import EglDevice, Machine
from harmony.envs.opengl import cannot_draw, choose_backend
from harmony.errors import EnvError


@pytest.fixture
def machine(monkeypatch):
    """Sets which libraries the machine seems to have."""

    def set_up(egl, osmesa):
        devices = tuple(EglDevice(index, starts) for index, starts in enumerate(egl))
        monkeypatch.setattr(opengl, "this_machine", lambda: Machine(devices))
        monkeypatch.setattr(
            opengl.ctypes.util, "find_library", lambda _: "libOSMesa.so.8" if osmesa else None
        )

    return set_up


@pytest.mark.parametrize("unset", [{}, {"MUJOCO_GL": ""}, {"MUJOCO_GL": " "}])
@pytest.mark.parametrize(
    ("egl", "expected"),
    [
        ((True,), {"MUJOCO_GL": "egl", "MUJOCO_EGL_DEVICE_ID": "0"}),
        ((False, True), {"MUJOCO_GL": "egl", "MUJOCO_EGL_DEVICE_ID": "1"}),
        ((False,), {"MUJOCO_GL": "osmesa"}),
    ],
)
def test_egl_is_taken_where_a_device_starts_and_osmesa_elsewhere(machine, unset, egl, expected):
    machine(egl=egl, osmesa=True)
    environ = dict(unset)
    assert choose_backend(environ) == expected["MUJOCO_GL"]
    assert environ == expected
    assert choose_backend(environ) == expected["MUJOCO_GL"]
    assert environ == expected


def test_the_users_choice_stands():
    environ = {"MUJOCO_GL": "GLFW", "DISPLAY": ":0"}
    assert choose_backend(environ) == "glfw"
    assert environ["MUJOCO_GL"] == "glfw"


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        ({"MUJOCO_GL": "nonsense"}, "expected MUJOCO_GL to be egl, osmesa or glfw, got 'nonsense'"),
        ({"MUJOCO_GL": "off"}, "got 'off'; unset it"),
        ({"MUJOCO_GL": "glfw"}, "needs a display.*libegl1 libgl1-mesa-dri"),
        ({"MUJOCO_GL": "egl"}, "MUJOCO_GL=egl can't draw here: no EGL device starts"),
        ({"MUJOCO_GL": "osmesa"}, "libOSMesa is missing, and no EGL device starts;.* libosmesa6"),
        ({}, "libOSMesa is missing, and no EGL device starts; install libegl1"),
        ({"MUJOCO_GL": "egl", "PYOPENGL_PLATFORM": "osmesa"}, "PYOPENGL_PLATFORM to be egl"),
    ],
)
def test_what_cannot_draw_is_one_line_that_helps(machine, environ, message):
    machine(egl=(), osmesa=False)
    before = dict(environ)
    with pytest.raises(EnvError, match=message) as caught:
        choose_backend(environ)
    assert "\n" not in str(caught.value)
    assert environ == before


@pytest.mark.parametrize("device", ["0", "7", "one"])
def test_an_egl_device_that_does_not_start_is_refused(machine, device):
    machine(egl=(False, True, True), osmesa=True)
    environ = {"MUJOCO_GL": "egl", "MUJOCO_EGL_DEVICE_ID": device}
    with pytest.raises(EnvError, match=f"MUJOCO_EGL_DEVICE_ID to be one of 1, 2, got '{device}'"):
        choose_backend(environ)
    assert choose_backend({**environ, "MUJOCO_EGL_DEVICE_ID": "2"}) == "egl"


@pytest.mark.parametrize("unset", [{}, {"MUJOCO_EGL_DEVICE_ID": ""}])
def test_egl_alone_is_asked_for(machine, unset):
    """The user wants EGL, so OSMesa is no way out; the device is still chosen."""
    machine(egl=(False, True), osmesa=True)
    environ = {"MUJOCO_GL": "egl", **unset}
    assert choose_backend(environ) == "egl"
    assert environ == {"MUJOCO_GL": "egl", "MUJOCO_EGL_DEVICE_ID": "1"}


def test_the_users_device_stands(machine):
    machine(egl=(True, True), osmesa=True)
    environ = {"MUJOCO_EGL_DEVICE_ID": "1"}
    assert choose_backend(environ) == "egl"
    assert environ == {"MUJOCO_GL": "egl", "MUJOCO_EGL_DEVICE_ID": "1"}


def test_what_was_chosen_is_one_line_in_the_log_and_is_said_once(machine, caplog):
    machine(egl=(True,), osmesa=True)
    environ = {}
    with caplog.at_level(logging.INFO):
        choose_backend(environ)
        choose_backend(environ)
    (record,) = caplog.records
    assert record.levelno == logging.INFO
    assert record.getMessage() == "rendering: EGL device 0 of 1 (a GPU): no CUDA device here"


def test_what_should_draw_and_does_not_is_a_warning(monkeypatch, caplog):
    computing_only = Machine((EglDevice(0, starts=True, software=True),), ("GPU-aa",))
    monkeypatch.setattr(opengl, "this_machine", lambda: computing_only)
    with caplog.at_level(logging.INFO):
        assert choose_backend({}) == "egl"
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "in software" in record.getMessage()
    assert "libEGL_nvidia" in record.getMessage()


def test_why_egl_could_not_be_asked_is_told(monkeypatch):
    broken = Machine(problem="EGL did not answer in 60 s")
    monkeypatch.setattr(opengl, "this_machine", lambda: broken)
    with pytest.raises(EnvError, match="MUJOCO_GL=egl can't draw here: EGL did not answer in 60 s"):
        choose_backend({"MUJOCO_GL": "egl"})


def test_a_long_cause_is_cut_to_one_line():
    message = str(cannot_draw("egl", "first\nsecond " + "x" * 500))
    assert "first second xxx" in message
    assert "\n" not in message
    assert len(message) < 400
