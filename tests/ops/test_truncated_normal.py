"""The truncated normal by hand, by integration, and against the original."""

import math

import pytest
import torch

from harmony.ops import truncated_normal
from tests.golden.originals import Golden


def test_centred_density_by_hand():
    # Standard normal on [-1, 1]: mass 0.6826895, density at 0 is 0.3989423 / 0.6826895.
    loc, scale = torch.zeros(1), torch.ones(1)
    found = truncated_normal.log_prob(torch.zeros(1), loc, scale).item()
    assert found == pytest.approx(math.log(0.3989423 / 0.6826895), abs=1e-5)


@pytest.mark.parametrize(("loc", "scale"), [(0.0, 1.0), (0.9, 0.1), (-0.5, 2.0), (1.0, 0.5)])
def test_density_and_entropy_agree_with_integration(loc, scale):
    grid = torch.linspace(-1, 1, 200_001, dtype=torch.float64)
    mean, std = torch.full_like(grid, loc), torch.full_like(grid, scale)
    log_prob = truncated_normal.log_prob(grid, mean, std)
    assert torch.trapezoid(log_prob.exp(), grid).item() == pytest.approx(1.0, abs=1e-6)
    entropy = -torch.trapezoid(log_prob.exp() * log_prob, grid).item()
    assert truncated_normal.entropy(mean[:1], std[:1]).item() == pytest.approx(entropy, abs=1e-6)


def test_median_of_a_centred_sample_is_the_centre():
    loc, scale = torch.zeros(1), torch.ones(1)
    assert truncated_normal.sample(loc, scale, torch.tensor([0.5])).item() == pytest.approx(
        0.0, abs=1e-6
    )


def test_samples_stay_inside_and_keep_their_gradient():
    loc = torch.tensor([0.999, -0.999], requires_grad=True)
    scale = torch.full((2,), 0.1)
    sample = truncated_normal.sample(loc, scale, torch.tensor([1.0, 0.0]))
    assert sample.abs().max().item() <= 1 - 9e-7
    (grad,) = torch.autograd.grad(sample.sum(), loc)
    assert torch.isfinite(grad).all()


@pytest.mark.golden
def test_equals_the_original():
    golden = Golden("ops")
    loc, scale, value, uniform = (
        golden[f"in/trunc_normal/{name}"] for name in ("loc", "scale", "value", "uniform")
    )
    log_prob = truncated_normal.log_prob(value, loc, scale).sum(-1)
    torch.testing.assert_close(log_prob, golden["out/trunc_normal/log_prob"], rtol=1e-5, atol=1e-6)
    entropy = truncated_normal.entropy(loc, scale).sum(-1)
    torch.testing.assert_close(entropy, golden["out/trunc_normal/entropy"], rtol=1e-5, atol=1e-6)
    sample = truncated_normal.sample(loc, scale, uniform)
    torch.testing.assert_close(sample, golden["out/trunc_normal/sample"], rtol=1e-5, atol=1e-6)


@pytest.mark.golden
def test_gradients_of_samples_equal_the_originals():
    golden = Golden("ops")
    loc = golden["in/trunc_normal/loc"].requires_grad_()
    scale = golden["in/trunc_normal/scale"].requires_grad_()
    sample = truncated_normal.sample(loc, scale, golden["in/trunc_normal/uniform"])
    found = torch.autograd.grad(sample, [loc, scale], golden["in/trunc_normal/cotangent"])
    for grad, name in zip(found, ("loc", "scale"), strict=True):
        expected = golden[f"grad/trunc_normal/sample/{name}"]
        torch.testing.assert_close(grad, expected, rtol=1e-4, atol=1e-6)
