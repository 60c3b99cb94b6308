"""The recurrent cells by hand."""

import math

import pytest
import torch

from harmony.models.cells import BlockGRUCell, GRUCell, gru_update
from harmony.nn.layers import Style

V3_2025 = Style(act="silu", norm="rms", init="trunc_normal_in")


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def small(**sizes: int) -> GRUCell:
    return GRUCell(1, 1, **{"deter": 1, "hidden": 1, **sizes})


def advance(cell: GRUCell, deter: torch.Tensor) -> torch.Tensor:
    """With inputs of zero."""
    nothing = torch.zeros(1, 1)
    return cell(deter, nothing, nothing)


def test_gates_by_hand():
    cell = small()
    raw = torch.tensor([[1.0, 2.0, 3.0]])  # reset, candidate, update
    scale = math.sqrt(2 / 3 + 1e-3)  # population variance and the norm's epsilon
    reset, cand, update = -1 / scale, 0.0, 1 / scale
    new = math.tanh(sigmoid(reset) * cand)
    share = sigmoid(update - 1.0)
    expected = share * new + (1 - share) * 0.5
    found = gru_update(cell.norm(raw), torch.tensor([[0.5]]), cell.update_bias)
    assert found.item() == pytest.approx(expected, rel=1e-6)


def test_the_order_of_the_gates():
    cell = small()
    # The norm's own weights off, so that its bias alone sets the gates.
    with torch.no_grad():
        cell.norm.weight.zero_()
        cell.norm.bias.copy_(torch.tensor([0.0, 4.0, 100.0]))
    # Update wide open: the candidate alone, tanh(sigmoid(0) * 4).
    found = advance(cell, torch.tensor([[0.9]]))
    assert found.item() == pytest.approx(math.tanh(2.0), rel=1e-6)
    with torch.no_grad():
        cell.norm.bias.copy_(torch.tensor([0.0, 4.0, -100.0]))
    assert advance(cell, torch.tensor([[0.9]])).item() == pytest.approx(0.9)


def test_a_new_cell_rather_keeps_its_state():
    cell = small()
    with torch.no_grad():
        cell.norm.weight.zero_()
    # All gates at zero: the candidate is 0 and sigmoid(-1) of it is taken.
    assert advance(cell, torch.ones(1, 1)).item() == pytest.approx(1 - sigmoid(-1.0), rel=1e-6)
    cell.update_bias = 0.0
    assert advance(cell, torch.ones(1, 1)).item() == pytest.approx(0.5)


def test_input_and_state_reach_the_gates():
    torch.manual_seed(0)
    cell = GRUCell(2, 1, deter=3, hidden=5)
    deter, stoch, action = torch.randn(4, 3), torch.randn(4, 2), torch.randn(4, 1)
    raw = torch.cat([stoch, action], -1) @ cell.input.weight.T + cell.input.bias
    x = torch.nn.functional.elu(raw)
    raw = torch.cat([x, deter], -1) @ cell.linear.weight.T + cell.linear.bias
    found = cell(deter, stoch, action)
    torch.testing.assert_close(found, gru_update(cell.norm(raw), deter, -1.0))
    assert cell.linear.weight.shape == (9, 8)
    assert found.shape == (4, 3)


def test_the_state_stays_within_bounds():
    torch.manual_seed(0)
    cell, deter = GRUCell(2, 1, deter=3, hidden=4), torch.zeros(4, 3)
    for _ in range(50):
        deter = cell(deter, 100 * torch.randn(4, 2), 100 * torch.randn(4, 1))
    assert deter.abs().max() <= 1


def test_a_style_leaves_biases_to_the_norms():
    cell = GRUCell(2, 1, deter=3, hidden=4, style=Style(act="silu", norm="layer", bias="unnormed"))
    assert {name for name, _ in cell.named_parameters()} == {
        "input.weight", "input_norm.weight", "input_norm.bias", "linear.weight",
        "norm.weight", "norm.bias",
    }  # fmt: skip
    assert small().linear.bias is not None


def test_gates_of_two_blocks_by_hand():
    # Each block has its own triple: reset, candidate, update.
    raw = torch.tensor([[0.0, 4.0, 100.0, 100.0, 0.5, 0.0]])
    found = gru_update(raw, torch.tensor([[0.9, 0.3]]), -1.0, blocks=2)
    share = sigmoid(-1.0)
    second = share * math.tanh(0.5) + (1 - share) * 0.3
    torch.testing.assert_close(found, torch.tensor([[math.tanh(2.0), second]]))


def test_gates_are_taken_in_float32():
    raw = torch.tensor([[0.1, 0.2, 0.3]])
    found = gru_update(raw.bfloat16(), torch.tensor([[0.5]]), -1.0)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, gru_update(raw.bfloat16().float(), torch.tensor([[0.5]]), -1))


def blocks(**others: int) -> BlockGRUCell:
    torch.manual_seed(0)
    sizes = {"deter": 6, "hidden": 4, "blocks": 3, **others}
    return BlockGRUCell(5, 2, **sizes, style=V3_2025)


def plain_norms(cell: BlockGRUCell) -> BlockGRUCell:
    """Without the norms between the blocks, which mix them."""
    cell.norms = torch.nn.ModuleList(torch.nn.Identity() for _ in cell.norms)
    return cell


def test_blocks_see_only_their_own_part_of_deter():
    """Apart from the inputs, which all see, held here."""
    cell = plain_norms(blocks())
    torch.nn.init.zeros_(cell.inputs["deter"].weight)
    deter, stoch, action = torch.randn(1, 6), torch.randn(1, 5), torch.randn(1, 2)
    jacobian = torch.autograd.functional.jacobian(lambda x: cell(x, stoch, action), deter).reshape(
        6, 6
    )
    own = torch.block_diag(*[torch.ones(2, 2)] * 3).bool()
    assert (jacobian[own] != 0).all()
    assert (jacobian[~own] == 0).all()


def test_all_blocks_see_all_inputs():
    cell = plain_norms(blocks())
    given = [torch.randn(1, 6), torch.randn(1, 5), torch.randn(1, 2)]
    for jacobian in torch.autograd.functional.jacobian(cell, tuple(given)):
        assert (jacobian != 0).all()


def test_a_cell_of_blocks_by_its_layers():
    cell = blocks(blocks=1, layers=2)
    deter, stoch, action = torch.randn(3, 6), torch.randn(3, 5), torch.randn(3, 2)
    act = torch.nn.functional.silu
    inputs = [
        act(cell.input_norms[name](cell.inputs[name](x)))
        for name, x in (("deter", deter), ("stoch", stoch), ("action", action))
    ]
    x = torch.cat([deter, *inputs], -1)
    for layer, norm in zip(cell.layers, cell.norms, strict=True):
        x = act(norm(x @ layer.weight[0] + layer.bias))
    raw = x @ cell.gates.weight[0] + cell.gates.bias
    torch.testing.assert_close(cell(deter, stoch, action), gru_update(raw, deter, -1.0))
    assert len(cell.layers) == 2


def test_sizes_of_the_blocks():
    cell = blocks()
    # A block of each layer sees 2 numbers of its own and 3 * 4 of the inputs.
    assert cell.layers[0].weight.shape == (3, 2 + 12, 2)
    assert cell.gates.weight.shape == (3, 2, 3 * 2)
    with pytest.raises(ValueError, match="must be multiples of blocks=4"):
        blocks(blocks=4)


@pytest.mark.parametrize("kind", ["GRUCell", "BlockGRUCell"])
def test_steps_equal_repeated_forward(kind):
    cell = blocks() if kind == "BlockGRUCell" else GRUCell(5, 2, deter=6, hidden=4)
    deter, stoch, action = torch.randn(3, 6), torch.randn(4, 3, 5), torch.randn(3, 4, 2)
    steps = cell.steps(action)
    assert len(steps) == 4
    one = two = deter
    for t, step in enumerate(steps):
        one, two = step(one, stoch[t]), cell(two, stoch[t], action[:, t])
        torch.testing.assert_close(one, two)


@pytest.mark.parametrize("kind", ["GRUCell", "BlockGRUCell"])
def test_steps_train_what_forward_trains(kind):
    cell = blocks() if kind == "BlockGRUCell" else GRUCell(5, 2, deter=6, hidden=4)
    deter, stoch, action = torch.randn(3, 6), torch.randn(3, 5), torch.randn(3, 1, 2)
    grads = [
        torch.autograd.grad(result.square().sum(), list(cell.parameters()))
        for result in (cell.steps(action)[0](deter, stoch), cell(deter, stoch, action[:, 0]))
    ]
    for left, right in zip(*grads, strict=True):
        torch.testing.assert_close(left, right)
