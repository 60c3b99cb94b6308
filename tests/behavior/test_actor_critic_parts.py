"""Actor and critic losses by hand, with the parts that an algorithm may choose."""

import pytest
import torch

from harmony.behavior.actor import NormalActor
from harmony.behavior.actor_critic import ActorCritic, frozen
from harmony.behavior.actor_gradient import AdvantageGradient, DynamicsGradient, ReinforceGradient
from harmony.behavior.critic import Critic, SlowCritic
from harmony.behavior.replay_value import ReplayValue
from harmony.behavior.return_norm import IdentityNorm, PercentileNorm
from harmony.behavior.targets import NextReward, OwnReward, Targets
from harmony.nn.outputs import TwoHot
from harmony.types import Rollout
from tests import tiny

N, H, FEAT = 4, 3, 5


def make(**parts):
    torch.manual_seed(0)
    critic = Critic(FEAT, layers=1, units=4, **parts.pop("critic", {}))
    slow = SlowCritic(critic)
    with torch.no_grad():
        critic.output.bias += 0.5
    return ActorCritic(
        actor=NormalActor(FEAT, 2, layers=1, units=4),
        critic=critic,
        slow_critic=slow,
        horizon=H,
        **{"actor_gradient": DynamicsGradient(), **parts},
    )


def roll_out(behavior, count=H):
    """Numbers in the place of a rollout; the statistics are the actor's."""
    feat = torch.randn(N, H + 1, FEAT, requires_grad=True)
    stats = behavior.actor.stats(feat.detach()[:, :-1])
    action = behavior.actor.sample(stats, torch.randn(N, H, 2))
    rollout = Rollout(feat, action, stats, torch.randn(N, H), torch.rand(N, H), torch.rand(N, H))
    returns = 10 * torch.randn(N, H)
    value = behavior._critic(behavior.target_values).pred(feat[:, 1:])
    return rollout, Targets(returns, returns[:, H - count :].clone().requires_grad_(), value)


@pytest.mark.parametrize("count", [H - 1, H])
def test_the_objective_and_the_entropy_are_weighed(count):
    behavior = make(actor_entropy=0.1)
    rollout, targets = roll_out(behavior, count)
    loss, metrics = behavior.actor_loss(rollout, targets)
    entropy = behavior.actor.entropy(rollout.stats[:, :count])
    expected = -(rollout.weight[:, :count] * (targets.actor + 0.1 * entropy)).mean()
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(metrics["actor/entropy"], entropy.mean().detach())
    assert metrics["actor/return_scale"] == 1


@pytest.mark.parametrize("target_values", ["slow", "online"])
@pytest.mark.parametrize("baseline_values", ["slow", "online"])
@pytest.mark.parametrize("count", [H - 1, H])
def test_the_baseline_is_the_value_of_the_state_in_which_one_acts(
    target_values, baseline_values, count
):
    behavior = make(
        target_values=target_values,
        baseline_values=baseline_values,
        actor_gradient=AdvantageGradient(),
        actor_entropy=0.0,
    )
    rollout, targets = roll_out(behavior, count)
    loss, _ = behavior.actor_loss(rollout, targets)
    critic = behavior.slow_critic if baseline_values == "slow" else behavior.critic
    baseline = critic.pred(rollout.feat[:, :count])
    expected = -(rollout.weight[:, :count] * (targets.actor - baseline)).mean()
    torch.testing.assert_close(loss, expected)


def test_returns_and_baseline_are_brought_to_one_scale():
    norm = PercentileNorm(low=0.0, high=100.0, decay=0.0, limit=1.0)
    behavior = make(actor_gradient=ReinforceGradient(), return_norm=norm, actor_entropy=0.0)
    rollout, targets = roll_out(behavior)
    loss, metrics = behavior.actor_loss(rollout, targets)
    scale = targets.critic.max() - targets.critic.min()
    torch.testing.assert_close(metrics["actor/return_scale"], scale)
    log_prob = behavior.actor.log_prob(rollout.stats, rollout.action.detach())
    advantage = (targets.actor - behavior.slow_critic.pred(rollout.feat[:, :-1])) / scale
    expected = -(rollout.weight * log_prob * advantage.detach()).mean()
    torch.testing.assert_close(loss, expected)


def test_the_actors_loss_trains_nothing_else():
    behavior = make(actor_gradient=AdvantageGradient(), baseline_values="online")
    rollout, targets = roll_out(behavior)
    torch.autograd.backward(behavior.actor_loss(rollout, targets)[0])
    assert all(weight.grad is None for weight in behavior.critic.parameters())
    assert rollout.feat.grad.abs().sum() > 0
    assert targets.actor.grad.abs().sum() > 0
    assert all(weight.requires_grad for weight in behavior.critic.parameters())


@pytest.mark.parametrize("regularizer", [0.0, 0.7])
def test_the_critic_learns_from_returns_and_from_its_slow_copy(regularizer):
    behavior = make(slow_regularizer=regularizer)
    rollout, targets = roll_out(behavior)
    loss, metrics = behavior.critic_loss(rollout, targets)
    feat = rollout.feat[:, :-1].detach()
    value, slow = behavior.critic.pred(feat), behavior.slow_critic.pred(feat)
    error = 0.5 * (value - targets.critic) ** 2 + regularizer * 0.5 * (value - slow) ** 2
    torch.testing.assert_close(loss, (rollout.weight * error).mean())
    torch.testing.assert_close(metrics["critic/value"], value.mean().detach())
    torch.testing.assert_close(metrics["critic/target"], targets.critic.mean())
    torch.autograd.backward(loss)
    assert rollout.feat.grad is None
    assert all(weight.grad is not None for weight in behavior.critic.parameters())
    assert all(weight.grad is None for weight in behavior.slow_critic.parameters())


def test_a_critic_over_bins_has_its_own_loss():
    behavior = make(critic={"scalar": TwoHot(bins=9, limit=5.0)}, slow_regularizer=1.0)
    rollout, targets = roll_out(behavior)
    loss, metrics = behavior.critic_loss(rollout, targets)
    feat, critic = rollout.feat[:, :-1].detach(), behavior.critic
    raw = critic.raw(feat)
    error = critic.scalar.loss(raw, targets.critic)
    error = error + critic.scalar.loss(raw, behavior.slow_critic.pred(feat))
    torch.testing.assert_close(loss, (rollout.weight * error).mean())
    torch.testing.assert_close(metrics["critic/value"], critic.pred(feat).mean().detach())


def test_parts_that_are_not_given():
    behavior = make()
    assert isinstance(behavior.convention, OwnReward)
    assert isinstance(behavior.return_norm, IdentityNorm)
    assert behavior.replay_value.weight == 0
    assert behavior.convention.first_return == 1


@pytest.mark.parametrize("algorithm", tiny.ALGORITHMS)
def test_targets_come_from_the_critic_that_is_named(algorithm):
    agent = tiny.agent(f"algorithm={algorithm}")
    with torch.no_grad():
        for weight in agent.behavior.critic.parameters():
            weight.add_(0.3)
    behavior, given = agent.behavior, tiny.batch(f"algorithm={algorithm}")
    modelled = agent.world_model.losses(
        given, agent.world_model.draw_noise(given, agent.generators.observe)
    )
    start = modelled.latent.detach().flatten_time()
    count = start.deter.shape[0]
    noise = behavior.draw_noise(agent.world_model, count, agent.generators.imagine)
    terminal = modelled.batch["is_terminal"].flatten()
    rollout, targets = behavior.imagine(agent.world_model, start, terminal, noise)
    critic = behavior.slow_critic if behavior.target_values == "slow" else behavior.critic
    assert behavior.target_values == {"dreamerv2": "slow", "dreamerpro": "slow"}.get(
        algorithm, "online"
    )
    torch.testing.assert_close(targets.value, critic.pred(rollout.feat[:, 1:]))
    again = behavior.convention.targets(rollout.reward, rollout.discount, targets.value)
    assert torch.equal(targets.critic, again.critic)
    assert isinstance(behavior.convention, NextReward if "v3" in algorithm else OwnReward)


def test_what_the_replay_teaches_reaches_critic_and_world_model():
    """Imagined returns of the states of the batch close the returns along it."""
    agent = tiny.agent("algorithm=dreamerv3_2025")
    given, behavior = tiny.batch("algorithm=dreamerv3_2025"), agent.behavior
    assert isinstance(behavior.replay_value, ReplayValue)
    # A new critic's last layer is zero, and so would be all gradients below it.
    torch.nn.init.normal_(behavior.critic.output.weight)
    model = agent.world_model
    modelled = model.losses(given, model.draw_noise(given, agent.generators.observe))
    returns = torch.randn(8, H)
    loss = behavior.replay_loss(model, modelled, Targets(returns, returns, returns))
    feat = model.rssm.get_feat(modelled.latent)
    expected = behavior.replay_value(
        behavior.critic, behavior.slow_critic, feat, modelled.batch, returns[:, 0]
    )
    torch.testing.assert_close(loss, expected)
    torch.autograd.backward(loss)
    for part in (behavior.critic, model.encoder, model.rssm.cell):
        assert any(w.grad is not None and w.grad.abs().sum() > 0 for w in part.parameters())


def test_weights_are_frozen_for_a_while():
    layer = torch.nn.Linear(2, 2)
    layer.bias.requires_grad_(False)
    with frozen(layer):
        assert not layer.weight.requires_grad
    assert layer.weight.requires_grad
    # What was frozen before stays so.
    assert not layer.bias.requires_grad
    with pytest.raises(RuntimeError, match="inside"), frozen(layer):
        raise RuntimeError("inside")
    assert layer.weight.requires_grad
