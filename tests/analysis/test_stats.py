"""Intervals by hand."""

import numpy as np
import pytest

from harmony.analysis.stats import bootstrap_mean, wilson


def test_wilson_by_hand():
    # z = 1.96: 8 of 10 gives centre (.8 + .19207) / 1.38415 = .71674 and half width .22665.
    estimate, low, high = wilson(8, 10)
    assert (estimate, low, high) == pytest.approx((0.8, 0.4902, 0.9433), abs=1e-4)


def test_wilson_at_the_ends_stays_in_range():
    assert wilson(0, 10).low == pytest.approx(0.0, abs=1e-12)
    assert wilson(0, 10).high == pytest.approx(0.2775, abs=1e-4)
    assert wilson(10, 10).high == pytest.approx(1.0, abs=1e-12)


def test_bootstrap_of_a_constant_has_no_width():
    assert tuple(bootstrap_mean([3.0] * 5)) == (3.0, 3.0, 3.0)


def test_bootstrap_agrees_with_the_normal_interval_for_many_values():
    values = np.random.default_rng(1).normal(10.0, 2.0, 2000)
    estimate, low, high = bootstrap_mean(values)
    half = 1.96 * values.std() / np.sqrt(2000)
    assert estimate == pytest.approx(values.mean())
    assert (low, high) == pytest.approx((estimate - half, estimate + half), abs=0.01)


@pytest.mark.parametrize("call", [lambda: bootstrap_mean([]), lambda: wilson(3, 2)])
def test_nonsense_is_refused(call):
    with pytest.raises(ValueError, match="needs"):
        call()
