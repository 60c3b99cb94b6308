"""DreamerPro's imagination, actor and critic against the original."""

import math

import pytest
import torch

from harmony.behavior.imagination import ImaginationNoise
from harmony.ops import tanh_normal
from harmony.types import Latent
from tests.golden.originals import Golden
from tests.golden.pro_agents import (
    CONSTANT,
    gradient_errors,
    load,
    make_agent,
    sampled_entropy,
)
from tests.golden.pro_names import named
from tests.golden.table import record, record_error

FILES = [
    "pro/behavior_dynamics",
    "pro/behavior_dynamics_entropy",
    "pro/behavior_both_discount",
    "pro/behavior_reinforce",
]
UNUSED = ("encoder.", "objective.", "rssm.post")


def close(ours, theirs, rtol=1e-4, atol=1e-5):
    torch.testing.assert_close(ours, theirs, rtol=rtol, atol=atol)


def make(name):
    """Recording, agent with its weights, start states and noise."""
    golden = Golden(name)
    discrete = golden.meta["actor"]["dist"] == "onehot"
    agent = make_agent(golden)
    assert all(
        key.startswith(UNUSED) for key in load(agent, named(golden, "param", discrete=discrete))
    )
    start = Latent(golden["in/start/deter"], golden["in/start/stoch"].flatten(2)).flatten_time()
    kind = "uniform" if golden.meta["rssm"]["discrete"] else "eps"
    action = golden["in/action_uniform"].unsqueeze(-1) if discrete else golden["in/action_eps"]
    # The original's last action and state are used by nothing.
    noise = ImaginationNoise(action[:-1], golden[f"in/prior_{kind}"][:-1])
    return golden, agent, start, noise


def as_the_original(golden, actor, rollout, monkeypatch):
    """Gives the actor what the original does otherwise, so that all else can be compared.

    The entropy: ours is computed by quadrature, see test_pro_ops.py. The log-probability that
    `both` needs: the original's action keeps its graph there, ours is held constant.
    """
    if "out/actor_logits" in golden:
        return
    draws = golden["in/entropy_eps"][:, :-1].transpose(1, 2)
    monkeypatch.setattr(actor, "entropy", sampled_entropy(draws))
    log_prob = actor.log_prob
    monkeypatch.setattr(actor, "log_prob", lambda stats, _: log_prob(stats, rollout.action))


def constant_part(golden):
    """What the constant of the density adds to the original's critic loss."""
    return CONSTANT * golden["out/weight"][:-1].mean()


@pytest.mark.golden
@pytest.mark.parametrize("name", FILES)
def test_losses_and_gradients_equal_the_originals(name, monkeypatch):
    golden, agent, start, noise = make(name)
    behavior = agent.behavior
    terminal = torch.zeros(start.deter.shape[0], dtype=torch.bool)

    rollout, targets = behavior.imagine(agent.world_model, start, terminal, noise)
    as_the_original(golden, behavior.actor, rollout, monkeypatch)
    actor_loss, metrics = behavior.actor_loss(rollout, targets)
    critic_loss, critic_metrics = behavior.critic_loss(rollout, targets)
    torch.autograd.backward(actor_loss)
    torch.autograd.backward(critic_loss)

    theirs = {
        "actor loss": golden["out/actor_loss"],
        "critic loss, without the constant of the density": golden["out/critic_loss"]
        - constant_part(golden),
        "mean return": golden["out/target"].mean(),
        "mean entropy": golden["out/entropy"][:-1].mean(),
        "mean reward": golden["out/reward"][:-1].mean(),
    }
    ours = {
        "actor loss": actor_loss.detach(),
        "critic loss, without the constant of the density": critic_loss.detach(),
        "mean return": critic_metrics["critic/target"],
        "mean entropy": metrics["actor/entropy"],
        "mean reward": critic_metrics["rollout/reward"],
    }
    for key, value in theirs.items():
        close(ours[key], value, atol=1e-6)
        record(name, key, value, ours[key])
    discrete = "out/actor_logits" in golden
    errors = gradient_errors(agent, named(golden, "grad", discrete=discrete))
    assert max(errors.values()) < 1e-4, errors
    record_error(name, "largest relative gradient error", max(errors.values()))
    for part in ("actor", "critic"):
        norm = torch.nn.utils.get_total_norm(
            [p.grad for p in getattr(agent.optimizers, part).params]
        )
        close(norm, golden[f"out/grad_norm/{part}"])
        record(name, f"{part}'s gradient norm", golden[f"out/grad_norm/{part}"], norm)


@pytest.mark.golden
@pytest.mark.parametrize("name", FILES)
def test_rollout_and_returns_equal_the_originals(name):
    golden, agent, start, noise = make(name)
    actor, critic = agent.behavior.actor, agent.behavior.critic
    terminal = torch.ones(start.deter.shape[0], dtype=torch.bool)  # what the original cannot see
    with torch.no_grad():
        rollout, targets = agent.behavior.imagine(agent.world_model, start, terminal, noise)
        log_prob = actor.log_prob(rollout.stats, rollout.action)
        value = critic.pred(rollout.feat)

    def equal(ours, key):
        close(ours, golden[f"out/{key}"][: ours.shape[1]].transpose(0, 1))

    equal(rollout.feat, "feat")
    equal(rollout.action, "action")
    equal(rollout.reward, "reward")
    equal(rollout.discount, "discount")
    equal(rollout.weight, "weight")
    equal(targets.critic, "target")
    equal(targets.actor, "target")
    equal(value, "value")
    equal(log_prob, "log_prob")
    close(targets.value, golden["out/value_slow"][1:].T)
    if "out/actor_logits" in golden:
        logit = torch.log_softmax(golden["out/actor_logits"], -1)
        close(rollout.stats, logit[:-1].transpose(0, 1))
        close(actor.entropy(rollout.stats), golden["out/entropy"][:-1].T)
    else:
        mean, std = rollout.stats.chunk(2, -1)
        equal(mean, "actor_loc")
        equal(std, "actor_scale")


@pytest.mark.golden
@pytest.mark.parametrize("name", FILES[:3])
def test_the_quadrature_gives_the_entropy_that_the_original_estimates(name):
    golden = Golden(name)
    agent = make_agent(golden)
    mean, std = golden["out/actor_loc"], golden["out/actor_scale"]
    draws = golden["in/entropy_eps"]
    action = torch.tanh(mean + std * draws)
    samples = -tanh_normal.log_prob(action, mean, std).sum(-1)
    ours = agent.behavior.actor.entropy(torch.cat([mean, std], -1))
    # A sample mean lies within a few standard errors of what it estimates, at all 24 states, and
    # the mean over the states, too.
    standard_error = samples.std(0) / math.sqrt(draws.shape[0])
    assert ((golden["out/entropy"] - ours).abs() < 4 * standard_error).all()
    error = (golden["out/entropy"] - ours).mean().abs()
    assert error < 3 * standard_error.square().sum().sqrt() / standard_error.numel()


@pytest.mark.golden
@pytest.mark.parametrize("name", FILES[:1])
def test_at_the_originals_entropy_scale_the_quadrature_hardly_changes_the_gradient(name):
    golden, agent, start, noise = make(name)
    terminal = torch.zeros(start.deter.shape[0], dtype=torch.bool)
    rollout, targets = agent.behavior.imagine(agent.world_model, start, terminal, noise)
    torch.autograd.backward(agent.behavior.actor_loss(rollout, targets)[0])
    expected = {k: v for k, v in named(golden, "grad").items() if k.startswith("actor.")}
    errors = gradient_errors(agent, expected)
    assert max(errors.values()) < 1e-3, errors
    key = "largest relative gradient error of the actor, its entropy by quadrature"
    record_error(name, key, max(errors.values()))
