"""From the environment to a batch: nothing is out of order, shifted or mixed up."""

import numpy as np
import pytest
import torch

from harmony.envs.probe import CountingEnv, encode_action
from harmony.envs.stream import EpisodeStream
from harmony.replay.store import Replay
from harmony.training.collect import random_action
from harmony.training.seeding import Seeds
from harmony.types import to_device

T = 8
LENGTH = 21
"""Agent steps of an episode, hence 22 records."""


def make_stream(*, discrete=False, action_repeat=1):
    env = CountingEnv(length=LENGTH, image_size=4, discrete=discrete, action_repeat=action_repeat)
    return EpisodeStream(env, lambda k: Seeds(0).integer("env", 0, k))


def make_replay(stream, directory, **settings):
    # Segments of seven records: every sequence crosses at least one border.
    given = {"capacity": 10**6, "batch_size": 16, "batch_length": T, "segment_steps": 7}
    return Replay(record_spec=stream.record_spec, directory=directory, **given | settings)


def collect(stream, replay, rng, steps):
    for _ in range(steps):
        if stream.needs_reset:
            replay.add(stream.reset())
        replay.add(stream.step(random_action(stream.action_space, rng)))


def batches(replay, count=20, seed=0):
    rng = np.random.default_rng(seed)
    for _ in range(count):
        arrays = {name: torch.from_numpy(array) for name, array in replay.sample(rng).items()}
        yield to_device(arrays, torch.device("cpu"))


def blues(episodes):
    """The picture's mark of each episode's seed, computed without the stream."""
    env = CountingEnv(length=LENGTH, image_size=4)
    seeds = [Seeds(0).integer("env", 0, k) for k in range(episodes)]
    return [int(env.reset(seed=seed)[0]["image"][0, 0, 2]) for seed in seeds]


def check(batch, *, discrete=False, action_repeat=1):
    """Every record tells of itself; neighbours in time must fit, unless a sequence begins."""
    red, green, blue = batch["image"][:, :, 0, 0].long().unbind(-1)
    assert (batch["image"] == batch["image"][:, :, :1, :1]).all()
    is_first, begins = batch["is_first"], red == 0
    inside = ~is_first[:, 1:]
    # Contiguous: one step further in the same episode.
    assert (red[:, 1:] == red[:, :-1] + 1)[inside].all()
    assert (blue[:, 1:] == blue[:, :-1])[inside].all()
    # The action of a record is the one that led to its picture; the first has none.
    action = batch["action"][..., 0]
    if discrete:
        assert (batch["action"].sum(-1) == (~begins).float()).all()
        action = torch.where(begins, 0.0, 2 * action - 1)
    painted = [encode_action(value) for value in action.flatten().tolist()]
    assert green.flatten().tolist() == painted
    assert (batch["action"][begins] == 0).all()
    # The reward belongs to the same step, and the flags to the last of it.
    assert torch.equal(batch["reward"], red.float() * action_repeat)
    assert torch.equal(batch["is_last"], red == LENGTH)
    assert not batch["is_terminal"].any()
    return red, blue


@pytest.mark.parametrize("discrete", [False, True])
@pytest.mark.parametrize("storage", ["disk", "memory"])
def test_order_contiguity_and_the_action_convention(tmp_path, storage, discrete):
    stream = make_stream(discrete=discrete)
    replay = make_replay(stream, tmp_path, storage=storage)
    collect(stream, replay, np.random.default_rng(1), 5 * LENGTH + 9)
    assert replay.num_episodes == 5
    starts, seen = set(), set()
    for batch in batches(replay):
        assert batch["is_first"][:, 0].all()
        assert not batch["is_first"][:, 1:].any()
        red, blue = check(batch, discrete=discrete)
        starts |= set(red[:, 0].tolist())
        seen |= set(blue.flatten().tolist())
    # Every start that leaves room for T records, and every complete episode; not the open one.
    assert starts == set(range(LENGTH + 1 - T + 1))
    assert seen == set(blues(5))


def test_the_reward_counts_every_repeated_step(tmp_path):
    stream = make_stream(action_repeat=3)
    replay = make_replay(stream, tmp_path)
    collect(stream, replay, np.random.default_rng(1), 2 * LENGTH)
    for batch in batches(replay, 3):
        check(batch, action_repeat=3)


def test_joined_sequences_say_where_the_next_one_begins(tmp_path):
    stream = make_stream()
    replay = make_replay(stream, tmp_path, batch_length=30, min_length=5)
    collect(stream, replay, np.random.default_rng(1), 4 * LENGTH)
    borders = 0
    for batch in batches(replay, 5):
        red, _ = check(batch)
        # An episode of 22 records is taken whole, then another fills the row.
        assert (red[:, 0] == 0).all()
        assert batch["is_first"][:, 22].all()
        assert (batch["is_first"].sum(1) == 2).all()
        borders += int(batch["is_first"][:, 1:].sum())
    assert borders == 5 * 16


def test_windows_of_the_stream_cross_episodes_and_reach_the_open_one(tmp_path):
    stream = make_stream()
    # Windows longer than an episode: each of them crosses at least one end.
    replay = make_replay(stream, tmp_path, batch_length=30, sequences="stream")
    collect(stream, replay, np.random.default_rng(1), 4 * LENGTH + 9)
    told = blues(5)
    seen = set()
    for batch in batches(replay):
        red, blue = check(batch)
        episode = torch.tensor([told.index(value) for value in blue.flatten().tolist()])
        # Time since the beginning of the run: one record further in each column.
        position = (episode.reshape(red.shape) * (LENGTH + 1) + red).long()
        assert (position[:, 1:] == position[:, :-1] + 1).all()
        assert torch.equal(batch["is_first"][:, 1:], red[:, 1:] == 0)
        assert batch["is_first"][:, 0].all()
        seen |= set(position.flatten().tolist())
    assert seen == set(range(4 * (LENGTH + 1) + 10))


def test_several_choices_keep_their_order(tmp_path):
    env = CountingEnv(length=LENGTH, image_size=4, nvec=[2, 3])
    stream = EpisodeStream(env, lambda k: Seeds(0).integer("env", 0, k))
    replay = make_replay(stream, tmp_path, sequences="stream")
    collect(stream, replay, np.random.default_rng(1), 3 * LENGTH)
    for batch in batches(replay, 5):
        begins = batch["image"][:, :, 0, 0, 0] == 0
        # Green is white exactly where the first component's choice was 0.
        green = batch["image"][:, :, 0, 0, 1]
        assert torch.equal(green == 255, batch["action"][..., 0] == 1)
        assert torch.equal(batch["action"].sum(-1), 2.0 * (~begins))
        assert torch.equal(batch["action"][..., :2].sum(-1), 1.0 * (~begins))


def test_a_restored_run_in_mid_episode_has_the_same_records(tmp_path):
    calm_stream, rng = make_stream(), np.random.default_rng(1)
    calm = make_replay(calm_stream, tmp_path / "calm")
    collect(calm_stream, calm, rng, 5 * LENGTH)

    stream, rng = make_stream(), np.random.default_rng(1)
    replay = make_replay(stream, tmp_path / "run")
    collect(stream, replay, rng, 2 * LENGTH + 10)  # in mid-episode, and in mid-segment
    saved = {
        "replay": replay.state_dict(),
        "stream": stream.state_dict(),
        "rng": rng.bit_generator.state,
    }
    collect(stream, replay, np.random.default_rng(99), LENGTH)  # a future that is given up

    stream, rng = make_stream(), np.random.default_rng(0)
    replay = make_replay(stream, tmp_path / "run")
    replay.load_state_dict(saved["replay"])
    stream.load_state_dict(saved["stream"])
    rng.bit_generator.state = saved["rng"]
    assert (stream.episode, stream.episode_length) == (2, 10)
    collect(stream, replay, rng, 3 * LENGTH - 10)

    for one, two in zip(batches(replay), batches(calm), strict=True):
        _, blue = check(one)
        assert set(blue.flatten().tolist()) <= set(blues(5))
        for name in two:
            assert torch.equal(one[name], two[name]), name


def test_an_episode_that_can_not_be_brought_back_ends_as_truncated(tmp_path):
    stream, rng = make_stream(), np.random.default_rng(1)
    replay = make_replay(stream, tmp_path)
    collect(stream, replay, rng, LENGTH + 12)
    state = replay.state_dict()
    replay = make_replay(stream, tmp_path)
    replay.load_state_dict(state)
    assert replay.truncate_open_episode()
    assert replay.num_episodes == 2
    ends = set()
    for batch in batches(replay, 30):
        red = batch["image"][:, :, 0, 0, 0].long()
        assert (red[:, 1:] == red[:, :-1] + 1).all()
        ends |= set(red[batch["is_last"]].tolist())
    assert ends == {12, LENGTH}
