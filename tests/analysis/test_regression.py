"""Readouts and their scores by hand."""

import numpy as np
import pytest
import torch

from harmony.analysis.regression import (
    Data,
    Errors,
    Scaling,
    fit_mlp,
    fit_ridge,
    fit_scaling,
    join_quantities,
    score,
    split_episodes,
    sum_errors,
)


def column(*values):
    return np.array(values, np.float64)[:, None]


def make(episodes=30, steps=20, seed=0):
    """States that are a linear function of feats, with two entries."""
    rng = np.random.default_rng(seed)
    weight = np.array([[1.0, 0.0], [-2.0, 1.0], [0.0, 3.0]])
    feats = [rng.normal(size=(steps, 3)).astype(np.float32) for _ in range(episodes)]
    return Data(feats, [x @ weight + [5.0, -1.0] for x in feats])


class TestSplit:
    def test_one_in_ten_whole_episodes_is_kept(self):
        train, validation = split_episodes([False] * 25, np.random.default_rng(0))
        assert len(validation) == 2
        assert sorted(train + validation) == list(range(25))

    def test_both_kinds_are_kept_in_their_shares(self):
        kinds = [k % 2 == 1 for k in range(40)]
        for seed in range(5):
            _, validation = split_episodes(kinds, np.random.default_rng(seed))
            assert sum(kinds[k] for k in validation) == 2
            assert len(validation) == 4

    def test_the_generator_decides(self):
        found = [split_episodes([False] * 40, np.random.default_rng(s))[1] for s in (0, 0, 1)]
        assert found[0] == found[1] != found[2]


def test_quantities_are_joined_in_their_order():
    episodes = [{"b": np.ones((n, 1)), "a": np.zeros((n, 3))} for n in (2, 4)]
    columns, matrices = join_quantities(episodes)
    assert columns == {"b": slice(0, 1), "a": slice(1, 4)}
    assert [x.tolist() for x in matrices] == [[[1, 0, 0, 0]] * 2, [[1, 0, 0, 0]] * 4]


class TestScaling:
    def test_by_hand_over_episodes_of_different_length(self):
        # Feats 0, 4 | 2: mean 2, variance 8/3. States 1, 5 | 3: likewise, mean 3.
        data = Data([column(0, 4), column(2)], [column(1, 5), column(3)])
        scaling = fit_scaling(data)
        assert scaling.feat_mean == pytest.approx(2)
        assert scaling.feat_scale == pytest.approx(np.sqrt(8 / 3))
        assert scaling.state_scale == pytest.approx(np.sqrt(8 / 3))
        scaled = scaling.apply(data)
        assert scaled.states[0].ravel() == pytest.approx([-np.sqrt(1.5), np.sqrt(1.5)])
        assert scaled.feats[1].dtype == np.float32

    def test_all_feats_share_one_scale(self):
        # Variances 1 and 0: the mean is 1/2.
        scaling = fit_scaling(Data([np.array([[1.0, 7.0], [-1.0, 7.0]])], [column(1, 2)]))
        assert scaling.feat_scale == pytest.approx(np.sqrt(0.5))

    def test_what_does_not_vary_is_not_scaled(self):
        states = np.array([[1e3, 1.0], [1e3 + 1e-5, 2.0]])
        scaling = fit_scaling(Data([column(1, 2)], [states]))
        assert scaling.varies.tolist() == [False, True]
        assert scaling.state_scale.tolist() == [1.0, 0.5]

    def test_dead_feats_do_no_harm(self):
        data = Data([column(1, 1)], [column(1, 2)])
        assert fit_scaling(data).apply(data).feats[0].tolist() == [[0.0], [0.0]]


class TestRidge:
    def test_by_hand(self):
        # Feats -1, 1 and states -2, 2: x'x/n = 1, x'y/n = 2, so the weight is 2 / (1 + penalty).
        data = Data([column(-1), column(1)], [column(-2), column(2)])
        for penalty, weight in ((1e-9, 2.0), (1.0, 1.0), (3.0, 0.5)):
            readout = fit_ridge(data, penalty)
            assert readout(column(3.0)).item() == pytest.approx(3 * weight)

    def test_the_gradient_of_what_it_minimises_is_zero(self):
        data = make()
        weight = fit_ridge(data, 0.3)(np.eye(3))
        x, y = np.concatenate(data.feats).astype(np.float64), np.concatenate(data.states)
        np.testing.assert_allclose(x.T @ (x @ weight - y) / len(x) + 0.3 * weight, 0, atol=1e-9)

    def test_more_feats_than_steps_can_be_solved(self):
        data = Data([np.eye(2, 5)], [column(1, 2)])
        assert np.isfinite(fit_ridge(data, 1e-3)(np.eye(2, 5))).all()


class TestMlp:
    def test_it_learns_what_no_line_can(self):
        rng = np.random.default_rng(0)
        feats = [rng.uniform(-2, 2, (64, 1)).astype(np.float32) for _ in range(20)]
        data = Data(feats, [np.square(x).astype(np.float64) for x in feats])
        scaling = fit_scaling(data)
        scaled = scaling.apply(data)
        for readout, least, most in (
            (fit_ridge(scaled, 1e-3), 0.9, 1.1),
            (fit_mlp(scaled, epochs=100, seed=0), 0.0, 0.02),
        ):
            mean = score(sum_errors(readout, scaled), scaling, {"y": slice(0, 1)}).mean
            assert least <= mean.estimate < most

    def test_the_seed_decides_and_the_global_generator_is_left_alone(self):
        data = make(episodes=3)
        state = torch.get_rng_state()
        one, again, other = (fit_mlp(data, epochs=2, seed=s)(data.feats[0]) for s in (1, 1, 2))
        np.testing.assert_array_equal(one, again)
        assert (one != other).any()
        assert torch.equal(torch.get_rng_state(), state)


class TestScore:
    def test_by_hand(self):
        # Two episodes of 1 and 3 steps. Squared errors in scaled units: 4 over 4 steps, so 1 each;
        # the scale of 3 makes it 9, whose root is 3. The second entry: 8 / 4 = 2, scale 1.
        errors = Errors(np.array([[1.0, 2.0], [3.0, 6.0]]), np.array([1, 3]))
        found = score(errors, scaling(3.0, 1.0), {"a": slice(0, 1), "b": slice(1, 2)})
        assert found.quantities["a"].rmse.estimate == pytest.approx(3)
        assert found.quantities["a"].normalized_error.estimate == pytest.approx(1)
        assert found.quantities["b"].normalized_error.estimate == pytest.approx(2)
        assert found.mean.estimate == pytest.approx(1.5)
        # Both episodes have the same error a step, so no resample differs.
        assert tuple(found.mean) == pytest.approx((1.5, 1.5, 1.5))

    def test_entries_of_a_quantity_are_averaged_those_that_vary(self):
        errors = Errors(np.array([[2.0, 4.0, 9.0]] * 2), np.array([2, 2]))
        varies = np.array([True, True, False])
        found = score(errors, scaling(1.0, 1.0, 1.0)._replace(varies=varies), {"a": slice(0, 3)})
        assert found.quantities["a"].normalized_error.estimate == pytest.approx((1 + 2) / 2)
        assert found.quantities["a"].rmse.estimate == pytest.approx(np.sqrt((1 + 2 + 4.5) / 3))

    def test_the_interval_is_over_episodes(self):
        # Errors 0 and 1 a step: resamples of two episodes have means 0, 1/2 and 1.
        errors = Errors(np.array([[0.0], [5.0]]), np.array([5, 5]))
        interval = score(errors, scaling(1.0), {"a": slice(0, 1)}).mean
        assert tuple(interval) == (0.5, 0.0, 1.0)

    def test_the_mean_scores_one_and_the_truth_zero(self):
        data = make(episodes=200)
        fitted = fit_scaling(data)
        scaled = fitted.apply(data)
        columns = {"a": slice(0, 1), "b": slice(1, 2)}
        mean = score(sum_errors(lambda x: np.zeros((len(x), 2)), scaled), fitted, columns).mean
        assert mean.estimate == pytest.approx(1)
        exact = score(sum_errors(fit_ridge(scaled, 1e-9), scaled), fitted, columns)
        assert exact.mean.estimate == pytest.approx(0, abs=1e-9)

    def test_rmse_is_in_units(self):
        data = make()
        fitted = fit_scaling(data)
        found = score(
            sum_errors(lambda x: np.zeros((len(x), 2)), fitted.apply(data)),
            fitted,
            {"all": slice(0, 2)},
        )
        spread = np.concatenate(data.states).var(0).mean()
        assert found.quantities["all"].rmse.estimate == pytest.approx(np.sqrt(spread))


def scaling(*scales):
    size = len(scales)
    return Scaling(np.zeros(1), 1.0, np.zeros(size), np.array(scales), np.ones(size, bool))
