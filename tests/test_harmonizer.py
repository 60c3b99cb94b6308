"""The paper's contribution, by hand."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from harmony.config.compose import compose
from harmony.config.nodes import instantiate
from harmony.harmonizer import (
    FixedScales,
    FixedWeights,
    Harmonizer,
    UnrectifiedHarmonizer,
    fit_groups,
)

GROUPS = {"observation": {"image": 1.0}, "reward": {"reward": 1.0}, "dynamics": {"kl": 1.0}}
SCALES = {"image": 1.0, "reward": 1.0, "kl": 1.0}


def losses(image=2.0, reward=0.5, kl=10.0):
    return {
        "kl": torch.tensor(kl),
        "image": torch.full((2, 3), image),
        "reward": torch.full((2, 3), reward),
    }


def descend(harmonizer, fixed_losses, steps=1500, lr=0.2):
    optimizer = torch.optim.SGD(harmonizer.parameters(), lr)
    for _ in range(steps):
        optimizer.zero_grad()
        torch.autograd.backward(harmonizer(fixed_losses))
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


@settings(deadline=None)
@given(
    scales=st.fixed_dictionaries(dict.fromkeys(SCALES, st.floats(0, 1e4))),
    size=st.floats(1e-8, 1e8),
    seed=st.integers(0, 1000),
)
def test_off_is_the_plain_weighted_sum_bit_for_bit(scales, size, seed):
    generator = torch.Generator().manual_seed(seed)
    found = {name: size * torch.rand(4, 5, generator=generator) for name in scales}
    plain = sum(scale * found[name].mean() for name, scale in scales.items())
    assert torch.equal(FixedScales(groups=GROUPS, loss_scales=scales)(found), plain)


def test_fixed_with_weights_of_one_is_off_bit_for_bit():
    off = FixedScales(groups=GROUPS, loss_scales=SCALES)
    assert torch.equal(FixedWeights(groups=GROUPS, loss_scales=SCALES)(losses()), off(losses()))


def test_fixed_multiplies_the_groups():
    fixed = FixedWeights(groups=GROUPS, loss_scales=SCALES, reward=100.0, dynamics=0.1)
    assert fixed(losses()).item() == pytest.approx(2.0 + 50.0 + 1.0)


def test_on_ignores_the_scales_of_grouped_losses_only():
    more = losses() | {"cont": torch.ones(2, 3)}
    harmonizer = Harmonizer(
        groups=GROUPS, loss_scales={"image": 9.0, "reward": 9.0, "kl": 9.0, "cont": 4.0}
    )
    assert harmonizer(more).item() == pytest.approx(12.5 + 4.0 + 3 * math.log(2), rel=1e-6)


@pytest.mark.parametrize("kind", [FixedScales, FixedWeights, Harmonizer, UnrectifiedHarmonizer])
@pytest.mark.parametrize("change", [{"cont": 1.0}, {"kl": None}])
def test_a_loss_without_a_rule_and_a_rule_without_a_loss_are_errors(kind, change):
    changed = losses()
    for name, value in change.items():
        if value is None:
            del changed[name]
        else:
            changed[name] = torch.tensor(value)
    with pytest.raises(ValueError, match="losses and their rules differ"):
        kind(groups=GROUPS, loss_scales=SCALES)(changed)


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
    half = {name: value.to(torch.bfloat16) for name, value in losses(image=1000.0).items()}
    assert Harmonizer(groups=GROUPS, loss_scales=SCALES)(half).dtype == torch.float32


def test_a_loss_in_two_groups_is_an_error():
    doubled = {**GROUPS, "dynamics": {"kl": 1.0, "image": 1.0}}
    with pytest.raises(ValueError, match=r"name \['image'\] twice"):
        Harmonizer(groups=doubled, loss_scales=SCALES)


# Only some groups harmonized.


def test_groups_that_are_not_harmonized_keep_their_fixed_scales():
    harmonizer = Harmonizer(
        groups=GROUPS, loss_scales=SCALES | {"kl": 0.1}, harmonized=["reward", "observation"]
    )
    with torch.no_grad():
        harmonizer.log_sigma["observation"].fill_(math.log(4.0))
    by_hand = 2.0 / 4 + math.log(1 + 4) + 0.5 + math.log(2) + 0.1 * 10.0
    assert harmonizer(losses()).item() == pytest.approx(by_hand, rel=1e-6)
    assert list(harmonizer.log_sigma) == ["observation", "reward"]
    metrics = harmonizer.metrics(losses())
    assert {key for key in metrics if "dynamics" in key} == {
        "harmony/coef/dynamics",
        "harmony/scaled_loss/dynamics",
    }
    assert metrics["harmony/coef/dynamics"].item() == pytest.approx(0.1)
    assert metrics["harmony/scaled_loss/dynamics"].item() == pytest.approx(1.0)
    assert metrics["harmony/coef/observation"].item() == pytest.approx(0.25)


def test_all_groups_by_name_is_on_bit_for_bit():
    on = Harmonizer(groups=GROUPS, loss_scales=SCALES)
    named = Harmonizer(groups=GROUPS, loss_scales=SCALES, harmonized=list(GROUPS))
    assert torch.equal(on(losses()), named(losses()))


def test_none_harmonized_is_off():
    none = Harmonizer(groups=GROUPS, loss_scales=SCALES, harmonized=[])
    off = FixedScales(groups=GROUPS, loss_scales=SCALES)
    assert none(losses()).item() == pytest.approx(off(losses()).item(), rel=1e-6)
    assert none.metrics(losses()) == off.metrics(losses())


@pytest.mark.parametrize("argument", ["harmonized", "lr", "regularizer_weight"])
def test_unknown_groups_are_refused(argument):
    value = ["image"] if argument == "harmonized" else {"image": 1.0}
    with pytest.raises(ValueError, match=rf"harmony\.{argument} may name .*, got \['image'\]"):
        Harmonizer(groups=GROUPS, loss_scales=SCALES, **{argument: value})


# A learning rate of the scalars' own.


def test_scalars_with_their_own_rate_are_named_with_it():
    harmonizer = Harmonizer(groups=GROUPS, loss_scales=SCALES, lr={"reward": 1e-2, "dynamics": 0.5})
    ((reward,), first), ((dynamics,), second) = harmonizer.param_groups()
    assert reward is harmonizer.log_sigma["reward"]
    assert dynamics is harmonizer.log_sigma["dynamics"]
    assert (first, second) == (1e-2, 0.5)


@pytest.mark.parametrize("kind", [FixedScales, FixedWeights, Harmonizer, UnrectifiedHarmonizer])
def test_nothing_has_its_own_rate_unless_told(kind):
    assert kind(groups=GROUPS, loss_scales=SCALES).param_groups() == []


def test_a_rate_of_a_group_without_a_scalar_is_refused():
    with pytest.raises(ValueError, match=r"got \['dynamics'\]"):
        Harmonizer(groups=GROUPS, loss_scales=SCALES, harmonized=["reward"], lr={"dynamics": 1.0})


@pytest.mark.parametrize("rate", [0.0, -1.0, math.nan])
def test_a_rate_must_be_above_zero(rate):
    with pytest.raises(ValueError, match=r"harmony\.lr must be above 0"):
        Harmonizer(groups=GROUPS, loss_scales=SCALES, lr={"reward": rate})


# Losses that some environments do not give.

OPTIONAL = {"image", "vector"}
BOTH = {"observation": {"image": 1.0, "vector": 0.5}, "reward": {"reward": 1.0}}
BOTH_SCALES = {"vector": 2.0, "image": 1.0, "reward": 1.0, "cont": 3.0}


@pytest.mark.parametrize("absent", ["image", "vector"])
def test_rules_of_absent_optional_losses_are_dropped(absent):
    given_losses = set(BOTH_SCALES) - {absent}
    groups, scales = fit_groups(BOTH, BOTH_SCALES, OPTIONAL, given_losses)
    assert absent not in groups["observation"]
    assert len(groups["observation"]) == 1
    assert groups["reward"] == BOTH["reward"]
    assert scales == {name: BOTH_SCALES[name] for name in BOTH_SCALES if name != absent}
    Harmonizer(groups=groups, loss_scales=scales)(dict.fromkeys(given_losses, torch.ones(2, 3)))


def test_rules_that_fit_stay_as_they_are():
    assert fit_groups(BOTH, BOTH_SCALES, OPTIONAL, set(BOTH_SCALES)) == (BOTH, BOTH_SCALES)


@pytest.mark.parametrize("name", ["image", "vector", "reward", "cont", "kl"])
def test_any_other_mismatch_names_both_sets(name):
    """A loss more, or a rule more that is not optional."""
    scales, given_losses = dict(BOTH_SCALES), set(BOTH_SCALES)
    if name in ("reward", "cont"):
        given_losses.discard(name)
    else:
        scales.pop(name, None)
        given_losses.add(name)
    with pytest.raises(ValueError, match="losses and their rules differ") as caught:
        fit_groups(BOTH, scales, OPTIONAL, given_losses)
    assert str(sorted(given_losses)) in str(caught.value)
    assert str(sorted(scales)) in str(caught.value)


def test_a_group_without_a_loss_is_named():
    with pytest.raises(ValueError, match="loss group observation has no loss") as caught:
        fit_groups(BOTH, BOTH_SCALES, OPTIONAL, {"reward", "cont"})
    assert "['image', 'vector']" in str(caught.value)
    assert "\n" not in str(caught.value)


# The choices in conf/harmony.


def chosen(name):
    config = compose(["env=probe", f"harmony={name}"]).config
    return config, instantiate(config["harmony"])


def test_no_dynamics_has_no_scalar_for_the_dynamics():
    _, harmonizer = chosen("no_dynamics")
    assert type(harmonizer) is Harmonizer
    assert set(harmonizer.log_sigma) == {"observation", "reward"}


def test_own_lr_has_a_rate_for_each_scalar():
    _, harmonizer = chosen("own_lr")
    assert type(harmonizer) is Harmonizer
    assert [rate for _, rate in harmonizer.param_groups()] == [1e-3] * 3
    assert {id(p) for params, _ in harmonizer.param_groups() for p in params} == {
        id(p) for p in harmonizer.parameters()
    }


def test_reward_only_leaves_the_observations_out():
    config, harmonizer = chosen("reward_only")
    without = dict.fromkeys(config["algorithm"]["loss_groups"]["observation"], 0.0)
    assert "image" in without
    assert harmonizer.loss_scales == config["algorithm"]["loss_scales"] | without


def test_observation_only_keeps_rewards_from_the_latent():
    config, harmonizer = chosen("observation_only")
    assert type(harmonizer) is FixedScales
    assert config["algorithm"]["reward"]["stop_gradient"] is True
    assert chosen("off")[0]["algorithm"]["reward"]["stop_gradient"] is False
