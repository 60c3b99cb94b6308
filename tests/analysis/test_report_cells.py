"""Cells: their seeds, their means, and how far they are from a baseline."""

import math

import pytest

from harmony.analysis.comparable import Column, find_columns
from harmony.analysis.curves import Curve
from harmony.analysis.report_cells import (
    Question,
    Sample,
    baseline_arm,
    check_some,
    make_cells,
    sample,
)
from harmony.errors import ComparisonError
from tests.made_up_runs import METRIC, SUCCESS, make_run, seeds

END = Question(METRIC, SUCCESS)
OFF = END._replace(baseline={"harmony": "off"})
HARMONY = [Column("harmony", "harmony")]


class TestSample:
    def test_the_last_evaluation_of_a_finished_run(self):
        run = make_run((1.0, 2.0, 4.0, 8.0))
        assert sample(run, END) == Sample(run, 100, 8.0)

    def test_an_evaluation_near_a_step(self):
        run = make_run(curves={METRIC: Curve([4_010, 20_003, 40_000], [1.0, 2.0, 3.0])})
        assert sample(run, END._replace(at=20_000)) == Sample(run, 20_003, 2.0)

    def test_an_unfinished_run_counts_at_a_step_that_it_has_reached(self):
        run = make_run((1.0, 2.0), ended="KILLED", env_steps=1_000)
        assert sample(run, END) == "unfinished (KILLED), at 100 of 1,000 env steps"
        assert sample(run, END._replace(at=100)) == Sample(run, 100, 2.0)
        assert sample(run, END._replace(at=500)) == "has reached 100 of 500 env steps"

    def test_a_run_that_was_not_ended_is_called_so(self):
        run = make_run((), ended="", curves={METRIC: Curve([], [])})
        assert sample(run, END).startswith("unfinished (still running, or its process died), at 0")

    def test_between_two_evaluations_nothing_is_made_up(self):
        run = make_run((1.0, 2.0), name="a")
        message = r"a was not evaluated at 70 env steps, the nearest are 50 and 100; at=50 is one"
        with pytest.raises(ComparisonError, match=message):
            sample(run, END._replace(at=70))

    def test_what_is_no_number_does_not_count(self):
        run = make_run((1.0, math.nan))
        assert sample(run, END) == "eval/return is no number at 100 env steps"

    def test_another_metric_at_the_same_step(self):
        found = Sample(make_run(curves={SUCCESS: Curve([50, 100], [0.2, 0.4])}), 100, 1.0)
        assert found.other(SUCCESS) == 0.4
        assert math.isnan(found.other("eval/none"))


class TestCells:
    def test_difference_and_probability_by_hand(self):
        runs = [*seeds(5.0, 6.0, 7.0), *seeds(0.0, 2.0, 4.0, harmony="off")]
        off, on = make_cells(runs, [], HARMONY, OFF)
        assert (off.arm, on.arm) == (("off",), ("on",))
        assert on.value == pytest.approx((6.0, 3.516, 8.484), abs=1e-3)
        assert on.difference == pytest.approx((4.0, -0.155, 8.155), abs=1e-3)
        assert on.probability == 1.0
        assert off.difference is None
        assert off.success is None

    def test_one_seed_has_no_interval_and_no_probability(self):
        _, on = make_cells([*seeds(5.0), *seeds(1.0, 2.0, harmony="off")], [], HARMONY, OFF)
        assert not on.value.known
        assert on.difference.estimate == 3.5
        assert not on.difference.known
        assert on.probability is None

    def test_success_is_a_share(self):
        runs = [
            make_run(seed=seed, curves={SUCCESS: Curve([100], [share])})
            for seed, share in enumerate((1.0, 1.0, 0.7))
        ]
        (cell,) = make_cells(runs, [], [], END)
        assert cell.success.estimate == pytest.approx(0.9)
        assert cell.success.high == 1.0

    def test_success_needs_every_seed(self):
        runs = [make_run(curves={SUCCESS: Curve([100], [1.0])}), make_run(seed=1)]
        (cell,) = make_cells(runs, [], [], END)
        assert cell.success is None

    def test_unfinished_runs_are_left_out_and_named(self):
        runs = [*seeds(1.0, 3.0), make_run(seed=2, name="late", ended="FAILED", env_steps=200)]
        (cell,) = make_cells(runs, [], [], END)
        assert [found.run.seed for found in cell.samples] == [0, 1]
        assert cell.left_out == {"late": "unfinished (FAILED), at 100 of 200 env steps"}

    def test_a_cell_of_unfinished_runs_has_no_value(self):
        runs = [make_run(harmony="off", ended="", env_steps=200), *seeds(1.0, 2.0)]
        off, on = make_cells(runs, [], HARMONY, OFF)
        assert off.value is None
        assert on.difference is None

    def test_places_stand_alone(self):
        runs = [
            make_run((value,), task=task, harmony=harmony)
            for task, harmony, value in (("b", "on", 3.0), ("a", "on", 1.0), ("b", "off", 1.0))
        ]
        place = [column for column in find_columns(runs) if column.key != "harmony"]
        cells = make_cells(runs, place, HARMONY, OFF)
        shown = [(c.place, c.arm, c.difference and c.difference.estimate) for c in cells]
        assert shown == [
            (("a",), ("on",), None), (("b",), ("off",), None), (("b",), ("on",), 2.0),
        ]  # fmt: skip


class TestBaselineArm:
    columns = [*HARMONY, Column("harmony.reward", "reward")]  # noqa: RUF012
    arms = [("fixed", "1"), ("fixed", "100"), ("off", "-")]  # noqa: RUF012

    def test_some_keys_may_be_enough(self):
        assert baseline_arm(self.arms, self.columns, {"harmony": "off"}) == ("off", "-")
        assert baseline_arm(self.arms, self.columns, {"harmony": "on"}) is None
        assert baseline_arm(self.arms, self.columns, {}) is None
        both = {"harmony": "fixed", "harmony.reward": "1"}
        assert baseline_arm(self.arms, self.columns, both) == ("fixed", "1")

    def test_several_are_refused(self):
        message = r"fits 2 arms, .* baseline=harmony=fixed,harmony\.reward=VALUE"
        with pytest.raises(ComparisonError, match=message):
            baseline_arm(self.arms, self.columns, {"harmony": "fixed"})


def test_a_table_of_nothing_is_refused():
    runs = [make_run(name=name, ended="", env_steps=200) for name in "ab"]
    message = r"no run counts: a unfinished .* \(and 1 more\); at=100 compares them as far as all"
    with pytest.raises(ComparisonError, match=message):
        check_some(make_cells(runs, [], [], END), runs, END)
    nothing = [make_run(ended="", curves={METRIC: Curve([], [])})]
    with pytest.raises(ComparisonError, match="; wait for them"):
        check_some(make_cells(nothing, [], [], END), nothing, END)
    check_some(make_cells(seeds(1.0), [], [], END), seeds(1.0), END)
