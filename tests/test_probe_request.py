"""The command line of the probes."""

from pathlib import Path

import pytest

from harmony.errors import ConfigError, RunDirectoryError
from harmony.probe_request import OWN, SHARED, parse, usage


def ask(*arguments, run="."):
    return parse([f"run={run}", *arguments])


def test_defaults():
    asked = ask()
    assert (asked.run, asked.target, asked.episodes) == (Path(), "state", 100)
    assert (asked.random, asked.policy, asked.checkpoint, asked.seed) == (0.5, None, "newest", 1)
    assert (asked.only, asked.penalty, asked.epochs) == (["*"], 0.001, 100)
    assert (asked.overrides, asked.settings) == ([], [])
    asked = ask("target=reward")
    assert (asked.episodes, asked.length, asked.context, asked.shown) == (20, 50, 5, 3)


def test_what_is_given():
    asked = ask(
        "target=state", "episodes=40", "random=1", "only=qpos/*,goal/*", "penalty=1e-2",
        "epochs=7", "seed=3", "checkpoint=best", "policy=.", "env.length=5",
    )  # fmt: skip
    assert (asked.episodes, asked.random, asked.only) == (40, 1.0, ["qpos/*", "goal/*"])
    assert (asked.penalty, asked.epochs, asked.seed, asked.policy) == (0.01, 7, 3, Path())
    assert asked.overrides == ["env.length=5"]


def test_what_is_unusual_makes_another_file():
    assert ask("episodes=40", "seed=3", "checkpoint=best").settings == []  # in the name as words
    assert ask("random=0.50", "epochs=9").settings == ["random=0.50", "epochs=9"]
    assert ask("env.length=5").settings == ["env.length=5"]
    assert ask("target=reward", "shown=4").settings == ["shown=4"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["target=goal"], "target must be state or reward, got 'goal'"),
        (["episodes=19"], "episodes must be at least 20, got 19"),
        (["target=reward", "episodes=0"], "episodes must be at least 1, got 0"),
        (["random=1.5"], "random must be 0 to 1, got 1.5"),
        (["penalty=0"], "penalty must be at least 1e-12, got 0"),
        (["epochs=few"], "epochs must be a whole number, got 'few'"),
        (["checkpoint=oldest"], "checkpoint must be newest, best or last"),
        (["target=reward", "length=1"], "length must be at least 2, got 1"),
        (["target=reward", "context=0"], "context must be at least 1, got 0"),
        (["target=reward", "context=9", "length=9"], "context must be below length=9, got 9"),
        (["target=reward", "epochs=5"], "epochs is no key of target=reward; it has random, policy"),
        (["shown=5"], "shown is no key of target=state; it has random, policy"),
    ],
)
def test_nonsense_is_refused(arguments, message):
    with pytest.raises(ConfigError, match=message):
        ask(*arguments)


def test_a_run_is_needed(tmp_path, monkeypatch):
    monkeypatch.setenv("HARMONY_RUNS", str(tmp_path))
    with pytest.raises(ConfigError, match=r"^run=\.\.\. is missing; usage: "):
        parse(["episodes=30"])
    with pytest.raises(RunDirectoryError, match="run=nothing is no directory"):
        ask(run="nothing")
    with pytest.raises(RunDirectoryError, match="run=none is no directory"):
        ask("policy=none")


def test_the_usage_names_every_key():
    for keys in (SHARED, *OWN.values()):
        for key, value in keys.items():
            assert f"{key}={value}" in usage()
