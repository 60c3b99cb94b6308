"""Number formats."""

import pytest
import torch

from harmony.errors import ConfigError
from harmony.training.precision import Precision
from tests.tiny import CPU

CUDA = torch.device("cuda")


@pytest.mark.parametrize(
    ("name", "dtype"),
    [("fp32", torch.float32), ("bf16", torch.bfloat16), ("fp16", torch.float16)],
)
def test_products_have_the_format(name, dtype):
    x = torch.ones(2, 2)
    with Precision(format=name).autocast(CPU):
        assert (x @ x).dtype == dtype
    assert (x @ x).dtype == torch.float32


def test_fp32_is_the_default_and_changes_no_bit():
    torch.manual_seed(0)
    x = torch.randn(8, 8)
    with Precision().autocast(CPU):
        assert torch.equal(x @ x, torch.mm(x, x))


@pytest.mark.parametrize(("name", "enabled"), [("fp32", False), ("bf16", False), ("fp16", True)])
def test_only_fp16_scales_its_losses(name, enabled):
    scaler = Precision(format=name).loss_scaler(CPU)
    assert scaler.is_enabled() is enabled
    expected = 2.0**16 if enabled else 1.0
    assert scaler.scale(torch.tensor(1.0)).item() == expected


def test_scalers_are_one_an_optimizer():
    precision = Precision(format="fp16")
    assert precision.loss_scaler(CPU) is not precision.loss_scaler(CPU)


def test_fp16_needs_a_gpu():
    with pytest.raises(ConfigError, match=r"^precision=fp16 needs a CUDA device, got device=cpu"):
        Precision(format="fp16").check(CPU)
    Precision(format="fp16").check(CUDA)
    for name in ("fp32", "bf16"):
        Precision(format=name).check(CPU)
