"""The RSSM: what enters each step, and where gradients go."""

import torch

from harmony.models.latents import Categorical, Gaussian
from harmony.types import Latent
from tests.small import make_rssm

CPU = torch.device("cpu")


def make(latent=None):
    torch.manual_seed(0)
    return make_rssm(4, 2, deter=5, hidden=6, latent=latent or Gaussian(stoch=3))


def test_sizes_and_parameters():
    rssm = make(Categorical(stoch=3, classes=4))
    assert rssm.feat_size == 12 + 5
    shapes = {
        name: tuple(weight.shape)
        for name, weight in rssm.named_parameters()
        if name.endswith("weight") and "norm" not in name
    }
    assert shapes == {
        "cell.input.weight": (6, 12 + 2),
        "cell.linear.weight": (15, 6 + 5),
        "prior.layers.0.weight": (6, 5),
        "prior_out.weight": (12, 6),
        "post.weight": (6, 5 + 4),
        "post_out.weight": (12, 6),
    }


def test_the_first_state_is_zero_and_a_feat_has_stoch_first():
    rssm = make()
    start = rssm.initial(2, CPU)
    assert torch.equal(start.deter, torch.zeros(2, 5))
    assert torch.equal(start.stoch, torch.zeros(2, 3))
    latent = Latent(torch.full((2, 5), 5.0), torch.full((2, 3), 3.0))
    assert rssm.get_feat(latent)[0].tolist() == [3.0] * 3 + [5.0] * 5


def test_an_imagined_step_by_its_layers():
    rssm = make()
    latent, action = Latent(torch.randn(2, 5), torch.randn(2, 3)), torch.randn(2, 2)
    elu = torch.nn.functional.elu
    deter = rssm.cell(latent.deter, latent.stoch, action)
    stats = rssm.prior_out(elu(rssm.prior.layers[0](deter)))
    found = rssm.img_step(latent, action, torch.zeros(2, 3))
    torch.testing.assert_close(found.deter, deter)
    torch.testing.assert_close(found.stoch, stats[:, :3])


def test_an_observed_step_by_its_layers():
    rssm = make()
    latent, action, embed = (
        Latent(torch.randn(2, 5), torch.randn(2, 3)),
        torch.randn(2, 2),
        torch.randn(2, 4),
    )
    found = rssm.obs_step(
        latent, action, embed, torch.zeros(2, dtype=torch.bool), torch.zeros(2, 3)
    )
    imagined = rssm.img_step(latent, action, torch.zeros(2, 3))
    torch.testing.assert_close(found.deter, imagined.deter)
    elu = torch.nn.functional.elu
    stats = rssm.obs_stats(elu(rssm.obs_out(torch.cat([found.deter, embed], -1))))
    torch.testing.assert_close(found.stoch, stats[:, :3])


def test_a_first_step_forgets_state_and_action_of_that_row_only():
    rssm = make()
    latent, action, embed = (
        Latent(torch.randn(2, 5), torch.randn(2, 3)),
        torch.randn(2, 2),
        torch.randn(2, 4),
    )
    noise = torch.randn(2, 3)
    first = torch.tensor([True, False])
    found = rssm.obs_step(latent, action, embed, first, noise)
    fresh = rssm.obs_step(rssm.initial(2, CPU), torch.zeros(2, 2), embed, ~first, noise)
    kept = rssm.obs_step(latent, action, embed, torch.tensor([False, False]), noise)
    for ours, clean, going_on in zip(found, fresh, kept, strict=True):
        torch.testing.assert_close(ours[0], clean[0])
        torch.testing.assert_close(ours[1], going_on[1])
    assert not torch.allclose(found.deter[0], kept.deter[0])


def test_observing_in_two_halves_equals_observing_at_once():
    rssm = make(Categorical(stoch=2, classes=3))
    embed, action = torch.randn(2, 6, 4), torch.randn(2, 6, 2)
    is_first = torch.zeros(2, 6, dtype=torch.bool)
    is_first[0, 2] = True
    noise = torch.rand(2, 6, 2)
    whole = rssm.observe(embed, action, is_first, noise)
    left = rssm.observe(embed[:, :4], action[:, :4], is_first[:, :4], noise[:, :4])
    between = Latent(left.latent.deter[:, -1], left.latent.stoch[:, -1])
    right = rssm.observe(embed[:, 4:], action[:, 4:], is_first[:, 4:], noise[:, 4:], between)
    torch.testing.assert_close(torch.cat([left.post, right.post], 1), whole.post)
    torch.testing.assert_close(torch.cat([left.prior, right.prior], 1), whole.prior)
    torch.testing.assert_close(
        torch.cat([left.latent.deter, right.latent.deter], 1), whole.latent.deter
    )


def test_nothing_of_the_future_is_seen():
    rssm = make()
    embed = torch.randn(1, 5, 4, requires_grad=True)
    action = torch.randn(1, 5, 2, requires_grad=True)
    observed = rssm.observe(
        embed, action, torch.zeros(1, 5, dtype=torch.bool), torch.randn(1, 5, 3)
    )
    torch.autograd.backward(observed.post[:, 2].sum())
    assert (embed.grad.abs().sum(-1) > 0).tolist() == [[True, True, True, False, False]]
    assert (action.grad.abs().sum(-1) > 0).tolist() == [[True, True, True, False, False]]


def test_the_prior_does_not_see_its_own_observation():
    rssm = make()
    embed = torch.randn(1, 5, 4, requires_grad=True)
    observed = rssm.observe(
        embed, torch.randn(1, 5, 2), torch.zeros(1, 5, dtype=torch.bool), torch.randn(1, 5, 3)
    )
    torch.autograd.backward(observed.prior[:, 2].sum())
    assert (embed.grad.abs().sum(-1) > 0).tolist() == [[True, True, False, False, False]]


def test_an_episode_border_stops_gradients():
    rssm = make()
    embed = torch.randn(1, 4, 4, requires_grad=True)
    is_first = torch.tensor([[True, False, True, False]])
    observed = rssm.observe(embed, torch.randn(1, 4, 2), is_first, torch.randn(1, 4, 3))
    torch.autograd.backward(observed.post[:, 3].sum())
    assert (embed.grad.abs().sum(-1) > 0).tolist() == [[False, False, True, True]]
