import json
import os

import pytest

from launch.states import Row
from launch.table import as_json, duration, render


def row(index=0, **changes):
    given = {
        "index": index, "name": f"dmc-walker-{index}", "what": f"seed={index} harmony=on",
        "state": "RUNNING", "why": "", "env_step": 250_000, "env_steps": 1_000_000,
        "last_return": 12.345, "frames_per_s": 99.6, "seconds_left": 7530.0, "restarts": 1,
        "node": "n1", "job": "12_0",
    }  # fmt: skip
    return Row(**(given | changes))


def test_a_table():
    text = render([row(), row(1, state="FAILED", why="timeout", job="12_1")], width=200)
    head, first, _, empty, total, why = text.splitlines()
    assert head.split() == [
        "run", "state", "progress", "return", "steps/s", "left", "starts", "node", "job", "what",
    ]  # fmt: skip
    assert first == (
        "0    RUNNING   25% of 1M  12.3    100      2 h 5 min  2       n1    12_0  "
        "seed=0 harmony=on"
    )
    assert empty == ""
    assert total == "2 runs: 1 FAILED, 1 RUNNING"
    assert why == "run 1: timeout"


def test_a_run_that_has_not_begun():
    new = row(
        env_step=0, restarts=0, last_return=None, frames_per_s=None, seconds_left=None, node="",
        job="", state="MISSING", what="",
    )  # fmt: skip
    assert render([new], width=200).splitlines()[1].split() == [
        "0", "MISSING", "0%", "of", "1M", "0", "dmc-walker-0",
    ]  # fmt: skip


def test_what_tells_runs_apart_is_shown_before_the_rest():
    less_needed, before = ["job", "starts", "node", "steps/s", "left", "return"], 0
    for width in range(200, 45, -1):
        text = render([row(what="env.task=walk harmony=on")], width=width)
        head, line = text.splitlines()[:2]
        left_out = [name for name in less_needed if name not in head.split()]
        assert left_out == less_needed[: len(left_out)]
        assert before <= len(left_out) <= before + 1
        assert len(line) <= width
        assert line.endswith("task=walk harmony=on")
        before = len(left_out)
    assert before == len(less_needed)
    line = render([row(what="env.task=walk harmony=on")], width=1).splitlines()[1]
    assert line.endswith("  task=walk h…")


def test_a_long_reason_is_cut():
    waits = row(state="PENDING", why="x" * 60)
    assert f"({'x' * 30}…  " in render([waits], width=300)


def test_a_run_that_has_just_begun_was_started_once():
    new = row(env_step=0, restarts=0)
    assert render([new], width=200).splitlines()[1].split()[11] == "1"


def test_numbers_that_json_does_not_know_are_null():
    assert json.loads(as_json([row(last_return=float("nan"))]))[0]["last_return"] is None


def test_a_wide_terminal_cuts_nothing():
    text = render([row(what="x" * 150)], width=300)
    assert "x" * 150 in text
    assert "…" not in text


def test_the_width_of_the_terminal_is_asked_for(monkeypatch):
    monkeypatch.setenv("COLUMNS", "110")
    assert len(render([row(what="y" * 500)]).splitlines()[1]) == 110


def test_without_a_terminal_there_is_room_for_200_characters(monkeypatch):
    def nothing(_descriptor):
        raise OSError("no terminal")

    monkeypatch.delenv("COLUMNS", raising=False)
    monkeypatch.setattr(os, "get_terminal_size", nothing)
    assert len(render([row(what="y" * 500)]).splitlines()[1]) == 200
    assert "…" not in render([row(what="y" * 100)])


@pytest.mark.parametrize(
    ("what", "shown"),
    [
        ("env.task=walker_walk seed=3", "task=walker_walk seed=3"),
        ("algorithm.optimizer.model.lr=0.0003", "lr=0.0003"),
        ("+replay.path=/data/a.b/c", "path=/data/a.b/c"),
        ("algorithm=dreamerv3", "algorithm=dreamerv3"),
        ("training.note='a.b c.d'", "note='a.b c.d'"),
        ("a.b.lr=x=y.z", "lr=x=y.z"),
    ],
)
def test_overrides_are_shown_with_the_last_part_of_their_keys_and_whole_values(what, shown):
    line = render([row(what=what)], width=200).splitlines()[1]
    assert line.partition("12_0  ")[2] == shown


def test_a_run_that_waits_shows_why_in_place_of_its_node():
    rows = [
        row(0, state="PENDING", why="to go on; Resources", node="n1"),
        row(1, state="PENDING", why="", node="n2"),
        row(2, state="RUNNING", why="", node="n3"),
    ]
    head, *lines = render(rows, width=200).splitlines()[:4]
    start, end = head.index("node"), head.index("job")
    assert [line[start:end].strip() for line in lines] == ["(to go on; Resources)", "n2", "n3"]


def test_reasons_of_failures_are_in_the_order_of_runs():
    rows = [row(i, state="FAILED", why="timeout") for i in (2, 10)]
    assert render(rows).splitlines()[-2:] == ["run 2: timeout", "run 10: timeout"]


def test_no_runs():
    assert render([]).endswith("0 runs: \n")


def test_as_json():
    (read,) = json.loads(as_json([row(last_return=None)]))
    assert read["state"] == "RUNNING"
    assert read["last_return"] is None
    assert read["env_step"] == 250_000
    assert set(read) == set(vars(row()))


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, ""), (0.4, "0 s"), (59.4, "59 s"), (59.6, "1 min"), (3599.0, "59 min"),
        (3599.7, "1 h 0 min"), (18600.0, "5 h 10 min"), (86400.0, "1 d 0 h"), (183600.0, "2 d 3 h"),
    ],
)  # fmt: skip
def test_duration(seconds, text):
    assert duration(seconds) == text
