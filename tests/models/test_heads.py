"""Reward and continue heads by hand."""

import math

import pytest
import torch

from harmony.models.heads import ConstantDiscount, ContinueHead, DiscountHead, RewardHead
from harmony.nn.outputs import SymexpTwoHot, TwoHot

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


@pytest.mark.parametrize("kind", [RewardHead, DiscountHead, ContinueHead])
def test_losses_leave_half_precision(kind):
    head = kind(3, **SIZES)
    known = torch.ones(2, 4) if kind is RewardHead else torch.zeros(2, 4, dtype=torch.bool)
    with torch.autocast("cpu", torch.bfloat16):
        (loss,) = head.losses(torch.randn(2, 4, 3), known).values()
    assert loss.dtype == torch.float32


def test_discount_may_be_predicted_at_the_start_too():
    head = constant(DiscountHead(3, discount=0.9, first="predicted", **SIZES), 2.0)
    prob = 1 / (1 + math.exp(-2.0))
    found = head.discount(torch.zeros(2, 3, 3), torch.tensor([False, True]))
    torch.testing.assert_close(found, torch.full((2, 3), prob))
    # What is learned is the same.
    losses = [
        constant(DiscountHead(3, discount=0.9, first=first, **SIZES), 2.0).losses(
            torch.zeros(1, 2, 3), torch.tensor([[False, True]])
        )["cont"]
        for first in ("truth", "predicted")
    ]
    assert torch.equal(*losses)


def test_continue_loss_is_the_cross_entropy_with_a_hard_label():
    head = constant(ContinueHead(3, discount=0.9, **SIZES), 2.0)
    prob = 1 / (1 + math.exp(-2.0))
    found = head.losses(torch.zeros(1, 2, 3), torch.tensor([[False, True]]))
    assert set(found) == {"cont"}
    expected = torch.tensor([[-math.log(prob), -math.log(1 - prob)]])
    torch.testing.assert_close(found["cont"], expected)


@pytest.mark.parametrize(("logit", "later"), [(0.1, 0.9), (-0.1, 0.0), (0.0, 0.0), (30.0, 0.9)])
def test_imagination_goes_on_or_ends(logit, later):
    head = constant(ContinueHead(3, discount=0.9, **SIZES), logit)
    found = head.discount(torch.zeros(2, 3, 3), torch.tensor([False, True]))
    expected = [[0.9, later, later], [0.0, later, later]]
    assert found.tolist() == [pytest.approx(row) for row in expected]
    assert found.dtype == torch.float32


@pytest.mark.parametrize("stop", [False, True])
def test_a_hard_answer_carries_no_gradient(stop):
    torch.manual_seed(0)
    head = ContinueHead(3, stop_gradient=stop, **SIZES)
    feat = torch.randn(2, 4, 3, requires_grad=True)
    loss = head.losses(feat, torch.zeros(2, 4, dtype=torch.bool))["cont"]
    torch.autograd.backward(loss.sum())
    assert (feat.grad is None) is stop
    assert head.output.weight.grad.abs().sum() > 0
    assert not head.discount(feat, torch.zeros(2, dtype=torch.bool)).requires_grad


def test_the_discount_of_a_state_that_surely_goes_on():
    """In units of it rollouts are weighed; see `targets`."""
    assert ConstantDiscount(3, discount=0.9).certain == 0.9
    assert ContinueHead(3, discount=0.9).certain == 0.9
    # A soft label has gamma in what is predicted.
    assert DiscountHead(3, discount=0.9).certain == 1.0


@pytest.mark.parametrize("scalar", [TwoHot(bins=5, limit=2.0), SymexpTwoHot(bins=5, limit=2.0)])
def test_rewards_over_bins(scalar):
    head = RewardHead(3, scalar=scalar, transform="tanh", out_scale=0.0, **SIZES)
    feat, reward = torch.randn(2, 4, 3), torch.randn(2, 4)
    # Zero logits: zero is expected, and any target costs ln 5.
    assert torch.equal(head.pred(feat), torch.zeros(2, 4))
    found = head.losses(feat, reward)["reward"]
    torch.testing.assert_close(found, torch.full((2, 4), math.log(5)))
    with torch.no_grad():
        head.output.bias.copy_(torch.tensor([0.0, 3.0, -1.0, 0.5, 0.0]))
    expected = scalar.loss(head.output.bias.expand(2, 4, 5), torch.tanh(reward))
    torch.testing.assert_close(head.losses(feat, reward)["reward"], expected)
    torch.testing.assert_close(head.pred(feat), scalar.pred(head.output.bias).expand(2, 4))
