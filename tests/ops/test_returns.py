"""Returns by hand."""

import pytest
import torch

from harmony.ops.returns import discount_weight, lambda_return
from tests.golden.originals import Golden

REWARD = torch.tensor([[1.0, 2.0, 3.0, 4.0]])
NEXT_VALUE = torch.tensor([[10.0, 20.0, 30.0, 40.0]])


def test_lambda_zero_is_one_step_targets():
    discount = torch.full((1, 4), 0.5)
    # 1 + 5, 2 + 10, 3 + 15, 4 + 20
    expected = torch.tensor([[6.0, 12.0, 18.0, 24.0]])
    torch.testing.assert_close(lambda_return(REWARD, NEXT_VALUE, discount, 0.0), expected)


def test_lambda_one_is_the_bootstrapped_sum():
    discount = torch.full((1, 4), 0.5)
    # 4 + 20 = 24; 3 + 12 = 15; 2 + 7.5 = 9.5; 1 + 4.75 = 5.75
    expected = torch.tensor([[5.75, 9.5, 15.0, 24.0]])
    torch.testing.assert_close(lambda_return(REWARD, NEXT_VALUE, discount, 1.0), expected)


def test_lambda_half_with_a_terminal_in_the_middle():
    discount = torch.tensor([[0.5, 0.0, 0.5, 0.5]])
    # t=3: 4 + .5 * (.5 * 40 + .5 * 40) = 24;  t=2: 3 + .5 * (15 + 12) = 16.5
    # t=1: 2, nothing passes the end;          t=0: 1 + .5 * (.5 * 10 + .5 * 2) = 4
    expected = torch.tensor([[4.0, 2.0, 16.5, 24.0]])
    torch.testing.assert_close(lambda_return(REWARD, NEXT_VALUE, discount, 0.5), expected)


def test_weights_are_the_discounts_before():
    discount = torch.tensor([[0.5, 0.0, 0.9], [0.9, 0.8, 0.7]])
    expected = torch.tensor([[1.0, 0.5, 0.0], [1.0, 0.9, 0.72]])
    torch.testing.assert_close(discount_weight(discount), expected)


def test_unequal_shapes_are_refused():
    with pytest.raises(ValueError, match="one shape"):
        lambda_return(REWARD, NEXT_VALUE[:, 1:], torch.ones(1, 4), 0.95)


@pytest.mark.golden
@pytest.mark.parametrize("lambda_", [0.0, 0.95, 1.0])
def test_equals_the_original(lambda_):
    golden = Golden("ops")
    reward, value, discount = (
        golden[f"in/lambda_return/{name}"].T.contiguous()
        for name in ("reward", "value", "discount")
    )
    bootstrap = golden["in/lambda_return/bootstrap"].unsqueeze(1)
    next_value = torch.cat([value[:, 1:], bootstrap], 1)
    expected = golden[f"out/lambda_return/lambda{lambda_}"].T
    found = lambda_return(reward, next_value, discount, lambda_)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
