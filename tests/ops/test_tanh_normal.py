"""The tanh of a normal variable by hand, by torch's own distributions and by a fine integral."""

import math

import pytest
import torch
from torch import distributions

from harmony.ops import tanh_normal

MEANS = torch.tensor([0.0, 0.3, 0.7, 1.0, -1.5, 2.0, -3.0, 5.0])


def integral(mean, std):
    """The entropy by 20,001 points between -12 and 12 deviations, in float64."""
    points = torch.linspace(-12, 12, 20_001, dtype=torch.float64)
    weights = torch.softmax(-0.5 * points.square(), 0)
    x = mean.unsqueeze(-1) + std.unsqueeze(-1) * points
    normal = std.log() + 0.5 * math.log(2 * math.pi * math.e)
    return normal + (torch.log(4 * torch.sigmoid(2 * x) * torch.sigmoid(-2 * x)) * weights).sum(-1)


def test_log_slope_by_hand():
    x = torch.tensor([0.0, math.atanh(0.5), -math.atanh(0.5)])
    torch.testing.assert_close(tanh_normal.log_slope(x), torch.tensor([1.0, 0.75, 0.75]).log())
    # tanh(50) is 1 in float32; the slope is 4 exp(-100).
    far = tanh_normal.log_slope(torch.tensor([50.0, -50.0]))
    torch.testing.assert_close(far, torch.full((2,), math.log(4) - 100))


def test_log_prob_by_hand():
    # At tanh(mean) the normal's density is 1 / (std sqrt(2 pi)), the slope 1 - 0.25.
    found = tanh_normal.log_prob(
        torch.tensor(0.5), torch.tensor(math.atanh(0.5)), torch.tensor(2.0)
    )
    assert found.item() == pytest.approx(-math.log(2 * math.sqrt(2 * math.pi)) - math.log(0.75))


def test_log_prob_is_that_of_the_transformed_distribution():
    mean, std = torch.tensor([[0.2, -1.0, 3.0]]), torch.tensor([[0.3, 1.0, 2.0]])
    reference = distributions.TransformedDistribution(
        distributions.Normal(mean, std), [distributions.TanhTransform()], validate_args=False
    )
    action = torch.tensor([[0.1, -0.9, 0.7], [-0.99, 0.5, 0.0]])
    found = tanh_normal.log_prob(action, mean, std)
    torch.testing.assert_close(found, reference.log_prob(action))


def test_the_bounds_count_as_just_inside():
    action = torch.tensor([-1.0, 1.0], requires_grad=True)
    mean = torch.zeros(2, requires_grad=True)
    found = tanh_normal.log_prob(action, mean, torch.ones(2))
    assert torch.isfinite(found).all()
    torch.autograd.backward(found.sum())
    assert torch.isfinite(mean.grad).all()
    torch.testing.assert_close(action.grad, torch.zeros(2))


@pytest.mark.parametrize(
    ("std", "within", "gradient_within"),
    [
        (0.1, 2e-6, 2e-5),
        (0.5, 2e-6, 2e-5),
        (1.0, 2e-6, 2e-5),
        (2.0, 1e-5, 1e-4),
        (3.0, 1e-4, 1e-3),
        (5.0, 3e-3, 1e-2),
    ],
)
def test_entropy_and_its_gradient_are_those_of_a_fine_integral(std, within, gradient_within):
    ours = MEANS.clone().requires_grad_(), torch.full_like(MEANS, std).requires_grad_()
    fine = MEANS.double().requires_grad_(), torch.full_like(MEANS.double(), std).requires_grad_()
    found, expected = tanh_normal.entropy(*ours), integral(*fine)
    torch.testing.assert_close(found.double(), expected, rtol=0.0, atol=within)
    gradients = torch.autograd.grad(found.sum(), ours)
    for mine, theirs in zip(gradients, torch.autograd.grad(expected.sum(), fine), strict=True):
        torch.testing.assert_close(mine.double(), theirs, rtol=0.0, atol=gradient_within)


def test_a_narrow_normal_has_its_own_entropy_scaled_by_the_slope():
    found = tanh_normal.entropy(torch.tensor(0.5), torch.tensor(1e-3)).item()
    normal = math.log(1e-3) + 0.5 * math.log(2 * math.pi * math.e)
    assert found == pytest.approx(normal + math.log(1 - math.tanh(0.5) ** 2), abs=1e-5)
