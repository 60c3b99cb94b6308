"""Initialisers, activations by name, and a linear map that is applied in parts."""

import math

import pytest
import torch

from harmony.nn.layers import Conv2d, ConvTranspose2d, JointLinear, Linear, activation


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("elu", [math.exp(-2) - 1, 0.0, 3.0]),
        ("silu", [-2 / (1 + math.exp(2)), 0.0, 3 / (1 + math.exp(-3))]),
        ("relu", [0.0, 0.0, 3.0]),
        ("none", [-2.0, 0.0, 3.0]),
    ],
)
def test_activation_by_name(name, expected):
    found = activation(name)(torch.tensor([-2.0, 0.0, 3.0]))
    torch.testing.assert_close(found, torch.tensor(expected))


@pytest.mark.parametrize(
    ("make", "fan_sum"),
    [
        (lambda: Linear(30, 70), 30 + 70),
        (lambda: Conv2d(3, 16, 4, 2), (3 + 16) * 4 * 4),
        (lambda: ConvTranspose2d(16, 8, 5, 2), (16 + 8) * 5 * 5),
        (lambda: JointLinear((10, 20), 70), 30 + 70),
    ],
    ids=["Linear", "Conv2d", "ConvTranspose2d", "JointLinear"],
)
def test_weights_are_glorot_uniform_and_biases_zero(make, fan_sum):
    torch.manual_seed(0)
    layer = make()
    bound = math.sqrt(6 / fan_sum)
    weight = layer.weight.detach()
    assert weight.abs().max().item() <= bound
    # The variance of a uniform variable in [-b, b] is b^2 / 3.
    assert weight.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.06)
    assert weight.mean().item() == pytest.approx(0.0, abs=0.1 * bound)
    assert torch.equal(layer.bias, torch.zeros_like(layer.bias))


def test_a_layer_without_bias_has_none():
    assert Linear(3, 2, bias=False).bias is None


def test_a_joint_layer_equals_its_parts():
    torch.manual_seed(0)
    layer = JointLinear((2, 3), 4)
    left, right = torch.randn(5, 2), torch.randn(5, 3)
    left_weight, right_weight = layer.parts()
    assert (left_weight.shape, right_weight.shape) == ((4, 2), (4, 3))
    apart = left @ left_weight.T + right @ right_weight.T + layer.bias
    torch.testing.assert_close(layer(torch.cat([left, right], -1)), apart)


def test_the_parts_of_a_joint_layer_train_its_one_weight():
    layer = JointLinear((1, 1), 1)
    left, right = layer.parts()
    torch.autograd.backward((2 * left + 5 * right).sum())
    assert torch.equal(layer.weight.grad, torch.tensor([[2.0, 5.0]]))
    assert [name for name, _ in layer.named_parameters()] == ["weight", "bias"]
