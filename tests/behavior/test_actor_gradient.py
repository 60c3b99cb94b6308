"""What the actor maximises, by hand."""

import pytest
import torch

from harmony.behavior.actor_gradient import (
    AdvantageGradient,
    DynamicsGradient,
    MixedGradient,
    ReinforceGradient,
)


def unused():
    raise AssertionError("costs time and is not needed")


@pytest.fixture
def parts():
    """Targets 5 and 1, baselines 2 and 3, log-probabilities -1 and -2."""
    return {
        "target": torch.tensor([[5.0, 1.0]], requires_grad=True),
        "baseline": torch.tensor([[2.0, 3.0]], requires_grad=True),
        "log_prob": torch.tensor([[-1.0, -2.0]], requires_grad=True),
    }


def objective(gradient, parts):
    return gradient.objective(parts["target"], lambda: parts["baseline"], lambda: parts["log_prob"])


def test_dynamics_is_the_return_and_asks_for_nothing_else(parts):
    gradient = DynamicsGradient()
    assert gradient.through_dynamics
    assert gradient.objective(parts["target"], unused, unused) is parts["target"]


def test_advantage_goes_through_return_and_baseline(parts):
    gradient = AdvantageGradient()
    assert gradient.through_dynamics
    found = gradient.objective(parts["target"], lambda: parts["baseline"], unused)
    assert found.tolist() == [[3.0, -2.0]]
    torch.autograd.backward(found.sum())
    assert parts["target"].grad.tolist() == [[1.0, 1.0]]
    assert parts["baseline"].grad.tolist() == [[-1.0, -1.0]]


def test_reinforce_is_log_probability_times_advantage(parts):
    gradient = ReinforceGradient()
    assert not gradient.through_dynamics
    found = objective(gradient, parts)
    assert found.tolist() == [[-3.0, 4.0]]
    torch.autograd.backward(found.sum())
    assert parts["log_prob"].grad.tolist() == [[3.0, -2.0]]
    assert parts["target"].grad is None
    assert parts["baseline"].grad is None


def test_mixed_weighs_both(parts):
    gradient = MixedGradient(mix=0.25)
    assert gradient.through_dynamics
    found = objective(gradient, parts)
    assert found.tolist() == [[0.25 * 5 + 0.75 * -3, 0.25 * 1 + 0.75 * 4]]
    torch.autograd.backward(found.sum())
    assert parts["target"].grad.tolist() == [[0.25, 0.25]]
    assert parts["log_prob"].grad.tolist() == [[0.75 * 3, 0.75 * -2]]
    assert parts["baseline"].grad is None


def test_the_ends_of_the_mix_are_the_two_others(parts):
    assert torch.equal(objective(MixedGradient(mix=1.0), parts), parts["target"])
    assert torch.equal(
        objective(MixedGradient(mix=0.0), parts), objective(ReinforceGradient(), parts)
    )


@pytest.mark.parametrize("mix", [-0.1, 1.1])
def test_a_mix_is_a_share(mix):
    with pytest.raises(ValueError, match=r"actor_gradient.mix must lie in \[0, 1\]"):
        MixedGradient(mix=mix)
