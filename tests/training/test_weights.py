"""Weights of one run as the beginning of another."""

import pytest

from harmony.errors import CheckpointError
from harmony.training.checkpoint import CheckpointStore
from harmony.training.weights import load_weights, weights_file
from tests import tiny
from tests.integration.test_kills import assert_same


def store(run_dir, agent, name="last"):
    CheckpointStore(run_dir / "checkpoints").save_named(name, {"modules": agent.state_dict()})


def test_the_last_weights_of_a_run_and_else_the_best(tmp_path):
    store(tmp_path, tiny.agent(seed=1), "best")
    agent = tiny.agent()
    load_weights(agent, tmp_path)
    assert_same(dict(agent.state_dict()), dict(tiny.agent(seed=1).state_dict()))
    store(tmp_path, tiny.agent(seed=2), "last")
    load_weights(agent, tmp_path)
    assert_same(dict(agent.state_dict()), dict(tiny.agent(seed=2).state_dict()))
    load_weights(agent, tmp_path / "checkpoints" / "best.ckpt")
    assert_same(dict(agent.state_dict()), dict(tiny.agent(seed=1).state_dict()))


def test_what_can_not_be_loaded_is_one_line(tmp_path):
    with pytest.raises(CheckpointError, match="no weights in"):
        load_weights(tiny.agent(), tmp_path)
    with pytest.raises(CheckpointError, match="does not exist"):
        load_weights(tiny.agent(), tmp_path / "none.ckpt")
    path = CheckpointStore(tmp_path / "checkpoints").save(1, {"agent": 0})
    with pytest.raises(CheckpointError, match=r"holds no weights; take last\.ckpt or best"):
        load_weights(tiny.agent(), path)
    store(tmp_path, tiny.agent("size.deter=9"))
    with pytest.raises(CheckpointError, match="don't fit this agent") as caught:
        load_weights(tiny.agent(), tmp_path)
    assert "\n" not in str(caught.value)


def test_a_file_means_itself(tmp_path):
    path = tmp_path / "some.ckpt"
    path.write_bytes(b"")
    assert weights_file(path) == path
    with pytest.raises(CheckpointError, match="is damaged"):
        load_weights(tiny.agent(), path)
