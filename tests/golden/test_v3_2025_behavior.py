"""DreamerV3 (2025): imagination, actor, critic and replayed values against the original's."""

import pytest
import torch
from torch.nn import functional as F

from harmony.behavior.targets import Targets
from harmony.types import Rollout
from tests.golden.originals import assert_grads
from tests.golden.table import record, record_error
from tests.golden.v3_2025_names import params, part
from tests.golden.v3_2025_recordings import (
    LAYOUT,
    NAMES,
    imagine,
    load_recording,
    observe,
    replay_loss,
)


def close(ours, theirs, **kwargs):
    torch.testing.assert_close(ours, theirs, **{"rtol": 1e-4, "atol": 1e-5, **kwargs})


@pytest.mark.golden
@pytest.mark.parametrize("name", NAMES)
def test_rollouts_and_returns_equal_the_originals(name):
    rec = load_recording(name)
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
    rec = load_recording(name)
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
    rec = load_recording(name)
    golden, behavior = rec.golden, rec.behavior
    scale = golden["out/retnorm_used"][1]
    # One row alone has other percentiles; what all rows have together is in the test above.
    behavior.return_norm.register_forward_hook(lambda *_: scale)
    with torch.no_grad():
        rollout, targets = imagine(rec, observe(rec))
        losses = []
        for row in range(rollout.feat.shape[0]):
            few = Rollout(*(x[row : row + 1] for x in rollout))
            goal = Targets(*(x[row : row + 1] for x in targets))
            actor_loss, critic_loss = (
                behavior.actor_loss(few, goal),
                behavior.critic_loss(few, goal),
            )
            losses.append(torch.stack([actor_loss[0], critic_loss[0]]))
    for k, quantity in enumerate(("policy", "value")):
        expected = golden[f"out/imag_loss/{quantity}"].mean(1)
        close(torch.stack(losses)[:, k], expected, atol=1e-6)


@pytest.mark.golden
@pytest.mark.parametrize("name", NAMES)
def test_replayed_values_equal_the_originals(name):
    rec = load_recording(name)
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
    assert not any(
        key.startswith(("rssm.prior", "objective", "reward", "cont")) for key in expected
    )
