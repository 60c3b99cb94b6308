"""The RSSM: what enters each step, and where gradients go."""

import torch

from harmony.models.latents import Categorical, Gaussian
from harmony.nn.layers import RMSNorm, Style
from harmony.types import Latent
from tests.small import make_rssm

CPU = torch.device("cpu")


def make(latent=None, **others):
    torch.manual_seed(0)
    return make_rssm(4, 2, deter=5, hidden=6, latent=latent or Gaussian(stoch=3), **others)


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
    stats = rssm.post_out(elu(rssm.post(torch.cat([found.deter, embed], -1))))
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


FIRST = torch.tensor([0.5, -2.0, 0.0, 1.0, 3.0])


def make_learned(latent=None):
    rssm = make(latent, initial="learned")
    with torch.no_grad():
        rssm.first_deter.copy_(FIRST)
    return rssm


def test_a_learned_first_state_by_hand():
    rssm = make_learned()
    start = rssm.initial(2, CPU)
    torch.testing.assert_close(start.deter, torch.tanh(FIRST).expand(2, 5))
    mean = rssm.prior_stats(torch.tanh(FIRST))[:3]
    torch.testing.assert_close(start.stoch, mean.expand(2, 3))
    rssm = make_learned(Categorical(stoch=2, classes=3))
    likeliest = rssm.prior_stats(torch.tanh(FIRST)).reshape(2, 3).argmax(-1)
    expected = torch.nn.functional.one_hot(likeliest, 3).float().flatten()
    assert torch.equal(rssm.initial(2, CPU).stoch, expected.expand(2, 6))


def test_a_learned_first_state_begins_at_zero():
    assert torch.equal(make(initial="learned").initial(1, CPU).deter, torch.zeros(1, 5))
    assert make().first_deter is None


def test_episodes_begin_in_the_learned_state_wherever_they_begin():
    rssm = make_learned()
    embed, action = torch.randn(2, 4, 4), torch.randn(2, 4, 2)
    noise, is_first = torch.randn(2, 4, 3), torch.zeros(2, 4, dtype=torch.bool)
    is_first[0, 2] = is_first[1, 0] = True
    observed = rssm.observe(embed, action, is_first, noise)
    state = rssm.initial(2, CPU)
    for t in range(4):
        state = rssm.obs_step(state, action[:, t], embed[:, t], is_first[:, t], noise[:, t])
        torch.testing.assert_close(observed.latent.deter[:, t], state.deter)
        torch.testing.assert_close(observed.latent.stoch[:, t], state.stoch)
    # By hand at the border inside the first row: the action before it is zero.
    start = rssm.initial(1, CPU)
    deter = rssm.cell(start.deter, start.stoch, torch.zeros(1, 2))
    torch.testing.assert_close(observed.latent.deter[:1, 2], deter)


def test_the_first_state_learns_from_the_episodes_that_begin():
    rssm = make_learned()
    inputs = torch.randn(2, 3, 4), torch.randn(2, 3, 2)
    noise, is_first = torch.randn(2, 3, 3), torch.zeros(2, 3, dtype=torch.bool)
    start = Latent(torch.randn(2, 5), torch.randn(2, 3))

    def grad(is_first):
        post = rssm.observe(*inputs, is_first, noise, start).post
        return torch.autograd.grad(post.sum(), rssm.first_deter)[0].abs().sum()

    assert grad(is_first) == 0
    is_first[1, 1] = True
    assert grad(is_first) > 0


def test_large_actions_are_scaled_down():
    rssm = make(largest_action=1.0)
    limited = rssm._limit(torch.tensor([[0.5, -0.25], [-4.0, 2.0], [1.0, -1.0]]))
    assert limited.tolist() == [[0.5, -0.25], [-1.0, 1.0], [1.0, -1.0]]
    plain = torch.tensor([[7.0, -9.0]])
    assert make()._limit(plain) is plain


def test_the_scale_of_an_action_carries_no_gradient():
    rssm = make(largest_action=1.0)
    action = torch.tensor([[0.5, -4.0]], requires_grad=True)
    torch.autograd.backward(rssm._limit(action).sum())
    # Else the entry above the limit would have none.
    assert action.grad.tolist() == [[1.0, 0.25]]


def test_actions_are_limited_wherever_they_enter():
    rssm = make(largest_action=1.0)
    large, small = torch.tensor([[3.0, -0.5]]), torch.tensor([[1.0, -0.5]])
    state = Latent(torch.randn(1, 5), torch.randn(1, 3))
    embed, noise, going_on = torch.randn(1, 4), torch.randn(1, 3), torch.tensor([False])
    for one, two in zip(
        [
            rssm.img_step(state, large, noise),
            rssm.obs_step(state, large, embed, going_on, noise),
            rssm.observe(embed[None], large[None], going_on[None], noise[None], state).latent,
        ],
        [
            rssm.img_step(state, small, noise),
            rssm.obs_step(state, small, embed, going_on, noise),
            rssm.observe(embed[None], small[None], going_on[None], noise[None], state).latent,
        ],
        strict=True,
    ):
        torch.testing.assert_close(one.deter, two.deter)
        torch.testing.assert_close(one.stoch, two.stoch)
    assert not torch.allclose(
        make().img_step(state, large, noise).deter, make().img_step(state, small, noise).deter
    )


def test_a_prior_of_two_layers():
    rssm = make(prior_layers=2)
    deter, elu = torch.randn(3, 5), torch.nn.functional.elu
    first, second = rssm.prior.layers
    torch.testing.assert_close(
        rssm.prior_stats(deter), rssm.prior_out(elu(second(elu(first(deter)))))
    )


def test_a_style_norms_posterior_and_prior():
    style = Style(act="silu", norm="rms", init="trunc_normal_in")
    rssm = make(style=style)
    latent, action, embed = (
        Latent(torch.randn(2, 5), torch.randn(2, 3)),
        torch.randn(2, 2),
        torch.randn(2, 4),
    )
    found = rssm.obs_step(
        latent, action, embed, torch.zeros(2, dtype=torch.bool), torch.zeros(2, 3)
    )
    silu = torch.nn.functional.silu
    raw = rssm.post(torch.cat([found.deter, embed], -1))
    torch.testing.assert_close(found.stoch, rssm.post_out(silu(rssm.post_norm(raw)))[:, :3])
    assert isinstance(rssm.post_norm, RMSNorm)
    assert isinstance(rssm.prior.norms[0], RMSNorm)
