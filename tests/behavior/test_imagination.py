"""Rollouts: shapes, what follows what, and where gradients go."""

import pytest
import torch

from harmony.behavior.imagination import draw_noise, imagine
from harmony.behavior.targets import NextReward, OwnReward
from harmony.types import Latent
from tests import tiny

HORIZON = 3


@pytest.fixture(params=["continuous", "discrete"])
def agent(request):
    return tiny.agent(*(["env.discrete=true"] if request.param == "discrete" else []))


def roll_out(agent, terminal=(False,) * 4, *, targets=None, through_dynamics=True):
    world_model, actor = agent.world_model, agent.behavior.actor
    generator = torch.Generator().manual_seed(0)
    rssm = world_model.rssm
    start = Latent(
        torch.randn(4, rssm.deter, generator=generator),
        rssm.latent.mode(torch.randn(4, rssm.latent.stats_size, generator=generator)),
    )
    noise = draw_noise(world_model, actor, HORIZON, 4, generator)
    rollout = imagine(
        world_model,
        actor,
        start,
        torch.tensor(terminal),
        noise,
        targets or OwnReward(),
        through_dynamics=through_dynamics,
    )
    return start, noise, rollout


def test_noise_for_every_step(agent):
    _, noise, _ = roll_out(agent)
    assert noise.action.shape == (HORIZON, 4, agent.behavior.actor.noise_size)
    assert noise.latent.shape == (HORIZON, 4, 3)


def test_shapes(agent):
    start, _, rollout = roll_out(agent)
    assert rollout.feat.shape == (4, HORIZON + 1, agent.world_model.rssm.feat_size)
    assert rollout.action.shape == (4, HORIZON, 2)
    assert rollout.stats.shape[:2] == (4, HORIZON)
    for name in ("reward", "discount", "weight"):
        assert getattr(rollout, name).shape == (4, HORIZON), name
    assert torch.equal(rollout.feat[:, 0], agent.world_model.rssm.get_feat(start))


def test_each_action_answers_its_feat_and_leads_to_the_next(agent):
    start, noise, rollout = roll_out(agent)
    rssm, actor = agent.world_model.rssm, agent.behavior.actor
    latent = start
    for t in range(HORIZON):
        stats = actor.stats(rssm.get_feat(latent))
        action = actor.sample(stats, noise.action[t])
        latent = rssm.img_step(latent, action, noise.latent[t])
        torch.testing.assert_close(rollout.stats[:, t], stats)
        torch.testing.assert_close(rollout.action[:, t], action)
        torch.testing.assert_close(rollout.feat[:, t + 1], rssm.get_feat(latent))
    reward = agent.world_model.reward.pred(rollout.feat)
    torch.testing.assert_close(rollout.reward, reward[:, :-1])


def test_a_constant_discount_weighs_by_its_powers(agent):
    _, _, rollout = roll_out(agent)
    torch.testing.assert_close(rollout.discount, torch.full((4, HORIZON), 0.99))
    torch.testing.assert_close(rollout.weight, torch.tensor([[1.0, 0.99, 0.99**2]]).expand(4, 3))


def test_nothing_counts_after_a_terminal_start():
    agent = tiny.agent("cont=learned")
    _, _, rollout = roll_out(agent, (False, True, False, False))
    assert rollout.discount[:, 0].tolist() == pytest.approx([0.99, 0.0, 0.99, 0.99])
    assert rollout.weight[1].tolist() == [1.0, 0.0, 0.0]
    expected = 0.99 * rollout.discount[0, 1]
    assert rollout.weight[0, 2].item() == pytest.approx(expected.item())


def test_weights_have_no_graph(agent):
    _, _, rollout = roll_out(agent)
    assert not rollout.weight.requires_grad
    assert rollout.feat.requires_grad


def actor_grads(agent, loss):
    params = list(agent.behavior.actor.parameters())
    return torch.autograd.grad(loss, params, allow_unused=True)


def test_the_actor_learns_through_the_dynamics_where_it_may(agent):
    _, _, rollout = roll_out(agent)
    assert any(g is not None and g.abs().sum() > 0 for g in actor_grads(agent, rollout.feat.sum()))
    _, _, rollout = roll_out(agent, through_dynamics=False)
    assert all(grad is None for grad in actor_grads(agent, rollout.feat.sum()))
    assert any(
        g is not None and g.abs().sum() > 0
        for g in actor_grads(agent, rollout.stats.square().sum())
    )


def test_the_actor_sees_feats_without_gradient(agent):
    """Else the statistics of later steps would train the dynamics for the actor's entropy."""
    _, _, rollout = roll_out(agent)
    rssm = list(agent.world_model.rssm.parameters())
    grads = torch.autograd.grad(rollout.stats.square().sum(), rssm, allow_unused=True)
    assert all(grad is None for grad in grads)


def test_rewards_of_the_next_states_and_discounts_of_all():
    """What DreamerV3's convention reads; feats and actions are the same."""
    agent = tiny.agent()
    _, _, own = roll_out(agent)
    _, _, following = roll_out(agent, targets=NextReward())
    assert torch.equal(own.feat, following.feat)
    reward = agent.world_model.reward.pred(own.feat)
    torch.testing.assert_close(own.reward, reward[:, :-1])
    torch.testing.assert_close(following.reward, reward[:, 1:])
    assert own.discount.shape == (4, HORIZON)
    torch.testing.assert_close(following.discount, torch.full((4, HORIZON + 1), 0.99))
    # In units of a state that surely goes on, the weights are the same.
    torch.testing.assert_close(following.weight, own.weight)


def test_a_terminal_start_counts_for_nothing_where_discounts_come_first():
    agent = tiny.agent("cont=hard")
    with torch.no_grad():
        agent.world_model.cont.output.bias.fill_(100.0)  # goes on for certain
    _, _, rollout = roll_out(agent, (False, True, False, False), targets=NextReward())
    gamma = 1 - 1 / 333
    torch.testing.assert_close(rollout.discount[0], torch.full((HORIZON + 1,), gamma))
    assert rollout.discount[1, 0] == 0
    torch.testing.assert_close(rollout.weight[0], torch.tensor([1.0, gamma, gamma**2]))
    assert rollout.weight[1].tolist() == [0.0, 0.0, 0.0]
    # In the other convention the start itself still counts.
    _, _, rollout = roll_out(agent, (False, True, False, False))
    assert rollout.weight[1].tolist() == [1.0, 0.0, 0.0]
