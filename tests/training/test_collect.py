"""Stepping an environment with a policy."""

import copy

import gymnasium
import numpy as np
import pytest
import torch

from harmony.build import build_env
from harmony.envs.stream import EpisodeStream
from harmony.training.collect import Episode, Player, finished, random_action
from tests import tiny


def stream(*overrides):
    return EpisodeStream(build_env(tiny.config(*overrides)), lambda k: k)


def player(mode="train", seed=0):
    return Player(tiny.agent(), mode, torch.Generator().manual_seed(seed))


def play(who, records, steps):
    found = []
    record = records.record if not records.needs_reset else records.reset()
    for _ in range(steps):
        found.append(who.act(record))
        record = records.step(found[-1])
    return np.stack(found)


def test_random_actions_fill_the_box():
    space = gymnasium.spaces.Box(np.float32([-1.0, 0.0]), np.float32([1.0, 0.5]))
    rng = np.random.default_rng(0)
    drawn = np.stack([random_action(space, rng) for _ in range(2000)])
    assert drawn.dtype == np.float32
    assert drawn.min(0) == pytest.approx([-1.0, 0.0], abs=0.02)
    assert drawn.max(0) == pytest.approx([1.0, 0.5], abs=0.02)
    assert drawn.mean(0) == pytest.approx([0.0, 0.25], abs=0.06)


def test_random_discrete_actions_are_one_hot_and_even():
    rng = np.random.default_rng(0)
    drawn = np.stack([random_action(gymnasium.spaces.Discrete(3), rng) for _ in range(600)])
    assert drawn.dtype == np.float32
    assert set(drawn.sum(1)) == {1.0}
    assert drawn.mean(0) == pytest.approx([1 / 3] * 3, abs=0.06)


def test_a_player_answers_one_record():
    records = stream()
    action = player().act(records.reset())
    assert action.shape == (2,)
    assert action.dtype == np.float32
    assert np.abs(action).max() <= 1


def test_a_player_remembers_its_last_action():
    who, records = player(), stream()
    first = who.act(records.reset())
    assert who.carry.action[0].tolist() == first.tolist()
    assert who.carry.latent.stoch.sum() == 3  # three one-hot variables
    who.act(records.step(first))
    assert who.carry.latent.deter.abs().sum() > 0


def test_a_player_continues_from_its_state():
    one, records = player(), stream()
    play(one, records, 3)
    two, others = player(seed=1), stream()
    others.load_state_dict(records.state_dict())
    two.load_state_dict(copy.deepcopy(one.state_dict()))
    two.generator.set_state(one.generator.get_state())
    assert np.array_equal(play(one, records, 4), play(two, others, 4))


def test_without_its_state_it_would_act_otherwise():
    one, records = player("eval"), stream()
    play(one, records, 3)
    fresh = player("eval")
    fresh.generator.set_state(one.generator.get_state())
    assert not np.array_equal(one.act(records.record), fresh.act(records.record))


def test_what_a_finished_episode_was():
    records = stream("env.length=3", "env.action_repeat=2")
    record = records.reset()
    while not record["is_last"]:
        record = records.step(np.array([0.5, 0.0], np.float32))
    # Half a point an env step, two env steps an agent step; no step was above 0.9.
    assert finished(records) == Episode(3.0, 3, False)
