"""How the benchmark of environments divides the time of a step."""

import pytest

from benchmarks import envs
from benchmarks.envs import Parts, markdown, measure


class Simulator:
    """Advances a clock that the test made: 3 for physics, 2 for the drawing inside its step."""

    __slots__ = ("clock",)

    def __init__(self, clock):
        self.clock = clock

    def step(self):
        self.clock[0] += 3

    def render(self):
        self.clock[0] += 2


class Env:
    def __init__(self, clock):
        self.clock = clock
        self._env = Simulator(clock)

    @property
    def unwrapped(self):
        return self

    def _draw(self):
        self.clock[0] += 5
        self._env.render()

    def step(self):
        self.clock[0] += 1
        self._env.step()
        self._draw()


@pytest.fixture
def clock(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(envs.time, "perf_counter", lambda: now[0])
    return now


def test_parts_inside_parts_count_once(clock):
    env, parts = Env(clock), Parts()
    assert parts.watch(env)
    env.step()
    assert parts.seconds == {"physics": 3.0, "render": 7.0}
    env.step()
    assert parts.seconds == {"physics": 6.0, "render": 14.0}
    assert clock == [22.0]


def test_objects_that_take_no_attributes_are_stood_before(clock):
    env = Env(clock)
    simulator = env._env
    Parts().watch(env)
    assert env._env is not simulator
    assert env._env.clock is simulator.clock


def test_an_error_inside_a_part_leaves_the_account_right(clock):
    parts = Parts()

    def fail():
        clock[0] += 4
        raise ValueError

    with pytest.raises(ValueError):  # noqa: PT011 - its own
        parts.timed(fail, "physics")()
    assert parts.seconds == {"physics": 4.0}
    parts.timed(lambda: None, "render")()
    assert parts.seconds["render"] == 0.0


def test_a_suite_without_parts_has_rates_alone():
    row = measure(["env=probe", "env.image_size=8", "env.action_repeat=2", "env.length=3"], 0.01)
    assert set(row) == {"agent_steps", "agent_steps_per_s", "env_steps_per_s", "reset_ms"}
    assert row["env_steps_per_s"] == pytest.approx(2 * row["agent_steps_per_s"], abs=0.2)
    assert markdown({"env": "probe", **row}).startswith("| probe |  |  | ")
