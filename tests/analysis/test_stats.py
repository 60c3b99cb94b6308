"""Intervals by hand."""

import numpy as np
import pytest
from scipy import stats

from harmony.analysis.stats import (
    bootstrap_mean,
    combination,
    improvement,
    iqm,
    probability_of_improvement,
    stratified_bootstrap,
    student,
    welch,
    wilson,
)


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


class TestStudentAndWelch:
    def test_student_by_hand(self):
        # Mean 2, variance 1, t(2) = 4.3027: half width 4.3027 / sqrt(3) = 2.4842.
        assert student([1.0, 2.0, 3.0]) == pytest.approx((2.0, -0.4842, 4.4842), abs=1e-4)

    def test_welch_by_hand(self):
        # 1 / 3 + 4 / 3 = 1.6667; degrees of freedom 1.6667^2 / ((1/9 + 16/9) / 2) = 2.9412,
        # whose t is 3.2187: half width 4.1554.
        found = welch([5.0, 6.0, 7.0], [0.0, 2.0, 4.0])
        assert found == pytest.approx((4.0, -0.1554, 8.1554), abs=1e-3)

    def test_welch_is_that_of_scipy(self):
        ours, theirs = np.random.default_rng(0).normal(size=(2, 7)) * [[1.0], [3.0]]
        expected = stats.ttest_ind(ours, theirs, equal_var=False).confidence_interval(0.95)
        assert welch(ours, theirs)[1:] == pytest.approx(tuple(expected))

    def test_a_mean_of_tasks_weighs_them_alike(self):
        found = combination([[1.0, 3.0], [10.0, 10.0, 10.0, 14.0]], [0.5, 0.5])
        # (2 + 11) / 2; variance 1/4 (2 / 2 + 4 / 4) = 0.5; freedom 0.25 / (1/16 + 1/48) = 3.
        assert found.estimate == 6.5
        assert found.high - 6.5 == pytest.approx(3.1824 * np.sqrt(0.5), abs=1e-3)

    @pytest.mark.parametrize("samples", [[[4.0]], [[4.0, 4.0]], [[1.0, 2.0], [3.0]]])
    def test_what_can_not_be_seen_is_not_said(self, samples):
        found = combination(samples, [1.0] * len(samples))
        assert not found.known
        assert np.isnan(found.high)
        assert not found.within(0.0, 1.0).known

    def test_rounding_is_no_variation_and_a_small_variation_is_one(self):
        assert not student([0.1, 0.1, 0.1]).known
        assert not welch([1e9 + 0.1] * 3, [1e9 + 0.1] * 5).known
        assert student([1e9, 1e9 + 1, 1e9 + 2]).known

    def test_nothing_is_refused(self):
        with pytest.raises(ValueError, match="at least one value"):
            student([])

    def test_an_interval_of_shares_stays_in_range(self):
        assert student([0.8, 1.0, 1.0]).within(0.0, 1.0).high == 1.0

    @pytest.mark.parametrize(
        ("seeds", "held", "bootstrap_holds"), [(3, 0.95, 0.75), (5, 0.95, 0.83)]
    )
    def test_its_95_percent_are_95_percent_and_those_of_a_bootstrap_are_not(
        self, seeds, held, bootstrap_holds
    ):
        """The figures of docs/report.md; of 1,000 draws the share has a deviation of 0.007."""
        draws = np.random.default_rng(0).normal(size=(1000, seeds))
        ours = np.mean([low <= 0 <= high for _, low, high in map(student, draws)])
        found = [bootstrap_mean(draw, 500) for draw in draws]
        theirs = np.mean([low <= 0 <= high for _, low, high in found])
        assert ours == pytest.approx(held, abs=0.02)
        assert theirs == pytest.approx(bootstrap_holds, abs=0.03)


class TestSeveralTasks:
    def test_iqm_by_hand(self):
        # Eight runs: two go on either side, 2, 3, 4, 5 stay.
        tasks = [np.array([[0.0, 5.0, 1.0, 9.0]]), np.array([[2.0, 4.0, 8.0, 3.0]])]
        assert iqm(tasks) == pytest.approx([3.5])

    @pytest.mark.parametrize("count", [3, 4, 5, 13])
    def test_iqm_is_the_trimmed_mean_of_scipy(self, count):
        scores = np.random.default_rng(0).normal(size=(2, count))
        expected = stats.trim_mean(scores, 0.25, axis=None)
        assert iqm([scores[:1], scores[1:]]) == pytest.approx([expected])

    def test_probability_by_hand(self):
        # Pairs: 3 > 1, 3 > 2, 2 > 1, and 2 = 2 is half.
        assert probability_of_improvement([3.0, 2.0], [1.0, 2.0]) == 3.5 / 4
        u = stats.mannwhitneyu([3.0, 2.0], [1.0, 2.0]).statistic
        assert u / 4 == 3.5 / 4

    def test_improvement_is_the_mean_over_tasks(self):
        tasks = [np.array([x]) for x in ([1.0, 1.0], [0.0, 0.0], [1.0], [1.0, 2.0])]
        assert improvement(tasks) == pytest.approx([(1.0 + 0.25) / 2])

    def test_each_task_is_resampled_by_itself(self):
        # One of two is drawn in each task, so that the mean is one of -9.5, -8.5, 0.5, 1.5, ...
        seen = []

        def mean(tasks):
            seen.extend(np.unique(task).tolist() for task in tasks)
            return np.mean(np.concatenate(tasks, 1), 1)

        found = stratified_bootstrap([[0.0, 1.0], [100.0, 102.0]], mean)
        assert seen[-2:] == [[0.0, 1.0], [100.0, 102.0]]
        assert tuple(found) == (50.75, 50.0, 51.5)

    def test_its_variance_is_that_of_the_mean(self):
        draws = np.random.default_rng(0).normal(size=(6, 3))
        means = []

        def mean(tasks):
            means.append(np.mean([task.mean(1) for task in tasks], 0))
            return means[-1]

        stratified_bootstrap(draws, mean, samples=50_000)
        expected = np.sum(draws.var(1, ddof=1) / 3) / 36
        assert means[-1].var() == pytest.approx(expected, rel=0.03)

    @pytest.mark.parametrize("strata", [[[1.0], [1.0, 2.0]], [[1.0, 1.0], [1.0, 1.0]]])
    def test_what_can_not_be_resampled_has_no_interval(self, strata):
        assert not stratified_bootstrap(strata, iqm).known

    def test_nothing_is_refused(self):
        with pytest.raises(ValueError, match="at least one value of each"):
            stratified_bootstrap([[1.0], []], iqm)
