"""Which process this is, and what it refuses to be."""

import pytest
import torch

from harmony.errors import ConfigError
from harmony.place import Place

TWO = {
    "HARMONY_WORLD_SIZE": "2",
    "HARMONY_RANK": "1",
    "HARMONY_RENDEZVOUS": "tcp://127.0.0.1:1",
}


def test_one_process_where_nothing_is_said():
    assert Place.find({}) == Place.find({"HARMONY_WORLD_SIZE": "1"}) == Place(0, 1)
    assert Place.find(TWO) == Place(1, 2, 1, "tcp://127.0.0.1:1")
    assert Place.find({**TWO, "HARMONY_LOCAL_RANK": "0"}).local_rank == 0


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"HARMONY_RANK": ""}, "needs HARMONY_RANK too"),
        ({"HARMONY_RENDEZVOUS": ""}, "needs HARMONY_RENDEZVOUS too"),
        ({"HARMONY_RENDEZVOUS": "n1:7"}, "must be tcp://HOST:PORT or file:///PATH, got n1:7"),
        ({"HARMONY_RANK": "2"}, "HARMONY_RANK must be below HARMONY_WORLD_SIZE=2, got 2"),
        ({"HARMONY_RANK": "-1"}, "whole number of at least 0, got '-1'"),
        ({"HARMONY_WORLD_SIZE": "two"}, "whole number of at least 0, got 'two'"),
        ({"HARMONY_WORLD_SIZE": "0"}, "HARMONY_RANK must be below HARMONY_WORLD_SIZE=0"),
    ],
)
def test_a_wrong_place_is_refused_in_one_line(changes, what):
    with pytest.raises(ConfigError, match=what) as caught:
        Place.find({**TWO, **changes})
    assert "\n" not in str(caught.value)


def test_a_batch_that_can_not_be_divided_is_refused():
    Place(0, 2).check(16)
    Place().check(15)
    with pytest.raises(ConfigError, match="batch_size=15 can't be divided among 2 processes"):
        Place(0, 2).check(15)


@pytest.mark.parametrize(
    ("name", "gpus", "rank", "own"),
    [
        ("cpu", 2, 1, "cpu"), ("auto", 0, 1, "cpu"), ("auto", 4, 3, "cuda:3"),
        ("cuda", 2, 1, "cuda:1"), ("cuda", 1, 1, "cuda:0"), ("cuda", 0, 0, "cuda"),
    ],
)  # fmt: skip
def test_each_process_has_a_gpu_of_its_own(monkeypatch, name, gpus, rank, own):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    assert Place(rank, 4, rank).device(name) == own


def test_one_gpu_by_its_number_is_refused():
    with pytest.raises(ConfigError, match="device=cuda:1 is one device for 2 processes"):
        Place(0, 2).device("cuda:1")
