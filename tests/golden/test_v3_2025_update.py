"""DreamerV3 (2025): one whole update, all parts in one step, against the original's."""

import pytest
import torch

from harmony.agent import DreamerAgent, Generators, Optimizers
from harmony.decoder_probe import NoProbe
from harmony.models.world_model import ModelNoise
from harmony.training.joint import Joint
from harmony.training.laprop import LaProp
from harmony.training.precision import Precision
from tests.golden.originals import assert_grads
from tests.golden.table import record, record_error
from tests.golden.v3_2025_agents import make_harmonizer
from tests.golden.v3_2025_names import params, part
from tests.golden.v3_2025_recordings import (
    LAYOUT,
    NAMES,
    SHAPES,
    Recording,
    all_losses,
    carried,
    imagination_noise,
    load_recording,
    make_batch,
)


def close(ours, theirs, **kwargs):
    torch.testing.assert_close(ours, theirs, **{"rtol": 1e-4, "atol": 1e-5, **kwargs})


@pytest.mark.golden
@pytest.mark.parametrize("name", NAMES)
def test_the_sum_of_all_losses_has_the_originals_gradient(name):
    rec = load_recording(name)
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
    rec = load_recording("behavior_continuous")
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
    rec = load_recording("behavior_discrete")
    golden, world_model, behavior = rec.golden, rec.world_model, rec.behavior
    batch = make_batch(golden)
    harmonizer = make_harmonizer(
        golden.meta["agent_config"], {"vector", "reward", "cont", "dyn", "rep"}
    )
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
    # The recorded draws, and the recorded states before the sequences: the agent's begin at zero.
    losses, start = world_model.losses, carried(golden)
    monkeypatch.setattr(world_model, "losses", lambda b, noise: losses(b, noise, start))
    observe_noise, imagine_noise = ModelNoise(golden["in/post_uniform"]), imagination_noise(golden)
    monkeypatch.setattr(world_model, "draw_noise", lambda *_: observe_noise)
    monkeypatch.setattr(behavior, "draw_noise", lambda *_: imagine_noise)

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
