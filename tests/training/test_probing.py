"""Episodes to probe with, and what a world model makes of them."""

import functools

import numpy as np
import pytest
import torch

from harmony.build import build_env
from harmony.envs.pool import EnvPool
from harmony.errors import CheckpointError, EnvError
from harmony.training.evaluation import Evaluator
from harmony.training.probing import (
    CHUNK,
    check_state,
    cut_window,
    filtered_feats,
    imagine,
    watch,
)
from harmony.training.seeding import Seeds
from tests import tiny

COUNTING = "env._target_=harmony.envs.probe.CountingEnv"


def watched(episodes=4, random=0.5, seed=1, overrides=(COUNTING,), agent=None):
    env = build_env(tiny.config(*overrides))
    agent = agent or tiny.agent(*overrides)
    return list(watch(env, agent, Seeds(seed), episodes, random))


def test_an_episode_has_a_state_for_each_record():
    one = watched(1)[0]
    assert one.length == 11
    assert one.states["step"].tolist() == [[float(t)] for t in range(11)]
    # The picture's red is the step, its green the answer, its blue the number of the episode.
    image = one.records["image"][:, 0, 0].astype(float)
    np.testing.assert_array_equal(image[:, [0]], one.states["step"])
    np.testing.assert_array_equal(image[:, [2]], one.states["blue"])
    np.testing.assert_array_equal(one.records["action"][:, :1], one.states["answer"].astype("f4"))
    assert one.records["is_first"].tolist() == [True] + [False] * 10


@pytest.mark.parametrize(
    ("random", "expected"),
    [(0.0, []), (0.5, [1, 3, 5, 7, 9]), (0.3, [3, 6, 9]), (0.1, [9]), (1.0, list(range(10)))],
)
def test_random_episodes_are_evenly_spread(random, expected):
    found = watched(10, random)
    assert [one.episode for one in found if one.is_random] == expected


def test_the_seed_decides_and_an_episode_not_the_number_of_episodes():
    few, many, other = watched(2), watched(4), watched(2, seed=2)
    for one, again in zip(few, many, strict=False):
        for key in one.records:
            np.testing.assert_array_equal(one.records[key], again.records[key])
    assert any(
        (a.states["blue"] != b.states["blue"]).any() for a, b in zip(few, other, strict=True)
    )


def test_neither_training_nor_evaluation_has_these_episodes():
    seeds = Seeds(1)
    found = {seeds.integer("probe", k) for k in range(100)}
    training = {seeds.integer("env", 0, k) for k in range(100)}
    evaluation = {seeds.integer("evaluation", "stand-alone evaluation", k) for k in range(100)}
    assert len(found | training | evaluation) == 300


def test_the_policy_acts_as_in_an_evaluation():
    """The same episode, the same latent noise, the same actions."""
    agent, seeds = tiny.agent(), Seeds(3)
    env = build_env(tiny.config())
    one = next(watch(env, agent, seeds, 1, 0.0))

    class Same(Seeds):
        def integer(self, *names):
            return seeds.integer("probe", names[-1])

        def torch(self, device, *_):
            return seeds.torch(device, "probe policy", 0)

    pool_of = functools.partial(EnvPool, [env])
    found = Evaluator(pool_of, Same(3)).evaluate(agent, "any", 1)
    assert found.episodes[0].reward_sum == pytest.approx(one.records["reward"].sum(), abs=1e-5)


def test_an_environment_without_a_state_is_refused_but_can_be_watched():
    env = build_env(tiny.config())
    check_state(env)

    class Silent(type(env.unwrapped)):
        state = property()  # raises AttributeError, as if there were none

    env.unwrapped.__class__ = Silent
    with pytest.raises(EnvError, match=r"^target=state needs .* state\(\), got Silent; write one"):
        check_state(env)
    assert next(watch(env, tiny.agent(), Seeds(0), 1, 1.0)).states == {}


class TestFeats:
    def test_they_are_those_of_one_pass_over_the_episode(self):
        length = CHUNK + 10
        overrides = (COUNTING, f"env.length={length}")
        agent = tiny.agent(*overrides)
        one = watched(1, overrides=overrides, agent=agent)[0]
        feats = filtered_feats(agent, one, Seeds(5))
        model = agent.world_model
        batch = {key: torch.from_numpy(x[None]) for key, x in one.records.items()}
        noise = model.rssm.latent.draw_noise(
            (1, length + 1), Seeds(5).torch(tiny.CPU, "probe feats", 0), tiny.CPU
        )
        with torch.no_grad():
            latent = model.rssm.observe(
                model.encoder(model.observations(batch)),
                batch["action"],
                batch["is_first"],
                noise,
            ).latent
            whole = model.rssm.get_feat(latent)[0]
        assert feats.dtype == np.float32
        assert feats.shape == (length + 1, model.rssm.feat_size)
        np.testing.assert_allclose(feats, whole.numpy(), atol=1e-6)

    def test_bad_weights_are_refused(self):
        agent = tiny.agent()
        one = watched(1, random=1.0, overrides=(), agent=agent)[0]
        with torch.no_grad():
            next(agent.world_model.rssm.parameters()).fill_(float("nan"))
        with pytest.raises(CheckpointError, match="expected finite feats, got others in episode 0"):
            filtered_feats(agent, one, Seeds(0))

    def test_the_agent_stays_as_it_was(self):
        agent = tiny.agent()
        before = {name: g.get_state() for name, g in agent.generators._asdict().items()}
        one = watched(1, overrides=(), agent=agent)[0]
        filtered_feats(agent, one, Seeds(0))
        imagine(agent, cut_window(one, 6, Seeds(0)), Seeds(0), context=2)
        for name, generator in agent.generators._asdict().items():
            assert torch.equal(generator.get_state(), before[name])


class TestWindow:
    def test_it_is_part_of_the_episode_and_begins_a_sequence(self):
        one = watched(1)[0]
        window = cut_window(one, 4, Seeds(1))
        part = slice(window.start, window.start + 4)
        np.testing.assert_array_equal(window.records["image"], one.records["image"][part])
        assert window.records["is_first"].tolist() == [True, False, False, False]
        assert one.records["is_first"].sum() == 1  # the episode itself is left alone

    def test_every_start_is_possible(self):
        one = watched(1)[0]
        starts = {cut_window(one, 9, Seeds(seed)).start for seed in range(40)}
        assert starts == {0, 1, 2}
        assert cut_window(one, 11, Seeds(0)).start == 0


class TestImagine:
    def test_what_is_seen_decides_the_rest_and_nothing_later_does(self):
        agent = tiny.agent(COUNTING)
        window = cut_window(watched(1, agent=agent)[0], 8, Seeds(0))
        found = imagine(agent, window, Seeds(0), context=3)
        assert found.reward.shape == found.true_reward.shape == (8,)
        np.testing.assert_array_equal(found.true_reward, window.records["reward"])
        for step, same in ((5, True), (1, False)):
            image = window.records["image"].copy()
            image[step] = 255 - image[step]
            changed = window._replace(records=window.records | {"image": image})
            other = imagine(agent, changed, Seeds(0), context=3)
            assert np.array_equal(other.frames, found.frames) == same

    def test_true_rewards_are_those_that_the_head_learns(self):
        overrides = (COUNTING, "algorithm.reward.transform=tanh")
        agent = tiny.agent(*overrides)
        one = watched(1, overrides=overrides, agent=agent)[0]
        window = cut_window(one, 5, Seeds(0))
        found = imagine(agent, window, Seeds(0), context=2)
        np.testing.assert_allclose(found.true_reward, np.tanh(window.records["reward"]), rtol=1e-6)

    @pytest.mark.parametrize(
        ("overrides", "has_frames"),
        [
            ((), True),
            (("algorithm=dreamerpro",), False),
            (("algorithm=dreamerpro", "probe=decoder"), True),
            (("env.observation=vector",), False),
        ],
    )
    def test_frames_where_something_decodes_them(self, overrides, has_frames):
        agent = tiny.agent(*overrides)
        one = watched(1, overrides=overrides, agent=agent)[0]
        found = imagine(agent, cut_window(one, 5, Seeds(0)), Seeds(0), context=2)
        assert (found.frames is not None) == has_frames
        if has_frames:
            assert found.frames.shape == (5, 8, 8, 3)
            assert found.frames.dtype == np.uint8
