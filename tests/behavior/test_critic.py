"""The critic and its slow copy."""

import pytest
import torch

from harmony.behavior.critic import Critic, SlowCritic
from harmony.nn.outputs import SymexpTwoHot, TwoHot


def make():
    torch.manual_seed(0)
    return Critic(3, layers=2, units=4)


def test_value_by_its_layers():
    critic = make()
    feat = torch.randn(2, 5, 3)
    x = feat
    for layer in critic.mlp.layers:
        x = torch.nn.functional.elu(layer(x))
    assert critic.pred(feat).shape == (2, 5)
    torch.testing.assert_close(critic.pred(feat), critic.output(x)[..., 0])


def test_values_leave_half_precision():
    critic = make()
    with torch.autocast("cpu", torch.bfloat16):
        assert critic.pred(torch.randn(2, 3)).dtype == torch.float32
        assert SlowCritic(critic).pred(torch.randn(2, 3)).dtype == torch.float32


def test_the_slow_copy_begins_equal_and_is_one_of_its_own():
    critic = make()
    slow, feat = SlowCritic(critic), torch.randn(5, 3)
    assert torch.equal(slow.pred(feat), critic.pred(feat))
    before = slow.pred(feat)
    with torch.no_grad():
        critic.output.bias += 1.0
    assert torch.equal(slow.pred(feat), before)


def test_gradients_reach_the_feats_and_never_the_copy():
    slow = SlowCritic(make())
    feat = torch.randn(5, 3, requires_grad=True)
    torch.autograd.backward(slow.pred(feat).sum())
    assert feat.grad.abs().sum() > 0
    assert all(weight.grad is None for weight in slow.parameters())


def test_following_leaves_no_graph_and_stays_untrainable():
    critic = make()
    slow = SlowCritic(critic, every_updates=1, fraction=0.5)
    slow.follow(critic, 0)
    assert all(weight.grad_fn is None for weight in slow.parameters())
    assert not any(weight.requires_grad for weight in slow.parameters())


def test_the_slow_copy_is_in_the_state():
    slow = SlowCritic(make())
    assert {name.split(".")[0] for name in slow.state_dict()} == {"critic"}
    assert len(slow.state_dict()) == 6


@pytest.mark.parametrize(
    "given", [{"every_updates": 0}, {"fraction": 0.0}, {"fraction": 1.5}, {"fraction": -1.0}]
)
def test_nonsense_is_refused(given):
    with pytest.raises(ValueError, match=r"every_updates >= 1 and fraction in \(0, 1\]"):
        SlowCritic(make(), **given)


def behind(*, copy_first):
    """By how much the copy is behind a critic that has moved by 8, after two steps of a quarter."""
    critic = make()
    slow = SlowCritic(critic, every_updates=1, fraction=0.25, copy_first=copy_first)
    with torch.no_grad():
        for weight in critic.parameters():
            weight.add_(8.0)
    found = []
    for updates in range(2):
        slow.follow(critic, updates)
        left = critic.output.bias - slow.critic.output.bias
        found.append(left.item())
    return found


def test_the_first_step_may_copy_whatever_the_fraction():
    assert behind(copy_first=True) == [0.0, 0.0]
    assert behind(copy_first=False) == pytest.approx([6.0, 4.5])


def test_the_first_step_copies_unless_told_otherwise():
    critic = make()
    slow = SlowCritic(critic, every_updates=1, fraction=0.25)
    with torch.no_grad():
        critic.output.bias += 8.0
    slow.follow(critic, 0)
    assert torch.equal(slow.critic.output.bias, critic.output.bias)


@pytest.mark.parametrize("kind", [TwoHot, SymexpTwoHot])
def test_values_over_bins(kind):
    torch.manual_seed(0)
    critic = Critic(3, layers=1, units=4, scalar=kind(bins=7), out_scale=0.0)
    feat = torch.randn(2, 5, 3)
    assert torch.equal(critic.pred(feat), torch.zeros(2, 5))
    torch.nn.init.normal_(critic.output.weight)
    raw = critic.raw(feat)
    assert raw.shape == (2, 5, 7)
    torch.testing.assert_close(raw, critic.output(critic.mlp(feat)))
    torch.testing.assert_close(critic.pred(feat), critic.scalar.pred(raw))
    assert torch.equal(SlowCritic(critic).pred(feat), critic.pred(feat))
