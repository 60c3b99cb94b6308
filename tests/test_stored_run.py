"""Finding stored runs, loading them, and naming what is made of them."""

import pytest

from harmony import train
from harmony.config.compose import compose
from harmony.errors import CheckpointError, ConfigError, RunDirectoryError
from harmony.stored_run import (
    find_run,
    load_actor,
    load_run,
    number,
    one_of,
    results_folder,
    results_stem,
    split_arguments,
    weights,
    whole_number,
)
from harmony.tracking.base import RunInfo
from harmony.tracking.ledger import Destination, Ledger, Progress
from harmony.training.checkpoint import CheckpointStore
from tests import tiny
from tests.integration.test_kills import assert_same


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished run."""
    path = tmp_path_factory.mktemp("runs") / "run"
    given = compose(tiny.overrides_of("training.env_steps=60", f"run_dir={path}"))
    assert train.run(given) == 0
    return path


class TestArguments:
    def test_own_keys_are_told_from_overrides_and_stay_text(self):
        own, rest = split_arguments(
            ["env.length=5", "run=12e4567", "run"], {"run": "", "seed": "1"}
        )
        assert own == {"run": "12e4567", "seed": "1"}
        assert rest == ["env.length=5", "run"]

    def test_whole_numbers(self):
        assert whole_number("seed", "0") == 0
        with pytest.raises(ConfigError, match=r"^seed must be a whole number, got '-1'$"):
            whole_number("seed", "-1")
        with pytest.raises(ConfigError, match=r"^seed must be a whole number, got '²'$"):
            whole_number("seed", "²")
        with pytest.raises(ConfigError, match=r"^episodes must be at least 1, got 0$"):
            whole_number("episodes", "0", least=1)

    def test_numbers(self):
        assert number("penalty", "1e-3", least=0) == 0.001
        for value in ("2", "-0.5", "nan", "inf"):
            with pytest.raises(ConfigError, match=f"^random must be 0 to 1, got {value}$"):
                number("random", value, least=0, most=1)
        with pytest.raises(ConfigError, match=r"^penalty must be at least 0, got inf$"):
            number("penalty", "inf", least=0)
        with pytest.raises(ConfigError, match=r"^random must be a number, got 'half'$"):
            number("random", "half", least=0, most=1)

    def test_one_of_some(self):
        assert one_of("video", "true", ("true", "false")) == "true"
        with pytest.raises(ConfigError, match=r"^size must be a, b or c, got 'd'$"):
            one_of("size", "d", ("a", "b", "c"))


class TestFindRun:
    def test_by_its_mlflow_id_which_may_look_like_a_number(self, tmp_path, monkeypatch):
        monkeypatch.setenv("HARMONY_RUNS", str(tmp_path))
        for name, run_id in (("a", "12e4567"), ("b", "ff")):
            (tmp_path / "sweep" / name).mkdir(parents=True)
            folder = tmp_path / "sweep" / name
            info = RunInfo(folder, "key", name, "test")
            Ledger(info, Destination("sqlite:///x.db", None, []), Progress(run_id=run_id)).write()
        assert find_run("12e4567") == tmp_path / "sweep" / "a"

    def test_neither_is_refused(self, tmp_path, monkeypatch):
        monkeypatch.setenv("HARMONY_RUNS", str(tmp_path))
        with pytest.raises(
            RunDirectoryError, match="run=nothing is no directory, and no run below"
        ):
            find_run("nothing")


class TestWeights:
    def test_newest_best_and_last(self, run):
        store = CheckpointStore(run / "checkpoints")
        assert_same(weights(run, "newest"), store.load_latest()[1]["agent"]["modules"])
        assert_same(weights(run, "newest"), weights(run, "last"))
        assert set(weights(run, "best")) == set(weights(run, "last"))

    def test_a_run_without_any_is_refused(self, tmp_path):
        with pytest.raises(CheckpointError, match="has no checkpoints yet"):
            weights(tmp_path, "newest")
        CheckpointStore(tmp_path / "checkpoints")
        with pytest.raises(CheckpointError, match="has no checkpoint yet"):
            weights(tmp_path, "newest")
        with pytest.raises(CheckpointError, match=r"best\.ckpt, there is none"):
            weights(tmp_path, "best")


class TestLoadRun:
    def test_the_agent_has_the_weights_and_the_environment_the_overrides(self, run):
        loaded = load_run(run, "best", ["env.length=4"])
        assert loaded.path == run
        assert loaded.env.unwrapped.length == 4
        assert_same(dict(loaded.agent.state_dict()), weights(run, "best"))

    def test_an_actor_must_see_and_do_the_same(self, run):
        loaded = load_run(run, "newest", [])
        actor = load_actor(run, "newest", [], loaded)
        assert_same(actor.state_dict(), loaded.agent.state_dict())
        loaded.env.action_space = loaded.env.observation_space
        with pytest.raises(ConfigError, match=r"^policy=\S+: expected the action space Dict"):
            load_actor(run, "newest", [], loaded)


class TestResults:
    def test_other_settings_have_other_names(self):
        assert results_stem("best", "seed1", settings=[]) == "best-seed1"
        one, other = (results_stem("best", settings=[f"a={k}"]) for k in (1, 2))
        assert len(one) == len("best-01234567")
        assert one != other

    def test_the_folder_is_made_once(self, tmp_path):
        assert results_folder(tmp_path, "probes") == results_folder(tmp_path, "probes")
        (tmp_path / "file").touch()
        with pytest.raises(RunDirectoryError, match=r"can't write .*file: File exists"):
            results_folder(tmp_path, "file")
