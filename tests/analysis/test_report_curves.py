"""Curves of a report."""

import csv
import math

import pytest

from harmony.analysis.comparable import Column
from harmony.analysis.curves import Curve
from harmony.analysis.report_cells import Question, make_cells
from harmony.analysis.report_curves import band, draw_curves, write_curves
from tests.made_up_runs import METRIC, SUCCESS, make_run

ASKED = Question(METRIC, SUCCESS)
HARMONY = [Column("harmony", "harmony")]


class TestBand:
    def test_by_hand(self):
        steps, values = band([Curve([10, 20], [k, 2 * k]) for k in (1.0, 2.0, 3.0)])
        assert steps == [10, 20]
        assert values[0] == pytest.approx((2.0, -0.4842, 4.4842), abs=1e-4)
        assert values[1].estimate == 4.0

    def test_between_its_points_a_curve_is_straight(self):
        """Seeds whose first evaluation is at another step; what one does not cover is left out."""
        found = band([Curve([0, 20, 40], [0.0, 2.0, 4.0]), Curve([10, 30], [5.0, 5.0])])
        assert found.env_step == [10, 20, 30]
        assert [value.estimate for value in found.value] == [3.0, 3.5, 4.0]

    def test_what_is_no_number_is_left_out(self):
        steps, values = band([Curve([10, 20, 30], [1.0, math.nan, 3.0])])
        assert (steps, [value.estimate for value in values]) == ([10, 30], [1.0, 3.0])
        assert not values[0].known

    @pytest.mark.parametrize("curves", [[], [Curve([], [])], [Curve([1], [1.0]), Curve([], [])]])
    def test_nothing_has_none(self, curves):
        assert band(curves) == ([], [])


@pytest.fixture(scope="module")
def compared():
    runs = [
        make_run((1.0, 2.0 + seed), seed=seed, harmony=harmony, code="abc1234")
        for harmony in ("on", "off")
        for seed in range(3)
    ]
    runs.append(make_run((9.0,), seed=3, name="late", ended="KILLED", env_steps=1_000))
    return runs, make_cells(runs, [], HARMONY, ASKED)


def test_every_point_and_every_band_is_written(tmp_path, compared):
    runs, cells = compared
    write_curves(tmp_path / "c.csv", cells, HARMONY, runs, METRIC)
    with (tmp_path / "c.csv").open() as file:
        rows = list(csv.DictReader(file))
    points = [row for row in rows if row["run"]]
    assert len(points) == 13
    assert points[1] == {
        "harmony": "on", "metric": METRIC, "seed": "0", "env_step": "100", "value": "2.0",
        "low": "", "high": "", "counts": "true", "code": "abc1234", "run": "walk-on-0",
    }  # fmt: skip
    assert [row["counts"] for row in points if row["run"] == "late"] == ["false"]
    bands = [row for row in rows if not row["run"] and row["harmony"] == "on"]
    assert [(row["env_step"], row["value"], row["seed"]) for row in bands] == [
        ("50", "1.0", ""), ("100", "3.0", ""),
    ]  # fmt: skip
    assert (bands[0]["low"], float(bands[1]["low"])) == ("", pytest.approx(0.5158, abs=1e-4))


@pytest.mark.parametrize("asked", [ASKED, ASKED._replace(at=100), Question(SUCCESS, SUCCESS)])
def test_a_picture_is_drawn(tmp_path, compared, asked):
    runs, cells = compared
    draw_curves(tmp_path / "c.png", cells, [], runs, asked)
    assert (tmp_path / "c.png").read_bytes().startswith(b"\x89PNG")


def test_five_places_take_two_rows(tmp_path):
    runs = [make_run((1.0, 2.0), task=task, env_steps=100) for task in "abcde"]
    place = [Column("env.task", "task")]
    draw_curves(tmp_path / "c.png", make_cells(runs, place, [], ASKED), place, runs, ASKED)
    assert (tmp_path / "c.png").exists()
