"""Intervals for means and shares."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Interval(NamedTuple):
    """An estimate and the 95 % interval around it."""

    estimate: float
    low: float
    high: float


def bootstrap_mean(values: Sequence[float], samples: int = 10_000, seed: int = 0) -> Interval:
    """Mean with a 95 % percentile-bootstrap interval.

    Args:
        values: at least one.
        samples: resamples.
        seed: of the resampling, so that the same values give the same interval.

    Raises:
        ValueError: no values.

    Source: Efron and Tibshirani, An Introduction to the Bootstrap (1993), chapter 13.
    """
    if not len(values):
        raise ValueError("a mean needs at least one value")
    data = np.asarray(values, np.float64)
    rng = np.random.default_rng(seed)
    means = rng.choice(data, (samples, len(data))).mean(1)
    low, high = np.percentile(means, [2.5, 97.5])
    return Interval(float(data.mean()), float(low), float(high))


def wilson(successes: int, trials: int) -> Interval:
    """Share of successes with the 95 % Wilson score interval.

    Args:
        successes: in [0, trials].
        trials: at least 1.

    Raises:
        ValueError: numbers that make no share.

    Source: Wilson (1927); Brown, Cai and DasGupta (2001), Eq. 4.
    """
    if trials < 1 or not 0 <= successes <= trials:
        raise ValueError(f"a share needs 0 <= successes <= trials, got {successes} of {trials}")
    z = 1.959963984540054
    share = successes / trials
    scale = 1 + z**2 / trials
    centre = (share + z**2 / (2 * trials)) / scale
    half = z / scale * math.sqrt(share * (1 - share) / trials + z**2 / (4 * trials**2))
    return Interval(share, max(0.0, centre - half), min(1.0, centre + half))
