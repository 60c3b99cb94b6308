"""Several tasks together."""

import pytest

from harmony.analysis.aggregates import Scale, make_aggregates
from harmony.analysis.comparable import find_columns
from harmony.analysis.curves import Curve
from harmony.analysis.report_cells import Question, make_cells
from tests.made_up_runs import METRIC, SUCCESS, make_run, seeds

TENTHS = {"dmc": Scale(METRIC, "return / 10", lambda _, value: value / 10)}
OFF = {"harmony": "off"}


def aggregate(runs, scales=TENTHS, baseline=OFF):
    columns = find_columns(runs)
    arm = [column for column in columns if column.key == "harmony"]
    place = [column for column in columns if column.key != "harmony"]
    cells = make_cells(runs, place, arm, Question(METRIC, SUCCESS, baseline=baseline))
    return make_aggregates(cells, place, arm, scales, baseline)


def test_by_hand():
    runs = [
        *seeds(1.0, 3.0, task="a"), *seeds(10.0, 10.0, 10.0, 14.0, task="b"),
        *seeds(0.0, 2.0, task="a", harmony="off"), *seeds(9.0, 11.0, task="b", harmony="off"),
    ]  # fmt: skip
    (off, on), notes = aggregate(runs)
    assert notes == []
    assert (off.arm, on.arm) == (("off",), ("on",))
    assert (on.tasks, on.runs, off.runs) == (["a", "b"], 6, 4)
    # The scaled mean of tests/analysis/test_stats.py.
    assert on.mean.estimate == pytest.approx(0.65)
    assert on.mean.high - 0.65 == pytest.approx(0.1 * 3.1824 * 0.5**0.5, abs=1e-4)
    assert on.iqm.estimate == pytest.approx((3 + 10 + 10 + 10) / 40)
    assert on.difference.estimate == pytest.approx(0.65 - 0.55)
    # Task a: 1 > 0, 1 < 2, 3 > 0, 3 > 2; task b: 10 > 9 four times, 14 > 11.
    assert on.probability.estimate == pytest.approx((3 / 4 + 5 / 8) / 2)
    assert off.difference is None
    assert off.probability is None


def test_tasks_that_an_arm_lacks_are_left_out_and_named():
    runs = [*seeds(1.0, 3.0, task="a"), *seeds(1.0, 3.0, task="b"), *seeds(2.0, 3.0, task="c")]
    runs += [*seeds(1.0, 2.0, task="a", harmony="off"), *seeds(4.0, 2.0, task="c", harmony="off")]
    (off, on), notes = aggregate(runs)
    assert off.tasks == on.tasks == ["a", "c"]
    assert notes == ["left out over all tasks, since an arm lacks it: b"]


def test_an_arm_without_any_run_does_not_empty_the_others():
    late = make_run(task="a", harmony="off", ended="", env_steps=1_000)
    (on,), _ = aggregate([*seeds(1.0, 2.0, task="a"), *seeds(1.0, 2.0, task="b"), late])
    assert on.arm == ("on",)


@pytest.mark.parametrize("scales", [{}, {"dmc": Scale(SUCCESS, "success", lambda _, x: x)}])
def test_without_a_scale_there_is_none(scales):
    runs = [*seeds(1.0, 2.0, task="a"), *seeds(1.0, 2.0, task="b")]
    assert aggregate(runs, scales, {}) == ([], [])


def test_one_task_is_no_aggregate():
    assert aggregate([*seeds(1.0, 2.0), *seeds(1.0, 2.0, harmony="off")]) == ([], [])


def test_suites_are_never_mixed():
    other = [
        run
        for task in ("x", "y")
        for run in seeds(1.0, 2.0, task=task, suite="crafter", choices={"env": "crafter"})
    ]
    runs = [*seeds(1.0, 2.0, task="a"), *seeds(1.0, 2.0, task="b"), *other]
    found, _ = aggregate(runs, TENTHS, {})
    assert [one.tasks for one in found] == [["a", "b"]]


def test_arms_of_other_suites_have_none():
    runs = [*seeds(1.0, 2.0, task="a"), *seeds(1.0, 2.0, task="b")]
    runs += [
        run
        for task in ("a", "b")
        for run in seeds(1.0, 2.0, task=task, harmony="off", suite="crafter")
    ]
    assert aggregate(runs) == ([], [])


def test_other_steps_are_said():
    runs = [*seeds(1.0, 2.0, task="a")]
    runs += seeds(1.0, 2.0, task="b", curves={METRIC: Curve([50], [1.0])}, env_steps=50)
    _, notes = aggregate(runs, TENTHS, {})
    assert notes == ["the tasks were not evaluated at the same env step"]


def test_the_task_decides_the_scale():
    scale = Scale(METRIC, "x", lambda task, value: value * {"a": 1, "b": 100}[task])
    runs = [*seeds(1.0, 3.0, task="a"), *seeds(1.0, 3.0, task="b")]
    (found,), _ = aggregate(runs, {"dmc": scale}, {})
    assert found.mean.estimate == 101.0
