"""The paper's contribution, by hand."""

import math

import pytest
import torch

from harmony.harmonizer import FixedScales, FixedWeights, Harmonizer, UnrectifiedHarmonizer

GROUPS = {"observation": {"image": 1.0}, "reward": {"reward": 1.0}, "dynamics": {"kl": 1.0}}
SCALES = {"image": 1.0, "reward": 1.0, "kl": 1.0}


def losses(image=2.0, reward=0.5, kl=10.0):
    return {
        "kl": torch.tensor(kl),
        "image": torch.full((2, 3), image),
        "reward": torch.full((2, 3), reward),
    }


def descend(harmonizer, given, steps=1500, lr=0.2):
    optimizer = torch.optim.SGD(harmonizer.parameters(), lr)
    for _ in range(steps):
        optimizer.zero_grad()
        torch.autograd.backward(harmonizer(given))
        optimizer.step()


def test_value_at_the_start_is_the_sum_plus_three_times_log_two():
    harmonizer = Harmonizer(groups=GROUPS, loss_scales=SCALES)
    assert harmonizer(losses()).item() == pytest.approx(12.5 + 3 * math.log(2), rel=1e-6)


def test_gradient_of_the_scalar_by_hand():
    # d/ds = -L exp(-s) + sigma / (1 + sigma); at s = 0: -L + 1/2, which vanishes for L = 1/2.
    harmonizer = Harmonizer(groups=GROUPS, loss_scales=SCALES)
    torch.autograd.backward(harmonizer(losses(image=2.0, reward=0.5, kl=10.0)))
    found = {group: s.grad.item() for group, s in harmonizer.log_sigma.items()}
    assert found == pytest.approx({"observation": -1.5, "reward": 0.0, "dynamics": -9.5}, abs=1e-6)


@pytest.mark.parametrize("loss", [0.001, 0.1, 0.5, 1.0, 2.0, 10.0, 100.0])
def test_descent_reaches_the_stationary_point(loss):
    harmonizer = Harmonizer(groups={"reward": {"reward": 1.0}}, loss_scales={"reward": 1.0})
    descend(harmonizer, {"reward": torch.tensor(loss)})
    sigma = harmonizer.log_sigma["reward"].exp().item()
    assert sigma == pytest.approx((loss + math.sqrt(loss**2 + 4 * loss)) / 2, rel=2e-3)


@pytest.mark.parametrize("loss", [0.1, 2.0, 50.0])
def test_unrectified_descent_reaches_the_loss_itself(loss):
    harmonizer = UnrectifiedHarmonizer(
        groups={"reward": {"reward": 1.0}}, loss_scales={"reward": 1.0}
    )
    descend(harmonizer, {"reward": torch.tensor(loss)})
    assert harmonizer.log_sigma["reward"].exp().item() == pytest.approx(loss, rel=2e-3)


def test_shares_and_regularizer_weight_of_the_jax_original():
    # Both dynamics losses at 1 with shares 5/6 and 1/6 give L = 1; the weight 5/6 moves the
    # optimum from 1.618 to 1.849: -1 / s + 5/6 * 1 / (1 + s) = 0 with s = sigma, times sigma.
    harmonizer = Harmonizer(
        groups={"dynamics": {"dyn": 5 / 6, "rep": 1 / 6}},
        loss_scales={"dyn": 0.5, "rep": 0.1},
        regularizer_weight={"dynamics": 5 / 6},
    )
    descend(harmonizer, {"dyn": torch.tensor(1.0), "rep": torch.ones(2, 2)})
    assert harmonizer.log_sigma["dynamics"].exp().item() == pytest.approx(1.849, rel=1e-3)


def test_off_is_the_plain_weighted_sum_bit_for_bit():
    torch.manual_seed(0)
    scales = {"image": 0.7, "reward": 3.0, "kl": 0.1}
    given = {name: torch.randn(4, 5).square() for name in scales}
    plain = sum(scale * given[name].mean() for name, scale in scales.items())
    assert torch.equal(FixedScales(groups=GROUPS, loss_scales=scales)(given), plain)


def test_fixed_with_weights_of_one_is_off_bit_for_bit():
    off = FixedScales(groups=GROUPS, loss_scales=SCALES)
    assert torch.equal(FixedWeights(groups=GROUPS, loss_scales=SCALES)(losses()), off(losses()))


def test_fixed_multiplies_the_groups():
    fixed = FixedWeights(groups=GROUPS, loss_scales=SCALES, reward=100.0, dynamics=0.1)
    assert fixed(losses()).item() == pytest.approx(2.0 + 50.0 + 1.0)


def test_on_ignores_the_scales_of_grouped_losses_only():
    given = losses() | {"cont": torch.ones(2, 3)}
    harmonizer = Harmonizer(
        groups=GROUPS, loss_scales={"image": 9.0, "reward": 9.0, "kl": 9.0, "cont": 4.0}
    )
    assert harmonizer(given).item() == pytest.approx(12.5 + 4.0 + 3 * math.log(2), rel=1e-6)


@pytest.mark.parametrize("kind", [FixedScales, FixedWeights, Harmonizer, UnrectifiedHarmonizer])
@pytest.mark.parametrize("change", [{"cont": 1.0}, {"kl": None}])
def test_a_loss_without_a_rule_and_a_rule_without_a_loss_are_errors(kind, change):
    given = losses()
    for name, value in change.items():
        if value is None:
            del given[name]
        else:
            given[name] = torch.tensor(value)
    with pytest.raises(ValueError, match="losses and their rules differ"):
        kind(groups=GROUPS, loss_scales=SCALES)(given)


def test_metrics_carry_the_groups_names():
    harmonizer = Harmonizer(groups=GROUPS, loss_scales=SCALES)
    with torch.no_grad():
        harmonizer.log_sigma["reward"].fill_(math.log(4.0))
    metrics = harmonizer.metrics(losses(reward=2.0))
    assert metrics["harmony/sigma/reward"].item() == pytest.approx(4.0)
    assert metrics["harmony/coef/reward"].item() == pytest.approx(0.25)
    assert metrics["harmony/scaled_loss/reward"].item() == pytest.approx(0.5)
    off = FixedScales(groups=GROUPS, loss_scales=SCALES | {"reward": 3.0}).metrics(losses())
    assert off["harmony/coef/reward"].item() == pytest.approx(3.0)
    assert off["harmony/scaled_loss/reward"].item() == pytest.approx(1.5)


def test_half_precision_losses_are_summed_in_float32():
    given = {name: value.to(torch.bfloat16) for name, value in losses(image=1000.0).items()}
    assert Harmonizer(groups=GROUPS, loss_scales=SCALES)(given).dtype == torch.float32
