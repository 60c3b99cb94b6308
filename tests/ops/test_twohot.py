"""Two-hot targets and expectations by hand."""

import math

import pytest
import torch

from harmony.ops.symlog import symexp
from harmony.ops.twohot import expectation, symexp_bins, symlog_bins, twohot_loss

BINS = torch.tensor([-1.0, 0.0, 2.0])
PROB = [0.2, 0.5, 0.3]
LOGIT = torch.tensor(PROB).log() + 7  # not normalised


def mixed(*weights):
    return -sum(w * math.log(p) for w, p in zip(weights, PROB, strict=True))


@pytest.mark.parametrize(
    ("target", "weights"),
    [
        (0.5, (0, 0.75, 0.25)),  # a quarter of the way from 0 to 2
        (-0.9, (0.9, 0.1, 0)),
        (0.0, (0, 1, 0)),  # on a bin
        (-1.0, (1, 0, 0)),
        (2.0, (0, 0, 1)),
        (-5.0, (1, 0, 0)),  # beyond the bins
        (5.0, (0, 0, 1)),
        (math.inf, (0, 0, 1)),
        (-math.inf, (1, 0, 0)),
    ],
)
def test_targets_are_split_between_their_neighbours(target, weights):
    found = twohot_loss(LOGIT, torch.tensor(target), BINS)
    assert found.item() == pytest.approx(mixed(*weights), rel=1e-6)


def test_a_target_that_is_no_number_is_not_hidden():
    assert twohot_loss(LOGIT, torch.tensor(math.nan), BINS).isnan()


def test_any_number_of_axes():
    logit = torch.randn(2, 3, 4, 5)
    target = torch.linspace(-2, 2, 24).reshape(2, 3, 4)
    bins = torch.tensor([-1.5, -0.5, 0.0, 1.0, 1.5])
    found = twohot_loss(logit, target, bins)
    assert found.shape == (2, 3, 4)
    for index in [(0, 0, 0), (1, 2, 3), (0, 2, 1)]:
        torch.testing.assert_close(found[index], twohot_loss(logit[index], target[index], bins))


def test_gradient_is_probability_minus_target():
    logit = LOGIT.clone().requires_grad_()
    target = torch.tensor(0.5, requires_grad=True)
    loss = twohot_loss(logit, target, BINS)
    torch.autograd.backward(loss)
    expected = torch.tensor(PROB) - torch.tensor([0.0, 0.75, 0.25])
    torch.testing.assert_close(logit.grad, expected, rtol=1e-5, atol=1e-7)
    assert target.grad is None


def test_low_precision_logits_give_a_float32_loss():
    assert twohot_loss(LOGIT.bfloat16(), torch.tensor(0.5), BINS).dtype == torch.float32
    assert expectation(LOGIT.bfloat16(), BINS).dtype == torch.float32


def test_expectation_by_hand():
    # -1 * 0.2 + 0 * 0.5 + 2 * 0.3
    assert expectation(LOGIT, BINS).item() == pytest.approx(0.4, rel=1e-6)
    even = torch.tensor([0.1, 0.2, 0.3, 0.4]).log().expand(2, 4)
    found = expectation(even, torch.tensor([-3.0, -1.0, 1.0, 3.0]))
    torch.testing.assert_close(found, torch.full((2,), -0.3 - 0.2 + 0.3 + 1.2))


@pytest.mark.parametrize("count", [2, 40, 41, 255])
@pytest.mark.parametrize("make", [symlog_bins, symexp_bins])
def test_equal_probabilities_give_exactly_zero(make, count):
    bins = make(count)
    assert torch.equal(bins, -bins.flip(0))
    for level in (0.0, 3.7):
        assert expectation(torch.full((6, count), level), bins).tolist() == [0.0] * 6


def test_symlog_bins_by_hand():
    assert symlog_bins(5, -1.0, 1.0).tolist() == [-1.0, -0.5, 0.0, 0.5, 1.0]
    assert symlog_bins(4, 0.0, 6.0).tolist() == [0.0, 2.0, 4.0, 6.0]
    torch.testing.assert_close(symlog_bins(255), torch.linspace(-20, 20, 255))
    assert symlog_bins(255).dtype == torch.float32


def test_symexp_bins_by_hand():
    found = symexp_bins(5, 2.0)
    expected = [1 - math.e**2, 1 - math.e, 0.0, math.e - 1, math.e**2 - 1]
    torch.testing.assert_close(found, torch.tensor(expected))
    torch.testing.assert_close(symexp_bins(255), symexp(torch.linspace(-20, 20, 255)))
    assert (symexp_bins(255).diff() > 0).all()


@pytest.mark.parametrize(("count", "low", "high"), [(1, -1.0, 1.0), (3, 1.0, 1.0)])
def test_bins_are_at_least_two_and_apart(count, low, high):
    with pytest.raises(ValueError, match="bins need count >= 2"):
        symlog_bins(count, low, high)


@pytest.mark.parametrize("target", [-0.7, 0.3, 1.9])
def test_the_best_logits_expect_the_target(target):
    logit = torch.zeros(3, requires_grad=True)
    sgd = torch.optim.SGD([logit], lr=2.0)
    for _ in range(300):
        sgd.zero_grad()
        torch.autograd.backward(twohot_loss(logit, torch.tensor(target), BINS))
        sgd.step()
    assert expectation(logit, BINS).item() == pytest.approx(target, abs=0.02)
