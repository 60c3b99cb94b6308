"""Intervals for means, shares and what several tasks have in common.

Shapes: R resamples, n and m runs of a task.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from scipy.special import stdtrit

ROUNDING = 1e-13
"""Variation below this, relative to the value, is none."""


class Interval(NamedTuple):
    """An estimate and the 95 % interval around it; NaN where nothing can be said of it."""

    estimate: float
    low: float
    high: float

    @property
    def known(self) -> bool:
        """Whether there is an interval."""
        return not math.isnan(self.low)

    def within(self, least: float, most: float) -> Interval:
        """The interval cut to values that are possible."""
        if not self.known:
            return self
        return Interval(self.estimate, max(self.low, least), min(self.high, most))


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


def combination(samples: Sequence[Sequence[float]], weights: Sequence[float]) -> Interval:
    """Weighted sum of the means of independent samples, with its 95 % interval by Student's t.

    One sample of weight 1 gives Student's interval, two of weights 1 and -1 Welch's.

    Args:
        samples: at least one value each; their variances may differ.
        weights: of each sample.

    Returns:
        No interval (NaN) where a sample has one value, or none of them varies: what can't be seen
        can't be said.

    Raises:
        ValueError: a sample is empty.

    Source: Welch (1947), The generalization of 'Student's' problem; degrees of freedom by
    Satterthwaite (1946).
    """
    if not len(samples) or not all(len(sample) for sample in samples):
        raise ValueError("a mean needs at least one value")
    estimate = math.fsum(w * float(np.mean(x)) for x, w in zip(samples, weights, strict=True))
    if any(len(sample) < 2 for sample in samples):
        return Interval(estimate, math.nan, math.nan)
    parts = [
        w**2 * float(np.var(x, ddof=1)) / len(x) for x, w in zip(samples, weights, strict=True)
    ]
    variance = math.fsum(parts)
    if variance <= max((ROUNDING * float(np.mean(sample))) ** 2 for sample in samples):
        return Interval(estimate, math.nan, math.nan)
    freedom = variance**2 / math.fsum(
        part**2 / (len(x) - 1) for part, x in zip(parts, samples, strict=True)
    )
    half = float(stdtrit(freedom, 0.975)) * math.sqrt(variance)
    return Interval(estimate, estimate - half, estimate + half)


def student(values: Sequence[float]) -> Interval:
    """Mean with Student's 95 % interval; it holds for three values too, if they are near normal."""
    return combination([values], [1.0])


def welch(values: Sequence[float], baseline: Sequence[float]) -> Interval:
    """Difference of two means with Welch's 95 % interval.

    Args:
        values: at least one.
        baseline: at least one; what is subtracted.
    """
    return combination([values, baseline], [1.0, -1.0])


def probability_of_improvement(values: Sequence[float], baseline: Sequence[float]) -> float:
    """Share of pairs in which a value is above one of the baseline; a tie counts half.

    Source: Mann and Whitney (1947); Agarwal et al., arXiv 2108.13264, section 4.3.
    """
    return float(improvement([np.asarray(values)[None], np.asarray(baseline)[None]])[0])


def iqm(tasks: Sequence[np.ndarray]) -> np.ndarray:
    """Interquartile mean: without the lowest and the highest quarter of the runs of all tasks.

    Args:
        tasks: (R, n) each, scores of n runs.

    Returns:
        (R,).

    Source: arXiv 2108.13264, section 4.3; scipy.stats.trim_mean rounds as we do.
    """
    ordered = np.sort(np.concatenate(tasks, 1), 1)
    cut = int(0.25 * ordered.shape[1])
    means: np.ndarray = ordered[:, cut : ordered.shape[1] - cut].mean(1)
    return means


def improvement(tasks: Sequence[np.ndarray]) -> np.ndarray:
    """Probability of improvement, mean over tasks.

    Args:
        tasks: (R, n) of the first task and (R, m) of its baseline, the same of the second, ...

    Returns:
        (R,).
    """
    shares = []
    for values, baseline in zip(tasks[::2], tasks[1::2], strict=True):
        gaps = values[:, :, None] - baseline[:, None, :]
        shares.append(((gaps > 0) + 0.5 * (gaps == 0)).mean((1, 2)))
    return np.asarray(np.mean(shares, 0))


def stratified_bootstrap(
    strata: Sequence[Sequence[float]],
    statistic: Callable[[Sequence[np.ndarray]], np.ndarray],
    samples: int = 10_000,
    seed: int = 0,
) -> Interval:
    """A statistic of several samples with its 95 % percentile-bootstrap interval.

    Each sample is resampled by itself. Of n values n - 1 are drawn: with n, the variance comes out
    too small by (n - 1) / n, which for three runs a task makes of 95 % about 85.

    Args:
        strata: at least one value each, such as the runs of each task.
        statistic: of (R, n) each, gives (R,).
        samples: resamples.
        seed: of the resampling, so that the same values give the same interval.

    Returns:
        No interval (NaN) where a sample has one value, or no resample gives another result.

    Raises:
        ValueError: a sample is empty.

    Source: Rao and Wu (1988), Resampling inference with complex survey data. Differs: rliable draws
    n.
    """
    if not len(strata) or not all(len(values) for values in strata):
        raise ValueError("a statistic needs at least one value of each sample")
    arrays = [np.asarray(values, np.float64) for values in strata]
    estimate = float(statistic([array[None] for array in arrays])[0])
    if any(len(array) < 2 for array in arrays):
        return Interval(estimate, math.nan, math.nan)
    rng = np.random.default_rng(seed)
    drawn = [array[rng.integers(len(array), size=(samples, len(array) - 1))] for array in arrays]
    low, high = np.percentile(statistic(drawn), [2.5, 97.5])
    if high - low <= ROUNDING * abs(estimate):
        return Interval(estimate, math.nan, math.nan)
    return Interval(estimate, float(low), float(high))
