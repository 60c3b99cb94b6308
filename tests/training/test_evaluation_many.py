"""Evaluations in several environments: the episodes of one, whoever plays them, and each once."""

import functools

import numpy as np
import pytest

from harmony.envs.pool import EnvLost, InProcess, Spawned
from harmony.training.evaluation import Evaluator
from harmony.training.seeding import Seeds
from harmony.training.signals import Stopped
from tests import fragile, tiny
from tests.integration.test_kills import assert_same

LENGTH = 10
NAME = 40


def seeds_of(count):
    """The seeds of the first episodes of an evaluation."""
    return [Seeds(0).integer("evaluation", NAME, k) for k in range(count)]


@pytest.fixture
def evaluator(tmp_path):
    """Evaluators of tiny environments, which end 0 to 3 steps early, by seed."""
    opened = []

    def make(kind=InProcess, num_envs=1, env=fragile.Fragile, **trouble):
        given = {"length": LENGTH, "image_size": 8, "uneven": True, **trouble}
        opens = functools.partial(
            kind(num_envs=num_envs).open, functools.partial(env, **given), logs=tmp_path
        )
        opened.append(Evaluator(lambda seed_of: opens(seed_of=seed_of), Seeds(0)))
        return opened[-1]

    yield make
    for used in opened:
        used.pool.close()


def told(found):
    return [(episode.reward_sum, episode.length) for episode in found.episodes]


def lengths(seeds):
    return [LENGTH - seed % 4 for seed in seeds]


@pytest.mark.parametrize(("num_envs", "episodes"), [(2, 5), (3, 7), (4, 4), (5, 2)])
def test_several_play_the_episodes_of_one(evaluator, num_envs, episodes):
    agent = tiny.agent()
    one = evaluator().evaluate(agent, NAME, episodes)
    many = evaluator(num_envs=num_envs).evaluate(agent, NAME, episodes)
    assert told(many) == told(one)
    assert [episode.length for episode in many.episodes] == lengths(seeds_of(episodes))
    # Step and seed of the episode; the third number is the action, which the latents' noise moves.
    assert np.array_equal(many.frames[..., [0, 2]], one.frames[..., [0, 2]])
    assert many.lost == 0
    assert "eval/lost_episodes" not in many.row()


def test_workers_give_what_the_process_itself_gives(evaluator):
    agent = tiny.agent()
    here, there = (evaluator(kind, 3) for kind in (InProcess, Spawned))
    one, two = (used.evaluate(agent, NAME, 5) for used in (here, there))
    assert_same(one._asdict(), two._asdict())
    one, two = (used.evaluate_random(5) for used in (here, there))
    assert_same(one._asdict(), two._asdict())


def test_another_episode_takes_the_place_of_one_that_was_lost(evaluator):
    seeds = seeds_of(6)
    used = evaluator(Spawned, 2, die=[seeds[0], seeds[3]])
    found = used.evaluate(tiny.agent(), NAME, 4)
    # Six were begun: the first and the fourth died.
    assert [e.length for e in found.episodes] == lengths([seeds[k] for k in (1, 2, 4, 5)])
    assert found.lost == 2
    assert found.row()["eval/lost_episodes"] == 2.0
    # The video is that of a whole episode: one that began after the first was lost.
    assert len(found.frames) - 1 in lengths(seeds[2:])
    assert found.frames[:, 0, 0, 0].tolist() == list(range(len(found.frames)))


def test_another_episode_takes_the_place_of_one_whose_simulator_was_lost_here(evaluator):
    seeds = seeds_of(6)
    used = evaluator(InProcess, 2, env=fragile.Refusing, refuses=[seeds[0], seeds[3]])
    found = used.evaluate(tiny.agent(), NAME, 4)
    assert [e.length for e in found.episodes] == lengths([seeds[k] for k in (1, 2, 4, 5)])
    assert found.lost == 2
    assert found.frames[:, 0, 0, 0].tolist() == list(range(len(found.frames)))


@pytest.mark.parametrize("kind", [InProcess, Spawned])
def test_a_reset_that_is_lost_is_tried_with_another_seed(evaluator, kind):
    seeds = seeds_of(3)
    used = evaluator(kind, 2, env=fragile.Refusing, refuses=[seeds[1]], at=0)
    found = used.evaluate(tiny.agent(), NAME, 3)
    seeds[1] = Seeds(0).integer("evaluation", NAME, 1, 1)
    assert [e.length for e in found.episodes] == lengths(seeds)
    assert found.lost == 1


def test_the_same_evaluation_again_is_the_same_whatever_was_lost_before(evaluator):
    seeds = seeds_of(4)
    used = evaluator(Spawned, 2, raises=[seeds[1]])
    agent = tiny.agent()
    first, again = (used.evaluate(agent, NAME, 3) for _ in range(2))
    assert first.lost == again.lost == 1
    assert told(first) == told(again)


def test_an_environment_that_always_dies_ends_it(evaluator):
    used = evaluator(Spawned, 1, die=seeds_of(9))
    with pytest.raises(EnvLost, match="3 times in a row"):
        used.evaluate(tiny.agent(), NAME, 2)


@pytest.mark.parametrize("kind", [InProcess, Spawned])
def test_what_outlives_an_episode_does_not_outlive_an_evaluation(evaluator, kind):
    used = evaluator(kind, 2, env=fragile.Remembering)
    counted = []
    for name in (NAME, 60):
        used.evaluate(tiny.agent(), name, 4)
        counted.append([s.env.unwrapped.state_dict()["episodes"] for s in used.pool.streams])
    assert counted[0] == counted[1]
    assert sum(counted[0]) == 4


class Scoring(fragile.Fragile):
    def scores(self, returns, infos):
        return {"eval/best": max(returns), "eval/told": float(len(infos))}


def test_a_suites_own_measures_come_from_a_worker_too(evaluator):
    found = evaluator(Spawned, 2, env=Scoring).evaluate(tiny.agent(), NAME, 3)
    assert found.scores == {"eval/best": max(e.reward_sum for e in found.episodes), "eval/told": 3}
    assert evaluator(Spawned).evaluate(tiny.agent(), NAME, 1).scores == {}


def test_an_evaluation_that_was_cut_short_leaves_nothing_behind(evaluator):
    agent, cut = tiny.agent(), evaluator(num_envs=3)
    cut.between_steps = tiny.StopAt(4).check
    with pytest.raises(Stopped):
        cut.evaluate(agent, NAME, 5)
    cut.between_steps = lambda: None
    again, whole = cut.evaluate(agent, NAME, 5), evaluator(num_envs=3).evaluate(agent, NAME, 5)
    assert told(again) == told(whole)
