"""What the doctor says of suites; programs of the tests stand in for the trial of one."""

import json
import sys
import time

import psutil
import pytest

from harmony import doctor_suites
from harmony.errors import EnvError

TRIAL = {
    "seconds": 1.25, "image": [64, 64, 3], "colors": 9, "reset_ms": 17.6, "steps_per_s": 21.4,
    "frames_per_s": 42.8, "actions": "Box(-1.0, 1.0, (4,), float32)",
}  # fmt: skip


@pytest.fixture
def child(monkeypatch):
    """Lets a program of the test take the place of the trial of a suite."""
    popen = doctor_suites.subprocess.Popen

    def replace(text):
        monkeypatch.setattr(
            doctor_suites.subprocess,
            "Popen",
            lambda command, **more: popen([sys.executable, "-c", text, *command[3:]], **more),
        )

    return replace


def test_all_choices_of_env_are_looked_at():
    assert {"dmc", "metaworld", "probe"} <= set(doctor_suites.suite_names())


def test_missing_packages_are_all_named_with_one_command(monkeypatch):
    from harmony.envs import probe

    monkeypatch.setattr(
        probe, "REQUIRES", {"no_a": "atari", "numpy": "x", "no_b": "dmc"}, raising=False
    )
    monkeypatch.setattr(doctor_suites, "try_suite", lambda *_: pytest.fail("can't be tried"))
    suite = doctor_suites.examine("probe", [], 1.0)
    assert (suite.state, suite.problem) == ("missing", "not installed: no_a, no_b")
    assert set(suite.packages) == {"no_a", "numpy", "no_b"}
    assert suite.packages["no_a"] == ""
    assert suite.packages["numpy"][0].isdigit()
    (command,) = suite.commands
    assert command.startswith("pip install -c /")
    assert command.endswith("[atari,dmc]'")


def test_outside_a_checkout_the_command_is_that_of_the_package(monkeypatch, tmp_path):
    monkeypatch.setattr(doctor_suites.harmony, "__file__", str(tmp_path / "a" / "x.py"))
    command = "pip install 'harmony-dream[dmc]'"
    assert doctor_suites._command(command) == command


def test_what_a_suite_says_itself_is_passed_on(monkeypatch):
    def refuse(*_):
        raise EnvError("CoppeliaSim is missing;\nset COPPELIASIM_ROOT")

    monkeypatch.setattr(doctor_suites, "check_suite", refuse)
    suite = doctor_suites.examine("probe", [], 1.0)
    assert suite.state == "missing"
    assert suite.problem == "CoppeliaSim is missing; set COPPELIASIM_ROOT"


def test_a_configuration_that_does_not_compose_ends_nothing():
    suite = doctor_suites.examine("probe", ["no.such=1"], 1.0)
    assert suite.state == "fails"
    assert "no" in suite.problem


def test_what_the_trial_measures_is_kept(child):
    child(f"print('noise'); print({json.dumps(json.dumps(TRIAL))})")
    suite = doctor_suites.examine("probe", [], 30.0)
    assert (suite.state, suite.problem, suite.trial) == ("works", "", TRIAL)


def test_the_trial_gets_the_configuration(child):
    child("import json, sys; print(json.dumps({'error': ' '.join(sys.argv[1:])}))")
    suite = doctor_suites.examine("probe", ["env.length=5"], 30.0)
    assert (suite.state, suite.problem) == ("fails", "env=probe env.length=5")


def test_what_an_env_lacks_when_it_is_made_is_missing(child):
    child("import json; print(json.dumps({'error': 'no display', 'missing': True}))")
    suite = doctor_suites.examine("probe", [], 30.0)
    assert (suite.state, suite.problem, suite.trial) == ("missing", "no display", {})


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "killed by SIGSEGV"),
        ("import sys; sys.stderr.write('one\\nlast words\\n'); sys.exit(3)", "exit code 3"),
        ("1 / 0", "crashed (exit code 1): ZeroDivisionError: division by zero"),
        ("import time; time.sleep(60)", "no end after 0.5 s; timeout=SECONDS allows more"),
    ],
)
def test_a_crash_or_a_hang_is_one_line(child, text, problem):
    child(text)
    suite = doctor_suites.examine("probe", [], 0.5 if "sleep" in text else 30.0)
    assert suite.state == "fails"
    assert problem in suite.problem
    assert "\n" not in suite.problem


def lives(pid):
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_what_a_hanging_trial_has_started_is_killed_too(child, tmp_path):
    mark = tmp_path / "pid"
    child(
        "import pathlib, subprocess, sys, time\n"
        "other = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        f"pathlib.Path({str(mark)!r}).write_text(str(other.pid))\n"
        "time.sleep(60)"
    )
    assert doctor_suites.examine("probe", [], 5.0).state == "fails"
    other = int(mark.read_text())
    until = time.monotonic() + 5.0  # a signal takes a moment
    while lives(other) and time.monotonic() < until:
        time.sleep(0.02)
    assert not lives(other)
