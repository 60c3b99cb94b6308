"""Lambda returns and weights in both conventions, by hand."""

import pytest
import torch

from harmony.behavior.targets import NextReward, OwnReward

REWARD = torch.tensor([[1.0, 2.0, 3.0]])
VALUE = torch.tensor([[10.0, 20.0, 30.0]])


def test_own_reward_by_hand():
    """Rewards and discounts of states 0, 1, 2; values of states 1, 2, 3."""
    discount = torch.tensor([[0.5, 0.8, 0.9]])
    found = OwnReward(return_lambda=0.25).targets(REWARD, discount, VALUE)
    last = 3 + 0.9 * 30
    middle = 2 + 0.8 * (0.75 * 20 + 0.25 * last)
    first = 1 + 0.5 * (0.75 * 10 + 0.25 * middle)
    torch.testing.assert_close(found.critic, torch.tensor([[first, middle, last]]))
    # The first action can't change the return of its own state: it is judged by the next one.
    assert found.actor.tolist() == [pytest.approx([middle, last])]
    assert found.value is VALUE


def test_all_actions_may_be_judged_by_their_own_state():
    discount = torch.full((1, 3), 0.9)
    found = OwnReward(first_return=0).targets(REWARD, discount, VALUE)
    assert torch.equal(found.actor, found.critic)
    assert found.critic.shape == (1, 3)


def test_own_reward_weighs_by_the_discounts_before_a_state():
    discount = torch.tensor([[0.5, 0.8, 0.9]])
    found = OwnReward().weight(discount, certain=0.997)
    torch.testing.assert_close(found, torch.tensor([[1.0, 0.5, 0.4]]))


def test_own_reward_reads_the_states_before_the_last():
    states = list(range(4))
    assert states[OwnReward.rewards] == states[OwnReward.discounts] == [0, 1, 2]


def test_next_reward_by_hand():
    """Rewards and values of states 1, 2, 3; discounts of all four."""
    discount = torch.tensor([[0.3, 0.5, 0.8, 0.9]])
    found = NextReward(return_lambda=0.25).targets(REWARD, discount, VALUE)
    last = 3 + 0.9 * 30
    middle = 2 + 0.8 * (0.75 * 20 + 0.25 * last)
    first = 1 + 0.5 * (0.75 * 10 + 0.25 * middle)
    torch.testing.assert_close(found.critic, torch.tensor([[first, middle, last]]))
    assert torch.equal(found.actor, found.critic)
    assert found.value is VALUE


def test_next_reward_weighs_by_the_discounts_up_to_a_state():
    gamma = 0.5
    discount = gamma * torch.tensor([[1.0, 1.0, 0.0, 1.0], [0.0, 1.0, 1.0, 1.0]])
    found = NextReward().weight(discount, certain=gamma)
    assert found.tolist() == [[1.0, 0.5, 0.0], [0.0, 0.0, 0.0]]
    # Soft labels have the discount in what is predicted.
    found = NextReward().weight(torch.tensor([[0.8, 0.5, 0.9, 1.0]]), certain=1.0)
    torch.testing.assert_close(found, torch.tensor([[0.8, 0.4, 0.36]]))


def test_next_reward_reads_the_states_after_the_first():
    states = list(range(4))
    assert states[NextReward.rewards] == [1, 2, 3]
    assert states[NextReward.discounts] == [0, 1, 2, 3]


def test_both_conventions_agree_on_what_a_trajectory_is_worth():
    """The value of a state in one is its reward and its discount times that in the other."""
    torch.manual_seed(0)
    reward, discount = torch.randn(2, 5), torch.rand(2, 5)  # of five states
    following = torch.randn(2, 4)  # NextReward's values of the last four states
    held = reward[:, 1:] + discount[:, 1:] * following  # OwnReward's
    one = OwnReward(return_lambda=1.0).targets(reward[:, :-1], discount[:, :-1], held)
    two = NextReward(return_lambda=1.0).targets(reward[:, 1:], discount, following)
    torch.testing.assert_close(one.critic, reward[:, :-1] + discount[:, :-1] * two.critic)


def test_returns_carry_gradients_to_rewards_discounts_and_values():
    for part, count in ((OwnReward(), 3), (NextReward(), 4)):
        inputs = [
            REWARD.clone().requires_grad_(),
            torch.full((1, count), 0.9, requires_grad=True),
            VALUE.clone().requires_grad_(),
        ]
        torch.autograd.backward(part.targets(*inputs).actor.sum())
        assert all(x.grad.abs().sum() > 0 for x in inputs)


@pytest.mark.parametrize("first_return", [-1, 2])
def test_other_first_returns_are_refused(first_return):
    with pytest.raises(ValueError, match=r"targets\.first_return must be 0 or 1, got"):
        OwnReward(first_return=first_return)
