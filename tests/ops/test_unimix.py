"""Mixing with the uniform distribution by hand."""

import math

import pytest
import torch

from harmony.ops.unimix import unimix_logit


def test_by_hand():
    logit = torch.tensor([0.7, 0.2, 0.1]).log() + 5
    # 0.9 * p + 0.1 / 3
    expected = torch.tensor([0.63 + 0.1 / 3, 0.18 + 0.1 / 3, 0.09 + 0.1 / 3]).log()
    torch.testing.assert_close(unimix_logit(logit, 0.1), expected)


def test_nothing_is_impossible_and_the_sum_is_one():
    found = unimix_logit(torch.tensor([[0.0, -1e4], [300.0, 0.0]]), 0.01)
    assert found.min().item() == pytest.approx(math.log(0.005), rel=1e-6)
    torch.testing.assert_close(found.exp().sum(-1), torch.ones(2))


def test_all_uniform():
    torch.testing.assert_close(unimix_logit(torch.randn(3, 4), 1.0).exp(), torch.full((3, 4), 0.25))


def test_gradient_stays_finite_where_a_class_is_all_but_impossible():
    logit = torch.tensor([0.0, -200.0], requires_grad=True)
    torch.autograd.backward(unimix_logit(logit, 0.01).sum())
    assert torch.isfinite(logit.grad).all()


def test_float32_whatever_comes_in():
    assert unimix_logit(torch.zeros(2, 3, dtype=torch.bfloat16), 0.01).dtype == torch.float32
