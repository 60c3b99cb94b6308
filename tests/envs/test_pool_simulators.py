"""Environments in the process of the run whose simulators are lost, as behind a bridge."""

import functools

import pytest

from harmony.envs.pool import EnvLost, InProcess
from tests import fragile
from tests.envs.test_pool import LENGTH, check_whole, play, seed_of, steps_of


def open_pool(num_envs=2, make=fragile.Refusing, max_crashes=3, **kwargs):
    factory = functools.partial(make, **{"length": LENGTH, "image_size": 2, **kwargs})
    return InProcess(num_envs=num_envs, max_crashes=max_crashes).open(factory, seed_of, None)


def test_a_simulator_that_is_lost_here_is_given_up_with_its_episode(caplog):
    pool = open_pool(refuses=[seed_of(1, 1)])
    told = play(pool, 3 * LENGTH)
    whole = list(range(LENGTH + 1))
    assert steps_of(told, 0) == 3 * whole
    assert steps_of(told, 1) == [*whole, 0, 1, 2, -1, *whole, 0, 1, 2, 3]
    assert pool.restarts == 1
    assert pool.state_dict()["restarts"] == 1
    check_whole(told, 1)
    assert caplog.messages == [
        "env 1, episode 1: env fragile: step() gave no answer; it is started anew"
    ]


def test_a_reset_that_is_lost_here_begins_the_next_episode():
    pool = open_pool(refuses=[seed_of(0, 0)], at=0)
    assert [env for env, _ in pool.begin([0, 1])] == [0, 1]
    assert [stream.episode for stream in pool.streams] == [1, 0]
    assert (pool.open, pool.restarts) == ([0, 1], 1)


def test_after_so_many_losses_in_a_row_here_the_error_is_the_simulators_own():
    seeds = [seed_of(0, episode) for episode in range(3)]
    pool = open_pool(num_envs=1, refuses=seeds)
    with pytest.raises(
        EnvLost,
        match=r"^env 0, episode 2: .* gave no answer; 3 times in a row \(envs\.max_crashes\):\nno "
        r"licence for 2$",
    ):
        play(pool, 20)
    pool = open_pool(num_envs=1, max_crashes=1, refuses=seeds)
    with pytest.raises(EnvLost, match=r"episode 0: .*; 1 times in a row"):
        play(pool, 20)


def test_an_episode_that_ends_by_itself_forgives_losses_here_too():
    seeds = [seed_of(0, episode) for episode in (0, 1, 3, 4, 6)]
    pool = open_pool(num_envs=1, refuses=seeds)
    play(pool, 50)
    assert pool.restarts == 5


def test_an_environment_that_has_tried_again_by_itself_ends_it_at_once():
    pool = open_pool(refuses=[seed_of(1, 0)], final=True)
    with pytest.raises(
        EnvLost, match=r"^env 1, episode 0: .* gave no answer:\nno licence for 101$"
    ):
        play(pool, 20)


def test_any_other_error_here_is_one_of_the_run():
    pool = open_pool(raises=[seed_of(0, 0)])
    with pytest.raises(ValueError, match="the arm of seed 0 fell off"):
        play(pool, 20)


@pytest.mark.parametrize("at", [0, 3])
def test_an_episode_is_given_up_whose_simulator_fails_on_the_way_back(at):
    saved = open_pool()
    play(saved, 4)
    loaded = open_pool(refuses=[seed_of(1, 0)], at=at)
    assert loaded.load_state_dict(saved.state_dict()) == [1]
    assert (loaded.open, loaded.restarts) == ([0], 1)
    assert [stream.episode for stream in loaded.streams] == [0, 1]
    assert [env for env, _ in loaded.begin([0, 1])] == [1]
    told = play(loaded, 2)
    assert [env for env, _ in told] == [0, 1, 0, 1]
