"""Adam against the original, and what it does with bad numbers."""

import copy

import pytest
import torch
from torch import nn

from harmony.training.optimizer import Adam
from tests.golden.originals import Golden

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
    for step in range(5):
        grads = {n: golden[f"in/{settings['grads']}/{step}/{n}"] for n in params}
        # The gradient of this loss is the given one.
        norm = adam.step(torch.stack([(params[n] * grads[n]).sum() for n in params]).sum())
        expected = golden[f"out/{case}/grad_norm"][step]
        torch.testing.assert_close(norm["grad_norm/model"], expected, rtol=1e-5, atol=1e-7)
        for name, param in params.items():
            torch.testing.assert_close(
                param.detach(), golden[f"out/{case}/{step}/{name}"], rtol=1e-5, atol=1e-7
            )


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
