"""The symmetric logarithm by hand."""

import math

import pytest
import torch

from harmony.ops.symlog import symexp, symlog


@pytest.mark.parametrize(
    ("x", "expected"),
    [(0.0, 0.0), (math.e - 1, 1.0), (1 - math.e, -1.0), (99.0, math.log(100)), (1e-6, 1e-6)],
)
def test_by_hand(x, expected):
    assert symlog(torch.tensor(x)).item() == pytest.approx(expected, rel=1e-6)
    assert symexp(torch.tensor(expected)).item() == pytest.approx(x, rel=1e-6)


def test_one_undoes_the_other():
    x = torch.cat([-torch.logspace(-8, 8, 50), torch.zeros(1), torch.logspace(-8, 8, 50)])
    torch.testing.assert_close(symexp(symlog(x)), x, rtol=3e-6, atol=0.0)


@pytest.mark.parametrize("function", [symlog, symexp])
def test_odd_and_increasing(function):
    x = torch.linspace(-15, 15, 301)
    assert torch.equal(function(-x), -function(x))
    assert (function(x).diff() > 0).all()


def test_gradients_by_hand():
    x = torch.tensor([-3.0, 0.0, 1.0], requires_grad=True)
    # 1 / (1 + |x|), and exp(|x|).
    (found,) = torch.autograd.grad(symlog(x).sum(), x)
    torch.testing.assert_close(found, torch.tensor([0.25, 1.0, 0.5]))
    (found,) = torch.autograd.grad(symexp(x).sum(), x)
    torch.testing.assert_close(found, torch.tensor([math.exp(3), 1.0, math.e]))


def test_what_is_no_number_stays_so():
    for function in (symlog, symexp):
        assert function(torch.tensor(float("nan"))).isnan()
        assert function(torch.tensor(-float("inf"))).item() == -float("inf")
