"""What the optimizers share."""

import copy

import pytest
import torch
from torch import nn

from harmony.training.skipping import SkippingStep, is_bad, param_groups

NAN, INF = float("nan"), float("inf")


def test_weights_in_no_group_share_the_rate():
    one, two, three = (nn.Parameter(torch.zeros(())) for _ in range(3))
    assert param_groups(iter([one, two]), 0.1) == [{"params": [one, two], "lr": 0.1}]
    group = {"params": [three], "lr": 0.5}
    assert param_groups([group], 0.1) == [group]
    assert param_groups([one, group, two], 0.1) == [{"params": [one, two], "lr": 0.1}, group]


@pytest.mark.parametrize(
    ("loss", "norm", "bad"),
    [(1.0, 2.0, 0), (NAN, 2.0, 1), (1.0, NAN, 1), (-INF, 2.0, 1), (1.0, INF, 1), (-INF, INF, 1)],
)
def test_bad_is_what_is_not_finite(loss, norm, bad):
    found = is_bad(torch.tensor(loss, requires_grad=True), torch.tensor(norm))
    assert found.item() == bad
    assert found.dtype == torch.float32
    assert not found.requires_grad


@pytest.fixture
def skipping():
    param = nn.Parameter(torch.tensor([1.0]))
    loss_scaler = torch.amp.GradScaler("cpu", enabled=False)
    return SkippingStep(torch.optim.Adam([param], lr=0.1, fused=True), loss_scaler)


def run(skipping, flags):
    (param,) = skipping.inner.param_groups[0]["params"]
    for flag in flags:
        skipping.backward(param.sum())
        skipping.step(torch.tensor(float(flag)))
    return param.item()


def test_skipped_steps_are_counted_in_all_and_in_a_row(skipping):
    assert skipping.bad_steps() == (0, 0)
    run(skipping, [1, 1, 0, 1])
    assert skipping.bad_steps() == (3, 1)
    run(skipping, [0])
    assert skipping.bad_steps() == (3, 0)


def test_only_good_steps_move_weights(skipping):
    assert run(skipping, [1, 1]) == 1.0
    assert run(skipping, [0]) == pytest.approx(0.9)


def test_counters_are_restored_and_what_they_came_from_stands_still(skipping):
    run(skipping, [1])
    kept = copy.deepcopy(skipping.state_dict())
    run(skipping, [1])
    skipping.load_state_dict(kept)
    assert skipping.bad_steps() == (1, 1)
    run(skipping, [1])
    assert kept["skipped"].item() == 1
