"""Policies by hand."""

import math

import pytest
import torch

from harmony.behavior.actor import (
    NormalActor,
    OneHotActor,
    TanhNormalActor,
    TruncatedNormalActor,
)
from harmony.nn.layers import Style

CPU = torch.device("cpu")
SIZES = {"layers": 1, "units": 4}


def constant(layer, *values):
    """Makes a layer answer the same everywhere."""
    with torch.no_grad():
        layer.weight.zero_()
        layer.bias.copy_(torch.tensor(values))


def test_location_and_scale_by_hand():
    actor = TruncatedNormalActor(3, 2, min_std=0.1, **SIZES)
    constant(actor.mean, 0.5, -10.0)
    constant(actor.std, 0.0, 2.0)
    found = actor.stats(torch.randn(4, 3))
    expected = [math.tanh(0.5), math.tanh(-10.0), 1.1, 2 / (1 + math.exp(-1.0)) + 0.1]
    torch.testing.assert_close(found, torch.tensor(expected).expand(4, 4))


def test_continuous_samples_stay_inside_and_follow_the_noise():
    actor = TruncatedNormalActor(3, 2, **SIZES)
    stats = torch.tensor([0.0, 0.99, 1.0, 0.1]).expand(3, 4)
    noise = torch.tensor([[0.5, 0.0], [0.0, 0.5], [1.0, 1.0]])
    found = actor.sample(stats, noise)
    assert found.shape == (3, 2)
    assert found.abs().max() < 1
    assert found[0, 0].item() == pytest.approx(0.0, abs=1e-6)  # the median of a symmetric one
    assert found[1, 0].item() == pytest.approx(-1.0, abs=1e-4)
    assert found[2, 0].item() == pytest.approx(1.0, abs=1e-4)


def test_continuous_samples_carry_gradients_to_location_and_scale():
    actor = TruncatedNormalActor(3, 1, **SIZES)
    stats = torch.tensor([0.2, 0.5], requires_grad=True)
    torch.autograd.backward(actor.sample(stats, torch.tensor([0.7])).sum())
    assert (stats.grad > 0).all()  # further right, and wider where the draw is above the median


def test_continuous_mode_is_the_location():
    actor = TruncatedNormalActor(3, 2, **SIZES)
    assert actor.mode(torch.tensor([0.3, -0.7, 1.0, 2.0])).tolist() == pytest.approx([0.3, -0.7])


def test_continuous_log_probability_and_entropy_sum_over_the_action():
    actor = TruncatedNormalActor(3, 2, **SIZES)
    # So wide that each component is uniform in [-1, 1]: a density of one half.
    wide = torch.tensor([0.0, 0.0, 1000.0, 1000.0])
    log_prob = actor.log_prob(wide, torch.tensor([0.4, -0.9]))
    assert log_prob.item() == pytest.approx(-2 * math.log(2), abs=1e-3)
    assert actor.entropy(wide).item() == pytest.approx(2 * math.log(2), abs=1e-3)
    # So narrow that the bounds don't matter: a normal distribution.
    narrow = torch.tensor([0.0, 0.1, 0.01, 0.02])
    expected = sum(0.5 * math.log(2 * math.pi * math.e * std**2) for std in (0.01, 0.02))
    assert actor.entropy(narrow).item() == pytest.approx(expected, rel=1e-5)


def test_discrete_statistics_are_log_probabilities():
    actor = OneHotActor(3, [3], **SIZES)
    constant(actor.logit, 0.0, math.log(3), math.log(4))
    found = actor.stats(torch.randn(2, 3)).exp()
    torch.testing.assert_close(found, torch.tensor([1 / 8, 3 / 8, 4 / 8]).expand(2, 3))


def test_discrete_actions_by_hand():
    actor = OneHotActor(3, [3], **SIZES)
    stats = torch.tensor([1 / 8, 3 / 8, 4 / 8]).log()
    drawn = actor.sample(stats.expand(3, 3), torch.tensor([[0.1], [0.2], [0.6]]))
    assert drawn.tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 1]]
    assert actor.mode(stats).tolist() == [0, 0, 1]
    log_prob = actor.log_prob(stats.expand(3, 3), drawn)
    torch.testing.assert_close(log_prob, stats)
    expected = math.log(8) / 8 + 3 / 8 * math.log(8 / 3) + math.log(2) / 2
    assert actor.entropy(stats).item() == pytest.approx(expected, rel=1e-6)


CONTINUOUS = [TruncatedNormalActor, NormalActor, TanhNormalActor]


@pytest.mark.parametrize(
    ("kind", "sizes", "stats_size", "noise_size"),
    [
        *((kind, 4, 8, 4) for kind in CONTINUOUS),
        (OneHotActor, [4], 4, 1),
        (OneHotActor, [1, 3], 4, 2),
    ],
)
def test_shapes_and_noise(kind, sizes, stats_size, noise_size):
    actor = kind(3, sizes, **SIZES)
    assert (actor.action_size, actor.noise_size) == (4, noise_size)
    noise = actor.draw_noise((2, 5), torch.Generator().manual_seed(0), CPU)
    assert noise.shape == (2, 5, noise_size)
    if kind in (TruncatedNormalActor, OneHotActor):
        assert noise.min() >= 0
        assert noise.max() < 1
    else:
        assert noise.min() < 0  # normal
    assert torch.equal(noise, actor.draw_noise((2, 5), torch.Generator().manual_seed(0), CPU))
    stats = actor.stats(torch.randn(2, 5, 3))
    assert stats.shape == (2, 5, stats_size)
    for action in (actor.sample(stats, noise), actor.mode(stats)):
        assert action.shape == (2, 5, 4)
        assert actor.log_prob(stats, action).shape == (2, 5)
    assert actor.entropy(stats).shape == (2, 5)


@pytest.mark.parametrize("kind", [*CONTINUOUS, OneHotActor])
def test_statistics_leave_half_precision(kind):
    actor = kind(3, [4] if kind is OneHotActor else 4, **SIZES)
    with torch.autocast("cpu", torch.bfloat16):
        assert actor.stats(torch.randn(2, 3)).dtype == torch.float32


@pytest.mark.parametrize("kind", [*CONTINUOUS, OneHotActor])
def test_the_last_layers_may_begin_smaller(kind):
    sizes = [40, 60] if kind is OneHotActor else 100
    stds = []
    for scale in (1.0, 0.01, 0.0):
        torch.manual_seed(0)
        actor = kind(3, sizes, layers=1, units=100, out_scale=scale)
        layers = [actor.logit] if kind is OneHotActor else [actor.mean, actor.std]
        stds.append(torch.cat([layer.weight for layer in layers]).std().item())
    assert stds[0] == pytest.approx(0.1, rel=0.05)  # Glorot: 2 / (100 + 100), under the root
    assert stds[1:] == [pytest.approx(0.01 * stds[0]), 0.0]


def test_styles_reach_hidden_and_last_layers():
    style = Style(act="silu", norm="rms", init="trunc_normal_in", out_init="trunc_normal_in")
    for actor in (NormalActor(3, 2, style=style, **SIZES), OneHotActor(3, [2], style=style)):
        assert isinstance(actor.mlp.norms[0], torch.nn.RMSNorm)
        last = actor.logit if isinstance(actor, OneHotActor) else actor.mean
        assert last.init == actor.mlp.layers[0].init == "trunc_normal_in"


def test_normal_location_and_scale_by_hand():
    actor = NormalActor(3, 2, min_std=0.1, max_std=1.0, **SIZES)
    constant(actor.mean, 0.5, -10.0)
    constant(actor.std, -2.0, 1.0)
    found = actor.stats(torch.randn(4, 3))
    expected = [math.tanh(0.5), math.tanh(-10.0), 0.55, 0.9 / (1 + math.exp(-3.0)) + 0.1]
    torch.testing.assert_close(found, torch.tensor(expected).expand(4, 4))


def test_normal_deviations_stay_in_their_range():
    actor = NormalActor(3, 2, min_std=0.1, max_std=0.8, **SIZES)
    constant(actor.std, -100.0, 100.0)
    assert actor.stats(torch.randn(3))[2:].tolist() == pytest.approx([0.1, 0.8])


def test_normal_actions_by_hand():
    actor = NormalActor(3, 2, **SIZES)
    stats = torch.tensor([0.5, -0.5, 0.1, 1.0], requires_grad=True)
    found = actor.sample(stats, torch.tensor([-2.0, 3.0]))
    # They are not cut: whoever takes one limits it.
    assert found.tolist() == pytest.approx([0.3, 2.5])
    torch.autograd.backward(found.sum())
    assert stats.grad.tolist() == pytest.approx([1.0, 1.0, -2.0, 3.0])
    assert actor.mode(stats).tolist() == [0.5, -0.5]


def test_normal_log_probability_and_entropy_are_those_of_torch():
    actor = NormalActor(3, 2, **SIZES)
    stats, action = torch.tensor([[0.5, -0.5, 0.1, 1.0]]), torch.tensor([[0.3, 2.5]])
    theirs = torch.distributions.Normal(stats[:, :2], stats[:, 2:])
    torch.testing.assert_close(actor.log_prob(stats, action), theirs.log_prob(action).sum(-1))
    torch.testing.assert_close(actor.entropy(stats), theirs.entropy().sum(-1))


def test_tanh_normal_location_and_scale_by_hand():
    actor = TanhNormalActor(3, 2, min_std=0.1, **SIZES)
    constant(actor.mean, 1.0, 1000.0)
    constant(actor.std, 0.0, 1.0)
    found = actor.stats(torch.randn(4, 3))
    expected = [5 * math.tanh(0.2), 5.0, math.log(2) + 0.1, math.log(1 + math.e) + 0.1]
    torch.testing.assert_close(found, torch.tensor(expected).expand(4, 4))


def test_tanh_normal_actions_by_hand():
    actor = TanhNormalActor(3, 2, **SIZES)
    stats = torch.tensor([0.5, -2.0, 0.1, 1.0], requires_grad=True)
    found = actor.sample(stats, torch.tensor([-2.0, 3.0]))
    assert found.tolist() == pytest.approx([math.tanh(0.3), math.tanh(1.0)])
    torch.autograd.backward(found.sum())
    slopes = [1 - math.tanh(0.3) ** 2, 1 - math.tanh(1.0) ** 2]
    assert stats.grad.tolist() == pytest.approx([*slopes, -2 * slopes[0], 3 * slopes[1]])
    assert actor.mode(stats).tolist() == pytest.approx([math.tanh(0.5), math.tanh(-2.0)])


def test_tanh_normal_log_probability_is_that_of_torch():
    actor = TanhNormalActor(3, 2, **SIZES)
    stats, action = torch.tensor([[0.5, -0.5, 0.2, 1.0]]), torch.tensor([[0.3, -0.9]])
    normal = torch.distributions.Normal(stats[:, :2], stats[:, 2:])
    theirs = torch.distributions.TransformedDistribution(
        normal, torch.distributions.TanhTransform()
    )
    torch.testing.assert_close(actor.log_prob(stats, action), theirs.log_prob(action).sum(-1))


def test_tanh_normal_entropy_is_the_mean_of_the_log_probability():
    actor = TanhNormalActor(3, 2, **SIZES)
    stats = torch.tensor([0.5, -0.5, 0.2, 1.0]).expand(200_000, 4)
    noise = actor.draw_noise((200_000,), torch.Generator().manual_seed(0), CPU)
    action = actor.sample(stats, noise)
    surprise = -actor.log_prob(stats, action).mean().item()
    assert actor.entropy(stats[0]).item() == pytest.approx(surprise, abs=0.01)


PAIR = torch.tensor([0.25, 0.75, 0.125, 0.375, 0.5]).log()
"""Of two choices, with two options and with three."""


def test_several_choices_are_normalised_each_for_itself():
    actor = OneHotActor(3, [2, 3], **SIZES)
    # Logits are free in one number a choice.
    constant(actor.logit, *(PAIR + torch.tensor([5.0, 5.0, -2.0, -2.0, -2.0])).tolist())
    torch.testing.assert_close(actor.stats(torch.randn(4, 3)), PAIR.expand(4, 5))


def test_several_choices_by_hand():
    actor = OneHotActor(3, [2, 3], **SIZES)
    noise = torch.tensor([[0.2, 0.6], [0.3, 0.1], [0.9, 0.2]])
    drawn = actor.sample(PAIR.expand(3, 5), noise)
    assert drawn.tolist() == [[1, 0, 0, 0, 1], [0, 1, 1, 0, 0], [0, 1, 0, 1, 0]]
    assert actor.mode(PAIR).tolist() == [0, 1, 0, 0, 1]
    # Logarithms of independent choices add up.
    expected = torch.tensor([0.25 * 0.5, 0.75 * 0.125, 0.75 * 0.375]).log()
    torch.testing.assert_close(actor.log_prob(PAIR.expand(3, 5), drawn), expected)
    entropy = -sum(p * math.log(p) for p in (0.25, 0.75, 0.125, 0.375, 0.5))
    assert actor.entropy(PAIR).item() == pytest.approx(entropy, rel=1e-6)


def test_each_choice_has_its_straight_through_gradient():
    actor, stats = OneHotActor(3, [2, 3], **SIZES), PAIR.clone().requires_grad_()
    drawn = actor.sample(stats, torch.tensor([0.2, 0.6]))
    torch.autograd.backward(drawn[0] + 2 * drawn[3])
    # d p_0 = p_0 (1 - p_0), -p_0 p_1; twice likewise for the second option of the other choice.
    expected = [0.1875, -0.1875, -2 * 0.375 * 0.125, 2 * 0.375 * 0.625, -2 * 0.375 * 0.5]
    torch.testing.assert_close(stats.grad, torch.tensor(expected))


def test_unimix_is_taken_within_each_choice():
    actor = OneHotActor(3, [2, 4], unimix=0.2, **SIZES)
    constant(actor.logit, 1e4, 0.0, 0.0, 0.0, 1e4, 0.0)
    found = actor.stats(torch.randn(3)).exp()
    torch.testing.assert_close(found, torch.tensor([0.9, 0.1, 0.05, 0.05, 0.85, 0.05]))


@pytest.mark.parametrize("unimix", [-0.1, 1.0])
def test_a_share_out_of_range_is_refused(unimix):
    with pytest.raises(ValueError, match=r"actor.unimix must lie in \[0, 1\), got"):
        OneHotActor(3, [2], unimix=unimix)
