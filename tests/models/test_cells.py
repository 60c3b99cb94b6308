"""The recurrent cell by hand."""

import math

import pytest
import torch

from harmony.models.cells import GRUCell


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def test_gates_by_hand():
    cell = GRUCell(1, 1)
    raw = torch.tensor([[1.0, 2.0, 3.0]])  # reset, candidate, update
    scale = math.sqrt(2 / 3 + 1e-3)  # population variance and the norm's epsilon
    reset, cand, update = -1 / scale, 0.0, 1 / scale
    new = math.tanh(sigmoid(reset) * cand)
    share = sigmoid(update - 1.0)
    expected = share * new + (1 - share) * 0.5
    assert cell.gates(raw, torch.tensor([[0.5]])).item() == pytest.approx(expected, rel=1e-6)


def test_the_order_of_the_gates():
    cell = GRUCell(1, 1)
    # The norm's own weights off, so that its bias alone sets the gates.
    with torch.no_grad():
        cell.norm.weight.zero_()
        cell.norm.bias.copy_(torch.tensor([0.0, 4.0, 100.0]))
    # Update wide open: the candidate alone, tanh(sigmoid(0) * 4).
    found = cell(torch.zeros(1, 1), torch.tensor([[0.9]]))
    assert found.item() == pytest.approx(math.tanh(2.0), rel=1e-6)
    with torch.no_grad():
        cell.norm.bias.copy_(torch.tensor([0.0, 4.0, -100.0]))
    assert cell(torch.zeros(1, 1), torch.tensor([[0.9]])).item() == pytest.approx(0.9)


def test_a_new_cell_rather_keeps_its_state():
    cell = GRUCell(1, 1)
    with torch.no_grad():
        cell.norm.weight.zero_()
    # All gates at zero: the candidate is 0 and sigmoid(-1) of it is taken.
    found = cell(torch.zeros(1, 1), torch.ones(1, 1))
    assert found.item() == pytest.approx(1 - sigmoid(-1.0), rel=1e-6)
    cell.update_bias = 0.0
    assert cell(torch.zeros(1, 1), torch.ones(1, 1)).item() == pytest.approx(0.5)


def test_input_and_state_reach_the_gates():
    torch.manual_seed(0)
    cell = GRUCell(2, 3)
    x, deter = torch.randn(4, 2), torch.randn(4, 3)
    raw = torch.cat([x, deter], -1) @ cell.linear.weight.T + cell.linear.bias
    torch.testing.assert_close(cell(x, deter), cell.gates(raw, deter))
    assert cell.linear.weight.shape == (9, 5)
    assert cell(x, deter).shape == (4, 3)


def test_the_state_stays_within_bounds():
    torch.manual_seed(0)
    cell, deter = GRUCell(2, 3), torch.zeros(4, 3)
    for _ in range(50):
        deter = cell(100 * torch.randn(4, 2), deter)
    assert deter.abs().max() <= 1
