"""The command line of the report."""

from pathlib import Path

import pytest

from harmony.analysis.report_cells import Question
from harmony.errors import ConfigError
from harmony.report_request import parse


def test_defaults():
    asked = parse(["walker"])
    assert asked.question == Question("eval/return", "eval/success", None, None)
    assert (asked.runs, asked.out, asked.split, asked.ignore) == (["walker"], None, [], [])
    assert asked.filters == {}
    assert asked.command == "python -m harmony.report walker"


def test_everything():
    asked = parse([
        "a", "metric=episode/return", "at=100_000", "out=~/x", "split=suite.version,env.render",
        "ignore=probe", "baseline=harmony=fixed,harmony.reward=1", "env.task=hammer,push", "b",
    ])  # fmt: skip
    baseline = {"harmony": "fixed", "harmony.reward": "1"}
    assert asked.question == Question("episode/return", "episode/success", 100_000, baseline)
    assert asked.runs == ["a", "b"]
    assert asked.out == Path("~/x").expanduser()
    assert (asked.split, asked.ignore) == (["suite.version", "env.render"], ["probe"])
    assert asked.filters == {"env.task": "hammer,push"}
    assert parse(["a", "baseline=none"]).question.baseline == {}
    assert parse(["a", "at=1e5"]).question.at == 100_000


def test_a_folder_whose_name_looks_like_a_key_is_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("at=7").mkdir()
    asked = parse(["at=7", "at=8"])
    assert (asked.runs, asked.question.at) == (["at=7"], 8)


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("at=soon", "at must be last or an env step, such as at=100_000, got 'soon'"),
        ("at=0", "at must be last or an env step"),
        ("at=1.5", "at must be last or an env step"),
        ("at=inf", "at must be last or an env step"),
        ("at=nan", "at must be last or an env step"),
        ("at=", "at must be last or an env step"),
        ("baseline=off", "expected KEY=VALUE, such as baseline=harmony=off"),
        ("baseline=harmony=", "expected KEY=VALUE"),
        ("--json", "--json: no such option; usage: "),
        ("seed=", "seed=: expected KEY=VALUE"),
        ("=3", "expected KEY=VALUE"),
        ("metrc=eval/return", "metrc=eval/return: no such key; did you mean 'metric'"),
    ],
)
def test_nonsense_is_refused(argument, message):
    with pytest.raises(ConfigError, match=message):
        parse(["a", argument])
