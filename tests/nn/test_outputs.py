"""Predictions of one number by hand."""

import math

import pytest
import torch

from harmony.nn.layers import Linear
from harmony.nn.outputs import Mean, SymexpTwoHot, TwoHot, float_output

BINS = [-math.expm1(2), -math.expm1(1), 0.0, math.expm1(1), math.expm1(2)]
"""Of five symexp bins with a limit of two."""


def test_a_mean_is_the_number_and_half_the_squared_error():
    scalar, raw = Mean(), torch.tensor([[3.0], [-1.0]])
    assert scalar.size == 1
    assert scalar.pred(raw).tolist() == [3.0, -1.0]
    assert scalar.loss(raw, torch.tensor([1.0, -1.0])).tolist() == [2.0, 0.0]


def test_the_gaussian_constant_makes_it_a_density():
    raw, target = torch.tensor([[3.0]]), torch.tensor([1.0])
    found = Mean(gaussian_constant=True).loss(raw, target)
    density = -torch.distributions.Normal(3.0, 1.0).log_prob(target)
    torch.testing.assert_close(found, density)
    assert found.item() - Mean().loss(raw, target).item() == pytest.approx(0.9189385)


def certain(index, size=5):
    """Logits that leave no doubt."""
    return torch.where(torch.arange(size) == index, 0.0, -1e4)


@pytest.mark.parametrize("kind", [TwoHot, SymexpTwoHot])
@pytest.mark.parametrize("index", range(5))
def test_a_certain_bin_is_its_number(kind, index):
    """Both kinds have their bins at the same numbers."""
    scalar = kind(bins=5, limit=2.0)
    assert scalar.size == 5
    assert scalar.pred(certain(index)).item() == pytest.approx(BINS[index], rel=1e-5, abs=1e-7)


def test_between_two_bins_the_expectation_is_taken_on_different_axes():
    # Half at 0, half at the next bin.
    raw = torch.tensor([-1e4, -1e4, 0.0, 0.0, -1e4])
    assert TwoHot(bins=5, limit=2.0).pred(raw).item() == pytest.approx(math.expm1(0.5))
    assert SymexpTwoHot(bins=5, limit=2.0).pred(raw).item() == pytest.approx(math.expm1(1) / 2)


def test_losses_weigh_the_two_bins_around_the_target():
    prob = torch.tensor([0.1, 0.2, 0.3, 0.25, 0.15])
    # A quarter of the way from bin 2 to bin 3, on each kind's own axis.
    expected = -(0.75 * math.log(0.3) + 0.25 * math.log(0.25))
    found = TwoHot(bins=5, limit=2.0).loss(prob.log(), torch.tensor(math.expm1(0.25)))
    assert found.item() == pytest.approx(expected, rel=1e-6)
    found = SymexpTwoHot(bins=5, limit=2.0).loss(prob.log(), torch.tensor(math.expm1(1) / 4))
    assert found.item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("kind", [TwoHot, SymexpTwoHot])
def test_zero_logits_predict_exactly_zero(kind):
    """What a head predicts whose last layer begins at zero."""
    scalar = kind()
    assert scalar.size == 255
    assert scalar.pred(torch.zeros(3, 255)).tolist() == [0.0] * 3
    found = scalar.loss(torch.zeros(3, 255), torch.tensor([-5.0, 0.0, 1e9]))
    torch.testing.assert_close(found, torch.full((3,), math.log(255)))


@pytest.mark.parametrize("kind", [TwoHot, SymexpTwoHot])
def test_descent_finds_the_target(kind):
    scalar = kind(bins=41, limit=5.0)
    raw = torch.zeros(3, 41, requires_grad=True)
    target = torch.tensor([-30.0, 0.7, 12.0])
    optimizer = torch.optim.Adam([raw], lr=0.1)
    for _ in range(300):
        optimizer.zero_grad()
        torch.autograd.backward(scalar.loss(raw, target).sum())
        optimizer.step()
    torch.testing.assert_close(scalar.pred(raw.detach()), target, rtol=0.02, atol=0.02)


@pytest.mark.parametrize("scalar", [Mean(), TwoHot(bins=5), SymexpTwoHot(bins=5)])
def test_targets_get_no_gradient(scalar):
    raw = torch.randn(4, scalar.size, requires_grad=True)
    target = torch.randn(4, requires_grad=True)
    torch.autograd.backward(scalar.loss(raw, target).sum())
    assert target.grad is None
    assert raw.grad.abs().sum() > 0


@pytest.mark.parametrize("kind", [TwoHot, SymexpTwoHot])
def test_bins_follow_the_module_and_stay_out_of_the_state(kind):
    scalar = kind()
    assert scalar.state_dict() == {}
    assert scalar.to("meta").bin_values.device.type == "meta"


def test_outputs_leave_half_precision():
    layer = Linear(3, 2)
    with torch.autocast("cpu", torch.bfloat16):
        assert layer(torch.randn(4, 3)).dtype == torch.bfloat16
        assert float_output(layer, torch.randn(4, 3)).dtype == torch.float32
