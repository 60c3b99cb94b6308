"""Tables of cells and aggregates."""

import csv
import math

import pytest

from harmony.analysis.aggregates import Scale, make_aggregates
from harmony.analysis.comparable import Column
from harmony.analysis.report_cells import Question, make_cells
from harmony.analysis.report_table import (
    Table,
    aggregate_table,
    cell_table,
    shown,
    write_aggregates,
    write_cells,
)
from harmony.analysis.stats import Interval
from tests.made_up_runs import METRIC, SUCCESS, make_run, seeds

OFF = {"harmony": "off"}
ASKED = Question(METRIC, SUCCESS, baseline=OFF)
TASK, HARMONY = [Column("env.task", "task")], [Column("harmony", "harmony")]
RUNS = [
    *seeds(5.0, 6.0, 7.0, task="a"), *seeds(0.0, 2.0, 4.0, task="a", harmony="off"),
    *seeds(1.0, 2.0, task="b"), *seeds(8.0, task="b", harmony="off"),
    make_run(task="b", seed=9, name="late", ended="KILLED", env_steps=1_000),
]  # fmt: skip
CELLS = make_cells(RUNS, TASK, HARMONY, ASKED)
SCALE = Scale(METRIC, "return / 10", lambda _, value: value / 10)


def test_text_is_aligned_and_markdown_is_a_table():
    table = Table(["name", "n"], [["a|b", "1"], ["c", "10"]], frozenset({1}))
    assert table.text().splitlines() == ["name   n", "a|b    1", "c     10"]
    assert table.markdown().splitlines() == [
        "| name | n |", "| --- | ---: |", "| a\\|b | 1 |", "| c | 10 |",
    ]  # fmt: skip


def test_columns_that_say_nothing_go():
    table = Table(["a", "b", "c"], [["1", "", "3"], ["", "", "4"]], frozenset({1, 2}))
    assert table.without_empty() == Table(["a", "c"], [["1", "3"], ["", "4"]], frozenset({1}))


@pytest.mark.parametrize(
    ("interval", "arguments", "text"),
    [
        ((1234.5, 1000.0, 1469.0), {}, "1,234 (1,000 to 1,469)"),
        ((412.34, 301.2, 523.4), {}, "412.3 (301.2 to 523.4)"),
        ((0.5, 0.25, 0.75), {"digits": 2}, "0.50 (0.25 to 0.75)"),
        ((10.0, 9.991, 10.009), {}, "10.000 (9.991 to 10.009)"),
        ((10.0, 9.999999, 10.000001), {}, "10.0000 (10.0000 to 10.0000)"),
        ((2.0, -3.0, 7.0), {"sign": "+"}, "+2.00 (-3.00 to 7.00)"),
        ((-0.0001, -2.0, 2.0), {"sign": "+"}, "+0.00 (-2.00 to 2.00)"),
        ((8.0, math.nan, math.nan), {"seeds": 1}, "8.00 (one seed)"),
        ((8.0, math.nan, math.nan), {}, "8.00 (no interval)"),
        ((0.0, math.nan, math.nan), {}, "0 (no interval)"),
    ],
)
def test_estimates_look_like_this(interval, arguments, text):
    assert shown(Interval(*interval), **arguments) == text


def test_a_row_for_each_cell():
    table = cell_table(CELLS, TASK, HARMONY, ASKED)
    assert table.head == [
        "task", "harmony", "seeds", "env steps", "eval/return (95 % interval)", "minus off",
        "P(above off)",
    ]  # fmt: skip
    assert table.rows == [
        ["a", "off", "3", "100", "2.00 (-2.97 to 6.97)", "", ""],
        ["a", "on", "3", "100", "6.00 (3.52 to 8.48)", "+4.00 (-0.16 to 8.16)", "1.00"],
        ["b", "off", "1", "100", "8.00 (one seed)", "", ""],
        ["b", "on", "2 of 3", "100", "1.50 (-4.85 to 7.85)", "-6.50 (no interval)", ""],
    ]


def test_the_baseline_is_named():
    base = {"harmony": "fixed", "harmony.reward": "1"}
    runs = seeds(1.0, 2.0, harmony="fixed", settings={"harmony.reward": 1})
    runs += seeds(2.0, 3.0, harmony="fixed", settings={"harmony.reward": 9})
    asked = ASKED._replace(baseline=base)
    arm = [*HARMONY, Column("harmony.reward", "reward")]
    head = cell_table(make_cells(runs, [], arm, asked), [], arm, asked).head
    assert head[-2:] == ["minus fixed, reward=1", "P(above fixed, reward=1)"]


def test_results_of_others_stand_beside_ours():
    table = cell_table(CELLS, TASK, HARMONY, ASKED, lambda cell: len(cell.samples) * 1000.0)
    assert table.head[-1] == "paper"
    assert [row[-1] for row in table.rows] == ["3,000", "3,000", "1,000", "2,000"]


def test_a_row_for_each_arm_over_all_tasks():
    aggregates, _ = make_aggregates(CELLS, TASK, HARMONY, {"dmc": SCALE}, OFF)
    table = aggregate_table(aggregates, TASK, HARMONY, ASKED, lambda _: 5.0)
    assert table.head == [
        "harmony", "tasks", "runs", "scores are", "mean", "IQM", "mean minus off", "P(above off)",
        "paper's mean",
    ]  # fmt: skip
    assert [row[:4] for row in table.rows] == [
        ["off", "2", "4", "return / 10"], ["on", "2", "5", "return / 10"],
    ]  # fmt: skip
    assert table.rows[0][4] == "0.500 (no interval)"
    assert [row[-1] for row in table.rows] == ["0.500", "0.500"]
    missing = aggregate_table(aggregates, TASK, HARMONY, ASKED, lambda _: None)
    assert "paper's mean" not in missing.head


def test_machines_get_numbers_in_full_and_nothing_where_nothing_is_known(tmp_path):
    write_cells(tmp_path / "t.csv", CELLS, TASK, HARMONY)
    with (tmp_path / "t.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert rows[1]["env.task"] == "a"
    assert rows[1]["seeds"] == "0 1 2"
    assert float(rows[1]["difference"]) == 4.0
    assert float(rows[1]["difference_low"]) == pytest.approx(-0.1554, abs=1e-3)
    assert (rows[2]["value"], rows[2]["value_low"], rows[2]["difference"]) == ("8.0", "", "")
    assert (rows[3]["left_out"], rows[3]["probability"]) == ("1", "")

    aggregates, _ = make_aggregates(CELLS, TASK, HARMONY, {"dmc": SCALE}, OFF)
    write_aggregates(tmp_path / "a.csv", aggregates, TASK, HARMONY)
    with (tmp_path / "a.csv").open() as file:
        (off, on) = csv.DictReader(file)
    assert (off["tasks"], off["runs"], off["mean"], off["mean_low"]) == ("a b", "4", "0.5", "")
    assert float(on["difference"]) == pytest.approx(0.375 - 0.5)
