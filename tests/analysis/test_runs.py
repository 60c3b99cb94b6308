"""What a report knows of a run."""

import json
import math

import pytest

from harmony.analysis.runs import ABSENT, as_text, read_curves
from tests.made_up_runs import METRIC, make_run


def test_curves_are_read_in_one_pass_and_numbers_that_were_none_are_nan(tmp_path):
    rows = [
        {"env_step": 10, "eval/return": 1.0, "eval/success": 0.5},
        {"env_step": 15, "episode/return": 3.0},
        {"env_step": 20, "nonfinite/eval/return": 1, "eval/success": 0.75},
    ]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    curves, names = read_curves(tmp_path, ["eval/return", "eval/success", "eval/none"])
    assert curves["eval/success"] == ([10, 20], [0.5, 0.75])
    assert curves["eval/return"].env_step == [10, 20]
    assert curves["eval/return"].value[0] == 1.0
    assert math.isnan(curves["eval/return"].value[1])
    assert set(curves) == {"eval/return", "eval/success"}
    assert names == {"eval/return", "eval/success", "episode/return", "nonfinite/eval/return"}


def test_a_run_without_metrics_has_no_curves(tmp_path):
    assert read_curves(tmp_path, [METRIC]) == ({}, set())


@pytest.mark.parametrize(
    ("ended", "values", "env_steps", "finished"),
    [
        ("FINISHED", (1.0,), 200, True),
        ("KILLED", (1.0,), 200, False),
        ("KILLED", (1.0,), 100, True),  # it was all done before it was started once more
        ("", (), 100, False),
    ],
)
def test_finished_is_what_trained_as_long_as_it_was_to(ended, values, env_steps, finished):
    run = make_run(values, ended=ended, env_steps=env_steps)
    assert run.finished(METRIC) is finished
    assert run.reached(METRIC) == (100 if values else 0)


def test_options_go_before_values_and_values_before_facts():
    run = make_run(settings={"replay.batch_size": 16, "x": None}, choices={"size": "tiny"})
    keys = ("size", "replay.batch_size", "x", "evaluation.episodes", "no")
    assert [run.shown(key) for key in keys] == ["tiny", "16", "null", "10", ABSENT]
    assert run.task == "walk"


@pytest.mark.parametrize(("value", "text"), [(True, "true"), (0.5, "0.5"), ([1, 2], "[1, 2]")])
def test_values_look_as_in_yaml(value, text):
    assert as_text(value) == text
