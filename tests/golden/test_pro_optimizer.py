"""DreamerPro's Adam against the original on given gradients, with prototypes frozen at first."""

import pytest
import torch
from torch import nn

from harmony.config.compose import compose
from harmony.config.nodes import instantiate
from tests.golden.originals import Golden
from tests.golden.table import record_error

CASES = ["clip100", "clip1_wd", "frozen", "small", "small_frozen"]
OPS = "pro/ops"
NAMES = ("prototypes", "kernel", "bias", "scalar")
FIRST = "prototypes"  # whose gradient the original makes zero while it is frozen


def make_adam(params, settings):
    """The model's optimizer of our configuration, at the recording's rates."""
    node = compose(["algorithm=dreamerpro", "env=probe"]).config["algorithm"]["optimizer"]["model"]
    rates = {key: settings[key] for key in ("lr", "eps", "clip")}
    node = {**node, **rates, "weight_decay": settings["wd"]}
    return instantiate(node)(params, "model", torch.amp.GradScaler("cpu", enabled=False))


@pytest.mark.golden
@pytest.mark.parametrize("case", CASES)
def test_equals_the_original_on_given_gradients(case):
    golden = Golden(OPS)
    settings = golden.meta["optimizer"][case]
    params = {name: nn.Parameter(golden[f"param/optimizer.{name}"]) for name in NAMES}
    adam = make_adam(list(params.values()), settings)
    largest = 0.0
    for step in range(5):
        grads = {n: golden[f"in/optimizer/{settings['grads']}.{step}.{n}"] for n in NAMES}
        if step < settings["freeze"]:
            grads[FIRST] = torch.zeros_like(grads[FIRST])
        # The gradient of this loss is the given one.
        found = adam.step(torch.stack([(params[n] * grads[n]).sum() for n in NAMES]).sum())
        expected = golden[f"out/optimizer/{case}.grad_norm"][step]
        torch.testing.assert_close(found["grad_norm/model"], expected, rtol=1e-5, atol=1e-7)
        for name, param in params.items():
            after = golden[f"out/optimizer/{case}.{step}.{name}"]
            torch.testing.assert_close(param.detach(), after, rtol=1e-6, atol=1e-7)
            largest = max(largest, float((param.detach() - after).abs().max()) / settings["lr"])
    record_error(OPS, f"optimizer {case}, largest error in learning rates", largest)
