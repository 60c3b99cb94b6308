"""Episodes that are only looked at."""

import functools

import numpy as np
import pytest

from harmony.build import build_env, build_replay
from harmony.envs.pool import EnvPool
from harmony.training.collect import Episode
from harmony.training.evaluation import Evaluation, Evaluator, open_loop
from harmony.training.seeding import Seeds
from harmony.training.signals import Stopped
from tests import tiny
from tests.integration.test_kills import assert_same

COUNTING = "env._target_=harmony.envs.probe.CountingEnv"


def evaluator(*overrides, between_steps=lambda: None):
    env = build_env(tiny.config(*overrides))
    return Evaluator(functools.partial(EnvPool, [env]), Seeds(0), between_steps)


def returns(found):
    return [episode.reward_sum for episode in found.episodes]


def test_summary_by_hand():
    found = Evaluation([Episode(1.0, 10, True), Episode(4.0, 20, False)], None)
    assert found.row() == {
        "eval/return": 2.5, "eval/return_std": 1.5, "eval/length": 15.0, "eval/success": 0.5,
    }  # fmt: skip


def test_a_suite_that_knows_no_success_has_none():
    found = Evaluation([Episode(1.0, 10, None)], None)
    assert found.success_rate is None
    assert "eval/success" not in found.row()


def test_a_suite_may_have_measures_of_its_own():
    used = evaluator()
    asked = []

    def scores(returns, infos):
        asked.append((returns, infos))
        return {"eval/largest": max(returns), "known": float(len(infos))}

    used.pool.streams[0].env.scores = scores
    found = used.evaluate(tiny.agent(), 40, 3)
    assert found.scores == {"eval/largest": max(returns(found)), "known": 3.0}
    assert found.row()["eval/largest"] == max(returns(found))
    ((given, infos),) = asked
    assert given == returns(found)
    assert infos == [episode.info for episode in found.episodes]
    assert [set(info) for info in infos] == [{"success"}] * 3


def test_a_suite_without_has_none():
    assert evaluator().evaluate(tiny.agent(), 40, 1).scores == {}
    assert set(Evaluation([Episode(1.0, 10, None)], None).row()) == {
        "eval/return", "eval/return_std", "eval/length",
    }  # fmt: skip


def test_as_many_whole_episodes_as_asked_for():
    found = evaluator(COUNTING).evaluate(tiny.agent(), 40, 3)
    # 1 + 2 + ... + 10, counted twice by the action repeat.
    assert [(e.reward_sum, e.length) for e in found.episodes] == [(110.0, 10)] * 3


def test_the_video_is_the_first_episode_from_its_first_picture_to_its_last():
    found = evaluator(COUNTING).evaluate(tiny.agent(), 40, 2)
    assert found.frames.shape == (11, 8, 8, 3)
    assert found.frames[:, 0, 0, 0].tolist() == list(range(11))
    assert len(set(found.frames[:, 0, 0, 2])) == 1


def test_the_name_decides_the_episodes_and_not_what_was_run_before():
    agent, used = tiny.agent(), evaluator()
    first = used.evaluate(agent, 40, 2)
    other = used.evaluate(agent, 60, 2)
    used.evaluate_random(1)
    again = used.evaluate(agent, 40, 2)
    assert returns(again) == returns(first)
    assert np.array_equal(again.frames, first.frames)
    assert returns(other) != returns(first)
    assert returns(evaluator().evaluate(agent, 40, 2)) == returns(first)


def test_episodes_of_one_evaluation_differ():
    found = evaluator(COUNTING).evaluate(tiny.agent(), 40, 1)
    other = evaluator(COUNTING).evaluate(tiny.agent(), 50, 1)
    assert found.frames[0, 0, 0, 2] != other.frames[0, 0, 0, 2]
    a, b = returns(evaluator().evaluate(tiny.agent(), 40, 2))
    assert a != b


def test_the_agent_is_not_touched():
    agent = tiny.agent()
    before = agent.snapshot()
    before["modules"] = {name: value.clone() for name, value in before["modules"].items()}
    evaluator().evaluate(agent, 40, 1)
    assert_same({**agent.snapshot(), "modules": dict(agent.state_dict())}, before)


def test_random_episodes_repeat_and_are_near_zero_on_average():
    one, two = (evaluator().evaluate_random(40) for _ in range(2))
    assert returns(one) == returns(two)
    # Twenty uniform rewards in [-1, 1], in pairs: a deviation of 2 * sqrt(10 / 3).
    assert one.mean_return == pytest.approx(0.0, abs=3 * 3.65 / 40**0.5)
    assert np.std(returns(one)) == pytest.approx(3.65, rel=0.35)


def test_random_episodes_of_discrete_actions():
    found = evaluator("env.discrete=true").evaluate_random(5)
    assert all(abs(value) <= 20 and value % 2 == 0 for value in returns(found))


def test_a_signal_need_not_wait_for_the_last_episode():
    stop = tiny.StopAt(14)
    with pytest.raises(Stopped):
        evaluator(between_steps=stop.check).evaluate(tiny.agent(), 40, 5)
    assert stop.asked == 14


def test_open_loop_of_the_replay(tmp_path):
    config = tiny.config()
    pool = EnvPool([build_env(config)], lambda _, k: k)
    replay, records = build_replay(config, pool, tmp_path), pool.streams[0]
    record = records.reset()
    replay.add(record)
    while not record["is_last"]:
        record = records.step(np.zeros(2, np.float32))
        replay.add(record)
    agent = tiny.agent()
    before = agent.snapshot()["generators"]
    one, two, other = (open_loop(agent, replay, Seeds(0), step) for step in (40, 40, 60))
    assert one.shape == (4, 3 * 8, 2 * 8, 3)
    assert one.dtype == np.uint8
    assert np.array_equal(one, two)
    assert other.shape == one.shape
    assert_same(agent.snapshot()["generators"], before)
