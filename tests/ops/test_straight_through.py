"""Sampling by hand."""

import pytest
import torch

from harmony.ops.straight_through import (
    clip_straight_through,
    sample_onehot,
    straight_through_onehot,
)
from tests.golden.originals import Golden


def test_inversion_by_hand():
    prob = torch.tensor([0.2, 0.5, 0.3]).expand(5, 3)
    uniform = torch.tensor([0.0, 0.19, 0.21, 0.69, 0.71])
    assert sample_onehot(prob, uniform).argmax(-1).tolist() == [0, 0, 1, 1, 2]


def test_a_draw_of_almost_one_is_the_last_class_with_mass():
    prob = torch.tensor([[0.1] * 10])
    assert sample_onehot(prob, torch.tensor([1 - 1e-7])).argmax(-1).item() == 9


def test_a_class_without_mass_is_never_drawn():
    prob = torch.tensor([[0.0, 1.0, 0.0]])
    assert sample_onehot(prob, torch.tensor([0.0])).argmax(-1).item() == 1


def test_frequencies_are_the_probabilities():
    prob = torch.tensor([0.1, 0.6, 0.3])
    uniform = torch.rand(200_000, generator=torch.Generator().manual_seed(0))
    found = sample_onehot(prob.expand(200_000, 3), uniform).mean(0)
    torch.testing.assert_close(found, prob, atol=4e-3, rtol=0.0)


def test_gradient_is_that_of_the_probabilities():
    logit = torch.randn(4, 3, 5, requires_grad=True)
    weight = torch.randn(4, 3, 5)
    sample = straight_through_onehot(logit, torch.rand(4, 3))
    assert torch.equal(sample.sum(-1), torch.ones(4, 3))
    (found,) = torch.autograd.grad(sample, logit, weight)
    (expected,) = torch.autograd.grad(torch.softmax(logit, -1), logit, weight)
    torch.testing.assert_close(found, expected)


def test_clip_passes_the_gradient():
    value = torch.tensor([-2.0, 0.5, 3.0], requires_grad=True)
    clipped = clip_straight_through(value, -1.0, 1.0)
    assert clipped.tolist() == [-1.0, 0.5, 1.0]
    (grad,) = torch.autograd.grad(clipped.sum(), value)
    assert grad.tolist() == [1.0, 1.0, 1.0]


@pytest.mark.golden
def test_gradient_equals_the_originals():
    golden = Golden("ops")
    logit = golden["in/one_hot/logits"].requires_grad_()
    uniform = torch.full(logit.shape[:-1], 0.5)
    sample = straight_through_onehot(logit, uniform)
    (grad,) = torch.autograd.grad(sample, logit, golden["in/one_hot/cotangent"])
    torch.testing.assert_close(grad, golden["grad/one_hot/sample/logits"], rtol=1e-4, atol=1e-6)
