"""Finding runs and reading them."""

import json

import pytest

from harmony.errors import ComparisonError, RunDirectoryError
from harmony.report_runs import choose, find_runs, load_run, read_run
from tests.made_up_runs import METRIC, SUCCESS, evaluations, write_run


@pytest.fixture(autouse=True)
def root(tmp_path, monkeypatch):
    """Where runs lie by default."""
    monkeypatch.setenv("HARMONY_RUNS", str(tmp_path / "runs"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    return tmp_path / "runs"


def stored(path, **changes):
    return read_run(write_run(path, evaluations(1.0, 2.0), **changes))


class TestFind:
    def test_runs_sweeps_folders_and_names_below_the_root(self, root, tmp_path):
        one = write_run(root / "one", [])
        swept = [write_run(root / "sweep" / name, []) for name in ("a", "b")]
        (root / "sweep" / "logs").mkdir()
        elsewhere = write_run(tmp_path / "elsewhere", [])
        assert find_runs(["one"]) == ([one], [])
        assert find_runs([str(one), "sweep"]) == ([one, *swept], [])
        assert find_runs([]) == ([one, *swept], [])
        assert [p.resolve() for p in find_runs(["elsewhere", "sweep/a"])[0]] == [
            elsewhere,
            swept[0],
        ]

    def test_a_run_that_is_named_twice_is_one_run(self, root):
        run = write_run(root / "sweep" / "a", [])
        assert len(find_runs(["sweep", str(run), "sweep/a"])[0]) == 1

    def test_what_has_not_begun_is_said(self, root):
        write_run(root / "sweep" / "a", [])
        planned = [{"run_dir": f"/elsewhere/sweep/{name}"} for name in "abc"]
        (root / "sweep" / "sweep.json").write_text(json.dumps({"runs": planned}))
        assert find_runs(["sweep"])[1] == ["sweep sweep: 2 of 3 have not begun"]
        assert find_runs([])[1] == ["sweep sweep: 2 of 3 have not begun"]

    def test_a_damaged_sweep_is_refused(self, root):
        write_run(root / "sweep" / "a", [])
        (root / "sweep" / "sweep.json").write_text("{}")
        with pytest.raises(RunDirectoryError, match=r"sweep\.json is damaged"):
            find_runs(["sweep"])

    def test_a_name_that_leads_nowhere_is_refused(self, root):
        with pytest.raises(RunDirectoryError, match="nope is no directory, nor is there one in"):
            find_runs(["nope"])
        (root / "empty").mkdir()
        with pytest.raises(RunDirectoryError, match="empty holds no run; name run directories"):
            find_runs(["empty"])


class TestRead:
    def test_facts_and_values_of_the_last_start(self, root):
        attempts = [
            {"changes": {}, "ended": {"status": "KILLED"}},
            {"changes": {"training.env_steps": 200, "evaluation.episodes": 20}},
        ]
        run = stored(root / "a", attempts=attempts)
        assert run.config["training.env_steps"] == 200
        assert run.facts == {"evaluation.episodes": "10, then 20"}
        assert load_run(run, [METRIC]).env_steps == 200
        assert load_run(run, [METRIC]).ended == ""

    def test_tags_of_the_suite_are_facts(self, root):
        env = {
            "_target_": "harmony.envs.metaworld.MetaWorld", "time_limit": 500, "action_repeat": 2,
        }  # fmt: skip
        run = stored(root / "a", env="metaworld_v2", task="hammer", config={"env": env})
        assert run.facts["suite.horizon"] == "1000"
        assert run.facts["suite.version"] == "v3"
        assert load_run(run, []).suite == "metaworld"

    def test_what_the_run_has_written_down_counts_more_than_todays_code(self, root):
        env = {"_target_": "harmony.envs.metaworld.MetaWorld"}
        run = stored(root / "a", env="metaworld", config={"env": env})
        (root / "a" / "provenance.json").write_text('{"suite": {"reward_version": "v1"}}')
        assert run.facts == {"suite.reward_version": "v1", "evaluation.episodes": "10"}

    @pytest.mark.parametrize(
        ("env", "message"),
        [
            ({"_target_": "nowhere.at.all.Env"}, "can't be told .*nowhere"),
            ({"_target_": "harmony.envs.metaworld.MetaWorld"}, "can't be told .*time_limit"),
        ],
    )
    def test_an_environment_that_is_not_known_here_is_refused(self, root, env, message):
        with pytest.raises(ComparisonError, match=message):
            _ = stored(root / "a", config={"env": env}).facts

    def test_one_that_is_not_known_can_be_left_out(self, root):
        foreign = stored(root / "a", env="own", config={"env": {"_target_": "nowhere.Env"}})
        known = stored(root / "b")
        assert choose([foreign, known], {"env": "dmc"}) == [known]

    @pytest.mark.parametrize(
        ("file", "text", "message"),
        [
            ("run.json", "{", r"run\.json is damaged"),
            ("run.json", "{}", "is damaged: choices is missing"),
            ("config.yaml", "a: [", r"can't read .*config\.yaml"),
            ("config.yaml", "- 1", r"config\.yaml is damaged: expected a mapping"),
            ("config.yaml", "seed: 0", "is damaged: env._target_ is missing"),
        ],
    )
    def test_damage_is_refused(self, root, file, text, message):
        path = write_run(root / "a", [])
        (path / file).write_text(text)
        with pytest.raises(RunDirectoryError, match=message):
            read_run(path)

    def test_a_missing_configuration_is_refused(self, root):
        path = write_run(root / "a", [])
        (path / "config.yaml").unlink()
        with pytest.raises(RunDirectoryError, match=r"can't read .*config\.yaml"):
            read_run(path)


class TestChoose:
    def test_options_values_and_facts(self, root):
        on = stored(root / "on", seed=1)
        off = stored(root / "off", harmony="off", episodes=20, seed=2, status="KILLED")
        for filters in (
            {"harmony": "off"}, {"seed": "2"}, {"seed": "2.0,3"}, {"evaluation.episodes": "20"},
            {"harmony": "off,fixed", "experiment": "here"},
        ):  # fmt: skip
            assert choose([on, off], filters) == [off]
        assert choose([on, off], {"env.task": "walker_walk", "run_dir": "null"}) == [on, off]
        assert choose([on, off], {"algorithm.lr": "1e-4"}) == [on, off]

    def test_what_no_run_has_is_refused(self, root):
        runs = [stored(root / "on")]
        with pytest.raises(ComparisonError, match=r"^env=dcm: no run is left; the values are dmc$"):
            choose(runs, {"env": "dcm"})
        message = r"^env.tsk=a: no run has such a key; did you mean 'env.task'\?$"
        with pytest.raises(ComparisonError, match=message):
            choose(runs, {"env.tsk": "a"})


class TestLoad:
    def test_what_can_matter_is_kept(self, root):
        typed = ["harmony=off", "replay.batch_size=16", "+algorithm={lr: 1}", "~x", "run_dir=a"]
        run = load_run(stored(root / "s" / "a", seed=4, overrides=typed), [METRIC, SUCCESS])
        assert (run.name, run.suite, run.seed, run.ended) == ("s/a", "dmc", 4, "FINISHED")
        assert run.curves == {METRIC: ([50, 100], [1.0, 2.0])}
        assert run.metrics == {METRIC}
        assert run.code == "0123456"
        assert "tracking" not in run.choices
        assert set(run.settings) == {
            "env._target_", "env._partial_", "env.task", "replay.batch_size", "algorithm.lr",
            "harmony._target_",
        }  # fmt: skip
        assert run.typed == {
            "env.task",
            "seed",
            "harmony",
            "replay.batch_size",
            "algorithm",
            "run_dir",
        }

    def test_uncommitted_changes_are_marked(self, root):
        found = stored(root / "a")
        facts = {"git_commit": "abcdefghij", "git_dirty": "true"}
        (found.path / "provenance.json").write_text(json.dumps(facts))
        assert load_run(found, []).code == "abcdefg+"
        (found.path / "provenance.json").unlink()
        assert load_run(found, []).code == ""
