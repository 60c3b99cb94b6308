"""What the state probe chooses and writes."""

import csv

import numpy as np
import pytest

from harmony.analysis.regression import Data, Score, Scores
from harmony.analysis.stats import Interval
from harmony.errors import ConfigError
from harmony.probe_request import parse
from harmony.probe_state import regress, select, state_lines, write_csv
from harmony.stored_run import StoredRun
from tests import tiny

STATES = {"qpos/slider": np.zeros((2, 1)), "qvel/slider": np.ones((2, 1))}
X_SCORE = Score(Interval(1, 0.5, 2), Interval(0.25, 0.125, 0.5))
SCORES = {"ridge": Scores({"x": X_SCORE}, Interval(3, 2, 4))}


def test_quantities_are_chosen_by_patterns():
    assert list(select(STATES, ["*"])) == ["qpos/slider", "qvel/slider"]
    assert list(select(STATES, ["none", "qvel/*"])) == ["qvel/slider"]
    with pytest.raises(ConfigError, match=r"^only=a,b matches none of qpos/slider, qvel/slider$"):
        select(STATES, ["a", "b"])


def test_a_state_that_never_varies_is_refused(tmp_path):
    request = parse([f"run={tmp_path}"])
    data = Data([np.zeros((4, 2), np.float32)] * 3, [np.ones((4, 1))] * 3)
    run = StoredRun(tmp_path, {}, None, tiny.agent())
    with pytest.raises(ConfigError, match="expected a state that varies, got goal, constant in 3"):
        regress(request, run, {"goal": slice(0, 1)}, data, data)


def test_the_table_as_csv(tmp_path):
    write_csv(tmp_path / "t.csv", SCORES)
    with (tmp_path / "t.csv").open() as file:
        rows = list(csv.reader(file))
    assert rows[0][:5] == ["readout", "quantity", "rmse", "rmse_low", "rmse_high"]
    assert rows[1] == ["ridge", "x", "1", "0.5", "2", "0.25", "0.125", "0.5"]
    assert rows[2] == ["ridge", "mean", "", "", "", "3", "2", "4"]


def test_lines_for_a_person():
    interval = {"estimate": 0.25, "low": 0.125, "high": 0.5}
    answer = {
        "episodes": 20, "random_episodes": 10, "validation_episodes": [3, 4], "checkpoint": "best",
        "constant": ["goal"], "table": "x.csv", "file": "x.json",
        "readouts": {
            "ridge": {
                "mean_normalized_error": interval,
                "quantities": {"hand": {"rmse": interval, "normalized_error": interval}},
            }
        },
    }  # fmt: skip
    assert state_lines(answer) == [
        "20 episodes, 10 of them random: 18 to learn from, 2 to judge by; best weights",
        "",
        "ridge        RMSE    1 - R2  95 % interval",
        "hand         0.25     0.250  0.125 to 0.500",
        "mean                  0.250  0.125 to 0.500",
        "",
        "constant, left out: goal",
        "table: x.csv",
        "file: x.json",
    ]
