"""What RLBench needs of a machine, and what is said where it is not there."""

import ctypes
import os
import sys
import tempfile
from importlib.machinery import EXTENSION_SUFFIXES
from unittest.mock import Mock

import pytest

from harmony.envs import rlbench
from harmony.envs.rlbench import RLBench, check_packages
from harmony.envs.suite import check_suite
from harmony.envs.worlds import rlbench as world_file
from harmony.errors import EnvError
from tests.rlbench_fakes import FAKES, WORLD, importable


@pytest.fixture
def packages(tmp_path):
    """Makes packages from names of files, and makes them importable."""
    with importable(tmp_path / "packages"):

        def create(*files):
            for file in files:
                path = tmp_path / "packages" / file
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text("raise ImportError('was imported')")

        yield create


@pytest.fixture
def compiled(packages):
    """A PyRep that is linked to CoppeliaSim."""
    packages(
        "rlbench/__init__.py",
        "pyrep/__init__.py",
        "pyrep/backend/__init__.py",
        f"pyrep/backend/_sim_cffi{EXTENSION_SUFFIXES[0]}",
    )


@pytest.fixture
def coppeliasim(tmp_path):
    """Environment variables of a machine where nothing is missing but a display."""
    root = tmp_path / "CoppeliaSim"
    root.mkdir()
    (root / "libcoppeliaSim.so").touch()
    return {
        "COPPELIASIM_ROOT": str(root),
        "LD_LIBRARY_PATH": f"/usr/lib:{root}",
        "QT_QPA_PLATFORM_PLUGIN_PATH": str(root),
    }


def test_modules_are_found_without_being_imported(packages):
    packages("pyrep/__init__.py", "pyrep/backend/__init__.py", "pyrep/backend/sim.py")
    assert world_file.find_module("pyrep.backend.sim").origin.endswith("pyrep/backend/sim.py")
    for absent in ("pyrep.objects", "pyrep.backend.sim.more", "no_such_package.at_all"):
        assert world_file.find_module(absent) is None
    assert "pyrep" not in sys.modules


def test_pypis_package_of_the_same_name_is_told_apart(packages):
    packages("rlbench/__init__.py", "pyrep/__init__.py", "pyrep/Repository.py")
    fault = world_file.missing_package()
    assert "is an unrelated one of PyPI" in fault
    assert "pip uninstall pyrep, then" in fault
    assert "git+https://github.com/stepjam/PyRep.git" in fault


def test_a_pyrep_that_was_not_compiled_is_told(packages):
    packages("rlbench/__init__.py", "pyrep/__init__.py", "pyrep/backend/__init__.py")
    assert "has no compiled part; set COPPELIASIM_ROOT, then" in world_file.missing_package()


def test_a_missing_pyrep_is_named(packages):
    packages("rlbench/__init__.py")
    if world_file.find_module("pyrep") is None:
        assert world_file.missing_package().startswith("package 'pyrep' is missing in ")


@pytest.mark.usefixtures("compiled")
def test_a_whole_installation_lacks_nothing(coppeliasim, monkeypatch):
    monkeypatch.setattr(world_file, "_missing_display", lambda _: "")
    assert world_file.missing_package() == ""
    assert world_file.missing_machine(coppeliasim) == ""


@pytest.mark.usefixtures("compiled")
@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"COPPELIASIM_ROOT": ""}, "COPPELIASIM_ROOT is not set; unpack CoppeliaSim 4.1.0 and"),
        ({"COPPELIASIM_ROOT": "/tmp"}, "but /tmp has no libcoppeliaSim.so"),
        ({"LD_LIBRARY_PATH": "/usr/lib"}, "LD_LIBRARY_PATH must name "),
        ({"LD_LIBRARY_PATH": ""}, "export LD_LIBRARY_PATH=$LD_LIBRARY_PATH:$COPPELIASIM_ROOT"),
        ({"QT_QPA_PLATFORM_PLUGIN_PATH": ""}, "export QT_QPA_PLATFORM_PLUGIN_PATH=$COPPELIASIM"),
        ({"DISPLAY": ""}, "DISPLAY is not set; Xvfb :99 -noreset -screen 0 1280x1024x24 & export"),
        ({"DISPLAY": ":4321"}, "DISPLAY=:4321 can't be opened; Xvfb :99"),
    ],
)
def test_what_is_missing_is_one_line_with_its_cure(coppeliasim, change, told):
    if change.get("DISPLAY") and not has_x11():
        told = "apt install libx11-6"
    fault = world_file.missing_machine(coppeliasim | change)
    assert told in fault
    assert "\n" not in fault
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(world_file.os, "environ", coppeliasim | change)
        with pytest.raises(RuntimeError) as caught:
            world_file.make("reach_target", 64)
    assert str(caught.value) == fault


@pytest.mark.usefixtures("compiled")
def test_an_x_server_that_begins_anew_is_waited_for(coppeliasim, monkeypatch):
    answers = [None, 4711]
    library = Mock()
    library.XOpenDisplay.side_effect = lambda _: answers.pop(0)
    monkeypatch.setattr(ctypes, "CDLL", lambda _: library)
    assert world_file.missing_machine(coppeliasim | {"DISPLAY": ":0"}) == ""
    library.XOpenDisplay.assert_called_with(b":0")
    library.XCloseDisplay.assert_called_once_with(4711)


@pytest.mark.usefixtures("compiled")
def test_a_library_that_x_needs_is_named(coppeliasim, monkeypatch):
    def load(name):
        raise OSError(f"no {name}")

    monkeypatch.setattr(ctypes, "CDLL", load)
    fault = world_file.missing_machine(coppeliasim | {"DISPLAY": ":0"})
    assert fault.endswith("libX11.so.6 is missing; apt install libx11-6")


def test_missing_packages_say_how_to_get_them(monkeypatch):
    monkeypatch.setattr(world_file, "find_module", lambda _: None)
    monkeypatch.delenv(rlbench.PYTHON, raising=False)
    for fails in (
        lambda: RLBench(task="reach_target"),
        lambda: check_packages({}),
        lambda: check_suite("harmony.envs.rlbench.RLBench", {"task": "reach_target"}),
    ):
        with pytest.raises(EnvError) as caught:
            fails()
        assert "\n" not in str(caught.value)
        assert str(caught.value).startswith("env rlbench: package 'rlbench' is missing in ")
        assert f"{sys.executable} -m pip install git+https://github.com/stepjam/RLBench.git" in str(
            caught.value
        )


def test_packages_of_another_interpreter_are_its_own_business(monkeypatch):
    monkeypatch.setattr(world_file, "find_module", lambda _: None)
    check_packages({"python": "/usr/bin/python3"})
    check_packages({"world": WORLD})
    monkeypatch.setenv(rlbench.PYTHON, "/usr/bin/python3")
    check_packages({})


def test_an_interpreter_that_is_not_there_is_refused():
    with pytest.raises(EnvError, match=r"env rlbench: env\.python must .* but /nowhere/python is"):
        RLBench(task="reach_target", python="/nowhere/python")


def test_another_interpreter_says_what_it_lacks(monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))  # the log of the worker stays
    if world_file.find_module("rlbench") is not None:
        pytest.skip("RLBench is installed here")
    monkeypatch.setenv(rlbench.PYTHON, sys.executable)
    with pytest.raises(
        EnvError, match=r"make\(\) raised RuntimeError: package 'rlbench' is missing"
    ):
        RLBench(task="reach_target")


def test_the_stand_in_brings_its_simulator_and_needs_no_display():
    with importable(FAKES):
        assert world_file.missing_package() == ""
        assert world_file.missing_machine({}) == ""
        assert world_file.missing_machine(os.environ) == ""


def has_x11():
    try:
        ctypes.CDLL("libX11.so.6")
    except OSError:
        return False
    return True
