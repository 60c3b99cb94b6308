"""The composition root: what the configuration names is what is built."""

import inspect
import os

import pytest
import torch

from harmony import build
from harmony.build import build_env, build_replay, env_factory, observation_shapes
from harmony.config.compose import compose
from harmony.envs.devices import CUDA_DEVICE
from harmony.envs.pool import EnvPool
from harmony.errors import ConfigError
from harmony.parts import RUNTIME_ARGUMENTS
from tests import tiny


def test_observation_shapes():
    assert observation_shapes(build_env(tiny.config())) == {"image": (8, 8, 3)}


def test_an_environment_that_asks_is_told_whether_it_evaluates():
    config = compose(["env=dmc_remastered"]).config
    for evaluation in (False, True):
        made = env_factory(config, evaluation=evaluation)
        assert made.keywords["evaluation"] is evaluation
    assert "evaluation" not in config["env"]
    assert "evaluation" not in env_factory(tiny.config(), evaluation=True).keywords


@pytest.mark.parametrize(("device", "expected"), [("cuda", "0"), ("cuda:1", "1"), ("cpu", None)])
def test_pictures_are_drawn_where_the_run_computes(monkeypatch, tmp_path, device, expected):
    told = []

    def look(*_, **__):
        told.append(os.environ.get(CUDA_DEVICE))
        raise KeyboardInterrupt

    monkeypatch.setenv(CUDA_DEVICE, "")
    monkeypatch.delenv(CUDA_DEVICE)
    monkeypatch.setattr(build, "build_device", lambda _: torch.device(device))
    monkeypatch.setattr(build, "env_factory", lambda *_, **__: look)
    with pytest.raises(KeyboardInterrupt):
        build.build_trainer(tiny.config(), tmp_path, None, tiny.StopAt(9))
    assert told == [expected]


def test_run_time_arguments_exist_and_are_never_configured():
    for target, names in RUNTIME_ARGUMENTS.items():
        assert names <= set(inspect.signature(target).parameters), target


class TestReplay:
    def pool(self, config):
        return EnvPool([build_env(config)], lambda _, k: k)

    def test_its_keys_reach_it(self, tmp_path):
        config = tiny.config("replay.storage=memory", "replay.prioritize_ends=true")
        replay = build_replay(config, self.pool(config), tmp_path / "replay")
        assert (replay.batch_size, replay.batch_length) == (2, 4)
        assert replay.prioritize_ends
        assert replay.directory == tmp_path / "replay"
        assert set(replay.record_spec) == {
            "image", "action", "reward", "is_first", "is_last", "is_terminal",
        }  # fmt: skip

    def test_one_that_is_larger_than_the_disk_is_refused(self, tmp_path):
        config = tiny.config("replay.capacity=1_000_000_000_000_000")
        with pytest.raises(ConfigError, match="fits into"):
            build_replay(config, self.pool(config), tmp_path / "replay")
