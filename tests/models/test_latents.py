"""Categorical and Gaussian states by hand."""

import math

import pytest
import torch

from harmony.models.latents import Categorical, Gaussian
from tests.no_reads import NoReads

CPU = torch.device("cpu")


def test_categorical_sizes():
    latent = Categorical(stoch=3, classes=4)
    assert (latent.size, latent.stats_size, latent.noise_size) == (12, 12, 3)
    noise = latent.draw_noise((5, 2), torch.Generator().manual_seed(0), CPU)
    assert noise.shape == (5, 2, 3)
    assert noise.min() >= 0
    assert noise.max() < 1


def test_categorical_samples_invert_the_cumulative_distribution():
    latent = Categorical(stoch=2, classes=3)
    # Probabilities 0.2, 0.3, 0.5 and 0.6, 0.1, 0.3.
    stats = torch.tensor([0.2, 0.3, 0.5, 0.6, 0.1, 0.3]).log()
    drawn = latent.sample(stats.expand(3, 6), torch.tensor([[0.1, 0.65], [0.4, 0.5], [0.9, 0.9]]))
    assert drawn.tolist() == [
        [1, 0, 0, 0, 1, 0],
        [0, 1, 0, 1, 0, 0],
        [0, 0, 1, 0, 0, 1],
    ]


def test_categorical_gradient_is_that_of_the_probabilities():
    latent = Categorical(stoch=1, classes=3)
    stats = torch.tensor([0.2, 0.3, 0.5]).log().requires_grad_()
    sample = latent.sample(stats, torch.tensor([0.4]))
    torch.autograd.backward((sample * torch.tensor([1.0, 0.0, 0.0])).sum())
    # d p_0 / d logit_j = p_0 (1_{j=0} - p_j).
    torch.testing.assert_close(stats.grad, torch.tensor([0.16, -0.06, -0.1]))


def test_categorical_mode_and_entropy():
    latent = Categorical(stoch=2, classes=2)
    stats = torch.tensor([0.25, 0.75, 0.5, 0.5]).log()
    assert latent.mode(stats)[:2].tolist() == [0, 1]
    expected = -(0.25 * math.log(0.25) + 0.75 * math.log(0.75)) + math.log(2)
    assert latent.entropy(stats).item() == pytest.approx(expected, rel=1e-6)
    # Logits need not be normalised.
    assert latent.entropy(stats + 3.0).item() == pytest.approx(expected, rel=1e-5)


def test_categorical_kl_by_hand_and_which_side_learns():
    latent = Categorical(stoch=1, classes=2)
    post = torch.tensor([0.5, 0.5]).log().requires_grad_()
    prior = torch.tensor([0.25, 0.75]).log().requires_grad_()
    post_side, prior_side = latent.kl_sides(post, prior)
    expected = 0.5 * math.log(0.5 / 0.25) + 0.5 * math.log(0.5 / 0.75)
    assert post_side.item() == pytest.approx(expected, rel=1e-6)
    assert prior_side.item() == pytest.approx(expected, rel=1e-6)
    torch.autograd.backward(prior_side)
    assert post.grad is None
    # The gradient of the cross-entropy: prior minus post.
    torch.testing.assert_close(prior.grad, torch.tensor([-0.25, 0.25]))
    prior.grad = None
    torch.autograd.backward(post_side)
    assert prior.grad is None
    assert post.grad.abs().min() > 0


@pytest.mark.parametrize(
    ("std_act", "std"), [("softplus", math.log(1 + math.e)), ("sigmoid2", 2 / (1 + math.exp(-0.5)))]
)
def test_gaussian_samples_by_hand(std_act, std):
    latent = Gaussian(stoch=2, min_std=0.1, std_act=std_act)
    assert (latent.size, latent.stats_size, latent.noise_size) == (2, 4, 2)
    stats = torch.tensor([3.0, -1.0, 1.0, 1.0])  # means, then raw deviations
    found = latent.sample(stats, torch.tensor([0.0, 2.0]))
    torch.testing.assert_close(found, torch.tensor([3.0, -1.0 + 2 * (std + 0.1)]))
    assert latent.mode(stats).tolist() == [3.0, -1.0]


def test_gaussian_of_zero_statistics_has_a_deviation_of_one_and_a_tenth():
    latent = Gaussian(stoch=1)
    expected = 0.5 * math.log(2 * math.pi * math.e * 1.1**2)
    assert latent.entropy(torch.zeros(2)).item() == pytest.approx(expected, rel=1e-6)


def test_gaussian_kl_by_hand_and_which_side_learns():
    latent = Gaussian(stoch=1, min_std=0.0)  # deviations of one
    post = torch.tensor([2.0, 0.0], requires_grad=True)
    prior = torch.tensor([0.0, 0.0], requires_grad=True)
    post_side, prior_side = latent.kl_sides(post, prior)
    assert post_side.item() == pytest.approx(2.0)  # distance squared, halved
    assert prior_side.item() == pytest.approx(2.0)
    torch.autograd.backward(post_side)
    assert prior.grad is None
    assert post.grad[0].item() == pytest.approx(2.0)
    post.grad = None
    torch.autograd.backward(prior_side)
    assert post.grad is None
    assert prior.grad[0].item() == pytest.approx(-2.0)


@pytest.mark.parametrize("latent", [Categorical(stoch=2, classes=3), Gaussian(stoch=3)])
def test_half_precision_statistics_are_read_in_float32(latent):
    stats = torch.randn(4, 6, generator=torch.Generator().manual_seed(0)).to(torch.bfloat16)
    noise = latent.draw_noise((4,), torch.Generator().manual_seed(0), CPU)
    assert latent.sample(stats, noise).dtype == torch.float32
    assert latent.entropy(stats).dtype == torch.float32
    assert latent.kl_sides(stats, stats)[0].dtype == torch.float32
    torch.testing.assert_close(latent.kl_sides(stats, stats)[0], torch.zeros(4))


@pytest.mark.parametrize("latent", [Categorical(stoch=2, classes=3), Gaussian(stoch=3)])
def test_noise_is_decided_by_its_generator(latent):
    draws = [
        latent.draw_noise((7,), torch.Generator().manual_seed(seed), CPU) for seed in (1, 1, 2)
    ]
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])


def test_unimix_leaves_no_class_impossible():
    latent = Categorical(stoch=1, classes=4, unimix=0.2)
    stats = torch.tensor([1e4, 0.0, 0.0, 0.0])
    # One class for certain, mixed with a fifth of a quarter each: 0.85, 0.05, 0.05, 0.05.
    drawn = latent.sample(stats.expand(4, 4), torch.tensor([[0.84], [0.86], [0.92], [0.97]]))
    assert drawn.argmax(-1).tolist() == [0, 1, 2, 3]
    entropy = -(0.85 * math.log(0.85) + 3 * 0.05 * math.log(0.05))
    assert latent.entropy(stats).item() == pytest.approx(entropy, rel=1e-5)
    other = torch.tensor([0.0, 1e4, 0.0, 0.0])
    post_side, prior_side = latent.kl_sides(stats, other)
    expected = 0.8 * math.log(0.85 / 0.05)
    assert post_side.item() == pytest.approx(expected, rel=1e-5)
    assert prior_side.item() == pytest.approx(expected, rel=1e-5)
    assert latent.mode(stats).tolist() == [1, 0, 0, 0]


def test_nothing_waits_for_the_device():
    for latent in (Categorical(stoch=2, classes=3, unimix=0.1), Gaussian(stoch=2)):
        stats, noise = torch.randn(4, latent.stats_size), torch.rand(4, latent.noise_size)
        with NoReads():
            latent.sample(stats, noise)
            latent.mode(stats)
            latent.kl_sides(stats, stats)
            latent.entropy(stats)


@pytest.mark.parametrize("unimix", [-0.1, 1.0])
def test_a_share_out_of_range_is_refused(unimix):
    with pytest.raises(ValueError, match=r"latent.unimix must lie in \[0, 1\), got"):
        Categorical(unimix=unimix)
