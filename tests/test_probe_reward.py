"""What the reward probe keeps and writes."""

import numpy as np
import pytest

from harmony.build import build_env
from harmony.errors import ConfigError
from harmony.probe_request import parse
from harmony.probe_reward import predict, reward_lines
from harmony.stored_run import StoredRun
from harmony.training.probing import Watched, watch
from harmony.training.seeding import Seeds
from tests import tiny


def ask(tmp_path, *arguments):
    return parse([f"run={tmp_path}", "target=reward", "context=2", *arguments])


def shorten(watched: Watched, length: int) -> Watched:
    return watched._replace(records={key: x[:length] for key, x in watched.records.items()})


def test_short_episodes_are_left_out_and_pictures_kept_of_what_is_drawn(tmp_path):
    agent, env = tiny.agent(), build_env(tiny.config())
    run = StoredRun(tmp_path, {}, env, agent)
    episodes = list(watch(env, agent, Seeds(1), 4, 0.0))
    episodes[1] = shorten(episodes[1], 4)
    found = predict(ask(tmp_path, "length=6", "shown=1"), run, episodes)
    assert [window.episode for window, _ in found] == [0, 2, 3]
    assert ["image" in window.records for window, _ in found] == [True, False, False]
    assert [imagined.frames is not None for _, imagined in found] == [True, False, False]
    alone = predict(ask(tmp_path, "length=6", "shown=1"), run, episodes[2:3])
    np.testing.assert_array_equal(alone[0][1].reward, found[1][1].reward)


def test_no_long_episode_is_refused(tmp_path):
    agent, env = tiny.agent(), build_env(tiny.config())
    episodes = watch(env, agent, Seeds(1), 2, 0.0)
    with pytest.raises(ConfigError, match="length=12 records, got at most 11; take length=11"):
        predict(ask(tmp_path, "length=12"), StoredRun(tmp_path, {}, env, agent), episodes)


def test_lines_for_a_person():
    interval = {"estimate": 0.25, "low": 0.125, "high": 0.5}
    answer = {
        "sequences": [{}, {}], "context": 3, "checkpoint": "best", "picture": "x.png",
        "file": "x.json",
        "errors": {
            "rmse_by_step": [0.1] * 8, "context": interval, "imagined": interval, "variance": 2.0
        },
    }  # fmt: skip
    assert reward_lines(answer) == [
        "2 sequences of 8 steps; best weights",
        "squared error of the reward, the 3 steps seen: 0.25  (95 % interval 0.125 to 0.5)",
        "squared error of the reward, the 5 imagined: 0.25  (95 % interval 0.125 to 0.5)",
        "variance of the true reward: 2",
        "picture: x.png",
        "file: x.json",
    ]
