"""What a report says, and its files."""

import pytest

from harmony.analysis.comparable import Column
from harmony.analysis.report_cells import Question, make_cells
from harmony.analysis.report_document import Report, write_report
from harmony.errors import ComparisonError
from tests.made_up_runs import METRIC, SUCCESS, make_run, seeds

HARMONY = [Column("harmony", "harmony")]


def make(runs, place=(), notes=(), **asked):
    question = Question(METRIC, SUCCESS, **{"baseline": {"harmony": "off"}, **asked})
    cells = make_cells(runs, place, HARMONY, question)
    return Report(question, runs, place, HARMONY, cells, [], notes, "python -m harmony.report x")


BOTH = [*seeds(1.0, 2.0), *seeds(1.0, 3.0, harmony="off")]


def test_the_head_says_what_all_runs_have():
    assert (
        make(BOTH)
        .text()
        .startswith("eval/return at the end: 4 runs, env=dmc, env.task=walk\n\nharmony  seeds")
    )
    assert make(BOTH, at=100).text().startswith("eval/return at 100 env steps: 4 runs, ")
    assert make(BOTH[:1]).text().startswith("eval/return at the end: 1 run, ")


def test_everything_that_is_odd_is_said():
    late = make_run(seed=5, name="late", ended="KILLED", env_steps=1_000, code="fff")
    text = make([*BOTH, late], notes=["a note"]).text()
    assert "intervals: 95 %, Student's t over seeds, differences Welch" in text
    assert "\nall runs of dmc: evaluation.episodes=10\n" in text
    assert "\na note\n" in text
    assert "\nleft out: late, unfinished (KILLED), at 100 of 1,000 env steps\n" in text
    assert "\nruns of 2 versions of the code: fff, unknown\n" in text
    assert "no interval:" not in text


def test_one_seed_is_called_one_seed():
    text = make(BOTH[:1]).text()
    assert "1.00 (one seed)" in text
    assert "no interval: of one seed, or of seeds that are all the same, none can be told" in text
    assert "intervals: 95 %" not in text


def test_places_without_a_baseline_are_named():
    runs = [*BOTH, *seeds(1.0, task="run")]
    text = make(runs, [Column("env.task", "task")]).text()
    assert "no difference, since nothing stands beside harmony=off: run\n" in text


def test_the_authors_numbers_stand_beside_ours():
    names = {"choices": {"env": "atari100k", "algorithm": "dreamerv3"}, "suite": "atari100k"}
    runs = [make_run((20.0,), task="pong", harmony=harmony, **names) for harmony in ("on", "off")]
    text = make(runs).text()
    assert [line.split()[-1] for line in text.splitlines()[2:5]] == ["paper", "16.1", "18.6"]
    assert "paper: the authors' mean of 5 seeds at 400,000 env steps" in text
    other = make(runs, baseline={})
    assert (
        "paper"
        not in Report(
            Question("episode/return", SUCCESS), runs, [], HARMONY, other.cells, [], [], ""
        ).text()
    )


def test_files(tmp_path):
    write_report(make(BOTH), tmp_path / "deep" / "out")
    names = sorted(path.name for path in (tmp_path / "deep" / "out").iterdir())
    assert names == ["curves.csv", "curves.png", "report.md", "table.csv"]
    document = (tmp_path / "deep" / "out" / "report.md").read_text()
    assert document.startswith("# eval/return at the end: 4 runs")
    assert "\n| off | 2 | 100 | 2.0 (" in document
    assert "\n![Curves](curves.png)\n" in document
    assert "\n- walk-on-0\n" in document
    assert "\n    python -m harmony.report x\n" in document


def test_a_folder_that_can_not_be_made_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ComparisonError, match=r"out=.*file: can't write .*file: File exists"):
        write_report(make(BOTH), tmp_path / "file")
