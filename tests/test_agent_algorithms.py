"""What holds for the agent of every algorithm."""

import copy

import pytest
import torch

from tests import tiny
from tests.integration.test_kills import assert_same
from tests.no_reads import NoReads

LOSSES = {
    "dreamerv2": {"image", "reward", "kl"},
    "dreamerpro": {"swav", "temp", "norm", "reward", "kl"},
    "dreamerv3": {"image", "reward", "cont", "dyn", "rep"},
    "dreamerv3_2025": {"image", "reward", "cont", "dyn", "rep"},
}
HAS_ITS_OWN_DECODER = {name: "image" in losses for name, losses in LOSSES.items()}
SAMPLES_IN_EVALUATIONS = {"dreamerv3", "dreamerv3_2025"}

for_every_algorithm = pytest.mark.parametrize("algorithm", tiny.ALGORITHMS)


def make(algorithm, *overrides, seed=0):
    return tiny.agent(f"algorithm={algorithm}", *overrides, seed=seed)


def batch(algorithm, *overrides, **sizes):
    return tiny.batch(f"algorithm={algorithm}", *overrides, **sizes)


@for_every_algorithm
def test_losses_and_metrics_by_name(algorithm):
    agent = make(algorithm)
    metrics = agent.update(batch(algorithm))
    losses = {name.removeprefix("loss/") for name in metrics if name.startswith("loss/")}
    assert losses == LOSSES[algorithm] | {"total"}
    assert all(value.shape == () and not value.requires_grad for value in metrics.values())
    assert all(torch.isfinite(value) for value in metrics.values())
    for group in ("observation", "reward", "dynamics"):
        assert metrics[f"harmony/sigma/{group}"] == 1  # before the first step
    norms = {name for name in metrics if name.startswith("grad_norm/")}
    separate = {f"grad_norm/{name}" for name in ("model", "actor", "critic")}
    assert norms == ({"grad_norm/joint"} if algorithm == "dreamerv3_2025" else separate)


@for_every_algorithm
def test_vectors_have_a_loss_where_there_is_a_decoder(algorithm):
    overrides = (algorithm, "env.observation=both")
    metrics = make(*overrides).update(batch(*overrides))
    assert ("loss/vector" in metrics) is HAS_ITS_OWN_DECODER[algorithm]


@for_every_algorithm
def test_every_trained_weight_learns(algorithm):
    """After a few updates: an output layer that begins at zero holds back what lies below it."""
    agent = make(
        algorithm,
        "algorithm.dynamics_loss.free_nats=0.0",
        *(["algorithm.optimizer.joint.warmup_updates=0"] if "2025" in algorithm else []),
        *(["algorithm.objective.freeze_updates=0"] if algorithm == "dreamerpro" else []),
    )
    before = {name: value.clone() for name, value in agent.named_parameters()}
    for seed in range(4):
        given = batch(algorithm, batch_size=3, length=5, seed=seed)
        given["is_first"][1, 2] = given["is_last"][1, 1] = True
        agent.update(given)
    still = {
        name
        for name, value in agent.named_parameters()
        if value.requires_grad and torch.equal(value, before[name])
    }
    assert still == set()


@for_every_algorithm
def test_only_weights_that_are_trained_have_an_optimizer(algorithm):
    agent = make(algorithm)
    copies = ("behavior.slow_critic.", "world_model.objective.ema_")
    for name, weight in agent.named_parameters():
        assert weight.requires_grad is not name.startswith(copies), name


@for_every_algorithm
def test_one_batch_again_and_again_is_learned_by_heart(algorithm):
    rate = {
        "dreamerv3_2025": ["algorithm.optimizer.joint.lr=1e-2"],
        "dreamerpro": ["algorithm.optimizer.model.lr=1e-2", "algorithm.objective.prototypes=4"],
    }.get(algorithm, ["algorithm.optimizer.model.lr=1e-2"])
    if algorithm == "dreamerv3_2025":
        rate.append("algorithm.optimizer.joint.warmup_updates=10")
    agent = make(algorithm, *rate, "size.deter=16", "size.units=16", "size.depth=4")
    given = batch(algorithm)
    history = [agent.update(given) for _ in range(80)]

    def mean(name, part):
        return torch.stack([metrics[name] for metrics in part]).mean().item()

    # The plain losses, since the harmonised sum may grow while all of them shrink.
    shares = {"loss/reward": 0.4} | ({"loss/image": 0.7} if HAS_ITS_OWN_DECODER[algorithm] else {})
    for name, share in shares.items():
        assert mean(name, history[-5:]) < share * mean(name, history[:5]), name
    assert agent.bad_steps() == (0, 0)


@for_every_algorithm
@pytest.mark.parametrize(
    "overrides",
    [(), ("probe=decoder",), ("env.nvec=[2,3]",), ("precision=bf16", "env.discrete=true")],
    ids=["plain", "probe", "choices", "bf16"],
)
def test_a_snapshot_continues_bit_for_bit(algorithm, overrides):
    one, two = make(algorithm, *overrides), make(algorithm, *overrides, seed=5)
    batches = [batch(algorithm, *overrides, seed=seed) for seed in range(5)]
    for given in batches[:3]:
        one.update(given)
    two.load_snapshot(copy.deepcopy(one.snapshot()))
    for given in batches[3:]:
        assert_same(one.update(given), two.update(given))
    assert_same(one.snapshot(), two.snapshot())
    assert one.updates == two.updates == 5


@for_every_algorithm
@pytest.mark.parametrize("overrides", [(), ("env.discrete=true",), ("probe=decoder",)])
def test_nothing_in_an_update_waits_for_the_device(algorithm, overrides):
    agent, given = make(algorithm, *overrides), batch(algorithm, *overrides)
    with NoReads():
        for _ in range(2):
            agent.update(given)


@pytest.mark.parametrize(
    "read", [lambda x: x.sum().item(), lambda x: bool(x[0] > 0), lambda x: x[x > 0]]
)
def test_waiting_for_the_device_would_be_found(read):
    with pytest.raises(AssertionError, match="waits for the device"), NoReads():
        read(torch.ones(2))


@for_every_algorithm
def test_harmony_on_and_off_begin_with_the_same_weights(algorithm):
    on, off = (make(algorithm, f"harmony={name}").state_dict() for name in ("on", "off"))
    extra = {f"harmonizer.log_sigma.{group}" for group in ("observation", "reward", "dynamics")}
    assert set(on) - set(off) == extra
    assert_same({name: on[name] for name in off}, dict(off))


def record(given, t):
    return {"image": given["image"][:, t], "is_first": given["is_first"][:, t]}


@for_every_algorithm
def test_the_behavior_says_what_evaluations_do(algorithm):
    agent, given = make(algorithm), record(batch(algorithm), 0)

    def act(mode):
        generator = torch.Generator().manual_seed(0)
        action, carry = agent.act(given, agent.initial(2), mode, generator)
        return action, carry.latent, generator

    actions, latent, generator = act("eval")
    stats = agent.behavior.actor.stats(agent.world_model.rssm.get_feat(latent))
    mode = agent.behavior.actor.mode(stats)
    if algorithm in SAMPLES_IN_EVALUATIONS:
        assert agent.behavior.eval_action == "sample"
        assert torch.equal(actions, act("train")[0])
        assert not torch.allclose(actions, mode)
    else:
        assert agent.behavior.eval_action == "mode"
        torch.testing.assert_close(actions, mode)
        # It draws the latent alone.
        theirs = torch.Generator().manual_seed(0)
        agent.world_model.rssm.latent.draw_noise((2,), theirs, tiny.CPU)
        assert torch.equal(generator.get_state(), theirs.get_state())


@for_every_algorithm
def test_what_evaluations_do_may_be_chosen(algorithm):
    agent = make(algorithm, "algorithm.behavior.eval_action=mode")
    given = record(batch(algorithm), 0)
    action, carry = agent.act(given, agent.initial(2), "eval", torch.Generator().manual_seed(0))
    stats = agent.behavior.actor.stats(agent.world_model.rssm.get_feat(carry.latent))
    torch.testing.assert_close(action, agent.behavior.actor.mode(stats))


@for_every_algorithm
def test_acting_follows_the_same_states_as_training(algorithm):
    """The action of a step is fed to the next one, an episode's first state is the learned one."""
    agent = make(algorithm)
    given = batch(algorithm, length=5)
    given["is_first"][1, 3] = True
    model, actor = agent.world_model, agent.behavior.actor
    for weight in model.rssm.parameters():
        torch.nn.init.normal_(weight, std=0.5)  # the first state too is not zero
    generator, carry = torch.Generator().manual_seed(3), agent.initial(2)
    taken, latents = [], []
    for t in range(5):
        taken.append(carry.action)
        _, carry = agent.act(record(given, t), carry, "train", generator)
        latents.append(carry.latent)
    generator, noise = torch.Generator().manual_seed(3), []
    for _ in range(5):
        noise.append(model.rssm.latent.draw_noise((2,), generator, tiny.CPU))
        actor.draw_noise((2,), generator, tiny.CPU)
    with torch.no_grad():
        embed = model.encoder(model.observations(given))
        observed = model.rssm.observe(
            embed, torch.stack(taken, 1), given["is_first"], torch.stack(noise, 1)
        )
    torch.testing.assert_close(observed.latent.deter, torch.stack([x.deter for x in latents], 1))
    torch.testing.assert_close(observed.latent.stoch, torch.stack([x.stoch for x in latents], 1))


@for_every_algorithm
@pytest.mark.parametrize("probe", ["none", "decoder"])
def test_videos_need_a_decoder(algorithm, probe):
    agent = make(algorithm, f"probe={probe}")
    generator = torch.Generator().manual_seed(0)
    video = agent.open_loop(batch(algorithm, batch_size=7, length=8), generator)
    if probe == "none" and not HAS_ITS_OWN_DECODER[algorithm]:
        assert video is None
    else:
        assert video.shape == (8, 3 * 8, 6 * 8, 3)
        assert video.dtype == torch.uint8


def test_videos_need_images():
    overrides = ("dreamerv2", "env.observation=vector")
    agent = make(*overrides)
    assert agent.open_loop(batch(*overrides, length=8), torch.Generator()) is None


@for_every_algorithm
def test_slow_critics_copy_first_as_the_originals_do(algorithm):
    agent = make(algorithm)
    with torch.no_grad():
        for weight in agent.behavior.critic.parameters():
            weight.add_(1.0)
    agent.update(batch(algorithm))
    behavior = agent.behavior
    pairs = zip(behavior.critic.parameters(), behavior.slow_critic.critic.parameters(), strict=True)
    same = all(torch.equal(left, right) for left, right in pairs)
    assert same is (algorithm != "dreamerv3_2025")


@for_every_algorithm
def test_what_follows_an_update_follows_the_trained_weights(algorithm):
    """The slow encoder of the prototypes is the trained one after its first, copying step."""
    agent = make(algorithm)
    agent.update(batch(algorithm))
    objective = agent.world_model.objective
    if algorithm != "dreamerpro":
        assert not list(objective.buffers())
        return
    assert objective.updates == 1
    trained, slow = agent.world_model.encoder.state_dict(), objective.ema_encoder.state_dict()
    assert_same(dict(trained), dict(slow))
