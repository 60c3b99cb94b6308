"""The KL losses by hand."""

import math

import pytest
import torch

from harmony.models.dynamics_loss import BalancedKL, DynamicsAndRepresentation
from harmony.models.latents import Categorical, Gaussian

UNIT = Gaussian(stoch=1, min_std=0.0)
"""Statistics (mean, 0) are a normal distribution with a deviation of one."""


def stats(*means: float) -> torch.Tensor:
    return torch.tensor([[[mean, 0.0] for mean in means]], requires_grad=True)


def test_value_is_the_mean_kl_whatever_the_balance():
    # KLs of 0.5 and 4.5 nats.
    for balance in (0.0, 0.8, 1.0):
        losses, metrics = BalancedKL(balance=balance, free_nats=0.0)(
            UNIT, stats(1.0, 3.0), stats(0.0, 0.0)
        )
        assert set(losses) == {"kl"}
        assert losses["kl"].item() == pytest.approx(2.5)
        assert metrics["model/kl"].item() == pytest.approx(2.5)
        assert not metrics["model/kl"].requires_grad


def test_balance_shares_the_gradient():
    post, prior = stats(3.0), stats(0.0)
    losses, _ = BalancedKL(balance=0.8, free_nats=0.0)(UNIT, post, prior)
    torch.autograd.backward(losses["kl"])
    assert post.grad[0, 0, 0].item() == pytest.approx(0.2 * 3.0)
    assert prior.grad[0, 0, 0].item() == pytest.approx(0.8 * -3.0)


def test_free_nats_count_on_the_batch_mean():
    loss = BalancedKL(balance=0.8, free_nats=3.0)
    # A mean of 2.5 nats costs the free three and pulls at nothing, though one step is at 4.5.
    post, prior = stats(1.0, 3.0), stats(0.0, 0.0)
    losses, metrics = loss(UNIT, post, prior)
    assert losses["kl"].item() == 3.0
    assert metrics["model/kl"].item() == pytest.approx(2.5)
    torch.autograd.backward(losses["kl"])
    assert post.grad.abs().sum() == prior.grad.abs().sum() == 0
    # A mean of 4.25 nats is above, and the step at 0.5 nats is pulled as well.
    post, prior = stats(1.0, 4.0), stats(0.0, 0.0)
    losses, _ = loss(UNIT, post, prior)
    assert losses["kl"].item() == pytest.approx(4.25)
    torch.autograd.backward(losses["kl"])
    assert prior.grad[0, 0, 0].item() == pytest.approx(-0.8 / 2)


def test_categorical_states_sum_over_their_variables():
    latent = Categorical(stoch=2, classes=2)
    post = torch.tensor([1.0, 0.0, 1.0, 0.0]).clamp(1e-9, 1).log().expand(1, 1, 4)
    prior = torch.zeros(1, 1, 4)
    losses, _ = BalancedKL(free_nats=0.0)(latent, post, prior)
    assert losses["kl"].item() == pytest.approx(2 * math.log(2), rel=1e-5)


def test_dyn_trains_the_prior_and_rep_the_posterior():
    post, prior = stats(3.0), stats(0.0)
    losses, metrics = DynamicsAndRepresentation(free_nats=0.0)(UNIT, post, prior)
    assert set(losses) == {"dyn", "rep"}
    for name, learns, pull, other in (("dyn", prior, -3.0, post), ("rep", post, 3.0, prior)):
        assert losses[name].tolist() == [[pytest.approx(4.5)]]
        (grad,) = torch.autograd.grad(losses[name].sum(), learns, retain_graph=True)
        assert grad[0, 0, 0].item() == pytest.approx(pull), name
        (none,) = torch.autograd.grad(losses[name].sum(), other, allow_unused=True)
        assert none is None
    assert metrics["model/kl"].item() == pytest.approx(4.5)
    assert not metrics["model/kl"].requires_grad


def test_free_nats_count_on_every_step():
    # KLs of 0.5 and 4.5 nats: the mean is above 1 nat, the first step is not pulled at all.
    post, prior = stats(1.0, 3.0), stats(0.0, 0.0)
    losses, metrics = DynamicsAndRepresentation(free_nats=1.0)(UNIT, post, prior)
    assert losses["dyn"].tolist() == [[1.0, pytest.approx(4.5)]]
    assert losses["rep"].tolist() == [[1.0, pytest.approx(4.5)]]
    assert metrics["model/kl"].item() == pytest.approx(2.5)
    torch.autograd.backward(losses["dyn"].sum() + losses["rep"].sum())
    for side in (post, prior):
        assert (side.grad[0, :, 0] != 0).tolist() == [False, True]
