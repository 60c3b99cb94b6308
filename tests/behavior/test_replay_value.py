"""What the critic learns from the replay, by hand."""

import pytest
import torch

from harmony.behavior.critic import Critic, SlowCritic
from harmony.behavior.replay_value import NoReplayValue, ReplayValue
from harmony.nn.outputs import SymexpTwoHot

GAMMA, LAMBDA = 0.9, 0.75


def make(**others):
    return ReplayValue(discount=GAMMA, return_lambda=LAMBDA, **others)


def batch(reward, last=(), terminal=()):
    """One row; `last` and `terminal` are the steps that are flagged."""
    flags = [[[t in steps for t in range(len(reward))]] for steps in (last, terminal)]
    return {
        "reward": torch.tensor([reward]),
        "is_last": torch.tensor(flags[0]),
        "is_terminal": torch.tensor(flags[1]),
    }


IMAGINED = torch.tensor([[10.0, 20.0, 30.0, 40.0]])


def test_returns_end_in_the_imagined_one():
    found = make().returns(batch([1.0, 2.0, 3.0, 4.0]), IMAGINED)
    two = 4 + GAMMA * 40  # lambda makes no difference to the last step: both are 40
    one = 3 + GAMMA * (0.25 * 30 + LAMBDA * two)
    zero = 2 + GAMMA * (0.25 * 20 + LAMBDA * one)
    torch.testing.assert_close(found, torch.tensor([[zero, one, two]]))


def test_a_truncated_episode_ends_in_its_last_imagined_return():
    """Step 2 is an episode's last: the row goes on with another one."""
    found = make().returns(batch([1.0, 2.0, 3.0, 4.0], last=[2]), IMAGINED)
    one = 3 + GAMMA * 30
    zero = 2 + GAMMA * (0.25 * 20 + LAMBDA * one)
    assert found[0, :2].tolist() == pytest.approx([zero, one])


def test_nothing_comes_after_a_terminal_step():
    found = make().returns(batch([1.0, 2.0, 3.0, 4.0], last=[2], terminal=[2]), IMAGINED)
    one = 3.0
    zero = 2 + GAMMA * (0.25 * 20 + LAMBDA * one)
    assert found[0, :2].tolist() == pytest.approx([zero, one])


def critics(**others):
    torch.manual_seed(0)
    critic = Critic(3, layers=1, units=4, **others)
    slow = SlowCritic(critic)
    with torch.no_grad():
        critic.output.bias += 0.5
    return critic, slow


def test_the_loss_by_hand():
    critic, slow = critics()
    feat, given = torch.randn(1, 4, 3), batch([1.0, 2.0, 3.0, 4.0], last=[1])
    part = make(weight=0.3, slow_regularizer=2.0)
    found = part(critic, slow, feat, given, IMAGINED.flatten())
    target = part.returns(given, IMAGINED)[0]
    value, followed = critic.pred(feat)[0], slow.pred(feat)[0]
    # Step 1 is an episode's last: what follows in the row is no consequence of it.
    terms = [
        0.5 * (value[t] - target[t]) ** 2 + 2.0 * 0.5 * (value[t] - followed[t]) ** 2
        for t in (0, 2)
    ]
    assert found.shape == ()
    torch.testing.assert_close(found, 0.3 * torch.stack(terms).sum() / 3)


def test_gradients_reach_critic_and_feats_but_no_target():
    critic, slow = critics(scalar=SymexpTwoHot(bins=9))
    feat = torch.randn(2, 4, 3, requires_grad=True)
    imagined = torch.randn(8, requires_grad=True)
    given = {name: value.expand(2, 4) for name, value in batch([1.0, 2.0, 3.0, 4.0]).items()}
    torch.autograd.backward(make()(critic, slow, feat, given, imagined))
    assert all(weight.grad is not None for weight in critic.parameters())
    assert all(weight.grad is None for weight in slow.parameters())
    assert imagined.grad is None
    # The last step has no return of its own.
    assert (feat.grad.abs().sum((0, 2)) > 0).tolist() == [True, True, True, False]


def test_rows_of_the_imagined_returns_are_sequences():
    critic, slow = critics()
    feat, imagined = torch.randn(2, 4, 3), torch.randn(2, 4)
    given = batch([1.0, 2.0, 3.0, 4.0], last=[2])
    both = {name: value.expand(2, 4) for name, value in given.items()}
    apart = [make()(critic, slow, feat[row : row + 1], given, imagined[row]) for row in range(2)]
    together = make()(critic, slow, feat, both, imagined.flatten())
    torch.testing.assert_close(together, torch.stack(apart).mean())


def test_without_it_there_is_nothing_to_learn():
    critic, slow = critics()
    found = NoReplayValue()(critic, slow, torch.randn(1, 4, 3), {}, IMAGINED.flatten())
    assert found.item() == 0.0
    assert not found.requires_grad
    assert NoReplayValue.weight == 0.0
