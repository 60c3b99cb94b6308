"""The process that tries one environment."""

import json

import pytest

from harmony import doctor_trial


def test_measures_an_env():
    found = doctor_trial.trial(["env=probe", "env.image_size=8", "env.action_repeat=2"], 30)
    assert found["image"] == [8, 8, 3]
    assert found["colors"] == 1
    assert found["frames_per_s"] == pytest.approx(2 * found["steps_per_s"])
    assert 0 < found["steps_per_s"] < 1e7
    assert found["reset_ms"] > 0
    assert "Box" in found["actions"]


def test_an_env_without_images():
    found = doctor_trial.trial(["env=probe", "env.observation=vector"], 3)
    assert found["image"] is None


def test_the_last_line_is_what_was_found(capsys):
    assert doctor_trial.main(["env=probe", "env.length=0"]) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert json.loads(last) == {
        "error": "env.length: expected 1 or more, got 0", "missing": True,
    }  # fmt: skip


def test_resets_are_not_timed(monkeypatch):
    clock = iter(range(1000))
    monkeypatch.setattr(doctor_trial.time, "perf_counter", lambda: float(next(clock)))
    found = doctor_trial.trial(["env=probe", "env.image_size=8", "env.length=2"], 10)
    assert found["steps_per_s"] == 1.0  # the clock is read before and after each step alone
