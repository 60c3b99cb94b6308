"""Streams by name."""

import numpy as np
import torch

from harmony.training.seeding import Seeds

CPU = torch.device("cpu")


def test_the_name_decides_and_not_the_order():
    one, two = Seeds(3), Seeds(3)
    first = [one.integer("env", 0, 5), one.integer("replay")]
    second = [two.integer("replay"), two.integer("env", 0, 5)]
    assert first == second[::-1]


def test_streams_differ_by_seed_name_index_and_branch():
    found = {
        Seeds(0).integer("env", 0, 1),
        Seeds(1).integer("env", 0, 1),
        Seeds(0).integer("env", 1, 0),
        Seeds(0).integer("evaluation", 0, 1),
        Seeds(0, branch=1).integer("env", 0, 1),
    }
    assert len(found) == 5


def test_values_stay_what_they_are():
    # Recorded once: a change here changes every run and needs a word in the CHANGELOG (Numerics).
    assert Seeds(0).integer("env", 0, 0) == 896573306
    assert Seeds(0).numpy("replay").integers(1000) == 534


def test_generators_repeat():
    draws = [Seeds(1).torch(CPU, "policy") for _ in range(2)]
    assert torch.equal(*[torch.rand(3, generator=g) for g in draws])
    numbers = [Seeds(1).numpy("replay").random() for _ in range(2)]
    assert numbers[0] == numbers[1]
    assert isinstance(numbers[0], float | np.floating)
