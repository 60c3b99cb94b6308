"""Reading runs back."""

import csv
import json

from harmony.analysis.curves import read_curve, write_csv
from harmony.analysis.plots import main


def make_run(path, values):
    path.mkdir()
    (path / "run.json").write_text(json.dumps({"name": path.name}))
    (path / "provenance.json").write_text(json.dumps({"git_commit": "0123456789"}))
    rows = [{"env_step": 10 * i, "time": 1.0, "eval/return": v} for i, v in enumerate(values)]
    rows.insert(1, {"env_step": 5, "time": 1.0, "episode/return": 3.0})
    (path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_a_curve_has_the_rows_that_carry_its_key(tmp_path):
    run = make_run(tmp_path / "a", [1.0, 2.0, 4.0])
    assert read_curve(run, "eval/return") == ([0, 10, 20], [1.0, 2.0, 4.0])
    assert read_curve(run, "nothing") == ([], [])


def test_csv_holds_every_point_of_every_run(tmp_path):
    runs = [make_run(tmp_path / name, [1.0, 2.0]) for name in ("a", "b")]
    write_csv(tmp_path / "out.csv", runs, ["eval/return"])
    with (tmp_path / "out.csv").open() as file:
        rows = list(csv.reader(file))
    assert rows[1:] == [
        [name, "0123456", "eval/return", step, value]
        for name in ("a", "b")
        for step, value in (("0", "1.0"), ("10", "2.0"))
    ]


def test_the_picture_and_its_points_lie_side_by_side(tmp_path):
    run = make_run(tmp_path / "a", [1.0, 2.0])
    assert main([str(tmp_path / "p.png"), str(run)]) == 0
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "p.csv").exists()


def test_without_runs_it_says_how_it_is_used(tmp_path, capsys):
    assert main([str(tmp_path / "p.png")]) == 2
    assert "RUN_DIR" in capsys.readouterr().err
