"""Rows, videos and messages."""

import json

import numpy as np
import pytest
import torch

from harmony.tracking.base import NullTracker
from harmony.training.collect import Episode
from harmony.training.journal import Journal
from harmony.training.schedule import Progress
from tests import tiny


class Tracker(NullTracker):
    """Writes down what it is told."""

    def __init__(self):
        self.commits, self.artifacts = [], []

    def commit(self, offset):
        self.commits.append(offset)

    def artifact(self, path, folder):
        assert path.exists()
        self.artifacts.append((path.name, folder))


@pytest.fixture
def journal(tmp_path):
    made = Journal(tmp_path, Tracker(), tiny.Display())
    made.begin(Progress(), 0)
    yield made
    made.close()


def test_a_row_goes_to_the_file_and_to_the_display(journal):
    journal.row(Progress(env_step=6), {"eval/return": 1.5})
    assert tiny.rows(journal.run_dir) == [{"env_step": 6, "eval/return": 1.5}]
    assert journal.display.rows == [{"env_step": 6, "eval/return": 1.5}]
    assert journal.tracker.commits == []


@pytest.mark.parametrize(("success", "expected"), [(True, 1.0), (False, 0.0), (None, None)])
def test_an_episode(journal, success, expected):
    journal.episode_row(Progress(env_step=20), Episode(7.0, 10, success), 33)
    (row,) = tiny.rows(journal.run_dir)
    assert row.pop("episode/success", None) == expected
    assert row == {
        "env_step": 20, "episode/return": 7.0, "episode/length": 10.0, "replay/steps": 33.0,
    }  # fmt: skip


def test_an_episode_with_what_the_suite_says_of_all(journal):
    journal.episode_row(Progress(), Episode(7.0, 10, None), 33, {"episode/crafter_score": 2.5})
    (row,) = tiny.rows(journal.run_dir)
    assert row["episode/crafter_score"] == 2.5
    assert row["episode/return"] == 7.0


def test_means_since_the_last_row_with_speeds(journal, monkeypatch):
    clock = [100.0]
    monkeypatch.setattr("harmony.training.journal.time.monotonic", lambda: clock[0])
    journal.begin(Progress(env_step=10), 4)
    journal.add({"loss/image": torch.tensor(1.0)})
    journal.add({"loss/image": torch.tensor(2.0)})
    clock[0] = 104.0
    journal.means_row(Progress(env_step=30), 6, {"nonfinite/skipped_updates": 0})
    clock[0] = 105.0
    journal.means_row(Progress(env_step=32), 6, {})
    lines = (journal.run_dir / "metrics.jsonl").read_text().splitlines()
    first, second = (json.loads(line) for line in lines)
    assert first["loss/image"] == 1.5
    assert first["updates"] == 6
    assert first["time/frames_per_s"] == pytest.approx(5.0)
    assert first["time/updates_per_s"] == pytest.approx(0.5)
    assert "loss/image" not in second
    assert second["time/frames_per_s"] == pytest.approx(2.0)
    assert second["time/updates_per_s"] == 0.0


def test_cutting_back_forgets_rows_and_restores_sums(journal):
    journal.row(Progress(env_step=1), {"a": 1.0})
    journal.add({"loss": torch.tensor(2.0)})
    offset, means = journal.flush(), journal.means.state_dict()
    journal.row(Progress(env_step=2), {"a": 2.0})
    journal.add({"loss": torch.tensor(100.0)})

    journal.cut_back(offset, means, tiny.CPU)

    assert journal.tracker.commits == [offset]
    journal.add({"loss": torch.tensor(4.0)})
    journal.means_row(Progress(env_step=3), 1, {})
    rows = tiny.rows(journal.run_dir)
    assert [row["env_step"] for row in rows] == [1, 3]
    assert rows[1]["loss"] == 3.0


def test_begin_empties_the_file_of_a_new_run_and_keeps_that_of_a_continued_one(journal):
    journal.row(Progress(env_step=1), {})
    offset = journal.flush()
    again = Journal(journal.run_dir, Tracker(), tiny.Display())
    again.cut_back(offset, {"sums": {}, "counts": {}}, tiny.CPU)
    again.begin(Progress(env_step=1), 0)
    assert again.flush() == offset
    again.close()
    new = Journal(journal.run_dir, Tracker(), tiny.Display())
    new.begin(Progress(), 0)
    assert new.flush() == 0
    new.close()


def test_a_video_is_named_by_its_step_and_handed_on(journal):
    frames = np.zeros((3, 64, 64, 3), np.uint8)
    journal.video(Progress(env_step=1200), "evaluation", frames)
    assert (journal.run_dir / "videos" / "evaluation_000001200.mp4").stat().st_size > 0
    assert journal.tracker.artifacts == [("evaluation_000001200.mp4", "videos")]


def test_commits_and_messages_are_passed_on(journal):
    journal.commit(12)
    journal.message("hello")
    assert journal.tracker.commits == [12]
    assert journal.display.messages == ["hello"]


def test_a_row_before_the_beginning_is_a_mistake(tmp_path):
    with pytest.raises(AssertionError, match=r"begin\(\) comes first"):
        Journal(tmp_path, Tracker(), tiny.Display()).row(Progress(), {})
