"""The perceptron by hand."""

import pytest
import torch

from harmony.nn.layers import LayerNorm, Style
from harmony.nn.mlp import MLP


def test_two_layers_by_hand():
    mlp = MLP(2, layers=2, units=1, style=Style(act="relu"))
    with torch.no_grad():
        mlp.layers[0].weight.copy_(torch.tensor([[1.0, 2.0]]))
        mlp.layers[0].bias.fill_(-1.0)
        mlp.layers[1].weight.fill_(3.0)
        mlp.layers[1].bias.fill_(0.5)
    # 1 + 2 * 2 - 1 = 4, times 3, plus 0.5; then -5 - 1 is cut to 0.
    found = mlp(torch.tensor([[1.0, 2.0], [-5.0, 0.0]]))
    assert found.tolist() == [[12.5], [0.5]]


@pytest.mark.parametrize(("layers", "count"), [(1, 5 * 7 + 7), (3, 5 * 7 + 7 + 2 * (7 * 7 + 7))])
def test_sizes(layers, count):
    mlp = MLP(5, layers=layers, units=7)
    assert mlp.out_size == 7
    assert sum(weight.numel() for weight in mlp.parameters()) == count
    assert mlp(torch.zeros(2, 3, 5)).shape == (2, 3, 7)


def test_the_last_layer_is_activated_too():
    mlp = MLP(3, layers=1, units=50)
    assert mlp(torch.full((1, 3), -100.0)).min() >= -1  # elu's bound


def test_no_layers_is_the_identity():
    mlp = MLP(4, layers=0, units=9)
    x = torch.randn(2, 4)
    assert mlp.out_size == 4
    assert torch.equal(mlp(x), x)


def test_norms_stand_between_the_linear_map_and_the_activation():
    torch.manual_seed(0)
    style = Style(act="silu", norm="layer", init="trunc_normal_avg", bias="unnormed")
    mlp, x = MLP(3, layers=2, units=4, style=style), torch.randn(5, 3)
    expected = x
    for layer, norm in zip(mlp.layers, mlp.norms, strict=True):
        assert isinstance(norm, LayerNorm)
        assert layer.bias is None
        expected = torch.nn.functional.silu(norm(expected @ layer.weight.T))
    torch.testing.assert_close(mlp(x), expected)
