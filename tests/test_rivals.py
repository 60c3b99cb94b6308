"""Uncertainty weighting and dynamic weight average by hand; what every choice keeps."""

import copy
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from harmony.config.compose import compose
from harmony.config.nodes import instantiate
from harmony.harmonizer import FixedScales, FixedWeights, Harmonizer, UnrectifiedHarmonizer
from harmony.rivals import DynamicWeightAverage, UncertaintyWeighting

GROUPS = {"observation": {"image": 1.0}, "reward": {"reward": 1.0}, "dynamics": {"kl": 1.0}}
SCALES = {"image": 1.0, "reward": 1.0, "kl": 1.0}
NAMES = list(SCALES)
LOSS_OF = {"observation": "image", "reward": "reward", "dynamics": "kl"}
KINDS = [
    FixedScales,
    FixedWeights,
    Harmonizer,
    UnrectifiedHarmonizer,
    UncertaintyWeighting,
    DynamicWeightAverage,
]


def losses(image=2.0, reward=0.5, kl=10.0):
    return {
        "kl": torch.tensor(kl),
        "image": torch.full((2, 3), image),
        "reward": torch.full((2, 3), reward),
    }


# Uncertainty weighting.


def test_uncertainty_by_hand():
    # s = 0 and log 4: 0.5 * 2 / 1 + 0   +   0.5 * 0.5 / 4 + 0.5 * log 4   +   0.1 * 10
    rival = UncertaintyWeighting(groups=GROUPS, loss_scales=SCALES | {"kl": 0.1})
    with torch.no_grad():
        rival.log_variance["reward"].fill_(math.log(4.0))
    by_hand = 1.0 + 0.0625 + math.log(2.0) + 1.0
    assert rival(losses()).item() == pytest.approx(by_hand, rel=1e-6)
    assert list(rival.log_variance) == ["image", "reward"]


def test_uncertainty_gradient_of_the_scalar_by_hand():
    # d/ds = 0.5 * (1 - L exp(-s))
    rival = UncertaintyWeighting(groups=GROUPS, loss_scales=SCALES)
    torch.autograd.backward(rival(losses()))
    found = {name: s.grad.item() for name, s in rival.log_variance.items()}
    assert found == pytest.approx({"image": -0.5, "reward": 0.25})


@pytest.mark.parametrize("loss", [0.1, 2.0, 50.0])
def test_uncertainty_descent_reaches_the_loss_itself(loss):
    rival = UncertaintyWeighting(groups=GROUPS, loss_scales=SCALES, weighted=["reward"])
    optimizer = torch.optim.SGD(rival.parameters(), 0.2)
    for _ in range(500):
        optimizer.zero_grad()
        torch.autograd.backward(rival(losses(reward=loss)))
        optimizer.step()
    assert rival.log_variance["reward"].exp().item() == pytest.approx(loss, rel=1e-3)
    scaled = rival.metrics(losses(reward=loss))["harmony/scaled_loss/reward"]
    assert scaled.item() == pytest.approx(0.5, rel=1e-3)


def test_uncertainty_weighs_each_loss_of_a_group_by_itself():
    rival = UncertaintyWeighting(
        groups={"observation": {"image": 1.0, "vector": 1.0}, "reward": {"reward": 1.0}},
        loss_scales={"image": 7.0, "vector": 7.0, "reward": 7.0, "cont": 2.0},
    )
    with torch.no_grad():
        rival.log_variance["vector"].fill_(math.log(5.0))
    found = {name: torch.tensor(1.0) for name in ("image", "vector", "reward", "cont")}
    by_hand = 0.5 + 0.1 + 0.5 * math.log(5.0) + 0.5 + 2.0
    assert rival(found).item() == pytest.approx(by_hand, rel=1e-6)
    metrics = {key: value.item() for key, value in rival.metrics(found).items()}
    assert metrics == pytest.approx(
        {
            "harmony/coef/image": 0.5,
            "harmony/coef/vector": 0.1,
            "harmony/coef/observation": 0.3,
            "harmony/scaled_loss/observation": 0.6,
            "harmony/coef/reward": 0.5,
            "harmony/scaled_loss/reward": 0.5,
        }
    )


def test_uncertainty_refuses_unknown_groups():
    with pytest.raises(ValueError, match=r"harmony\.weighted may name .*, got \['image'\]"):
        UncertaintyWeighting(groups=GROUPS, loss_scales=SCALES, weighted=["image"])


# Dynamic weight average.

WINDOWS = [
    losses(image=4.0, reward=1.0, kl=1.0),
    losses(image=4.0, reward=3.0, kl=1.0),
    losses(image=2.0, reward=1.0, kl=3.0),
    losses(image=2.0, reward=3.0, kl=1.0),
]
"""Two windows of two: means 4, 2, 1 and 2, 2, 2, so the ratios are 1/2, 1 and 2."""

MOVED = [0.681659, 0.875268, 1.443074]
"""3 * softmax([1/2, 1, 2] / 2)."""


def average(**arguments):
    return DynamicWeightAverage(groups=GROUPS, loss_scales=SCALES, **arguments)


def state(rival):
    return {name: value.clone() for name, value in rival.state_dict().items()}


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_average_by_hand():
    rival = average(window_updates=2)
    for found in WINDOWS:
        assert rival(found).item() == pytest.approx(sum(x.mean().item() for x in found.values()))
        assert rival.weights.tolist() == [1.0, 1.0, 1.0]
    total = rival(losses(image=1.0, reward=10.0, kl=100.0))
    assert rival.weights.tolist() == pytest.approx(MOVED, rel=1e-5)
    assert total.item() == pytest.approx(MOVED[0] + 10 * MOVED[1] + 100 * MOVED[2], rel=1e-5)
    rival(losses())
    assert rival.weights.tolist() == pytest.approx(MOVED, rel=1e-5)


def test_average_compares_the_last_two_windows():
    # The third window has means 1, 2, 4: the ratios to the second are again 1/2, 1 and 2.
    rival = average(window_updates=1)
    for found in (losses(9.0, 9.0, 9.0), losses(2.0, 2.0, 2.0), losses(1.0, 2.0, 4.0), losses()):
        rival(found)
    assert rival.weights.tolist() == pytest.approx(MOVED, rel=1e-5)


def test_a_high_temperature_keeps_the_weights_even():
    rival = average(window_updates=1, temperature=1e6)
    for _ in range(4):
        rival(losses())
    assert rival.weights.tolist() == pytest.approx([1.0, 1.0, 1.0], rel=1e-5)


def test_average_is_off_in_the_first_two_windows_bit_for_bit():
    scales = {"image": 0.7, "cont": 0.3, "reward": 3.1, "kl": 0.1}
    rival = DynamicWeightAverage(groups=GROUPS, loss_scales=scales, window_updates=3)
    off = FixedScales(groups=GROUPS, loss_scales=scales)
    generator = torch.Generator().manual_seed(0)
    for _ in range(6):
        found = {name: torch.rand(4, 5, generator=generator) for name in scales}
        assert torch.equal(rival(found), off(found))
        assert rival.metrics(found) == off.metrics(found)


def test_average_goes_on_in_the_middle_of_a_window():
    generator = torch.Generator().manual_seed(0)
    batches = [{name: torch.rand(2, 3, generator=generator) for name in NAMES} for _ in range(12)]
    whole, stopped = average(window_updates=3), average(window_updates=3)
    for found in batches[:7]:
        whole(found)
        stopped(found)
    resumed = average(window_updates=3)
    resumed.load_state_dict(copy.deepcopy(stopped.state_dict()))
    for found in batches[7:]:
        assert torch.equal(whole(found), resumed(found))
        assert torch.equal(whole.weights, resumed.weights)
    assert same(state(whole), state(resumed))
    assert not torch.equal(whole.weights, torch.ones(3))


def test_average_moves_only_when_it_trains():
    rival = average(window_updates=1)
    before = state(rival)
    with torch.no_grad():
        rival(losses())
    rival.eval()
    rival(losses())
    rival.metrics(losses())
    assert same(before, state(rival))
    rival.train()
    rival(losses())
    assert not same(before, state(rival))


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_average_leaves_bad_losses_out(bad):
    rival = average(window_updates=2)
    rival(losses())
    before = state(rival)
    assert not torch.isfinite(rival(losses(reward=bad)))
    assert same(before, state(rival))


def test_metrics_show_the_weights_of_the_last_total():
    rival = average(window_updates=2)
    for found in [*WINDOWS, *WINDOWS]:
        total, metrics = rival(found), rival.metrics(found)
        scaled = sum(metrics[f"harmony/scaled_loss/{group}"] for group in GROUPS)
        assert scaled.item() == pytest.approx(total.item(), rel=1e-6)
        coefs = [metrics[f"harmony/coef/{group}"].item() for group in GROUPS]
        assert coefs == pytest.approx(rival.weights.tolist(), rel=1e-6)


def test_an_earlier_total_can_still_be_differentiated():
    rival = average(window_updates=1)
    image = torch.tensor(2.0, requires_grad=True)
    totals = [rival(losses() | {"image": image * (t + 1)}) for t in range(4)]
    torch.autograd.backward(sum(totals))
    assert torch.isfinite(image.grad)


@pytest.mark.parametrize(
    ("argument", "value"), [("temperature", 0.0), ("temperature", -1.0), ("window_updates", 0)]
)
def test_average_refuses_numbers_out_of_range(argument, value):
    with pytest.raises(ValueError, match=rf"harmony\.{argument} must be"):
        average(**{argument: value})


# What every choice keeps.


@pytest.mark.parametrize("kind", [UncertaintyWeighting, DynamicWeightAverage])
def test_a_loss_without_a_rule_is_an_error(kind):
    with pytest.raises(ValueError, match="losses and their rules differ"):
        kind(groups=GROUPS, loss_scales=SCALES)(losses() | {"cont": torch.tensor(1.0)})


@pytest.mark.parametrize("kind", [UncertaintyWeighting, DynamicWeightAverage])
def test_no_parameter_has_a_rate_of_its_own(kind):
    assert kind(groups=GROUPS, loss_scales=SCALES).param_groups() == []


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("uncertainty_weighting", UncertaintyWeighting),
        ("dynamic_weight_average", DynamicWeightAverage),
    ],
)
def test_conf_names_them_with_their_defaults(name, kind):
    config = compose(["env=probe", f"harmony={name}"]).config
    made = instantiate(config["harmony"])
    assert type(made) is kind
    plain = kind(groups=config["harmony"]["groups"], loss_scales=config["harmony"]["loss_scales"])
    assert same(made.state_dict(), plain.state_dict())
    if kind is DynamicWeightAverage:
        assert (made.temperature, made.window_updates) == (2.0, 100)


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_waits_for_the_device(kind):
    """Meta tensors hold no numbers: whatever reads one back fails here."""
    made = kind(groups=GROUPS, loss_scales=SCALES).to("meta")
    found = {name: torch.ones(2, 3, device="meta", requires_grad=True) for name in NAMES}
    for _ in range(3):
        torch.autograd.backward(made(found))
        assert all(value.shape == () for value in made.metrics(found).values())


def disturbed(kind, numbers):
    """A harmonizer whose state is not the one that it began with."""
    made = kind(groups=GROUPS, loss_scales=dict(zip(NAMES, (0.5, 2.0, 3.0), strict=True)))
    with torch.no_grad():
        for param, number in zip(made.parameters(), numbers, strict=False):
            param.fill_(number)
    if kind is DynamicWeightAverage:
        made.weights.copy_(torch.tensor(numbers).exp())
    return made


sizes = st.floats(1e-8, 1e8)
logs = st.lists(st.floats(-5, 5), min_size=3, max_size=3)


@pytest.mark.parametrize("kind", KINDS)
@settings(deadline=None, max_examples=40)
@given(values=st.tuples(sizes, sizes, sizes), numbers=logs)
def test_the_gradient_of_a_loss_is_its_coef(kind, values, numbers):
    made = disturbed(kind, numbers)
    found = {
        name: torch.tensor(value, requires_grad=True)
        for name, value in zip(NAMES, values, strict=True)
    }
    torch.autograd.backward(made(found))
    metrics = made.metrics(found)
    for group, name in LOSS_OF.items():
        coef = metrics[f"harmony/coef/{group}"].item()
        assert found[name].grad.item() == pytest.approx(coef, rel=1e-5), group
        scaled = metrics[f"harmony/scaled_loss/{group}"].item()
        assert scaled == pytest.approx(coef * found[name].item(), rel=1e-5), group


@pytest.mark.parametrize("kind", KINDS)
@settings(deadline=None, max_examples=40)
@given(rows=st.lists(st.tuples(sizes, sizes, sizes), min_size=4, max_size=4))
def test_everything_stays_finite(kind, rows):
    arguments = {"window_updates": 1} if kind is DynamicWeightAverage else {}
    made = kind(groups=GROUPS, loss_scales=SCALES, **arguments)
    for row in rows:
        found = {
            name: torch.tensor(value, requires_grad=True)
            for name, value in zip(NAMES, row, strict=True)
        }
        total = made(found)
        torch.autograd.backward(total)
        numbers = [total, *made.metrics(found).values(), *made.state_dict().values()]
        grads = [x.grad for x in (*found.values(), *made.parameters())]
        assert all(torch.isfinite(x).all() for x in [*numbers, *grads])
