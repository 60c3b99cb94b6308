"""Actor and critic of DreamerV3 (2023) against the original, over two updates in a row."""

import pytest
import torch

from harmony.agent import DreamerAgent
from harmony.behavior.imagination import ImaginationNoise
from harmony.behavior.targets import Targets
from harmony.types import Latent, Rollout
from tests.golden.originals import Golden
from tests.golden.table import record, record_error
from tests.golden.v3_agents import close, load, make_agent, worst_gradient
from tests.golden.v3_names import named

FILES = ["v3/behavior_continuous", "v3/behavior_discrete"]
IMAGINED = ("rssm.cell", "rssm.prior", "reward", "cont")
GAMMA = 1 - 1 / 333


def overrides(meta: dict) -> list[str]:
    """Where a recording has settings of its own."""
    found = [
        f"algorithm.behavior.horizon={meta['horizon']}",
        f"algorithm.behavior.actor_entropy={meta['actent']}",
        f"algorithm.behavior.slow_regularizer={meta['loss_scales']['slowreg']}",
    ]
    for part in ("actor", "critic"):
        for key in ("lr", "clip"):
            value = meta[f"{part}_opt"][key]
            found.append(f"algorithm.optimizer.{part}.{key}={value}")
    return found


def make(name: str) -> tuple[Golden, DreamerAgent]:
    """The recording, and an agent as it was before the first call."""
    golden = Golden(name)
    meta = golden.meta
    agent = make_agent(golden, {"vector": (2,)}, *overrides(meta))
    world_model = dict(agent.world_model.named_parameters())
    behavior = dict(agent.behavior.named_parameters())
    values = named(golden, "param", discrete=meta["discrete"])
    used = {name for name in world_model if name.startswith(IMAGINED)}
    assert values.keys() == behavior.keys() | used
    load(world_model | behavior, values)
    low, high = golden["in/call1/retnorm"]
    agent.behavior.return_norm.low.copy_(low)
    agent.behavior.return_norm.high.copy_(high)
    return golden, agent


def imagine(golden: Golden, agent: DreamerAgent, call: int) -> tuple[Rollout, Targets]:
    """With the recorded numbers; the original draws one action more than it uses."""
    if golden.meta["discrete"]:
        action = golden[f"in/call{call}/action_u"].unsqueeze(-1)
    else:
        action = golden[f"in/call{call}/action_eps"]
    noise = ImaginationNoise(action[:-1], golden[f"in/call{call}/prior_u"])
    start = Latent(golden["in/start/deter"], golden["in/start/stoch"].flatten(1))
    is_terminal = golden["in/start/is_terminal"].bool()
    return agent.behavior.imagine(agent.world_model, start, is_terminal, noise)


def batch_first(golden: Golden, key: str, count: int | None = None) -> torch.Tensor:
    """The first rows of an array whose time axis comes first there."""
    return golden[key][:count].transpose(0, 1)


def check_rollout(golden: Golden, agent: DreamerAgent, call: int, rollout: Rollout) -> None:
    rssm, out = agent.world_model.rssm, f"out/call{call}"
    stoch, deter = rollout.feat.split([rssm.latent.size, rssm.deter], -1)
    drawn = batch_first(golden, f"in/call{call}/prior_stoch").flatten(2)
    close(stoch[:, 1:], drawn, rtol=0, atol=1e-6)  # straight through: sample + p - p, in floats
    close(deter, batch_first(golden, f"{out}/deter"))
    prior = rssm.latent._split(rssm.prior_stats(deter[:, 1:]))
    close(prior, batch_first(golden, f"{out}/logit")[:, 1:])
    close(rollout.action, batch_first(golden, f"in/call{call}/action_sample", -1))
    close(rollout.reward, batch_first(golden, f"{out}/reward"))
    close(rollout.discount, GAMMA * batch_first(golden, f"{out}/cont"))
    close(rollout.weight, batch_first(golden, f"{out}/weight", -1))


def check_policy(golden: Golden, agent: DreamerAgent, call: int, rollout: Rollout) -> None:
    actor, out = agent.behavior.actor, f"out/call{call}"
    parts = ("logits",) if golden.meta["discrete"] else ("mean", "std")
    stats = [batch_first(golden, f"{out}/actor_{part}", -1) for part in parts]
    close(rollout.stats, torch.cat(stats, -1))
    close(actor.entropy(rollout.stats), batch_first(golden, f"{out}/entropy", -1))
    log_prob = actor.log_prob(rollout.stats, rollout.action)
    close(log_prob, batch_first(golden, f"{out}/log_prob", -1))


def check_values(
    golden: Golden, agent: DreamerAgent, call: int, rollout: Rollout, targets: Targets
) -> None:
    behavior, out = agent.behavior, f"out/call{call}"
    critic, slow = behavior.critic, behavior.slow_critic
    close(critic.pred(rollout.feat), batch_first(golden, f"{out}/value"))
    close(slow.pred(rollout.feat), batch_first(golden, f"{out}/value_slow"))
    close(targets.value, batch_first(golden, f"{out}/value")[:, 1:])
    close(targets.critic, batch_first(golden, f"{out}/ret"))
    close(targets.actor, batch_first(golden, f"{out}/ret"))
    feat = rollout.feat[:, :-1].detach()
    raw = critic.raw(feat)
    nll = critic.scalar.loss(raw, targets.critic)
    close(nll, batch_first(golden, f"{out}/critic_nll"))
    towards_slow = critic.scalar.loss(raw, slow.pred(feat))
    close(towards_slow, batch_first(golden, f"{out}/critic_slowreg"))


def check_gradients(
    golden: Golden, agent: DreamerAgent, call: int, losses: dict[str, torch.Tensor]
) -> float:
    """Before clipping; leaves the graphs as they are."""
    grads = named(golden, f"grad{call}", discrete=golden.meta["discrete"])
    trained = {n: p for n, p in agent.behavior.named_parameters() if p.requires_grad}
    assert trained.keys() == grads.keys()
    agent.behavior.zero_grad()
    for part, loss in losses.items():
        own = [param for name, param in trained.items() if name.startswith(part)]
        torch.autograd.backward(loss, inputs=own, retain_graph=True)
    return worst_gradient(trained, grads)


def weight_errors(golden: Golden, agent: DreamerAgent, call: int) -> dict[str, float]:
    """Largest error of each weight after a call, in units of the learning rate."""
    expected = named(golden, f"after{call}", discrete=golden.meta["discrete"])
    own = dict(agent.behavior.named_parameters())
    assert own.keys() == expected.keys()
    lr = golden.meta["actor_opt"]["lr"]
    return {k: float((own[k].detach() - v).abs().max()) / lr for k, v in expected.items()}


@pytest.mark.golden
@pytest.mark.parametrize("name", FILES)
def test_two_updates_in_a_row_equal_the_originals(name):
    golden, agent = make(name)
    behavior, optimizers = agent.behavior, agent.optimizers
    for call in (1, 2):
        rollout, targets = imagine(golden, agent, call)
        check_rollout(golden, agent, call, rollout)
        check_policy(golden, agent, call, rollout)
        check_values(golden, agent, call, rollout, targets)

        actor_loss, metrics = behavior.actor_loss(rollout, targets)
        critic_loss, _ = behavior.critic_loss(rollout, targets)
        norm, out = behavior.return_norm, f"out/call{call}"
        scale = metrics["actor/return_scale"]
        close(torch.stack([norm.low, norm.high]), golden[f"{out}/retnorm"])
        close(scale, golden[f"{out}/invscale"])
        advantage = (targets.actor - behavior._baseline(rollout, targets, 4)) / scale
        close(advantage, batch_first(golden, f"{out}/adv"))
        close(actor_loss, golden[f"{out}/actor_loss"], atol=1e-6)
        close(critic_loss, golden[f"{out}/critic_loss"])
        losses = {"actor": actor_loss, "critic": critic_loss}
        error = check_gradients(golden, agent, call, losses)

        norms = optimizers.actor.step(actor_loss) | optimizers.critic.step(critic_loss)
        behavior.slow_critic.follow(behavior.critic, int(golden[f"in/call{call}/slow_updates"]))
        for part in losses:
            close(norms[f"grad_norm/{part}"], golden[f"{out}/grad_norm/{part}"])
        moved = max(weight_errors(golden, agent, call).values())
        # Adam divides by the gradient's size, so it enlarges what rounding does to tiny entries:
        # compare the next test, where the gradients are the recorded ones.
        assert moved < 1e-2

        where = f"{name}, update {call}"
        record(where, "returns, mean", golden[f"{out}/ret"].mean(), targets.critic.detach().mean())
        record(where, "return scale", golden[f"{out}/invscale"], scale)
        for part, loss in losses.items():
            record(where, f"{part} loss", golden[f"{out}/{part}_loss"], loss.detach())
            theirs, ours = golden[f"{out}/grad_norm/{part}"], norms[f"grad_norm/{part}"]
            record(where, f"{part} gradient norm", theirs, ours)
        record_error(where, "largest relative gradient error", error)
        record_error(where, "largest error of a weight after it, in learning rates", moved)


@pytest.mark.golden
@pytest.mark.parametrize("name", FILES)
def test_the_originals_gradients_give_the_originals_weights(name):
    golden, agent = make(name)
    behavior, optimizers = agent.behavior, agent.optimizers
    for call in (1, 2):
        grads = named(golden, f"grad{call}", discrete=golden.meta["discrete"])
        for part, optimizer in (("actor", optimizers.actor), ("critic", optimizers.critic)):
            own = getattr(behavior, part).named_parameters()
            terms = [(param * grads[f"{part}.{name}"]).sum() for name, param in own]
            norm = optimizer.step(torch.stack(terms).sum())[f"grad_norm/{part}"]
            close(norm, golden[f"out/call{call}/grad_norm/{part}"])
        behavior.slow_critic.follow(behavior.critic, int(golden[f"in/call{call}/slow_updates"]))
        errors = weight_errors(golden, agent, call)
        assert max(errors.values()) < 2e-4, errors
        what = "largest error of a weight, in learning rates, gradients given"
        record_error(f"{name}, update {call}", what, max(errors.values()))


@pytest.mark.golden
@pytest.mark.parametrize("name", FILES)
def test_the_recordings_reach_what_they_are_for(name):
    meta, golden = Golden(name).meta, Golden(name)
    assert (golden["out/call1/cont"][0] == 0).sum() == 2
    assert (golden["out/call1/cont"][1:] == 0).any()
    binds = {
        part: float(golden[f"out/call1/grad_norm/{part}"]) > meta[f"{part}_opt"]["clip"]
        for part in ("actor", "critic")
    }
    assert binds == {"actor": not meta["discrete"], "critic": meta["discrete"]}
    # The first update of all copies the slow critic, later ones mix.
    slow = named(golden, "after1")["slow_critic.critic.output.weight"]
    fast = named(golden, "after1")["critic.output.weight"]
    assert torch.equal(slow, fast) == (golden["in/call1/slow_updates"] == 0)
