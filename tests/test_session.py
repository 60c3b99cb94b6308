"""What surrounds a training: records, words, and how it ends."""

import json
import shlex
import sys

import pytest

from harmony.config.compose import Composed, compose
from harmony.config.run_dir import RunDirectory
from harmony.errors import EnvError
from harmony.session import (
    closing,
    ended,
    opening,
    resume_command,
    run_info,
    ui_command,
    write_checkpoint_index,
    write_provenance,
)
from harmony.tracking.base import NullTracker
from harmony.training.loop import Diverged
from harmony.training.schedule import Progress
from harmony.training.signals import Stopped
from tests import tiny


class Tracker(NullTracker):
    def __init__(self):
        self.finished, self.artifacts = [], []

    def artifact(self, path, folder):
        self.artifacts.append((path.name, folder))

    def finish(self, status):
        self.finished.append(status)


class Display(tiny.Display):
    closed = 0

    def close(self):
        self.closed += 1


def composed(path, *overrides) -> Composed:
    return compose(tiny.overrides_of(*overrides, f"run_dir={path}"))


def open_run(path, *overrides):
    made = composed(path, *overrides)
    return RunDirectory.open(made.config, made.choices, made.overrides)


@pytest.fixture
def run(tmp_path):
    with open_run(tmp_path / "run", "seed=3", "harmony=off", "sweep=walk") as opened:
        write_provenance(opened)
        yield opened


def end(run, error=None):
    """Ends a block with an error; gives what came of it."""
    tracker, display = Tracker(), Display()
    with ended(run, tracker, display) as endings:
        if error is not None:
            raise error
    return endings[0], tracker, display


class TestRunInfo:
    def test_who_the_run_is(self, run):
        info = run_info(run)
        assert info.run_dir == run.path
        assert info.run_key == run.run_key
        assert (info.experiment, info.sweep) == ("harmony", "walk")
        wanted = {
            "suite": "probe", "algorithm": "dreamerv2", "harmony": "off", "size": "paper",
            "latent": "categorical", "cont": "constant", "precision": "fp32", "seed": "3",
            "task": "", "run_dir": str(run.path),
        }  # fmt: skip
        assert {name: info.tags[name] for name in wanted} == wanted
        assert "harmony=off" in info.tags["overrides"]

    def test_params_are_the_leaves_of_the_configuration(self, run):
        params = run_info(run).params
        assert params["algorithm.rssm.cell.deter"] == 8
        assert params["training.env_steps"] == 100
        assert params["algorithm.encoder.cnn.kernels"] == "[4, 3]"

    def test_the_task_is_a_tag_where_there_is_one(self, tmp_path):
        made = compose(["env=dmc", "env.task=cartpole_swingup", f"run_dir={tmp_path / 'run'}"])
        with RunDirectory.open(made.config, made.choices, made.overrides) as run:
            write_provenance(run)
            assert run_info(run).tags["task"] == "cartpole_swingup"

    def test_what_a_suite_says_of_itself_are_tags(self, tmp_path):
        made = compose(["env=metaworld_v2", "env.time_limit=50", f"run_dir={tmp_path / 'run'}"])
        with RunDirectory.open(made.config, made.choices, made.overrides) as run:
            write_provenance(run)
            tags = run_info(run).tags
        told = {name: tag for name, tag in tags.items() if name.startswith("suite")}
        assert told == {
            "suite": "metaworld_v2",
            "suite.version": "v2",
            "suite.reward_version": "v2",
            "suite.horizon": "50",
        }
        stored = json.loads((run.path / "provenance.json").read_text())["suite"]
        assert stored == {"version": "v2", "reward_version": "v2", "horizon": "50"}
        assert not any(name.startswith("provenance.suite") for name in tags)

    def test_provenance_becomes_tags(self, run):
        facts = json.loads((run.path / "provenance.json").read_text())
        tags = run_info(run).tags
        assert {f"provenance.{name}": value for name, value in facts.items() if value}.items() <= (
            tags.items()
        )
        assert "git_diff" not in facts
        assert (run.path / "uncommitted.diff").is_file()


def test_the_checkpoint_index_lists_files_and_sizes(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "last.ckpt").write_bytes(b"12345")
    (tmp_path / "checkpoints" / "half.tmp").write_bytes(b"1")
    path = write_checkpoint_index(tmp_path)
    assert json.loads(path.read_text()) == [
        {"file": str(tmp_path / "checkpoints" / "last.ckpt"), "bytes": 5}
    ]


class TestWords:
    def test_opening_of_a_new_run_and_of_a_continued_one(self, run):
        agent = tiny.agent()
        count = f"{sum(weight.numel() for weight in agent.parameters()):,} parameters on cpu"
        assert f"new run, {count}" in opening(run, agent, 0)
        assert str(run.path) in opening(run, agent, 0)
        run.resumed = True
        assert "continues at env step 12,345" in opening(run, agent, 12345)

    def test_opening_says_whose_settings_these_are(self, run):
        agent = tiny.agent()
        algorithm, env = run.choices["algorithm"], run.choices["env"]
        none = f"preset: none for {algorithm} on {env}, so the algorithm's own settings"
        assert none in opening(run, agent, 0).splitlines()
        run.choices["preset"] = "dreamerv3_dmc"
        assert "preset: dreamerv3_dmc" in opening(run, agent, 0).splitlines()

    def test_closing_says_what_came_out_and_where_it_lies(self, run):
        progress = Progress(
            env_step=1000, episodes=12, last_return=34.56, last_success=0.25, random_return=-1.0
        )
        text = closing(run, progress)
        assert "finished: 1,000 env steps, 12 episodes" in text
        assert "last evaluation: return 34.6, success 25%  (random policy: -1.0)" in text
        assert str(run.path / "metrics.jsonl") in text
        assert "video" not in text
        assert "MLflow" not in text

    def test_closing_names_the_newest_video(self, run):
        (run.path / "videos").mkdir()
        for step in (200, 1000):
            (run.path / "videos" / f"evaluation_{step:09d}.mp4").write_bytes(b"")
        assert "evaluation_000001000.mp4" in closing(run, Progress())
        assert "last evaluation" not in closing(run, Progress())

    @pytest.mark.parametrize(
        ("tracking", "expected"),
        [
            ({}, ""),
            ({"tracking_uri": ""}, ""),
            ({"tracking_uri": "http://login01:5000"}, "http://login01:5000"),
            (
                {"tracking_uri": "sqlite:///runs/mlflow.db"},
                f"{sys.executable} -m mlflow ui --backend-store-uri sqlite:///runs/mlflow.db",
            ),
        ],
    )
    def test_where_to_look_at_the_metrics(self, tracking, expected):
        assert ui_command({"tracking": tracking}) == expected

    def test_the_command_to_go_on_goes_on(self, run):
        words = shlex.split(resume_command(run))
        assert words[:3] == [sys.executable, "-m", "harmony"]
        assert words[-1] == f"run_dir={run.path}"
        assert sum(word.startswith("run_dir=") for word in words) == 1
        again = compose(words[3:])
        run.close()
        with RunDirectory.open(again.config, again.choices, again.overrides) as continued:
            assert continued.resumed

    def test_the_command_to_go_on_goes_on_with_a_run_that_grew(self, tmp_path):
        path = tmp_path / "a run"
        open_run(path).close()
        with open_run(path, "training.env_steps=200") as run:
            words = shlex.split(resume_command(run))
        again = compose(words[3:])
        with RunDirectory.open(again.config, again.choices, again.overrides) as continued:
            assert continued.resumed


class TestEnded:
    def test_well(self, run):
        ending, tracker, display = end(run)
        assert ending == ("FINISHED", 0)
        assert tracker.finished == ["FINISHED"]
        assert display.closed == 1
        assert not (run.path / "error.txt").exists()

    @pytest.mark.parametrize(("signum", "code"), [(15, 143), (2, 130)])
    def test_by_a_signal(self, run, signum, code):
        ending, tracker, display = end(run, Stopped(signum))
        assert ending == ("KILLED", code)
        assert tracker.finished == ["KILLED"]
        assert f"run_dir={run.path}" in display.messages[0]
        assert not (run.path / "error.txt").exists()

    def test_by_an_impatient_interrupt(self, run):
        ending, tracker, display = end(run, KeyboardInterrupt())
        assert ending == ("KILLED", 130)
        assert tracker.finished == ["KILLED"]
        assert "go on from the last checkpoint" in display.messages[0]

    def test_by_bad_numbers(self, run):
        ending, tracker, display = end(run, Diverged("numbers went bad"))
        assert ending == ("FAILED", 1)
        assert tracker.finished == ["FAILED"]
        assert display.messages == ["error: numbers went bad"]
        assert ("error.txt", "") in tracker.artifacts

    @pytest.mark.parametrize("kind", [EnvError, ZeroDivisionError])
    def test_by_an_error_that_goes_on_to_the_caller(self, run, kind):
        tracker, display = Tracker(), Display()
        with pytest.raises(kind, match="it broke"), ended(run, tracker, display) as endings:
            raise kind("it broke")
        assert endings == [("FAILED", 1)]
        assert tracker.finished == ["FAILED"]
        assert display.closed == 1
        assert "it broke" in (run.path / "error.txt").read_text()
        assert ("error.txt", "") in tracker.artifacts
