"""Several environments: the same here and in workers, and what becomes of workers that are lost."""

import functools
import itertools
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from harmony.envs.pool import EnvLost, InProcess, Spawned
from harmony.envs.probe import encode_action
from harmony.errors import ConfigError, EnvError
from tests import fragile

LENGTH = 6


def seed_of(env, episode):
    return 101 * env + episode


@pytest.fixture
def open_pool(tmp_path):
    """Opens pools of tiny environments and closes them again."""
    opened = []

    def open_one(kind=Spawned, num_envs=2, make=fragile.Fragile, settings=None, **kwargs):
        factory = functools.partial(make, **{"length": LENGTH, "image_size": 2, **kwargs})
        plan = kind(num_envs=num_envs, **(settings or {}))
        opened.append(plan.open(factory, seed_of, tmp_path / "envs"))
        return opened[-1]

    yield open_one
    for pool in opened:
        pool.close()


def answers(seed, count):
    return np.random.default_rng(seed).uniform(-1, 1, (count, 2)).astype(np.float32)


def play(pool, steps, seed=0):
    """What came out: (env, record) in order, None where an environment was lost."""
    numbers, told = range(pool.num_envs), []
    for step in range(steps):
        told += pool.begin(numbers)
        actions = answers(1000 * seed + step, pool.num_envs)
        told += list(zip(numbers, pool.step(numbers, actions), strict=True))
    return told


def same(one, two):
    assert [env for env, _ in one] == [env for env, _ in two]
    for (_, left), (_, right) in zip(one, two, strict=True):
        assert left.keys() == right.keys()
        for key in left:
            np.testing.assert_array_equal(left[key], right[key], strict=True)


def steps_of(told, env):
    """Red of the pictures of an environment, the agent step; -1 where it was lost."""
    return [-1 if r is None else int(r["image"][0, 0, 0]) for number, r in told if number == env]


def check_whole(told, env):
    """Each record is one step further, and shows the action that came with it."""
    records = [record for number, record in told if number == env and record is not None]
    for before, after in itertools.pairwise(records):
        red, green = (int(after["image"][0, 0, color]) for color in (0, 1))
        assert green == encode_action(float(after["action"][0]))
        assert red == (0 if after["is_first"] else int(before["image"][0, 0, 0]) + 1)


def test_workers_give_what_the_process_itself_gives(open_pool):
    # Episodes end at uneven times, and who is fastest changes with every episode.
    kwargs = {"num_envs": 3, "uneven": True}
    here = open_pool(InProcess, **kwargs)
    there = open_pool(Spawned, **kwargs, pause=0.01)
    one, two = play(here, 15), play(there, 15)
    same(one, two)
    ends = {env: [i for i, red in enumerate(steps_of(one, env)) if red == 0] for env in range(3)}
    assert len({tuple(begins) for begins in ends.values()}) > 1
    states = [pool.state_dict()["streams"] for pool in (here, there)]
    for left, right in zip(*states, strict=True):
        assert left.pop("actions").tolist() == right.pop("actions").tolist()
        assert left == right


def test_each_environment_and_episode_has_its_seed(open_pool):
    pool = open_pool(InProcess, num_envs=2)
    told = play(pool, 2 * LENGTH)
    firsts = [(env, record) for env, record in told if record["is_first"]]
    assert [env for env, _ in firsts] == [0, 1, 0, 1]
    for env, record in firsts:
        episode = 0 if record is firsts[env][1] else 1
        alone = fragile.Fragile(length=LENGTH, image_size=2)
        observation, _ = alone.reset(seed=seed_of(env, episode))
        assert (record["image"] == observation["image"]).all()


def test_some_of_them_can_be_stepped_alone(open_pool):
    pool = open_pool(InProcess, num_envs=3)
    assert [env for env, _ in pool.begin([0, 2])] == [0, 2]
    assert pool.open == [0, 2]
    pool.step([2], np.zeros((1, 2)))
    assert [stream.episode_length for stream in pool.streams] == [0, 0, 1]


def test_workers_work_at_the_same_time(open_pool):
    pool = open_pool(num_envs=3, pause=0.5)
    # Episodes whose seeds are 2 modulo 3 take a second a step.
    for stream in pool.streams:
        stream.seed_of = lambda _: 2
    pool.begin(range(3))
    began = time.monotonic()
    pool.step(range(3), np.zeros((3, 2)))
    assert 1.0 <= time.monotonic() - began < 2.0


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("die", "worker died (SIGKILL)"),
        ("raises", "worker raised ValueError: the arm of seed 102 fell off"),
        ("hang", "worker gave no answer within 2 s"),
    ],
)
def test_a_worker_that_is_lost_is_replaced(open_pool, caplog, kind, words):
    pool = open_pool(settings={"timeout_s": 2.0}, **{kind: [seed_of(1, 1)]})
    told = play(pool, 3 * LENGTH)
    # The third step of the second episode of env 1 never came; env 0 noticed nothing.
    whole = list(range(LENGTH + 1))
    assert steps_of(told, 0) == 3 * whole
    assert steps_of(told, 1) == [*whole, 0, 1, 2, -1, *whole, 0, 1, 2, 3]
    assert pool.restarts == 1
    check_whole(told, 0)
    check_whole(told, 1)
    blues = [int(r["image"][0, 0, 2]) for env, r in told if env == 1 and r and r["is_first"]]
    probe = fragile.Fragile(length=LENGTH, image_size=2)
    seeds = [seed_of(1, k) for k in range(4)]
    assert blues == [int(probe.reset(seed=s)[0]["image"][0, 0, 2]) for s in seeds]
    assert f"env 1, episode 1: its {words}; it is started anew" in caplog.text


def test_a_worker_that_is_killed_from_outside_between_two_steps(open_pool):
    pool = open_pool()
    told = play(pool, 2)
    os.kill(pool._envs[0]._process.pid, signal.SIGKILL)
    told += play(pool, 4, seed=1)
    assert steps_of(told, 0) == [0, 1, 2, -1, 0, 1, 2, 3]
    assert steps_of(told, 1) == [0, 1, 2, 3, 4, 5, 6]
    assert pool.restarts == 1


def test_a_reset_that_is_lost_begins_the_next_episode(open_pool):
    pool = open_pool(die=[0], at=0)
    told = pool.begin([0, 1])
    assert [env for env, _ in told] == [0, 1]
    assert [stream.episode for stream in pool.streams] == [1, 0]
    assert pool.restarts == 1


def test_after_so_many_losses_in_a_row_the_error_is_the_workers_own(open_pool, tmp_path):
    pool = open_pool(raises=[101, 102, 103], settings={"max_crashes": 3})
    with pytest.raises(EnvLost) as caught:
        play(pool, 3 * LENGTH)
    message, *lines = str(caught.value).splitlines()
    log = tmp_path / "envs" / "env-1.log"
    assert message == (
        "env 1, episode 2: its worker raised ValueError: the arm of seed 103 fell off; 3 times in "
        f"a row (envs.max_crashes), all that it printed is in {log}:"
    )
    assert lines[-1] == "ValueError: the arm of seed 103 fell off"
    assert any("in _trouble" in line for line in lines)
    assert log.read_text().count("Traceback") == 3


def test_an_episode_that_ends_by_itself_forgives_losses(open_pool):
    pool = open_pool(raises=[0, 1, 3, 4], settings={"max_crashes": 3}, num_envs=1)
    play(pool, 5 * LENGTH)
    assert pool.restarts == 4


def test_a_hanging_worker_tells_where(open_pool):
    pool = open_pool(hang=[0], settings={"timeout_s": 1.5, "max_crashes": 1}, num_envs=1)
    with pytest.raises(EnvLost, match="in _trouble"):
        play(pool, LENGTH)


def test_state_that_outlives_an_episode_outlives_a_worker(open_pool):
    pool = open_pool(make=fragile.Remembering, die=[1], num_envs=1)
    play(pool, 2 * LENGTH)
    # Begun were episodes 0, 1 (lost) and 2.
    assert pool.restarts == 1
    assert pool._envs[0].state_dict() == {"episodes": 3}


@pytest.mark.parametrize("kind", [InProcess, Spawned])
@pytest.mark.parametrize("steps", [0, 4, LENGTH])
def test_a_loaded_pool_continues_as_the_saved_one(open_pool, kind, steps):
    saved = open_pool(kind, make=fragile.Remembering, uneven=True)
    play(saved, steps)
    loaded = open_pool(kind, make=fragile.Remembering, uneven=True)
    assert loaded.load_state_dict(saved.state_dict()) == []
    assert loaded.open == saved.open
    same(play(saved, 9, seed=1), play(loaded, 9, seed=1))
    assert [e.env.state_dict() for e in saved.streams] == [
        e.env.state_dict() for e in loaded.streams
    ]


@pytest.mark.parametrize("kind", [InProcess, Spawned])
def test_episodes_of_a_simulator_that_does_not_repeat_itself_are_not_brought_back(open_pool, kind):
    saved, loaded = (open_pool(kind, make=fragile.Unrepeatable) for _ in range(2))
    play(saved, 4)
    assert loaded.load_state_dict(saved.state_dict()) == [0, 1]
    assert loaded.open == []


def test_environments_before_one_that_can_not_be_made_are_closed(tmp_path):
    made = []

    def make():
        if made:
            raise EnvError("no second one")
        made.append(fragile.Fragile(length=LENGTH, image_size=2))
        made[0].close = lambda: made.append("closed")
        return made[0]

    with pytest.raises(EnvError, match="no second one"):
        InProcess(num_envs=2).open(make, seed_of, tmp_path)
    assert made[1:] == ["closed"]


def test_an_episode_whose_worker_is_lost_on_the_way_back_is_given_up(open_pool):
    saved = open_pool(InProcess)
    play(saved, 4)
    loaded = open_pool(Spawned, die=[seed_of(1, 0)])
    assert loaded.load_state_dict(saved.state_dict()) == [1]
    assert (loaded.open, loaded.restarts) == ([0], 1)
    assert loaded.streams[1].episode == 1
    assert [env for env, _ in loaded.begin([0, 1])] == [1]


def test_restarts_are_counted_on(open_pool):
    saved, loaded = open_pool(InProcess), open_pool(InProcess)
    saved.restarts = 5
    loaded.load_state_dict(saved.state_dict())
    assert loaded.restarts == 5


def test_signals_to_the_whole_job_leave_the_workers_alone(open_pool):
    pool = open_pool(num_envs=1)
    play(pool, 1)
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR2):
        os.kill(pool._envs[0]._process.pid, signum)
    assert steps_of(play(pool, 2), 0) == [2, 3]
    assert pool.restarts == 0


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_workers_end_with_the_run_however_it_dies(tmp_path):
    script = (
        "import functools, sys, time; from pathlib import Path\n"
        "from harmony.envs.pool import Spawned; from tests import fragile\n"
        "make = functools.partial(fragile.Fragile, image_size=2, hang=[1], at=1)\n"
        "pool = Spawned(num_envs=2).open(make, lambda i, k: i, Path(sys.argv[1]))\n"
        "print(*(env._process.pid for env in pool._envs), flush=True)\n"
        "pool.begin([0, 1]); pool._envs[1].ask('step', [0.0, 0.0]); time.sleep(1000)\n"
    )
    command = [sys.executable, "-c", script, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as run:
        pids = [int(pid) for pid in run.stdout.readline().split()]
        time.sleep(0.3)
        run.kill()
    deadline = time.monotonic() + 20
    while any(alive(pid) for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert len(pids) == 2
    assert not any(alive(pid) for pid in pids)


def test_what_a_user_can_mend_is_told_as_in_the_process_itself(tmp_path):
    with pytest.raises(EnvError, match=r"^env\.task: expected walk, got fly; take walk$"):
        Spawned(num_envs=2).open(fragile.refuse, seed_of, tmp_path)


def test_another_error_at_the_start_comes_with_its_traceback(tmp_path):
    with pytest.raises(EnvLost, match=r"(?s)^env 0 can't be made: its worker raised RuntimeError: "
                       r"no licence; .*in fail\n"):  # fmt: skip
        Spawned().open(fragile.fail, seed_of, tmp_path)


def test_a_factory_that_can_not_be_sent_is_refused(tmp_path):
    with pytest.raises(
        EnvError, match=r"^envs=spawn: expected a factory that can be sent"
    ) as caught:
        Spawned().open(lambda: None, seed_of, tmp_path)
    assert "\n" not in str(caught.value)
    assert str(caught.value).endswith("or take envs=in_process")


@pytest.mark.parametrize("kind", [InProcess, Spawned])
@pytest.mark.parametrize("num_envs", [0, -1])
def test_no_environment_is_refused(kind, num_envs):
    with pytest.raises(ConfigError, match=f"^envs.num_envs must be at least 1, got {num_envs}$"):
        kind(num_envs=num_envs)


def test_limits_that_can_not_be_meant_are_refused():
    with pytest.raises(ConfigError, match=r"^envs\.timeout_s must be above 0, got 0$"):
        Spawned(timeout_s=0)
    with pytest.raises(ConfigError, match=r"^envs\.max_crashes must be at least 1, got 0$"):
        Spawned(max_crashes=0)


def test_closing_twice_does_no_harm_and_ends_the_workers(open_pool):
    pool = open_pool()
    pids = [env._process.pid for env in pool._envs]
    pool.close()
    pool.close()
    assert not any(alive(pid) for pid in pids)
