"""DreamerV3 (2025): imagination, actor, critic, replayed values and one whole update."""

from typing import NamedTuple

import pytest
import torch
from torch.nn import functional as F

from harmony.agent import DreamerAgent, Generators, Optimizers
from harmony.behavior.actor_critic import ActorCritic
from harmony.behavior.imagination import ImaginationNoise
from harmony.behavior.targets import Targets
from harmony.decoder_probe import NoProbe
from harmony.models.world_model import Modelled, ModelNoise, WorldModel
from harmony.training.joint import Joint
from harmony.training.laprop import LaProp
from harmony.training.precision import Precision
from harmony.types import Latent, Rollout
from tests.golden.originals import Golden, assert_grads, load
from tests.golden.table import record, record_error
from tests.golden.v3_2025_names import Layout, params, part
from tests.golden.v3_2025_parts import make_behavior, make_harmonizer, make_world_model

NAMES = ["behavior_continuous", "behavior_discrete"]
SHAPES = {"vec": (5,)}
LAYOUT = Layout(deter=16, vector=14)


class Recording(NamedTuple):
    golden: Golden
    world_model: WorldModel
    behavior: ActorCritic
    last: int
    """Imagination starts from so many states at the end of each sequence."""


def make(name) -> Recording:
    golden = Golden(f"v3_2025/{name}")
    config, discrete = golden.meta["agent_config"], name == "behavior_discrete"
    action_size = 4 if discrete else 2
    world_model = make_world_model(config, SHAPES, action_size)
    feat_size = world_model.rssm.feat_size
    behavior = make_behavior(config, feat_size, action_size, discrete=discrete)
    weights = params(golden, "param", LAYOUT)
    ours = {**dict(world_model.named_parameters()), **dict(behavior.named_parameters())}
    assert set(weights) == set(ours)
    load(world_model, weights)
    load(behavior, weights)
    behavior.return_norm.low.copy_(golden["in/state/retnorm/lo/value"])
    behavior.return_norm.high.copy_(golden["in/state/retnorm/hi/value"])
    return Recording(golden, world_model, behavior, config["imag_last"] or 5)


def make_batch(golden):
    flags = {key: golden[f"in/{key}"].bool() for key in ("is_first", "is_last", "is_terminal")}
    action = golden["in/prevact"]
    if action.ndim == 2:
        action = F.one_hot(action.long(), 4).float()
    return {"vec": golden["in/vec"], "reward": golden["in/reward"], "action": action, **flags}


def carried(golden) -> Latent:
    return Latent(golden["in/carry/deter"], golden["in/carry/stoch"].flatten(1))


def observe(rec: Recording) -> Modelled:
    noise = ModelNoise(rec.golden["in/post_uniform"])
    return rec.world_model.losses(make_batch(rec.golden), noise, carried(rec.golden))


def imagination_noise(golden) -> ImaginationNoise:
    """Time first; the original draws one action more, at the last state, which nothing uses."""
    discrete = "in/action_uniform" in golden
    action = golden["in/action_uniform"].unsqueeze(-1) if discrete else golden["in/action_eps"]
    latent = golden["in/prior_uniform"]
    return ImaginationNoise(action[:, :-1].transpose(0, 1), latent.transpose(0, 1))


def imagine(rec: Recording, modelled: Modelled) -> tuple[Rollout, Targets]:
    """Ours starts from all states; the recording may start from the last ones."""
    ends = Latent(*(x[:, -rec.last :] for x in modelled.latent.detach()))
    terminal = modelled.batch["is_terminal"][:, -rec.last :].flatten()
    noise = imagination_noise(rec.golden)
    return rec.behavior.imagine(rec.world_model, ends.flatten_time(), terminal, noise)


def replay_loss(rec: Recording, modelled: Modelled, targets: Targets) -> torch.Tensor:
    """As `ActorCritic.replay_loss`, of the states that imagination started from."""
    feat = rec.world_model.rssm.get_feat(modelled.latent)[:, -rec.last :]
    batch = {key: value[:, -rec.last :] for key, value in modelled.batch.items()}
    critics = (rec.behavior.critic, rec.behavior.slow_critic)
    return rec.behavior.replay_value(*critics, feat, batch, targets.critic[:, 0])


def close(ours, theirs, **kwargs):
    torch.testing.assert_close(ours, theirs, **{"rtol": 1e-4, "atol": 1e-5, **kwargs})


@pytest.mark.golden
@pytest.mark.parametrize("name", NAMES)
def test_rollouts_and_returns_equal_the_originals(name):
    rec = make(name)
    golden, horizon = rec.golden, rec.behavior.horizon
    with torch.no_grad():
        modelled = observe(rec)
        rollout, targets = imagine(rec, modelled)
    assert torch.equal(modelled.latent.stoch, golden["in/post_stoch"].flatten(2))
    close(modelled.latent.deter, golden["out/post/deter"])
    feat = torch.cat([golden["out/imag/stoch"].flatten(2), golden["out/imag/deter"]], -1)
    first = torch.cat([golden["out/start/stoch"].flatten(1), golden["out/start/deter"]], -1)
    close(rollout.feat, torch.cat([first.unsqueeze(1), feat], 1))
    if name == "behavior_discrete":
        action = F.one_hot(golden["in/action_index"].long(), 4).float()
        stats = torch.log_softmax(golden["out/policy_logits"], -1)
    else:
        action = golden["in/action_sample"]
        stats = torch.cat([golden["out/policy_mean"], golden["out/policy_std"]], -1)
    close(rollout.action, action[:, :horizon])
    close(rollout.stats, stats[:, :horizon])
    actor = rec.behavior.actor
    close(actor.log_prob(rollout.stats, rollout.action), golden["out/policy_logp"][:, :horizon])
    close(actor.entropy(rollout.stats), golden["out/policy_entropy"][:, :horizon])
    # No return reads the reward of the state that a rollout starts from.
    close(rollout.reward, golden["out/imag_rew"][:, 1:])
    close(rollout.discount, golden["out/imag_con"])
    close(rollout.weight, golden["out/weight"][:, :horizon])
    close(rec.behavior.critic.pred(rollout.feat), golden["out/val_pred"])
    close(rec.behavior.slow_critic.pred(rollout.feat), golden["out/slowval_pred"])
    close(targets.critic, golden["out/ret"])
    close(targets.value, golden["out/val_pred"][:, 1:])
    record(golden.name, "mean return", golden["out/ret"].mean(), targets.critic.mean())


@pytest.mark.golden
@pytest.mark.parametrize("name", NAMES)
def test_actor_and_critic_losses_equal_the_originals(name):
    rec = make(name)
    golden, behavior = rec.golden, rec.behavior
    rollout, targets = imagine(rec, observe(rec))
    actor_loss, metrics = behavior.actor_loss(rollout, targets)
    critic_loss, _ = behavior.critic_loss(rollout, targets)
    for quantity, loss in (("policy", actor_loss), ("value", critic_loss)):
        close(loss, golden[f"out/loss_mean/{quantity}"], atol=1e-6)
        record(golden.name, f"loss {quantity}", golden[f"out/loss_mean/{quantity}"], loss)
    # The averages take the returns in first; the actor sees the scale after that.
    close(behavior.return_norm.low, golden["out/state/retnorm/lo/value"], atol=1e-6)
    close(behavior.return_norm.high, golden["out/state/retnorm/hi/value"], atol=1e-6)
    close(metrics["actor/return_scale"], golden["out/retnorm_used"][1], atol=1e-6)

    torch.autograd.backward(actor_loss + critic_loss)
    # The actor has no other loss, so its gradient is that of the recorded total.
    actor = part(params(golden, "grad", LAYOUT), "actor")
    critic = part(params(golden, "grad_value", LAYOUT), "critic")
    largest = max(
        assert_grads(behavior.actor, actor, 1e-4), assert_grads(behavior.critic, critic, 1e-4)
    )
    record_error(golden.name, "largest gradient error of a parameter, policy and value", largest)
    assert all(weight.grad is None for weight in rec.world_model.parameters())


@pytest.mark.golden
@pytest.mark.parametrize("name", NAMES)
def test_losses_of_each_rollout_equal_the_originals(name):
    rec = make(name)
    golden, behavior = rec.golden, rec.behavior
    scale = golden["out/retnorm_used"][1]
    # One row alone has other percentiles; what all rows have together is in the test above.
    behavior.return_norm.forward = lambda returns: scale  # type: ignore[method-assign]
    with torch.no_grad():
        rollout, targets = imagine(rec, observe(rec))
        losses = []
        for row in range(rollout.feat.shape[0]):
            few = Rollout(*(x[row : row + 1] for x in rollout))
            goal = Targets(*(x[row : row + 1] for x in targets))
            actor_loss, critic_loss = behavior.actor_loss(few, goal), behavior.critic_loss(few, goal)
            losses.append(torch.stack([actor_loss[0], critic_loss[0]]))
    for k, quantity in enumerate(("policy", "value")):
        expected = golden[f"out/imag_loss/{quantity}"].mean(1)
        close(torch.stack(losses)[:, k], expected, atol=1e-6)


@pytest.mark.golden
@pytest.mark.parametrize("name", NAMES)
def test_replayed_values_equal_the_originals(name):
    rec = make(name)
    golden, critic = rec.golden, rec.behavior.critic
    modelled = observe(rec)
    _, targets = imagine(rec, modelled)
    boot = targets.critic[:, 0].reshape(3, rec.last)
    close(boot, golden["out/repl/boot"])
    batch = {key: value[:, -rec.last :] for key, value in modelled.batch.items()}
    close(rec.behavior.replay_value.returns(batch, boot), golden["out/repl/ret"])
    feat = rec.world_model.rssm.get_feat(modelled.latent)[:, -rec.last :]
    close(critic.pred(feat), golden["out/repl/val_pred"])
    weight = rec.behavior.replay_value.weight
    for row in range(3):
        few = {key: value[row : row + 1] for key, value in batch.items()}
        slow = rec.behavior.slow_critic
        loss = rec.behavior.replay_value(critic, slow, feat[row : row + 1], few, boot[row])
        close(loss / weight, golden["out/repl/loss"][row].mean(), atol=1e-6)

    loss = replay_loss(rec, modelled, targets) / weight
    close(loss, golden["out/loss_mean/repval"], atol=1e-6)
    record(golden.name, "loss replayed value", golden["out/loss_mean/repval"], loss)
    torch.autograd.backward(loss)
    expected = params(golden, "grad_repval", LAYOUT)
    assert_grads(critic, part(expected, "critic"), 1e-4)
    # It reaches encoder and posterior, and nothing else of the world model.
    for key, weight in rec.world_model.named_parameters():
        if key in expected:
            assert (weight.grad - expected[key]).norm() <= 1e-4 * expected[key].norm(), key
        else:
            assert weight.grad is None, key
    assert not any(key.startswith(("rssm.prior", "objective", "reward", "cont")) for key in expected)


@pytest.mark.golden
@pytest.mark.parametrize("name", NAMES)
def test_the_sum_of_all_losses_has_the_originals_gradient(name):
    rec = make(name)
    golden = rec.golden
    total = sum(all_losses(rec))
    close(total, golden["out/total"])
    record(golden.name, "loss total", golden["out/total"], total)
    torch.autograd.backward(total)
    grads = params(golden, "grad", LAYOUT)
    behavior = rec.behavior
    pairs = [
        (rec.world_model, grads),
        (behavior.actor, part(grads, "actor")),
        (behavior.critic, part(grads, "critic")),
    ]
    largest = max(assert_grads(module, expected, 1e-4) for module, expected in pairs)
    record_error(golden.name, "largest gradient error of a parameter, total", largest)
    ours = [p.grad for module, _ in pairs for p in module.parameters()]
    norms = [torch.stack([g.norm() for g in group]).norm() for group in (grads.values(), ours)]
    record(golden.name, "global gradient norm", *norms)
    assert all(weight.grad is None for weight in behavior.slow_critic.parameters())


def all_losses(rec: Recording) -> list[torch.Tensor]:
    """Of model, actor and critic, as `DreamerAgent.update` computes them, all with one set of weights."""
    config = rec.golden.meta["agent_config"]
    modelled = observe(rec)
    model_loss = make_harmonizer(config, set(modelled.losses))(modelled.losses)
    rollout, targets = imagine(rec, modelled)
    actor_loss, _ = rec.behavior.actor_loss(rollout, targets)
    critic_loss, _ = rec.behavior.critic_loss(rollout, targets)
    return [model_loss, actor_loss, critic_loss + replay_loss(rec, modelled, targets)]


def make_optimizers(rec: Recording) -> Optimizers:
    opt = rec.golden.meta["agent_config"]["opt"]

    def make_laprop(weights, name, loss_scaler):
        return LaProp(
            weights, name, loss_scaler, lr=opt["lr"], agc=opt["agc"], beta1=opt["beta1"],
            beta2=opt["beta2"], eps=opt["eps"], warmup_updates=opt["warmup"],
        )  # fmt: skip

    parts = {
        "model": list(rec.world_model.parameters()),
        "actor": list(rec.behavior.actor.parameters()),
        "critic": list(rec.behavior.critic.parameters()),
    }
    joint = Joint(make_laprop, parts, torch.amp.GradScaler("cpu", enabled=False))
    return Optimizers(**{part: joint.part(part) for part in parts})


@pytest.fixture
def _no_denormals():
    """Takes numbers below 1.2e-38 for zero, as the machine of the recordings did.

    The original divides a gradient by the root of its square. Where the square counts as zero,
    which is at gradients of about 1e-18, it divides by 1e-20 instead. Bins far from all targets
    have such gradients.
    """
    if not torch.set_flush_denormal(True):
        pytest.skip("this CPU can't take denormal numbers for zero")
    yield
    torch.set_flush_denormal(False)


def assert_stepped(rec: Recording) -> None:
    """Weights after the recorded step, and after the slow critic's."""
    golden = rec.golden
    ours = {
        **dict(rec.world_model.named_parameters()), **dict(rec.behavior.named_parameters())
    }  # fmt: skip
    before, after = (params(golden, group, LAYOUT) for group in ("param", "out/after_step"))
    after = {key: value for key, value in after.items() if key in ours}
    assert len(after) == 7
    lr = golden.meta["agent_config"]["opt"]["lr"]
    largest = 0.0
    for key, expected in after.items():
        error = (ours[key].detach() - expected).abs()
        assert not torch.equal(before[key], expected)
        # The first step is the learning rate times a sign; a weight is rounded to 1.2e-7 of itself.
        assert (error <= 1e-4 * lr + 1.2e-7 * expected.abs()).all(), f"{key}: {error.max()}"
        largest = max(largest, float(error.max()) / lr)
    record_error(golden.name, "weights after one update, in learning rates", largest)


@pytest.mark.golden
@pytest.mark.usefixtures("_no_denormals")
def test_an_update_by_hand_gives_the_originals_weights():
    rec = make("behavior_continuous")
    optimizers = make_optimizers(rec)
    losses = all_losses(rec)
    optimizers.model.step(losses[0])
    optimizers.actor.step(losses[1])
    optimizers.critic.step(losses[2])
    slow = rec.behavior.slow_critic
    count = int(rec.golden.meta["state_before"]["slowval_count/value"])
    slow.follow(rec.behavior.critic, count)
    assert_stepped(rec)
    slow.follow(rec.behavior.critic, count + 1)
    again = part(params(rec.golden, "out/after_step_again", LAYOUT), "slow_critic")
    named = dict(slow.named_parameters())
    assert len(again) == 3
    for key, expected in again.items():
        close(named[key], expected, rtol=1e-6, atol=1e-7)


@pytest.mark.golden
@pytest.mark.usefixtures("_no_denormals")
def test_an_update_of_the_agent_gives_the_originals_weights(monkeypatch):
    rec = make("behavior_discrete")
    golden, world_model, behavior = rec.golden, rec.world_model, rec.behavior
    batch = make_batch(golden)
    harmonizer = make_harmonizer(golden.meta["agent_config"], {"vector", "reward", "cont", "dyn", "rep"})
    generator = torch.Generator()
    agent = DreamerAgent(
        world_model=world_model,
        harmonizer=harmonizer,
        behavior=behavior,
        probe=NoProbe(world_model.encoder, world_model.rssm.feat_size, SHAPES),
        optimizers=make_optimizers(rec),
        precision=Precision(),
        generators=Generators(generator, generator, generator),
    )
    agent.updates = int(golden.meta["state_before"]["slowval_count/value"])
    # The recorded draws, and the recorded states before the sequences: the agent's own begin at zero.
    losses, start = world_model.losses, carried(golden)
    monkeypatch.setattr(world_model, "losses", lambda b, noise: losses(b, noise, start))
    observe_noise, imagine_noise = ModelNoise(golden["in/post_uniform"]), imagination_noise(golden)
    monkeypatch.setattr(world_model, "draw_noise", lambda b, generator: observe_noise)
    monkeypatch.setattr(behavior, "draw_noise", lambda *args: imagine_noise)

    metrics = agent.update(batch)

    names = {
        "loss/vector": "vec", "loss/reward": "rew", "loss/cont": "con", "loss/dyn": "dyn",
        "loss/rep": "rep", "actor/loss": "policy", "critic/loss": "value",
    }  # fmt: skip
    for ours, theirs in names.items():
        close(metrics[ours], golden[f"out/loss_mean/{theirs}"], atol=1e-6)
    grads = params(golden, "grad", LAYOUT).values()
    norm = torch.stack([grad.norm() for grad in grads]).norm()
    close(metrics["grad_norm/joint"], norm)
    assert_stepped(rec)
