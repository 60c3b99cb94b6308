from pathlib import Path

from harmony.tracking.base import NullTracker, RunInfo, Tracker, scalar_leaves


def test_null_tracker_is_a_tracker_that_leaves_nothing(tmp_path):
    tracker: Tracker = NullTracker()
    tracker.start(RunInfo(run_dir=tmp_path, run_key="k", name="n", experiment="e"))
    tracker.commit(10)
    tracker.artifact(Path("missing.mp4"), "videos")
    tracker.finish("FINISHED")
    assert list(tmp_path.iterdir()) == []


def test_scalar_leaves_are_dotted_and_lists_are_text():
    config = {
        "seed": 0,
        "env": {"task": "walk", "repeat": 2, "camera": None},
        "keys": ["a", 1],
        "on": True,
        "parts": [{"lr": 0.1}, {"lr": 0.2}],
        "empty": [],
    }
    assert scalar_leaves(config) == {
        "seed": 0,
        "env.task": "walk",
        "env.repeat": 2,
        "keys": "['a', 1]",
        "on": True,
        "parts.0.lr": 0.1,
        "parts.1.lr": 0.2,
        "empty": "[]",
    }
