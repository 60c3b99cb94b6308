"""Divergences by hand."""

import math

import pytest
import torch

from harmony.models.dynamics_loss import BalancedKL
from harmony.models.latents import Categorical
from harmony.ops.kl import balanced_kl, categorical_kl, gaussian_kl, log_softmax_fp32
from tests.golden.originals import Golden


def test_categorical_kl_by_hand():
    left = torch.tensor([[[0.5, 0.5]]]).log()
    right = torch.tensor([[[0.25, 0.75]]]).log()
    expected = 0.5 * math.log(2) + 0.5 * math.log(2 / 3)
    assert categorical_kl(left, right).item() == pytest.approx(expected, rel=1e-6)
    assert categorical_kl(left, left).item() == 0.0


def test_gaussian_kl_by_hand():
    one, two, zero = torch.ones(1, 1), torch.full((1, 1), 2.0), torch.zeros(1, 1)
    # The logarithm of the ratio of the scales, plus (1 + 1) / 8, less a half.
    found = gaussian_kl(one, one, zero, two).item()
    assert found == pytest.approx(math.log(2) + 0.25 - 0.5, rel=1e-6)


def test_free_nats_clip_the_mean_and_not_each_step():
    values = torch.tensor([[0.0, 3.0]])
    # The mean is 1.5 > 1; clipped step by step it would be (1 + 3) / 2 = 2.
    assert balanced_kl(values, values, 0.8, 1.0).item() == pytest.approx(1.5)
    assert balanced_kl(values, values, 0.8, 2.0).item() == pytest.approx(2.0)


def test_balance_says_which_side_learns_how_much():
    post = torch.zeros(1, 1, 4, requires_grad=True)
    prior = torch.tensor([[[1.0, 0.0, 0.5, 0.0]]], requires_grad=True)
    latent = Categorical(stoch=2, classes=2)

    def grads(balance):
        losses, _ = BalancedKL(balance=balance, free_nats=0.0)(latent, post, prior)
        return torch.autograd.grad(losses["kl"], [post, prior])

    only_post, only_prior, both = grads(0.0), grads(1.0), grads(0.8)
    assert only_post[1].abs().sum() == 0
    assert only_prior[0].abs().sum() == 0
    torch.testing.assert_close(both[0], 0.2 * only_post[0])
    torch.testing.assert_close(both[1], 0.8 * only_prior[1])


def test_below_the_free_nats_nothing_learns():
    post = torch.zeros(1, 1, 4, requires_grad=True)
    prior = torch.tensor([[[0.1, 0.0, 0.0, 0.0]]], requires_grad=True)
    losses, _ = BalancedKL(free_nats=1.0)(Categorical(stoch=2, classes=2), post, prior)
    assert losses["kl"].item() == pytest.approx(1.0)
    grads = torch.autograd.grad(losses["kl"], [post, prior])
    assert all(grad.abs().sum() == 0 for grad in grads)


def test_log_softmax_is_float32():
    assert log_softmax_fp32(torch.zeros(2, 3, dtype=torch.bfloat16)).dtype == torch.float32


@pytest.mark.golden
@pytest.mark.parametrize("free", [0.0, 1.0, 3.0])
def test_equals_the_original(free):
    golden = Golden("ops")
    name = f"kl_categorical/forward0_balance0.8_free{free}_avg1"
    post = golden["in/kl_categorical/post/logit"].requires_grad_()
    prior = golden["in/kl_categorical/prior/logit"].requires_grad_()
    latent = Categorical(stoch=post.shape[-2], classes=post.shape[-1])
    losses, _ = BalancedKL(balance=0.8, free_nats=free)(latent, post.flatten(-2), prior.flatten(-2))
    torch.testing.assert_close(losses["kl"], golden[f"out/{name}/loss"], rtol=1e-5, atol=1e-6)
    found = torch.autograd.grad(losses["kl"], [post, prior])
    for grad, side in zip(found, ("post", "prior"), strict=True):
        torch.testing.assert_close(grad, golden[f"grad/{name}/{side}/logit"], rtol=1e-4, atol=1e-7)


@pytest.mark.golden
def test_gaussian_values_equal_the_originals():
    golden = Golden("ops")
    sides = [golden[f"in/kl_gaussian/{s}/{k}"] for s in ("post", "prior") for k in ("mean", "std")]
    expected = golden["out/kl_gaussian/forward0/value"]
    torch.testing.assert_close(gaussian_kl(*sides), expected, rtol=1e-5, atol=1e-6)
