"""Policies by hand."""

import math

import pytest
import torch

from harmony.behavior.actor import OneHotActor, TruncatedNormalActor

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
    actor = OneHotActor(3, 3, **SIZES)
    constant(actor.logit, 0.0, math.log(3), math.log(4))
    found = actor.stats(torch.randn(2, 3)).exp()
    torch.testing.assert_close(found, torch.tensor([1 / 8, 3 / 8, 4 / 8]).expand(2, 3))


def test_discrete_actions_by_hand():
    actor = OneHotActor(3, 3, **SIZES)
    stats = torch.tensor([1 / 8, 3 / 8, 4 / 8]).log()
    drawn = actor.sample(stats.expand(3, 3), torch.tensor([[0.1], [0.2], [0.6]]))
    assert drawn.tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 1]]
    assert actor.mode(stats).tolist() == [0, 0, 1]
    log_prob = actor.log_prob(stats.expand(3, 3), drawn)
    torch.testing.assert_close(log_prob, stats)
    expected = math.log(8) / 8 + 3 / 8 * math.log(8 / 3) + math.log(2) / 2
    assert actor.entropy(stats).item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(
    ("kind", "stats_size", "noise_size"), [(TruncatedNormalActor, 8, 4), (OneHotActor, 4, 1)]
)
def test_shapes_and_noise(kind, stats_size, noise_size):
    actor = kind(3, 4, **SIZES)
    assert (actor.action_size, actor.noise_size) == (4, noise_size)
    noise = actor.draw_noise((2, 5), torch.Generator().manual_seed(0), CPU)
    assert noise.shape == (2, 5, noise_size)
    assert noise.min() >= 0
    assert noise.max() < 1
    assert torch.equal(noise, actor.draw_noise((2, 5), torch.Generator().manual_seed(0), CPU))
    stats = actor.stats(torch.randn(2, 5, 3))
    assert stats.shape == (2, 5, stats_size)
    for action in (actor.sample(stats, noise), actor.mode(stats)):
        assert action.shape == (2, 5, 4)
        assert actor.log_prob(stats, action).shape == (2, 5)
    assert actor.entropy(stats).shape == (2, 5)


@pytest.mark.parametrize("kind", [TruncatedNormalActor, OneHotActor])
def test_statistics_leave_half_precision(kind):
    with torch.autocast("cpu", torch.bfloat16):
        assert kind(3, 4, **SIZES).stats(torch.randn(2, 3)).dtype == torch.float32
