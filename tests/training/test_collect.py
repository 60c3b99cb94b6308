"""Stepping an environment with a policy."""

import copy

import gymnasium
import numpy as np
import pytest
import torch

from harmony.build import build_env
from harmony.envs.pool import EnvPool
from harmony.envs.probe import CountingEnv
from harmony.envs.stream import EpisodeStream
from harmony.errors import ConfigError
from harmony.replay.store import Replay
from harmony.training.collect import (
    Episode,
    Player,
    can_sample,
    collect_step,
    finished,
    random_action,
)
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


def test_random_multi_discrete_actions_are_one_hot_in_each_component():
    rng = np.random.default_rng(0)
    space = gymnasium.spaces.MultiDiscrete([3, 2, 1])
    drawn = np.stack([random_action(space, rng) for _ in range(1200)])
    assert drawn.dtype == np.float32
    assert drawn.shape == (1200, 6)
    parts = np.split(drawn, [3, 5], axis=1)
    for part, size in zip(parts, (3, 2, 1), strict=True):
        assert set(part.sum(1)) == {1.0}
        assert part.mean(0) == pytest.approx([1 / size] * size, abs=0.05)
    # The components are drawn apart: all six combinations come up.
    assert len({(int(a.argmax()), int(b.argmax())) for a, b, _ in zip(*parts, strict=True)}) == 6


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


def test_actions_beyond_the_bounds_are_cut_for_env_replay_and_carry(monkeypatch, tmp_path):
    who, pool = player(), EnvPool([build_env(tiny.config())], lambda _, k: k)
    records = pool.streams[0]
    drawn = torch.tensor([[-1.75, 0.25]])
    carry = who.carry._replace(action=drawn)
    monkeypatch.setattr(who.agent, "act", lambda *_: (drawn, carry))
    seen = []
    original = records.env.step
    monkeypatch.setattr(
        records.env, "step", lambda action: (seen.append(action.tolist()), original(action))[1]
    )
    replay = Replay(
        record_spec=records.record_spec,
        directory=tmp_path,
        capacity=100,
        batch_size=1,
        batch_length=2,
        sequences="stream",
    )
    collect_step(pool, replay, who.act_all, [0])
    assert seen == [[-1.0, 0.25]]
    batch = replay.sample(np.random.default_rng(0))
    assert batch["action"].tolist() == [[[0.0, 0.0], [-1.0, 0.25]]]
    assert who.carry.action.tolist() == [[-1.0, 0.25]]
    assert records.state_dict()["actions"].tolist() == [[-1.0, 0.25]]


def test_actions_within_the_bounds_stay_bit_for_bit(monkeypatch):
    who, records = player(), stream()
    drawn = torch.tensor([[np.float32(0.1), -1.0]])
    monkeypatch.setattr(who.agent, "act", lambda *_: (drawn, who.carry))
    assert who.act(records.reset()).tobytes() == drawn.numpy().tobytes()


def counting(tmp_path, length, **settings):
    """A pool whose episodes have length + 1 records, and a replay for it."""
    pool = EnvPool([CountingEnv(length=length, image_size=2)], lambda _, k: k)
    given = {"capacity": 1000, "batch_size": 2, "batch_length": 6, "segment_steps": 64}
    spec = pool.streams[0].record_spec
    return pool, Replay(record_spec=spec, directory=tmp_path, **given | settings)


def episodes_until_ready(pool, replay):
    """Episodes that a prefill takes."""
    for episodes in range(1, 100):
        while collect_step(pool, replay, lambda _: np.zeros((1, 2), np.float32), [0]) == [None]:
            pass
        if can_sample(replay, pool.streams[0], episodes):
            return episodes
    return None


def test_a_prefill_needs_one_episode_that_is_long_enough(tmp_path):
    assert episodes_until_ready(*counting(tmp_path, 5)) == 1


def test_a_prefill_of_short_episodes_is_given_up(tmp_path):
    with pytest.raises(ConfigError, match=r"min_length records, got none in 20 \(the last has 5\)"):
        episodes_until_ready(*counting(tmp_path, 4))


def test_a_prefill_of_the_stream_needs_a_window(tmp_path):
    # Two records an episode: the third one fills a window of six.
    assert episodes_until_ready(*counting(tmp_path, 1, sequences="stream")) == 3


def test_a_prefill_of_the_stream_is_never_given_up(tmp_path):
    found = counting(tmp_path, 1, sequences="stream", batch_length=60)
    assert episodes_until_ready(*found) == 30


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
    assert finished(records) == Episode(3.0, 3, False, {"success": False})
