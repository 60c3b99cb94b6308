"""Evaluating a stored run from the command line."""

import json
from pathlib import Path

import pytest

from harmony import evaluate as module
from harmony import stored_run, train
from harmony.config.compose import compose
from harmony.errors import ConfigError
from harmony.evaluate import evaluate, lines, main, parse, summary
from harmony.training.collect import Episode
from harmony.training.evaluation import Evaluation
from tests import tiny


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished run."""
    path = tmp_path_factory.mktemp("runs") / "run"
    given = compose(tiny.overrides_of("training.env_steps=60", f"run_dir={path}"))
    assert train.run(given) == 0
    return path


def ask(run, *arguments):
    return parse([f"run={run}", "video=false", "episodes=2", *arguments])


class TestParse:
    def test_defaults(self, run):
        asked = parse([f"run={run}"])
        assert asked == module.Request(run, 20, True, "newest", 1, 1, [])

    def test_own_keys_and_overrides_of_the_stored_configuration(self, run):
        asked = parse([
            "env.length=5", f"run={run}", "episodes=3", "video=false", "checkpoint=best", "seed=7",
            "num_envs=4",
        ])  # fmt: skip
        assert asked == module.Request(run, 3, False, "best", 7, 4, ["env.length=5"])

    @pytest.mark.parametrize(
        ("argument", "message"),
        [
            ("episodes=0", "episodes must be at least 1, got 0"),
            ("episodes=-1", "episodes must be a whole number"),
            ("episodes=many", "episodes must be a whole number"),
            ("seed=-1", "seed must be a whole number"),
            ("num_envs=0", "num_envs must be at least 1, got 0"),
            ("video=1", "video must be true or false, got '1'"),
            ("checkpoint=oldest", "checkpoint must be newest, best or last, got 'oldest'"),
        ],
    )
    def test_nonsense_is_refused(self, run, argument, message):
        with pytest.raises(ConfigError, match=message):
            parse([f"run={run}", argument])

    def test_a_run_is_needed(self):
        with pytest.raises(ConfigError, match=r"^run=\.\.\. is missing; usage: "):
            parse(["episodes=3"])


def test_summary_has_intervals():
    found = summary(Evaluation([Episode(1.0, 5, True), Episode(3.0, 5, False)], None))
    assert found["episodes"] == 2
    assert found["returns"] == [1.0, 3.0]
    assert found["return"] == {"estimate": 2.0, "low": 1.0, "high": 3.0}
    assert found["success"]["estimate"] == 0.5
    assert found["success"]["low"] == pytest.approx(0.0945, abs=1e-4)
    assert "success" not in summary(Evaluation([Episode(1.0, 5, None)], None))


def test_measures_of_the_suites_own_are_told():
    episodes = [Episode(1.0, 5, None)]
    found = summary(Evaluation(episodes, None, {"eval/human_normalized": 0.5}))
    assert found["scores"] == {"eval/human_normalized": 0.5}
    assert "eval/human_normalized: 0.500" in lines(found | {"checkpoint": "best"})
    assert "scores" not in summary(Evaluation(episodes, None))


def test_lines_for_a_person():
    found = {
        "episodes": 2, "checkpoint": "best", "file": "x.json",
        "return": {"estimate": 2.0, "low": 1.0, "high": 3.0},
        "success": {"estimate": 0.5, "low": 0.095, "high": 0.905},
    }  # fmt: skip
    assert lines(found) == [
        "2 episodes of the best weights",
        "return: 2.0  (95 % interval 1.0 to 3.0)",
        "success: 0.50  (95 % interval 0.10 to 0.91)",
        "file: x.json",
    ]


def test_results_are_written_below_the_run(run):
    found = evaluate(ask(run, "checkpoint=best"))
    path = run / "evaluations" / "best-seed1-2episodes.json"
    assert found["file"] == str(path)
    stored = json.loads(path.read_text())
    assert stored["returns"] == found["returns"]
    assert (stored["seed"], stored["checkpoint"], stored["overrides"]) == (1, "best", [])


def test_several_environments_play_at_the_same_time(run):
    overrides = ["env._target_=harmony.envs.probe.ConstantReward", "env.length=4"]
    found = evaluate(ask(run, "num_envs=2", "episodes=3", *overrides))
    assert found["returns"] == [8.0] * 3
    assert found["num_envs"] == 2
    assert Path(found["file"]).name.startswith("newest-seed1-3episodes-2envs-")
    logs = run / "evaluations" / "envs"
    assert sorted(path.name for path in logs.iterdir()) == ["env-0.log", "env-1.log"]


def test_the_seed_decides_the_result(run):
    one, again, other = (evaluate(ask(run, f"seed={seed}"))["returns"] for seed in (1, 1, 2))
    assert one == again
    assert one != other


def test_the_weights_matter(run, monkeypatch):
    stored = evaluate(ask(run))["returns"]
    monkeypatch.setattr(stored_run, "weights", lambda *_: tiny.agent(seed=9).state_dict())
    assert evaluate(ask(run))["returns"] != stored


def test_overrides_reach_the_environment(run):
    found = evaluate(ask(run, "env._target_=harmony.envs.probe.ConstantReward", "env.length=4"))
    # One point an env step, two env steps an agent step, four agent steps.
    assert found["returns"] == [8.0, 8.0]
    assert found["overrides"] == ["env._target_=harmony.envs.probe.ConstantReward", "env.length=4"]


def test_the_run_itself_is_not_touched(run):
    def files():
        return {
            path: path.stat().st_mtime_ns
            for path in run.rglob("*")
            if path.is_file() and "evaluations" not in path.parts
        }

    before = files()
    evaluate(ask(run))
    assert files() == before


def test_a_video_is_written_on_request(run):
    found = evaluate(parse([f"run={run}", "episodes=1", "video=true"]))
    assert Path(found["video"]).stat().st_size > 0


def test_the_command_line(run, capsys):
    assert main([f"run={run}", "episodes=2", "video=false"]) == 0
    assert capsys.readouterr().out.startswith("2 episodes of the newest weights\nreturn: ")
    assert main(["--help"]) == 0
    assert "python -m harmony.evaluate run=" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("episodes=0", "episodes must be at least 1, got 0"),
        ("env.lenght=4", "env.lenght: the stored configuration has no such value"),
        ("env.length", "expected KEY=VALUE"),
        ("device=cuda:99", "device=cuda:99 needs a CUDA device"),
        ("algorithm.rssm.cell.deter=9", "don't fit"),
        pytest.param("env.no=1", "no such value", id="unknown key of a node"),
        ("env.length=four", "env.length: expected int, got str 'four'"),
        ("precision.format=fp8", "precision.format"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(run, capsys, argument, message):
    assert main([f"run={run}", "video=false", argument]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
