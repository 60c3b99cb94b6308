"""Balanced assignments by hand."""

import math

import pytest
import torch

from harmony.ops.sinkhorn import sinkhorn


def test_one_iteration_by_hand():
    # exp(scores / eps) is [[1, 2], [3, 2]]. Columns divided by 4 and 4: [[1/4, 1/2], [3/4, 1/2]];
    # rows divided by 3/4 and 5/4: [[1/3, 2/3], [3/5, 2/5]].
    scores = torch.tensor([[1.0, 2.0], [3.0, 2.0]]).log() * 0.5
    expected = torch.tensor([[1 / 3, 2 / 3], [3 / 5, 2 / 5]])
    torch.testing.assert_close(sinkhorn(scores, 0.5, 1), expected)


def test_two_iterations_by_hand():
    # Columns of the above sum to 14/15 and 16/15: [[5/14, 5/8], [9/14, 3/8]]; rows again to 1.
    scores = torch.tensor([[1.0, 2.0], [3.0, 2.0]]).log() * 0.5
    first, second = 5 / 14 + 5 / 8, 9 / 14 + 3 / 8
    expected = torch.tensor([[5 / 14 / first, 5 / 8 / first], [9 / 14 / second, 3 / 8 / second]])
    torch.testing.assert_close(sinkhorn(scores, 0.5, 2), expected)


def test_marginals():
    scores = torch.randn(12, 5, generator=torch.Generator().manual_seed(0))
    found = sinkhorn(scores, 0.5, 100)
    torch.testing.assert_close(found.sum(1), torch.ones(12))
    torch.testing.assert_close(found.sum(0), torch.full((5,), 12 / 5), rtol=1e-4, atol=0.0)


def test_samples_sum_to_one_after_any_number_of_iterations():
    scores = torch.rand(7, 9) * 2 - 1
    for iterations in (1, 3):
        total = sinkhorn(scores, 0.0125, iterations).sum(1)
        torch.testing.assert_close(total, torch.ones(7), rtol=1e-5, atol=0.0)


def test_a_hard_temperature_does_not_overflow():
    # exp(1 / 0.005) is beyond float32. Both samples like prototype 0 best; as prototype 1 must be
    # used, sample 1 gives way: its share of prototype 0 is 1/3, then 1/5, then 1/7.
    scores = torch.tensor([[1.0, -1.0], [1.0, 0.9]])
    expected = torch.tensor([[1.0, 0.0], [1 / 7, 6 / 7]])
    torch.testing.assert_close(sinkhorn(scores, 0.005, 3), expected, rtol=1e-5, atol=1e-6)


def test_a_common_offset_changes_nothing():
    scores = torch.randn(4, 3)
    torch.testing.assert_close(
        sinkhorn(scores + 2, 0.5, 3), sinkhorn(scores, 0.5, 3), rtol=1e-4, atol=1e-6
    )


def test_targets_have_no_graph_and_are_float32():
    scores = torch.randn(4, 3, dtype=torch.bfloat16, requires_grad=True)
    found = sinkhorn(scores, 0.05, 3)
    assert not found.requires_grad
    assert found.dtype == torch.float32


def test_the_definition_in_plain_numbers():
    scores, eps = torch.randn(6, 4, generator=torch.Generator().manual_seed(1)), 0.3
    share = [[math.exp(value / eps) for value in row] for row in scores.tolist()]
    for _ in range(3):
        for k in range(4):
            total = sum(row[k] for row in share)
            for row in share:
                row[k] /= 4 * total
        share = [[value / (6 * sum(row)) for value in row] for row in share]
    expected = torch.tensor([[6 * value for value in row] for row in share])
    torch.testing.assert_close(sinkhorn(scores, eps, 3), expected, rtol=1e-4, atol=1e-6)


def test_no_iteration_is_refused():
    with pytest.raises(ValueError, match="at least one iteration, got 0"):
        sinkhorn(torch.zeros(2, 2), 0.1, 0)
