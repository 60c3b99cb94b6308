"""Probing a stored run from the command line."""

import csv
import json
import sys

import pytest

from harmony import train
from harmony.config.compose import compose
from harmony.envs.probe import ActionReward
from harmony.probe import main, probe
from harmony.probe_request import parse
from tests import tiny


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished run."""
    path = tmp_path_factory.mktemp("runs") / "run"
    given = compose(tiny.overrides_of("training.env_steps=60", f"run_dir={path}"))
    assert train.run(given) == 0
    return path


STATE = ("episodes=20", "epochs=1")
REWARD = ("target=reward", "length=8", "context=3", "episodes=4", "shown=2")


def ask(run, *arguments):
    return probe(parse([f"run={run}", *arguments]))


class TestState:
    def test_answers_in_files_and_on_the_terminal(self, run, capsys):
        assert main([f"run={run}", *STATE]) == 0
        shown = capsys.readouterr().out
        assert shown.startswith(
            "20 episodes, 10 of them random: 18 to learn from, 2 to judge by; newest weights\n"
        )
        stem = next((run / "probes").glob("state-newest-seed1-20episodes-*.json")).with_suffix("")
        assert f"table: {stem}.csv\nfile: {stem}.json\n" in shown
        answer = json.loads(stem.with_suffix(".json").read_text())
        assert set(answer["readouts"]) == {"ridge", "mlp"}
        quantities = answer["readouts"]["ridge"]["quantities"]
        assert set(quantities) == {"step", "answer"}
        assert quantities["step"]["rmse"]["low"] <= quantities["step"]["rmse"]["high"]
        assert (answer["target"], answer["random"], answer["steps"]) == ("state", 0.5, 220)
        assert (answer["penalty"], answer["epochs"], answer["policy"]) == (0.001, 1, str(run))
        with stem.with_suffix(".csv").open() as file:
            rows = list(csv.DictReader(file))
        assert [(row["readout"], row["quantity"]) for row in rows] == [
            (readout, name) for readout in ("ridge", "mlp") for name in ("step", "answer", "mean")
        ]
        assert float(rows[0]["rmse"]) == quantities["step"]["rmse"]["estimate"]

    def test_the_seed_decides_the_answer(self, run):
        one, again, other = (ask(run, *STATE, f"seed={seed}")["readouts"] for seed in (1, 1, 2))
        assert one == again != other

    def test_chosen_quantities(self, run):
        answer = ask(run, *STATE, "only=st*,none")
        assert set(answer["readouts"]["mlp"]["quantities"]) == {"step"}

    def test_another_run_may_act(self, run):
        """Its own directory is another run with the same weights: the same episodes."""
        own, other = (ask(run, *STATE, *policy) for policy in ((), (f"policy={run}",)))
        assert own["readouts"] == other["readouts"]
        assert own["file"] != other["file"]


class TestReward:
    def test_answers_in_files_and_on_the_terminal(self, run, capsys):
        assert main([f"run={run}", *REWARD]) == 0
        assert capsys.readouterr().out.startswith(
            "4 sequences of 8 steps; newest weights\nsquared "
        )
        stem = next((run / "probes").glob("reward-newest-seed1-4episodes-*.json")).with_suffix("")
        assert stem.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
        answer = json.loads(stem.with_suffix(".json").read_text())
        assert len(answer["errors"]["rmse_by_step"]) == 8
        assert [each["episode"] for each in answer["sequences"]] == [0, 1, 2, 3]
        for each in answer["sequences"]:
            assert each["error"] == pytest.approx(
                [p - t for p, t in zip(each["predicted_reward"], each["true_reward"], strict=True)]
            )

    def test_the_seed_decides_the_answer(self, run):
        one, again, other = (ask(run, *REWARD, f"seed={seed}")["sequences"] for seed in (1, 1, 2))
        assert one == again != other


def test_the_run_itself_is_not_touched(run):
    def files():
        return {
            path: path.stat().st_mtime_ns
            for path in run.rglob("*")
            if path.is_file() and "probes" not in path.parts
        }

    before = files()
    ask(run, *REWARD)
    assert files() == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["episodes=5"], "episodes must be at least 20, got 5"),
        (["only=qpos/*"], "only=qpos/* matches none of step, answer"),
        (["only=step", "env.length=0"], "env.length"),
        (["target=reward"], "episodes of at least length=50 records, got at most 11; take length="),
        (["env.lenght=4"], "env.lenght: the stored configuration has no such value"),
        (["policy=nowhere"], "run=nowhere is no directory"),
        (["run=/nowhere"], "run=/nowhere is no directory"),
        (["run=/"], "no run in /: expected run.json there"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(run, capsys, arguments, message):
    assert main([f"run={run}", *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_an_environment_without_state_is_one_line_and_exit_code_2(run, capsys, monkeypatch):
    monkeypatch.delattr(ActionReward.__mro__[1], "state")
    assert main([f"run={run}"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: target=state needs an environment with a method state(), got ")
    assert error.count("\n") == 1


def test_without_matplotlib_it_is_one_line_and_exit_code_2(run, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert main([f"run={run}", *REWARD]) == 2
    assert "pip install 'harmony-dream[plot]'" in capsys.readouterr().err


def test_help(capsys):
    assert main(["--help"]) == 0
    assert "python -m harmony.probe run=" in capsys.readouterr().out
