"""DreamerV3 (2025): LaProp with adaptive clipping on given gradients."""

import pytest
import torch
from torch import nn

from harmony.training.laprop import LaProp
from tests.golden.originals import Golden
from tests.golden.table import record_error

CASES = [
    "default_lr4e5_warmup1000",
    "default_nowarmup",
    "default_warmup5",
    "eps1e-3",
    "noagc",
    "small_nowarmup",
]
NAMES = ["net/a/kernel", "net/a/bias", "net/b/kernel", "net/c/scale", "net/z/bias"]


def make_laprop(weights, options):
    # A clip of 0 is none there; ours takes only positive ones.
    agc = options.get("agc", 0.3) or 1e9
    return LaProp(
        weights, "joint", torch.amp.GradScaler("cpu", enabled=False), lr=options["lr"], agc=agc,
        eps=options.get("eps", 1e-20), warmup_updates=options["warmup"],
    )  # fmt: skip


@pytest.mark.golden
def test_every_recorded_case_is_compared():
    assert sorted(Golden("v3_2025/optimizer").meta["cases"]) == CASES


@pytest.mark.golden
@pytest.mark.parametrize("case", CASES)
def test_updates_equal_the_originals(case):
    golden = Golden("v3_2025/optimizer")
    gradients, options = golden.meta["cases"][case]
    weights = {name: nn.Parameter(golden[f"param/{name}"]) for name in NAMES}
    laprop = make_laprop(list(weights.values()), options)
    before = {name: golden[f"param/{name}"] for name in NAMES}
    largest = 0.0
    for step in range(golden.meta["steps"]):
        # The gradients of this loss are the recorded ones.
        grads = {name: golden[f"in/{gradients}/{step}/{name}"] for name in NAMES}
        old = {name: weight.detach().clone() for name, weight in weights.items()}
        metrics = laprop.step(sum((weights[name] * grads[name]).sum() for name in NAMES))
        norm = torch.stack([grad.norm() for grad in grads.values()]).norm()
        torch.testing.assert_close(metrics["grad_norm/joint"], norm, rtol=1e-5, atol=1e-12)
        after = {name: golden[f"out/{case}/{step}/{name}"] for name in NAMES}
        for name, weight in weights.items():
            error = ((weight.detach() - old[name]) - (after[name] - before[name])).abs()
            # The original's 1 - 0.999^t has lost some digits, which is 3e-5 of a first step; and
            # both weights are rounded to 6e-8 of them, before and after.
            allowed = 5e-5 * options["lr"] + 2.4e-7 * after[name].abs()
            assert (error <= allowed).all(), f"{step} {name}: {error.max()}"
            largest = max(largest, float(error.max()) / options["lr"])
        before = after
    record_error(golden.name, f"{case}: largest error of an update, in learning rates", largest)


@pytest.mark.golden
def test_the_first_update_of_a_warmup_is_none():
    golden = Golden("v3_2025/optimizer")
    for case in ("default_lr4e5_warmup1000", "default_warmup5"):
        for name in NAMES:
            assert torch.equal(golden[f"out/{case}/0/{name}"], golden[f"param/{name}"])


@pytest.mark.golden
@pytest.mark.parametrize("size", [1e-17, 1e-18, 1e-19, 1e-20, 1e-22])
def test_tiny_gradients_make_no_large_steps(size):
    """Their squares are denormal numbers, which the original's machine took for zero.

    It then divides by eps alone and steps by a hundred learning rates.
    """
    weight = nn.Parameter(torch.ones(3))
    laprop = make_laprop([weight], {"lr": 1e-2, "warmup": 0})
    laprop.step((weight * size).sum())
    assert ((weight.detach() - 1).abs() <= 1.2e-2).all()
