"""Initialisers, styles, norms, activations by name, and linear maps in parts and blocks."""

import math

import pytest
import torch

from harmony.nn.layers import (
    PLAIN,
    TRUNCATED_STD,
    BlockLinear,
    ChannelNorm,
    Conv2d,
    ConvTranspose2d,
    JointLinear,
    LayerNorm,
    Linear,
    RMSNorm,
    Style,
    activation,
    init_,
    project,
)


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


def test_a_projection_is_one_product_for_all_steps():
    torch.manual_seed(0)
    x, weight, bias = torch.randn(2, 3, 4), torch.randn(5, 4), torch.randn(5)
    steps = project(x, weight, bias)
    assert len(steps) == 3
    for t, step in enumerate(steps):
        torch.testing.assert_close(step, x[:, t] @ weight.T + bias)
        assert step.is_contiguous()
    torch.testing.assert_close(project(x, weight, None)[1], x[:, 1] @ weight.T)


def filled(init, scale=1.0):
    torch.manual_seed(0)
    weight = torch.empty(300, 200)
    init_(weight, init, scale, (200, 300))
    return weight


@pytest.mark.parametrize("scale", [1.0, 0.1])
@pytest.mark.parametrize(
    ("init", "variance"),
    [("glorot", 2 / 500), ("trunc_normal_avg", 2 / 500), ("trunc_normal_in", 1 / 200)],
)
def test_deviations_of_big_matrices(init, variance, scale):
    weight = filled(init, scale)
    assert weight.std().item() == pytest.approx(scale * math.sqrt(variance), rel=0.01)
    assert weight.mean().item() == pytest.approx(0.0, abs=0.01 * scale * math.sqrt(variance))


@pytest.mark.parametrize(
    ("init", "std"), [("trunc_normal_avg", 250**-0.5), ("trunc_normal_in", 200**-0.5)]
)
def test_normal_weights_are_cut_at_two_deviations_of_the_uncut_variable(init, std):
    uncut = std / TRUNCATED_STD
    weight = filled(init)
    assert weight.abs().max().item() <= 2 * uncut
    assert weight.abs().max().item() > 1.99 * uncut
    # Of a normal variable within two deviations, 0.6827 / 0.9545 lie within one.
    share = (weight.abs() < uncut).float().mean().item()
    assert share == pytest.approx(0.6827 / 0.9545, abs=0.005)


def test_the_deviation_of_a_cut_normal_variable():
    """1 - 2 * 2 * density(2) / (1 - 2 * tail(2)), under the root."""
    density = math.exp(-2) / math.sqrt(2 * math.pi)
    inside = math.erf(2 / math.sqrt(2))
    assert math.sqrt(1 - 4 * density / inside) == pytest.approx(TRUNCATED_STD, rel=1e-9)


@pytest.mark.parametrize("init", ["glorot", "trunc_normal_avg", "trunc_normal_in"])
def test_a_scale_of_zero_gives_zeros(init):
    assert torch.equal(filled(init, 0.0), torch.zeros(300, 200))
    layer = Linear(4, 3, init=init, scale=0.0)
    assert torch.equal(layer(torch.randn(2, 4)), torch.zeros(2, 3))


@pytest.mark.parametrize(
    ("make", "fan_in", "fan_out"),
    [
        (lambda init: Linear(300, 200, init=init), 300, 200),
        (lambda init: Conv2d(30, 60, 4, 2, init=init), 30 * 16, 60 * 16),
        (lambda init: ConvTranspose2d(60, 30, 4, 2, init=init), 60 * 16, 30 * 16),
        (lambda init: JointLinear((100, 200), 200, init=init), 300, 200),
        (lambda init: BlockLinear(400, 800, 4, init=init), 400, 800),
    ],
    ids=["Linear", "Conv2d", "ConvTranspose2d", "JointLinear", "BlockLinear"],
)
def test_fans_of_every_layer(make, fan_in, fan_out):
    torch.manual_seed(0)
    for init, fan in (("trunc_normal_in", fan_in), ("trunc_normal_avg", (fan_in + fan_out) / 2)):
        layer = make(init)
        assert layer.weight.std().item() == pytest.approx(fan**-0.5, rel=0.02), init
        assert torch.equal(layer.bias, torch.zeros_like(layer.bias))


def test_the_plain_style():
    assert Style() == PLAIN
    assert isinstance(PLAIN.normalize(3), torch.nn.Identity)
    assert PLAIN.activate()(torch.tensor(-1.0)).item() == pytest.approx(math.exp(-1) - 1)


@pytest.mark.parametrize(
    ("norm", "bias", "has_bias"),
    [
        ("none", "always", True),
        ("none", "unnormed", True),
        ("layer", "always", True),
        ("layer", "unnormed", False),
        ("rms", "unnormed", False),
    ],
)
def test_biases_may_be_left_to_norms(norm, bias, has_bias):
    style = Style(norm=norm, bias=bias)
    assert style.has_bias is has_bias
    layer = style.linear(3, 2)
    assert (layer.bias is not None) is has_bias
    assert layer.weight.shape == (2, 3)


def test_a_style_hands_its_initialiser_on():
    assert Style(init="trunc_normal_in").linear(3, 2).init == "trunc_normal_in"


@pytest.mark.parametrize(("norm", "kind"), [("layer", LayerNorm), ("rms", RMSNorm)])
def test_norms_by_name(norm, kind):
    assert type(Style(norm=norm).normalize(3)) is kind


X = torch.tensor([[1.0, 2.0, 6.0], [0.0, 0.0, 0.0]])


def test_layer_norm_by_hand():
    norm = LayerNorm(3)
    with torch.no_grad():
        norm.weight.copy_(torch.tensor([1.0, 2.0, 3.0]))
        norm.bias.copy_(torch.tensor([0.5, 0.0, 0.0]))
    root = math.sqrt((4 + 1 + 9) / 3 + 1e-3)  # around the mean of three
    expected = torch.tensor([[-2 / root + 0.5, 2 * -1 / root, 3 * 3 / root], [0.5, 0.0, 0.0]])
    torch.testing.assert_close(norm(X), expected)


def test_rms_norm_by_hand():
    norm = RMSNorm(3)
    assert [name for name, _ in norm.named_parameters()] == ["weight"]
    with torch.no_grad():
        norm.weight.copy_(torch.tensor([1.0, 2.0, 3.0]))
    root = math.sqrt((1 + 4 + 36) / 3 + 1e-4)  # the mean is not taken off
    expected = torch.tensor([[1 / root, 4 / root, 18 / root], [0.0, 0.0, 0.0]])
    torch.testing.assert_close(norm(X), expected)


@pytest.mark.parametrize("kind", [LayerNorm, RMSNorm])
def test_norms_are_taken_in_float32(kind):
    norm = kind(3)
    # The squares of these overflow half precision's range.
    large = torch.tensor([[200.0, -300.0, 600.0]], dtype=torch.float16)
    found = norm(large)
    assert found.dtype == torch.float16
    torch.testing.assert_close(found, norm(large.float()).half())
    with torch.autocast("cpu", torch.bfloat16):
        assert norm(large.float()).dtype == torch.float32


@pytest.mark.parametrize("kind", [LayerNorm, RMSNorm])
def test_channels_of_each_pixel_are_normed(kind):
    torch.manual_seed(0)
    norm, image = kind(5), torch.randn(2, 5, 3, 4)
    found = ChannelNorm(norm)(image)
    assert found.shape == image.shape
    for row in range(3):
        for column in range(4):
            torch.testing.assert_close(found[:, :, row, column], norm(image[:, :, row, column]))


def test_a_block_layer_is_a_dense_one_with_a_block_diagonal_matrix():
    torch.manual_seed(0)
    layer, x = BlockLinear(6, 9, 3, init="trunc_normal_in"), torch.randn(4, 6)
    torch.nn.init.normal_(layer.bias)
    dense = torch.block_diag(*layer.weight.detach())
    assert dense.shape == (6, 9)
    assert layer.weight.numel() == 3 * 2 * 3
    torch.testing.assert_close(layer(x), x @ dense + layer.bias)


def test_one_block_is_a_dense_layer():
    torch.manual_seed(0)
    layer, x = BlockLinear(4, 3, 1, init="glorot"), torch.randn(5, 4)
    torch.testing.assert_close(layer(x), x @ layer.weight[0])


@pytest.mark.parametrize(("in_size", "out_size"), [(7, 9), (6, 8)])
def test_blocks_divide_both_sizes(in_size, out_size):
    with pytest.raises(ValueError, match=f"sizes {in_size} and {out_size} must be multiples of"):
        BlockLinear(in_size, out_size, 3, init="glorot")
