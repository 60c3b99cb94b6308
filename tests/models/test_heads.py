"""Reward and continue heads by hand."""

import math

import pytest
import torch

from harmony.models.heads import ConstantDiscount, DiscountHead, RewardHead

SIZES = {"layers": 1, "units": 4}


def constant(head, value):
    """A head that answers the same everywhere."""
    with torch.no_grad():
        head.output.weight.zero_()
        head.output.bias.fill_(value)
    return head


@pytest.mark.parametrize(
    ("transform", "expected"),
    [
        ("identity", [-3.0, 0.0, 0.5]),
        ("tanh", [math.tanh(-3.0), 0.0, math.tanh(0.5)]),
        ("sign", [-1.0, 0.0, 1.0]),
    ],
)
def test_reward_loss_is_half_the_squared_error_to_the_transformed_reward(transform, expected):
    head = constant(RewardHead(3, transform=transform, **SIZES), 2.0)
    loss = head.losses(torch.zeros(1, 3, 3), torch.tensor([[-3.0, 0.0, 0.5]]))
    assert set(loss) == {"reward"}
    found = torch.tensor([[0.5 * (2.0 - target) ** 2 for target in expected]])
    torch.testing.assert_close(loss["reward"], found)


def test_reward_is_predicted_as_it_was_transformed():
    head = constant(RewardHead(3, transform="sign", **SIZES), 0.7)
    torch.testing.assert_close(head.pred(torch.zeros(2, 5, 3)), torch.full((2, 5), 0.7))


@pytest.mark.parametrize("stop", [False, True])
@pytest.mark.parametrize("kind", [RewardHead, DiscountHead])
def test_the_latent_may_be_left_alone(kind, stop):
    torch.manual_seed(0)
    head = kind(3, stop_gradient=stop, **SIZES)
    feat = torch.randn(2, 4, 3, requires_grad=True)
    known = torch.ones(2, 4) if kind is RewardHead else torch.zeros(2, 4, dtype=torch.bool)
    (loss,) = head.losses(feat, known).values()
    torch.autograd.backward(loss.sum())
    assert (feat.grad is None) is stop
    assert head.output.weight.grad.abs().sum() > 0
    # In imagination gradients always flow, since the actor learns through them.
    feat.grad = None
    seen = head.pred(feat) if kind is RewardHead else head.discount(feat, known[:, 0])
    torch.autograd.backward(seen.sum())
    assert feat.grad.abs().sum() > 0


def test_a_constant_discount_has_nothing_to_learn():
    cont = ConstantDiscount(3, discount=0.9)
    assert list(cont.parameters()) == []
    assert cont.losses(torch.zeros(2, 4, 3), torch.zeros(2, 4, dtype=torch.bool)) == {}
    found = cont.discount(torch.zeros(2, 4, 3).to(torch.bfloat16), torch.tensor([True, False]))
    torch.testing.assert_close(found, torch.full((2, 4), 0.9))


def test_discount_loss_is_the_cross_entropy_with_a_soft_label():
    head = constant(DiscountHead(3, discount=0.9, **SIZES), 2.0)
    prob = 1 / (1 + math.exp(-2.0))
    going_on = -(0.9 * math.log(prob) + 0.1 * math.log(1 - prob))
    ended = -math.log(1 - prob)
    found = head.losses(torch.zeros(1, 2, 3), torch.tensor([[False, True]]))
    torch.testing.assert_close(found["cont"], torch.tensor([[going_on, ended]]))


def test_discount_is_known_at_the_start_and_predicted_after_it():
    head = constant(DiscountHead(3, discount=0.9, **SIZES), 0.0)
    found = head.discount(torch.zeros(2, 3, 3), torch.tensor([False, True]))
    torch.testing.assert_close(found, torch.tensor([[0.9, 0.5, 0.5], [0.0, 0.5, 0.5]]))


@pytest.mark.parametrize("kind", [RewardHead, DiscountHead])
def test_losses_leave_half_precision(kind):
    head = kind(3, **SIZES)
    known = torch.ones(2, 4) if kind is RewardHead else torch.zeros(2, 4, dtype=torch.bool)
    with torch.autocast("cpu", torch.bfloat16):
        (loss,) = head.losses(torch.randn(2, 4, 3), known).values()
    assert loss.dtype == torch.float32
