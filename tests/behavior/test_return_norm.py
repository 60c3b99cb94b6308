"""Scales of returns by hand."""

import pytest
import torch

from harmony.behavior.return_norm import IdentityNorm, PercentileNorm

RAMP = torch.arange(101.0).reshape(101, 1)  # percentile p is p


def test_identity_is_one_and_has_no_state():
    norm = IdentityNorm()
    found = norm(torch.randn(3, 4, dtype=torch.bfloat16))
    assert found.shape == ()
    assert found.dtype == torch.float32
    assert found.item() == 1.0
    assert norm.state_dict() == {}
    assert list(norm.parameters()) == []


def test_averages_by_hand():
    norm = PercentileNorm(decay=0.9)
    # low: 0.1 * 5, high: 0.1 * 95
    assert norm(RAMP).item() == pytest.approx(9.0, rel=1e-6)
    assert norm.low.item() == pytest.approx(0.5, rel=1e-6)
    assert norm.high.item() == pytest.approx(9.5, rel=1e-6)
    # Then percentiles 10 and 190: 0.9 * 0.5 + 0.1 * 10 and 0.9 * 9.5 + 0.1 * 190
    assert norm(2 * RAMP).item() == pytest.approx(27.55 - 1.45, rel=1e-6)
    assert norm.low.item() == pytest.approx(1.45, rel=1e-6)
    assert norm.high.item() == pytest.approx(27.55, rel=1e-6)


def test_small_returns_are_not_blown_up():
    norm = PercentileNorm()
    assert norm(0.5 * RAMP).item() == 1.0  # the averaged range is 0.45
    assert PercentileNorm(limit=0.1)(0.5 * RAMP).item() == pytest.approx(0.45, rel=1e-6)


def test_between_two_numbers_percentiles_are_linear():
    norm = PercentileNorm(low=25.0, high=75.0, decay=0.0, limit=0.01)
    # Of 1, 2, 4, 8 at places 0.75 and 2.25: 1 + 0.75 * 1 and 4 + 0.25 * 4
    norm(torch.tensor([[8.0, 1.0], [2.0, 4.0]]))
    assert norm.low.item() == pytest.approx(1.75)
    assert norm.high.item() == pytest.approx(5.0)


@pytest.mark.parametrize(("low", "high"), [(5.0, 95.0), (0.0, 100.0), (12.3, 77.7)])
def test_percentiles_are_those_of_torch(low, high):
    x = torch.randn(37, 11, generator=torch.Generator().manual_seed(0))
    norm = PercentileNorm(low=low, high=high, decay=0.0)
    norm(x)
    expected = torch.quantile(x, torch.tensor([low, high]) / 100)
    torch.testing.assert_close(torch.stack([norm.low, norm.high]), expected, rtol=1e-5, atol=1e-6)


def test_one_number_is_all_percentiles():
    norm = PercentileNorm(decay=0.0)
    norm(torch.tensor([[3.0]]))
    assert (norm.low.item(), norm.high.item()) == (3.0, 3.0)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_bad_returns_leave_the_averages_as_they_were(bad):
    norm = PercentileNorm()
    before = norm(1000 * RAMP)
    kept = norm.low.clone(), norm.high.clone()
    x = RAMP.clone()
    x[7] = bad
    assert torch.equal(norm(x), before)
    assert torch.equal(norm.low, kept[0])
    assert torch.equal(norm.high, kept[1])


def test_no_gradient_and_state_that_is_saved():
    x = RAMP.clone().requires_grad_()
    norm = PercentileNorm()
    assert not norm(x).requires_grad
    other = PercentileNorm()
    other.load_state_dict(norm.state_dict())
    assert torch.equal(other(RAMP), norm(RAMP))
    assert set(norm.state_dict()) == {"low", "high"}


@pytest.mark.parametrize(
    "wrong", [{"low": 95.0, "high": 5.0}, {"high": 101.0}, {"decay": 1.0}, {"limit": 0.0}]
)
def test_wrong_settings_are_refused(wrong):
    with pytest.raises(ValueError, match="return_norm needs"):
        PercentileNorm(**wrong)
