"""LaProp against a reference in plain numbers, and what it does with bad numbers."""

import copy
import math

import pytest
import torch
from torch import nn

from harmony.training.laprop import LaProp, clip_adaptively

NAN, INF = float("nan"), float("inf")
GRADS = {  # by step, of two tensors
    "a": [[0.5, -2.0, 0.1], [30.0, 0.0, -7.0], [1e-4, 2e-4, -1e-4], [0.3, 0.3, 0.3]],
    "b": [[1e-3], [-5.0], [0.0], [2.0]],
}
START = {"a": [1.0, -0.5, 2.0], "b": [0.0]}


def scaler(enabled=False):
    return torch.amp.GradScaler("cpu", enabled=enabled)


def make_laprop(params, **kwargs):
    return LaProp(params, "model", scaler(), **{"lr": 0.1, "warmup_updates": 0, **kwargs})


def fresh():
    return {name: nn.Parameter(torch.tensor(value)) for name, value in START.items()}


def step(laprop, params, grads):
    """The gradient of this loss are the given numbers."""
    terms = [(params[name] * torch.tensor(grads[name])).sum() for name in params]
    return laprop.step(torch.stack(terms).sum())


def reference(lrs, agc, floor, beta1, beta2, eps, warmup):
    """Weights after each step, one list of dicts; the definition, number by number."""
    weights, history = copy.deepcopy(START), []
    square = {name: [0.0] * len(value) for name, value in START.items()}
    momentum = copy.deepcopy(square)
    for count in range(4):
        for name, weight in weights.items():
            grad = GRADS[name][count]
            largest = agc * max(floor, math.hypot(*weight))
            grad = [g / max(1.0, math.hypot(*grad) / largest) for g in grad]
            for i, g in enumerate(grad):
                square[name][i] = beta2 * square[name][i] + (1 - beta2) * g * g
                unit = g / (math.sqrt(square[name][i] / (1 - beta2 ** (count + 1))) + eps)
                momentum[name][i] = beta1 * momentum[name][i] + (1 - beta1) * unit
                rate = lrs[name] * (min(1.0, count / warmup) if warmup else 1.0)
                weight[i] -= rate * momentum[name][i] / (1 - beta1 ** (count + 1))
        history.append(copy.deepcopy(weights))
    return history


@pytest.mark.parametrize(
    ("agc", "floor", "beta1", "beta2", "eps", "warmup"),
    [
        (0.3, 1e-3, 0.9, 0.999, 1e-20, 0),
        (0.3, 1e-3, 0.9, 0.999, 1e-20, 1000),
        (0.3, 1e-3, 0.9, 0.999, 1e-20, 2),
        (1e6, 1.0, 0.8, 0.9, 1e-2, 3),
    ],
)
def test_equals_the_definition(agc, floor, beta1, beta2, eps, warmup):
    params = fresh()
    laprop = make_laprop(
        params.values(),
        agc=agc,
        agc_min_norm=floor,
        beta1=beta1,
        beta2=beta2,
        eps=eps,
        warmup_updates=warmup,
    )
    expected = reference({"a": 0.1, "b": 0.1}, agc, floor, beta1, beta2, eps, warmup)
    for count in range(4):
        metrics = step(laprop, params, {name: GRADS[name][count] for name in params})
        norm = math.hypot(*GRADS["a"][count], *GRADS["b"][count])
        assert metrics["grad_norm/model"].item() == pytest.approx(norm, rel=1e-5)
        for name, param in params.items():
            found = param.detach()
            torch.testing.assert_close(
                found, torch.tensor(expected[count][name]), rtol=1e-5, atol=1e-7
            )


def test_the_first_step_by_hand():
    param = nn.Parameter(torch.tensor([3.0, 4.0]))
    laprop = make_laprop([param], lr=0.5)
    # Both moments are corrected for bias, so each weight moves by lr against the sign.
    metrics = laprop.step((param * torch.tensor([2.0, -7.0])).sum())
    torch.testing.assert_close(param.detach(), torch.tensor([2.5, 4.5]))
    assert metrics["grad_norm/model"].item() == pytest.approx(math.hypot(2, 7))


def test_the_first_update_of_a_warmup_changes_no_weight():
    param = nn.Parameter(torch.tensor([1.0]))
    laprop = make_laprop([param], lr=1.0, warmup_updates=4, agc=1e9)
    found = []
    for _ in range(6):
        before = param.item()
        laprop.step(param.sum())
        found.append(before - param.item())
    # A constant gradient has unit momentum: the step is the learning rate.
    assert found == pytest.approx([0.0, 0.25, 0.5, 0.75, 1.0, 1.0], rel=1e-5)


def test_each_gradient_is_clipped_by_its_own_weights():
    long, short = nn.Parameter(torch.tensor([30.0, 40.0])), nn.Parameter(torch.zeros(2))
    unused = nn.Parameter(torch.ones(1))
    long.grad, short.grad = torch.tensor([6.0, 8.0]), torch.tensor([0.0, 3.0])
    # 0.3 * 50 = 15 lets 10 pass; 0.3 * 0.001 shortens 3.
    norm = clip_adaptively([long, short, unused], 0.3, 1e-3)
    assert norm.item() == pytest.approx(math.sqrt(109), rel=1e-6)
    assert long.grad.tolist() == [6.0, 8.0]
    torch.testing.assert_close(short.grad, torch.tensor([0.0, 3e-4]))


def test_groups_have_rates_of_their_own():
    params = fresh()
    groups = [{"params": [params["a"]], "lr": 0.1}, {"params": [params["b"]], "lr": 0.01}]
    laprop = make_laprop(groups, warmup_updates=2)
    expected = reference({"a": 0.1, "b": 0.01}, 0.3, 1e-3, 0.9, 0.999, 1e-20, 2)
    for count in range(4):
        step(laprop, params, {name: GRADS[name][count] for name in params})
    for name, param in params.items():
        torch.testing.assert_close(
            param.detach(), torch.tensor(expected[-1][name]), rtol=1e-5, atol=1e-7
        )


@pytest.mark.parametrize("bad", [NAN, INF, -INF])
@pytest.mark.parametrize("steps_before", [0, 2])
def test_a_bad_step_changes_nothing_and_is_counted(bad, steps_before):
    ours, theirs = fresh(), fresh()
    with_bad, without = (make_laprop(p.values(), warmup_updates=3) for p in (ours, theirs))
    grads = [{name: GRADS[name][count] for name in START} for count in range(4)]
    for k in range(4):
        if k == steps_before:
            step(with_bad, ours, {"a": [0.0, bad, 1.0], "b": [1.0]})
            step(with_bad, ours, {"a": [0.0, 1.0, 1.0], "b": [bad]})
            assert with_bad.bad_steps() == (2, 2)
        step(with_bad, ours, grads[k])
        step(without, theirs, grads[k])
    assert with_bad.bad_steps() == (2, 0)
    for name in START:
        assert torch.equal(ours[name], theirs[name])
    assert with_bad.laprop.count.item() == 4


def test_a_bad_loss_alone_is_bad():
    param = nn.Parameter(torch.tensor([1.0]))
    laprop = make_laprop([param])
    laprop.step(param.sum() + torch.tensor(NAN))
    assert param.item() == 1.0
    assert laprop.bad_steps() == (1, 1)


def test_weights_without_a_gradient_stay():
    used, unused = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))
    laprop = make_laprop([used, unused])
    laprop.step(used.sum())
    assert unused.tolist() == [1.0, 1.0]
    laprop.step((used + unused).sum())
    assert unused.tolist() != [1.0, 1.0]


def test_scaled_losses_give_the_same_steps():
    plain, scaled = fresh(), fresh()
    one = make_laprop(plain.values())
    two = LaProp(scaled.values(), "model", scaler(enabled=True), lr=0.1, warmup_updates=0)
    for count in range(4):
        for laprop, params in ((one, plain), (two, scaled)):
            step(laprop, params, {name: GRADS[name][count] for name in params})
    for name in START:
        torch.testing.assert_close(plain[name], scaled[name])
    before = two.skipping.loss_scaler.get_scale()
    step(two, scaled, {"a": [INF, 0.0, 0.0], "b": [0.0]})
    assert two.skipping.loss_scaler.get_scale() == before / 2
    assert two.bad_steps() == (1, 1)


def test_state_roundtrip_continues_bit_for_bit():
    ours, theirs = fresh(), fresh()
    one = make_laprop(ours.values(), warmup_updates=3)
    grads = [{name: GRADS[name][count] for name in START} for count in range(4)]
    step(one, ours, grads[0])
    step(one, ours, {"a": [NAN] * 3, "b": [0.0]})
    step(one, ours, grads[1])
    two = make_laprop(theirs.values(), warmup_updates=3)
    two.load_state_dict(copy.deepcopy(one.state_dict()))
    with torch.no_grad():
        for name in START:
            theirs[name].copy_(ours[name])
    for k in (2, 3):
        step(one, ours, grads[k])
        step(two, theirs, grads[k])
    for name in START:
        assert torch.equal(ours[name], theirs[name])
    assert two.bad_steps() == (1, 0)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"agc": 0.0}, "agc, agc_min_norm and eps above 0"),
        ({"eps": 0.0}, "agc, agc_min_norm and eps above 0"),
        ({"warmup_updates": -1}, "warmup_updates >= 0"),
        ({"beta2": 1.0}, r"beta1 and beta2 in \(0, 1\)"),
    ],
)
def test_wrong_settings_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        make_laprop([nn.Parameter(torch.ones(1))], **wrong)
