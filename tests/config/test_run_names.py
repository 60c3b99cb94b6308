import re
from pathlib import Path

import pytest

from harmony.config.run_names import new_name, run_name, runs_root, settled_path, sweep_name
from harmony.errors import ConfigError

CHOICES = {"env": "dmc", "algorithm": "dreamerv2", "harmony": "on", "size": "tiny"}
CONFIG = {"env": {"task": "walker_walk"}, "seed": 0}


def test_a_name_says_what_runs():
    assert run_name(CONFIG, CHOICES) == "dmc-walker_walk-dreamerv2-on-seed0"
    assert run_name({"env": {}, "seed": 3}, {"env": "probe"}) == "probe-seed3"


def test_a_name_has_nothing_that_breaks_overrides_or_paths():
    name = run_name({"env": {"task": "a=b,c/../d e"}, "seed": 0}, CHOICES)
    assert name == "dmc-a_b_c_.._d_e-dreamerv2-on-seed0"


def test_new_names_carry_date_and_chance():
    names = {new_name("x") for _ in range(20)}
    assert len(names) > 15
    assert all(re.fullmatch(r"x-\d{8}-\d{6}-[0-9a-f]{4}", name) for name in names)


def test_root_is_config_then_environment_then_runs(monkeypatch, tmp_path):
    assert runs_root({"runs_root": None}) == Path.cwd() / "runs"
    monkeypatch.setenv("HARMONY_RUNS", str(tmp_path / "env"))
    assert runs_root({}) == tmp_path / "env"
    assert runs_root({"runs_root": "mine"}) == Path.cwd() / "mine"


def test_settled_path():
    assert settled_path(CONFIG, CHOICES) is None
    assert settled_path({**CONFIG, "run_dir": "r/1"}, CHOICES) == Path.cwd() / "r" / "1"
    first = settled_path({**CONFIG, "sweep": "s"}, CHOICES)
    again = settled_path({**CONFIG, "sweep": "s", "device": "cuda"}, CHOICES)
    other = settled_path({**CONFIG, "sweep": "s", "lr": 1}, CHOICES)
    assert first == again != other
    assert first.parent == Path.cwd() / "runs" / "s"


@pytest.mark.parametrize("name", ["", "null", ".x", "a/b", "a,b", "a=b"])
def test_a_sweep_is_one_directory(name):
    with pytest.raises(ConfigError, match="expected letters"):
        sweep_name(name)
