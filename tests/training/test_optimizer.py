"""Adam against the original, and what it does with bad numbers."""

import copy
import math

import pytest
import torch
from torch import nn

from harmony.training.optimizer import Adam
from tests.golden.originals import Golden
from tests.golden.table import record_error

CASES = ["clip100", "clip1", "clip1_wd", "small", "lr1e-2"]


def make_adam(params, **kwargs):
    return Adam(params, "model", torch.amp.GradScaler("cpu", enabled=False), **kwargs)


@pytest.mark.golden
@pytest.mark.parametrize("case", CASES)
def test_equals_the_original_on_given_gradients(case):
    golden = Golden("optimizer")
    settings = golden.meta[case]
    params = {name: nn.Parameter(golden[f"param/{name}"]) for name in "abc"}
    adam = make_adam(
        params.values(),
        lr=settings["lr"],
        eps=settings["eps"],
        weight_decay=settings["wd"],
        clip=settings["clip"],
    )
    largest = 0.0
    for step in range(5):
        grads = {n: golden[f"in/{settings['grads']}/{step}/{n}"] for n in params}
        # The gradient of this loss is the given one.
        norm = adam.step(torch.stack([(params[n] * grads[n]).sum() for n in params]).sum())
        expected = golden[f"out/{case}/grad_norm"][step]
        torch.testing.assert_close(norm["grad_norm/model"], expected, rtol=1e-5, atol=1e-7)
        for name, param in params.items():
            theirs = golden[f"out/{case}/{step}/{name}"]
            torch.testing.assert_close(param.detach(), theirs, rtol=1e-5, atol=1e-7)
            largest = max(largest, float((param.detach() - theirs).abs().max()) / settings["lr"])
    record_error("optimizer", f"{case}: largest error of a weight, in learning rates", largest)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_bad_step_changes_nothing_and_is_counted(bad):
    param = nn.Parameter(torch.tensor([1.0, 2.0]))
    adam = make_adam([param], lr=0.1)
    adam.step(param.sum())
    before = {k: v.clone() for k, v in adam.adam.state[param].items()}
    kept = param.detach().clone()

    adam.step((param * bad).sum())
    adam.step((param * bad).sum())

    assert torch.equal(param.detach(), kept)
    assert all(torch.equal(v, before[k]) for k, v in adam.adam.state[param].items())
    assert adam.bad_steps() == (2, 2)
    adam.step(param.sum())
    assert adam.bad_steps() == (2, 0)
    assert not torch.equal(param.detach(), kept)


def test_state_roundtrip_continues_bit_for_bit():
    torch.manual_seed(0)
    weights = torch.randn(5)
    ours, theirs = nn.Parameter(weights.clone()), nn.Parameter(weights.clone())
    one = make_adam([ours], lr=0.01)
    for k in range(3):
        one.step((ours * (k + 1.0)).square().sum())
    two = make_adam([theirs], lr=0.01)
    with torch.no_grad():
        theirs.copy_(ours)
    two.load_state_dict(copy.deepcopy(one.state_dict()))
    for adam, param in ((one, ours), (two, theirs)):
        adam.step(param.square().sum())
    assert torch.equal(ours, theirs)


def reference(lr, eps, decay, eps_kind, grads):
    """Weights after each step: Adam without clip, the weights decayed before each step."""
    weight, first, second, history = 2.0, 0.0, 0.0, []
    for t, grad in enumerate(grads, 1):
        weight *= 1 - decay
        first = 0.9 * first + 0.1 * grad
        second = 0.999 * second + 0.001 * grad**2
        correct1, correct2 = 1 - 0.9**t, 1 - 0.999**t
        if eps_kind == "hat":
            weight -= lr * math.sqrt(correct2) / correct1 * first / (math.sqrt(second) + eps)
        else:
            weight -= lr * first / correct1 / (math.sqrt(second / correct2) + eps)
        history.append(weight)
    return history


@pytest.mark.parametrize("eps_kind", ["corrected", "hat"])
@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_eps_and_decoupled_decay_by_definition(eps_kind, decay):
    grads = [0.3, -1.0, 0.002, 0.5]
    param = nn.Parameter(torch.tensor([2.0]))
    adam = make_adam(
        [param],
        lr=0.05,
        eps=0.1,
        weight_decay=decay,
        weight_decay_kind="decoupled",
        eps_kind=eps_kind,
    )
    for grad, expected in zip(grads, reference(0.05, 0.1, decay, eps_kind, grads), strict=True):
        adam.step((param * grad).sum())
        assert param.item() == pytest.approx(expected, rel=1e-5)


def test_hat_eps_of_the_first_step_by_hand():
    param = nn.Parameter(torch.tensor([1.0]))
    adam = make_adam([param], lr=0.1, eps=0.1, weight_decay=0.0, eps_kind="hat")
    adam.step(param.sum())
    # The root of the second moment is sqrt(0.001) before the correction and 1 after it; so is eps
    # 0.1 / sqrt(0.001) after it.
    assert param.item() == pytest.approx(1 - 0.1 / (1 + 0.1 / math.sqrt(0.001)), rel=1e-5)


def test_decoupled_decay_reaches_weights_without_a_gradient_and_knows_no_rate():
    used, unused = nn.Parameter(torch.tensor([2.0])), nn.Parameter(torch.tensor([4.0]))
    adam = make_adam([used, unused], lr=0.0, weight_decay=0.25, weight_decay_kind="decoupled")
    adam.step(used.sum())
    assert (used.item(), unused.item()) == (1.5, 3.0)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_bad_step_does_not_decay_either(bad):
    param = nn.Parameter(torch.tensor([1.0, 2.0]))
    adam = make_adam([param], lr=0.1, weight_decay=0.5, weight_decay_kind="decoupled")
    adam.step((param * bad).sum())
    adam.step(param.sum() + bad)
    assert param.tolist() == [1.0, 2.0]
    assert adam.bad_steps() == (2, 2)


def test_groups_have_rates_of_their_own_and_one_norm():
    one, two = nn.Parameter(torch.tensor([3.0])), nn.Parameter(torch.tensor([4.0]))
    groups = [{"params": [one], "lr": 0.1}, {"params": [two], "lr": 0.01}]
    adam = make_adam(groups, lr=0.0, eps=1e-12, weight_decay=0.0, clip=1.0)
    found = adam.step(0.5 * (one.square() + two.square()).sum())
    assert found["grad_norm/model"].item() == pytest.approx(5.0)
    # The first step of Adam is the learning rate.
    assert one.item() == pytest.approx(2.9, rel=1e-6)
    assert two.item() == pytest.approx(3.99, rel=1e-6)


def test_plain_weights_and_one_group_are_the_same_bit_for_bit():
    ours, theirs = (nn.Parameter(torch.tensor([1.0, -2.0, 0.5])) for _ in range(2))
    plain = make_adam([ours], lr=0.03)
    grouped = make_adam([{"params": [theirs], "lr": 0.03}], lr=9.0)
    for k in range(4):
        plain.step((ours * (k - 1.3)).square().sum())
        grouped.step((theirs * (k - 1.3)).square().sum())
    assert torch.equal(ours, theirs)


def test_scaled_losses_give_the_same_steps_and_bad_ones_lower_the_scale():
    plain, scaled = (nn.Parameter(torch.tensor([1.0, -2.0])) for _ in range(2))
    one = make_adam([plain], lr=0.1)
    loss_scaler = torch.amp.GradScaler("cpu", enabled=True)
    two = Adam([scaled], "model", loss_scaler, lr=0.1)
    for _ in range(3):
        one.step(plain.square().sum())
        two.step(scaled.square().sum())
    torch.testing.assert_close(plain, scaled)
    kept = scaled.detach().clone()
    two.step((scaled * float("inf")).sum())
    assert loss_scaler.get_scale() == 2.0**15
    assert torch.equal(scaled, kept)
    # Bad by its loss alone: the gradient is fine, and so is the scale.
    two.step(scaled.sum() + float("nan"))
    assert loss_scaler.get_scale() == 2.0**15
    assert torch.equal(scaled, kept)
    assert two.bad_steps() == (2, 2)


def test_the_count_behind_hat_eps_is_kept():
    ours, theirs = (nn.Parameter(torch.tensor([1.0, -2.0])) for _ in range(2))
    settings = {"lr": 0.1, "eps": 0.1, "eps_kind": "hat", "weight_decay_kind": "decoupled"}
    one, two = make_adam([ours], **settings), make_adam([theirs], **settings)
    one.step((ours * float("nan")).sum())
    for _ in range(2):
        one.step(ours.square().sum())
    two.load_state_dict(copy.deepcopy(one.state_dict()))
    with torch.no_grad():
        theirs.copy_(ours)
    for adam, param in ((one, ours), (two, theirs)):
        adam.step(param.square().sum())
    assert torch.equal(ours, theirs)
    assert two.steps == 4
