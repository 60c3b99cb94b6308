"""The command that lists the videos of a folder."""

import pytest

from harmony.clips import main, parse
from harmony.errors import ConfigError
from tests.envs.films import make_film


def test_a_folder_and_a_switch():
    assert parse(["clips"]) == ("clips", False)
    assert parse(["split=true"]) == (None, True)
    assert parse(["split=false"]) == (None, False)
    with pytest.raises(ConfigError, match="expected split=true or split=false, got 'split=yes'"):
        parse(["split=yes"])
    with pytest.raises(ConfigError, match="expected one folder, got 2"):
        parse(["one", "two"])


def test_a_table_of_a_good_folder(tmp_path, capsys):
    make_film(tmp_path / "one.avi", [1, 2, 3])
    make_film(tmp_path / "in" / "two.avi", [1] * 50)
    assert main([str(tmp_path), "split=true"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split() for line in lines] == [
        ["clip", "frames", "size", "fps", "seconds", "use"],
        ["in/two.avi", "50", "48x32", "25", "2.0", "train"],
        ["one.avi", "3", "48x32", "25", "0.1", "evaluation"],
        [],
        ["2", "of", "2", "can", "be", "read"],
        ["train:", "1", "clips,", "50", "frames"],
        ["evaluation:", "1", "clips,", "3", "frames"],
    ]
    assert main([str(tmp_path)]) == 0
    assert "both: 2 clips, 53 frames" in capsys.readouterr().out


def test_clips_outside_train_and_test_are_for_nothing(tmp_path, capsys):
    for name in ("train/a", "test/b", "c"):
        make_film(tmp_path / f"{name}.avi", [1])
    assert main([str(tmp_path), "split=true"]) == 0
    rows = capsys.readouterr().out.splitlines()
    assert [row.split()[-1] for row in rows[1:4]] == ["nothing", "evaluation", "train"]


def test_what_a_cut_file_has_left_is_counted(tmp_path, capsys):
    whole = make_film(tmp_path / "cut.avi", list(range(200))).read_bytes()
    (tmp_path / "cut.avi").write_bytes(whole[: len(whole) // 2])
    assert main([str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    left = int(lines[1].split()[1])
    assert 0 < left < 200
    header = "; cut: its header says 200" if "cut:" in lines[1] else ""
    assert lines[1].endswith(f"both{header}")
    assert lines[-1] == f"both: 1 clips, {left} frames"


def test_an_unreadable_file_is_shown_and_the_code_is_2(tmp_path, capfd):
    make_film(tmp_path / "good.avi", [1])
    make_film(tmp_path / "well.avi", [1])
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    assert main([str(tmp_path)]) == 2
    out, err = capfd.readouterr()
    assert "bad.mp4   can't be read" in out
    assert "2 of 3 can be read" in out
    assert err.startswith("error: env.clips: 1 of 3 videos can't be read, the first is ")
    assert err.count("\n") == 1


def test_nothing_usable_is_2(tmp_path, capsys):
    assert main([str(tmp_path)]) == 2
    assert "found none" in capsys.readouterr().err
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    assert main([str(tmp_path)]) == 2
    assert "0 of 1 can be read" in capsys.readouterr().out


def test_one_clip_alone_can_be_listed_without_a_split(tmp_path, capsys):
    make_film(tmp_path / "only.avi", [1])
    assert main([str(tmp_path)]) == 0
    assert main([str(tmp_path), "split=true"]) == 2
    assert "env.split: expected 2 or more videos" in capsys.readouterr().err


def test_the_stand_ins_are_listed_without_a_folder(capsys):
    assert main([]) == 0
    assert "bikes.mp4" in capsys.readouterr().out


def test_help(capsys):
    assert main(["--help"]) == 0
    assert "python -m harmony.clips [FOLDER]" in capsys.readouterr().out
