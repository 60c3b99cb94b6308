"""The agent as a whole: it learns, acts, and continues from a snapshot as itself."""

import copy
import itertools

import pytest
import torch

from harmony.models.world_model import ModelNoise
from tests import tiny
from tests.integration.test_kills import assert_same

LOSSES = ("image", "reward", "kl")


def step_record(given, t):
    return {"image": given["image"][:, t], "is_first": given["is_first"][:, t]}


@pytest.mark.parametrize("harmony", ["on", "off"])
def test_one_batch_again_and_again_is_learned_by_heart(harmony):
    agent = tiny.agent(
        f"harmony={harmony}", "algorithm.optimizer.model.lr=1e-2", "size.deter=16",
        "size.units=16", "size.depth=4",
    )  # fmt: skip
    given = tiny.batch()
    history = [agent.update(given) for _ in range(80)]

    def mean(name, part):
        return torch.stack([metrics[name] for metrics in part]).mean().item()

    # The plain losses, since the harmonised sum may grow while all of them shrink.
    for name, share in (("loss/image", 0.7), ("loss/reward", 0.15)):
        assert mean(name, history[-5:]) < share * mean(name, history[:5]), name
    assert agent.bad_steps() == (0, 0)
    assert agent.updates == 80


def test_an_update_moves_every_trained_part_and_reports():
    agent = tiny.agent()
    before = {name: value.clone() for name, value in agent.state_dict().items()}
    metrics = agent.update(tiny.batch())
    moved = {
        ".".join(name.split(".")[:2])
        for name, value in agent.state_dict().items()
        if not torch.equal(value, before[name])
    }
    assert moved == {
        "world_model.encoder", "world_model.rssm", "world_model.objective", "world_model.reward",
        "harmonizer.log_sigma", "behavior.actor", "behavior.critic", "behavior.slow_critic",
    }  # fmt: skip
    assert all(value.shape == () and not value.requires_grad for value in metrics.values())
    assert {f"loss/{name}" for name in LOSSES} | {"loss/total", "actor/loss", "critic/loss"} <= set(
        metrics
    )
    assert {f"grad_norm/{name}" for name in ("model", "actor", "critic")} <= set(metrics)


def test_the_total_is_what_the_harmonizer_makes_of_the_losses():
    metrics = tiny.agent("harmony=off").update(tiny.batch())
    total = sum(metrics[f"loss/{name}"] for name in LOSSES)
    torch.testing.assert_close(metrics["loss/total"], total)


def test_actor_and_critic_steps_leave_the_world_model_alone():
    agent = tiny.agent()
    before = copy.deepcopy(agent.world_model.state_dict())
    agent.optimizers.model.adam.param_groups[0]["lr"] = 0.0
    agent.update(tiny.batch())
    assert_same(dict(agent.world_model.state_dict()), dict(before))
    assert all(weight.requires_grad for weight in agent.world_model.parameters())


def test_bf16_is_close_to_fp32():
    """One update from the same weights: losses within 2 %, gradient norms within 10 %."""
    given = tiny.batch(batch_size=4, length=8)
    full, half = (tiny.agent(f"precision={name}").update(given) for name in ("fp32", "bf16"))
    assert set(full) == set(half)
    for name in ("image", "reward", "total"):
        torch.testing.assert_close(half[f"loss/{name}"], full[f"loss/{name}"], rtol=0.02, atol=1e-3)
    for name in ("model", "actor", "critic"):
        key = f"grad_norm/{name}"
        torch.testing.assert_close(half[key], full[key], rtol=0.1, atol=1e-3)
    # They are not the same numbers, else nothing ran in half precision.
    assert half["loss/image"] != full["loss/image"]


def test_weights_and_moments_stay_in_float32_under_bf16():
    agent = tiny.agent("precision=bf16")
    agent.update(tiny.batch())
    tensors = [*agent.parameters()]
    for optimizer in agent.optimizers.named().values():
        for state in optimizer.adam.state.values():
            tensors += [state["exp_avg"], state["exp_avg_sq"]]
    assert {tensor.dtype for tensor in tensors} == {torch.float32}
    carry = agent.initial(2)
    for t in range(2):
        action, carry = agent.act(
            step_record(tiny.batch(), t), carry, "eval", torch.Generator().manual_seed(0)
        )
    assert action.dtype == torch.float32


@pytest.mark.parametrize("overrides", [(), ("precision=bf16",), ("latent=gaussian",)])
def test_a_snapshot_continues_bit_for_bit(overrides):
    one, two = tiny.agent(*overrides), tiny.agent(*overrides, seed=5)
    batches = [tiny.batch(seed=seed) for seed in range(6)]
    for given in batches[:3]:
        one.update(given)
    two.load_snapshot(copy.deepcopy(one.snapshot()))
    for given in batches[3:]:
        assert_same(one.update(given), two.update(given))
    assert_same(one.snapshot(), two.snapshot())
    assert one.updates == two.updates == 6


def test_a_snapshot_of_other_sizes_is_refused():
    with pytest.raises(RuntimeError, match="size mismatch"):
        tiny.agent().load_snapshot(tiny.agent("size.deter=9").snapshot())


def actions(agent, mode, seed, given=None):
    given = given or tiny.batch(length=6)
    generator, carry, found = torch.Generator().manual_seed(seed), agent.initial(2), []
    for t in range(6):
        action, carry = agent.act(step_record(given, t), carry, mode, generator)
        found.append(action)
    return torch.stack(found, 1)


@pytest.mark.parametrize("mode", ["train", "eval"])
def test_the_generator_decides_the_actions(mode):
    agent = tiny.agent()
    before = agent.snapshot()["generators"]
    assert torch.equal(actions(agent, mode, 1), actions(agent, mode, 1))
    assert not torch.equal(actions(agent, mode, 1), actions(agent, mode, 2))
    # The agent's own streams are not touched by it.
    assert_same(agent.snapshot()["generators"], before)


def test_eval_takes_the_mode_of_the_policy():
    agent = tiny.agent()
    given, carry = step_record(tiny.batch(), 0), agent.initial(2)
    action, after = agent.act(given, carry, "eval", torch.Generator().manual_seed(0))
    stats = agent.behavior.actor.stats(agent.world_model.rssm.get_feat(after.latent))
    torch.testing.assert_close(action, agent.behavior.actor.mode(stats))
    assert torch.equal(after.action, action)


@pytest.mark.parametrize("overrides", [(), ("env.discrete=true",)])
def test_actions_fit_the_space(overrides):
    agent = tiny.agent(*overrides)
    for mode in ("train", "eval"):
        found = actions(agent, mode, 0)
        assert found.shape == (2, 6, 2)
        assert found.dtype == torch.float32
        assert found.abs().max() <= 1
        if overrides:
            assert set(found.flatten().tolist()) <= {0.0, 1.0}
            assert (found.sum(-1) == 1).all()


def test_a_first_observation_forgets_the_episode_before():
    agent = tiny.agent()
    given = tiny.batch()
    used = agent.initial(2)
    for t in range(3):
        _, used = agent.act(step_record(given, t), used, "train", torch.Generator().manual_seed(t))
    fresh = [
        agent.act(step_record(given, 0), carry, "eval", torch.Generator().manual_seed(9))[0]
        for carry in (used, agent.initial(2))
    ]
    torch.testing.assert_close(*fresh)


def test_acting_follows_the_same_states_as_training():
    """The action of a step is fed to the next one: the convention of the batches."""
    agent = tiny.agent("latent=gaussian")
    given = tiny.batch(length=5)
    generator, carry = torch.Generator().manual_seed(3), agent.initial(2)
    taken, deters = [], []
    for t in range(5):
        taken.append(carry.action)
        _, carry = agent.act(step_record(given, t), carry, "eval", generator)
        deters.append(carry.latent.deter)
    generator = torch.Generator().manual_seed(3)
    latent = agent.world_model.rssm.latent
    noise = torch.stack([latent.draw_noise((2,), generator, tiny.CPU) for _ in range(5)], 1)
    given["action"] = torch.stack(taken, 1)
    with torch.no_grad():
        modelled = agent.world_model.losses(given, ModelNoise(noise))
    torch.testing.assert_close(modelled.latent.deter, torch.stack(deters, 1))


def test_harmony_on_and_off_begin_with_the_same_weights():
    on, off = tiny.agent("harmony=on").state_dict(), tiny.agent("harmony=off").state_dict()
    extra = {f"harmonizer.log_sigma.{group}" for group in ("observation", "reward", "dynamics")}
    assert set(on) - set(off) == extra
    assert_same({name: on[name] for name in off}, dict(off))


def test_seeds_give_other_weights_and_other_noise():
    one, two = tiny.agent(seed=0), tiny.agent(seed=1)
    pairs = zip(one.parameters(), two.parameters(), strict=True)
    assert any(not torch.equal(left, right) for left, right in pairs)
    states = [agent.snapshot()["generators"]["observe"] for agent in (one, two)]
    assert not torch.equal(*states)


def test_the_three_streams_differ():
    states = tiny.agent().snapshot()["generators"]
    assert set(states) == {"observe", "imagine", "policy"}
    assert not any(torch.equal(a, b) for a, b in itertools.combinations(states.values(), 2))


def test_the_slow_critic_follows_by_the_count_of_updates():
    agent = tiny.agent("algorithm.slow_critic.every_updates=3")

    def same():
        behavior = agent.behavior
        pairs = zip(
            behavior.critic.parameters(), behavior.slow_critic.critic.parameters(), strict=True
        )
        return all(torch.equal(left, right) for left, right in pairs)

    followed = []
    for update in range(1, 8):
        agent.update(tiny.batch())
        if same():
            followed.append(update)
    assert followed == [1, 4, 7]


def test_bad_steps_are_those_of_all_optimizers():
    agent = tiny.agent()
    given = tiny.batch()
    given["reward"][0, 1] = float("nan")
    agent.update(given)
    # The reward loss spoils the world model's step only: imagination reads no stored reward.
    assert agent.bad_steps() == (1, 1)
    agent.optimizers.actor.step(
        sum(weight.sum() for weight in agent.behavior.actor.parameters()) * float("inf")
    )
    assert agent.bad_steps() == (2, 1)
    agent.update(tiny.batch())
    assert agent.bad_steps() == (2, 0)


def test_open_loop_shows_up_to_six_sequences():
    agent = tiny.agent()
    video = agent.open_loop(tiny.batch(batch_size=7, length=8), torch.Generator().manual_seed(0))
    assert video.shape == (8, 3 * 8, 6 * 8, 3)
    assert video.dtype == torch.uint8
