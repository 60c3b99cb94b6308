"""Which runs may stand in one table, and what tells them apart."""

import pytest

from harmony.analysis.comparable import (
    Column,
    also_differs,
    by_values,
    check_facts,
    check_keys,
    check_length,
    check_metric,
    check_seeds,
    described,
    find_baseline,
    find_columns,
)
from harmony.errors import ComparisonError
from tests.made_up_runs import METRIC, make_run

ON_AND_OFF = [make_run(harmony="on"), make_run(harmony="off")]


def keys(runs, **arguments):
    return [column.key for column in find_columns(runs, **arguments)]


class TestColumns:
    def test_seeds_alone_make_none(self):
        assert find_columns([make_run(seed=0), make_run(seed=1)]) == []

    def test_suite_task_algorithm_and_harmony_come_first(self):
        runs = [
            make_run(settings={"a": 1}, typed={"a"}, choices={"algorithm": "x"}),
            make_run(harmony="off", task="run", settings={"a": 2}, choices={"algorithm": "y"}),
        ]
        assert keys(runs) == ["env.task", "algorithm", "harmony", "a"]

    def test_what_was_typed_is_one_although_it_goes_with_an_option(self):
        """A rate that only one arm has is no part of what harmony does."""
        runs = [
            make_run(harmony="on", settings={"lr": 1e-4}),
            make_run(harmony="off", settings={"lr": 3e-4}, typed={"lr"}),
        ]
        assert keys(runs) == ["harmony", "lr"]

    def test_what_follows_from_an_option_is_none(self):
        runs = [
            make_run(choices={"algorithm": "x", "latent": "u"}, settings={"lr": 1e-4}),
            make_run(choices={"algorithm": "y", "latent": "c"}, settings={"lr": 3e-4}),
        ]
        assert keys(runs) == ["algorithm"]

    def test_what_no_one_typed_is_one_where_nothing_else_tells_runs_apart(self):
        """A default that has changed between two commits; its consequences are not repeated."""
        runs = [
            make_run(settings={"a": 1, "b": 2}, seed=0),
            make_run(settings={"a": 2, "b": 4}, seed=1),
        ]
        assert keys(runs) == ["a"]

    def test_a_key_that_a_run_does_not_have_differs(self):
        assert keys([make_run(settings={"a": 1}), make_run()]) == ["a"]

    def test_facts_are_columns_where_they_are_split(self):
        runs = [make_run(facts={"suite.version": v}) for v in ("v2", "v3")]
        assert keys(runs) == []
        assert keys(runs, split=["suite.version"]) == ["suite.version"]

    def test_ignored_keys_are_none(self):
        assert keys([make_run(settings={"a": k}) for k in (1, 2)], ignore=["a"]) == []

    def test_titles_are_as_short_as_can_be(self):
        changed = {"model.lr": 1, "actor.lr": 1, "env.task": "run", "size": "s"}
        runs = [make_run(), make_run(settings=changed, typed=changed)]
        titles = {column.key: column.title for column in find_columns(runs)}
        assert titles == {
            "env.task": "task", "model.lr": "model.lr", "actor.lr": "actor.lr", "size": "size",
        }  # fmt: skip

    def test_numbers_are_in_their_order(self):
        runs = [make_run(settings={"w": w}) for w in (100, 16.5, 2, None)]
        assert [*by_values(runs, [Column("w", "w")])] == [("2",), ("16.5",), ("100",), ("null",)]


def test_a_place_in_words():
    columns = [Column("env.task", "task"), Column("model.lr", "lr")]
    assert described(("walk", "0.1"), columns) == "walk, lr=0.1"


class TestFacts:
    def test_other_versions_of_a_suite_are_refused(self):
        runs = [make_run(name=n, facts={"suite.version": v}) for n, v in (("a", "v3"), ("b", "v2"))]
        with pytest.raises(ComparisonError) as caught:
            check_facts(runs)
        assert str(caught.value) == (
            "a and b can't stand in one table: suite.version of dmc is v3 and v2; choose with "
            "suite.version=v3, or show them apart with split=suite.version"
        )
        check_facts(runs, ["suite.version"])

    def test_a_fact_that_one_lacks_is_refused(self):
        runs = [make_run(facts={}), make_run(facts={"suite.clips": "x"})]
        with pytest.raises(ComparisonError, match=r"is nothing and x; choose with suite\.clips=x"):
            check_facts(runs)

    def test_facts_of_a_task_are_those_of_its_runs_alone(self):
        def of(task, frames, **changes):
            facts = {"suite.task.max_frames": frames}
            return make_run(suite="atari100k", task=task, facts=facts, **changes)

        check_facts([of("pong", "108000"), of("chopper", "5400"), of("pong", "108000", seed=1)])
        runs = [of("pong", "108000"), of("chopper", "5400"), of("chopper", "108000", name="x")]
        with pytest.raises(ComparisonError, match=r"and x can't .*max_frames of atari100k is 5400"):
            check_facts(runs)

    def test_other_suites_may_differ(self):
        check_facts([make_run(facts={"a": "1"}), make_run(suite="crafter", facts={"a": "2"})])


class TestSeeds:
    def test_the_same_seed_twice_is_refused(self):
        runs = [make_run(name=name, seed=3) for name in "ab"]
        with pytest.raises(
            ComparisonError, match="a and b are one experiment with the same seed 3"
        ):
            check_seeds({(): runs})

    def test_in_different_cells_it_is_fine(self):
        check_seeds(by_values(ON_AND_OFF, find_columns(ON_AND_OFF)))


class TestLength:
    def test_other_lengths_of_a_task_are_refused(self):
        runs = [make_run(name="a"), make_run(name="b", env_steps=1_000, seed=1)]
        message = r"one has 100 env steps, the other 1,000; at=100 compares them there"
        with pytest.raises(ComparisonError, match=message):
            check_length(runs, METRIC)

    def test_other_tasks_and_unfinished_runs_may_have_others(self):
        runs = [make_run(), make_run(task="run", env_steps=50)]
        check_length([*runs, make_run(ended="KILLED", env_steps=1_000)], METRIC)


class TestMetric:
    def test_an_unknown_one_is_refused_with_the_nearest(self):
        with pytest.raises(ComparisonError, match=r"did you mean 'eval/return'\? \(has: eval/ret"):
            check_metric([make_run()], "eval/retrun")

    def test_one_that_a_finished_run_lacks_is_refused(self):
        one = make_run(name="a", metrics={"eval/success"})
        with pytest.raises(
            ComparisonError, match="a has it, b has not; choose with harmony=on, or"
        ):
            check_metric([one, make_run(name="b", harmony="off")], "eval/success")
        with pytest.raises(ComparisonError, match="a has it, b has not; leave it out, or take"):
            check_metric([one, make_run(name="b", seed=1)], "eval/success")

    def test_one_that_an_unfinished_run_lacks_is_fine(self):
        check_metric([make_run(), make_run(metrics=(), ended="")], METRIC)

    def test_keys_that_no_run_has_are_refused(self):
        check_keys([make_run()], ["harmony", "env.task", "evaluation.episodes"])
        with pytest.raises(ComparisonError, match=r"harmny: no run has .* did you mean 'harmony'"):
            check_keys([make_run()], ["harmny"])


class TestBaseline:
    columns = find_columns(ON_AND_OFF)

    def test_off_is_the_usual_one(self):
        assert find_baseline(ON_AND_OFF, self.columns, None) == ({"harmony": "off"}, [])

    def test_none_is_none(self):
        assert find_baseline(ON_AND_OFF, self.columns, {}) == ({}, [])
        assert find_baseline([make_run()], [], None) == ({}, [])

    def test_without_off_it_is_said(self):
        runs = [make_run(harmony="on"), make_run(harmony="fixed")]
        found, notes = find_baseline(runs, find_columns(runs), None)
        assert found == {}
        assert notes == ["no differences: no run has harmony=off; baseline=KEY=VALUE names another"]

    def test_one_that_no_run_has_is_refused(self):
        with pytest.raises(
            ComparisonError, match="harmony=fixed: no run has it; harmony is off, on"
        ):
            find_baseline(ON_AND_OFF, self.columns, {"harmony": "fixed"})

    def test_one_that_all_have_is_refused(self):
        with pytest.raises(ComparisonError, match="env=dmc: all runs have it"):
            find_baseline(ON_AND_OFF, self.columns, {"env": "dmc"})


class TestAlsoDiffers:
    def test_what_an_option_changes_elsewhere_is_said(self):
        runs = [
            make_run(harmony="off", settings={"a.lr": 1, "harmony.x": 1}),
            make_run(harmony="reward_only", settings={"a.lr": 2, "harmony.x": 2}),
        ]
        found = also_differs(runs, find_columns(runs), {"harmony": "off"})
        assert found == ["options of harmony also differ in a.lr"]
        assert also_differs(runs, find_columns(runs), {"harmony": "off"}, ["a.lr"]) == []

    def test_what_goes_with_the_place_is_not(self):
        runs = [
            make_run(harmony=harmony, choices={"env": env}, settings={"lr": env})
            for harmony in ("on", "off")
            for env in ("dmc", "crafter")
        ]
        assert also_differs(runs, find_columns(runs), {"harmony": "off"}) == []
        assert also_differs(runs, find_columns(runs), {}) == []
