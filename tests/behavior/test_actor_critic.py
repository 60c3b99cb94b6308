"""Imagination, actor and critic against the original."""

from functools import partial

import pytest
import torch

from harmony.behavior.actor import OneHotActor, TruncatedNormalActor
from harmony.behavior.actor_critic import ActorCritic
from harmony.behavior.actor_gradient import (
    ActorGradient,
    DynamicsGradient,
    MixedGradient,
    ReinforceGradient,
)
from harmony.behavior.critic import Critic, SlowCritic
from harmony.behavior.imagination import ImaginationNoise
from harmony.behavior.targets import OwnReward
from harmony.models.decoders import Decoder
from harmony.models.dynamics_loss import BalancedKL
from harmony.models.encoders import Encoder
from harmony.models.heads import ConstantDiscount, DiscountHead, RewardHead
from harmony.models.latents import Categorical, Gaussian, LatentPart
from harmony.models.objectives.reconstruction import Reconstruction
from harmony.models.world_model import WorldModel
from harmony.types import Latent
from tests.golden.originals import Golden, assert_grads, load, uniform_for
from tests.golden.table import record, record_error
from tests.small import make_rssm

BEHAVIORS = [
    "behavior_dynamics",
    "behavior_dynamics_discount",
    "behavior_reinforce",
    "behavior_reinforce_discount",
    "behavior_both",
    "behavior_both_discount",
]
SHAPES = {"state": (3,)}


def make_world_model(golden: Golden) -> WorldModel:
    meta = golden.meta
    params = golden.named("param")
    sizes = meta["rssm"]
    latent: LatentPart = Gaussian(stoch=sizes["stoch"], min_std=sizes["min_std"])
    if meta["kind"] == "categorical":
        latent = Categorical(stoch=sizes["stoch"], classes=sizes["discrete"])
    encoder = Encoder(SHAPES, vector_layers=1, vector_units=4)
    action_size = params["rssm.cell.input.weight"].shape[1] - latent.size
    rssm = make_rssm(
        encoder.embed_size, action_size, deter=sizes["deter"], hidden=sizes["hidden"], latent=latent
    )
    head = {"layers": meta["reward_head"]["layers"], "units": meta["reward_head"]["units"]}
    kind = DiscountHead if meta["discount_head"] else ConstantDiscount
    world_model = WorldModel(
        encoder=encoder,
        rssm=rssm,
        dynamics_loss=BalancedKL(),
        objective=Reconstruction(
            encoder,
            rssm.feat_size,
            SHAPES,
            decoder=partial(Decoder, vector_layers=1, vector_units=4),
        ),
        reward=RewardHead(rssm.feat_size, **head),
        cont=kind(
            rssm.feat_size, discount=meta["discount"], **(head if meta["discount_head"] else {})
        ),
    )
    with torch.no_grad():
        for name, param in world_model.named_parameters():
            if not name.startswith(("encoder.", "objective.", "rssm.post")):
                param.copy_(params[name])
    return world_model


def make_behavior(golden: Golden, feat_size: int, action_size: int) -> ActorCritic:
    meta = golden.meta
    sizes = {"layers": meta["actor"]["layers"], "units": meta["actor"]["units"]}
    kind = OneHotActor if meta["discrete_action"] else TruncatedNormalActor
    gradients: dict[str, ActorGradient] = {
        "dynamics": DynamicsGradient(),
        "reinforce": ReinforceGradient(),
        "both": MixedGradient(mix=meta["actor_grad_mix"]),
    }
    critic = Critic(feat_size, **sizes)
    behavior = ActorCritic(
        actor=kind(feat_size, [action_size] if meta["discrete_action"] else action_size, **sizes),
        critic=critic,
        slow_critic=SlowCritic(critic),
        actor_gradient=gradients[meta["actor_grad"]],
        horizon=meta["horizon"],
        targets=OwnReward(return_lambda=meta["discount_lambda"]),
        actor_entropy=meta["actor_ent"],
    )
    load(behavior, rename_actor(golden.named("param"), discrete=meta["discrete_action"]))
    return behavior


def rename_actor(params, *, discrete):
    """The original calls the first output layer the same in both kinds of actor."""
    ours = "actor.logit" if discrete else "actor.mean"
    return {name.replace("actor.out.out", ours): value for name, value in params.items()}


def recorded_noise(golden: Golden, world_model: WorldModel, behavior: ActorCritic):
    """Random numbers that lead to the recorded samples; the original's time axis comes first."""
    if golden.meta["kind"] == "gaussian":
        latent = golden["in/prior_eps"]
    else:
        prior = world_model.rssm.prior_stats(golden["out/deter"][1:])
        stoch = golden["in/prior_stoch"]
        latent = uniform_for(torch.softmax(prior.reshape(stoch.shape), -1), stoch)
    if not golden.meta["discrete_action"]:
        return ImaginationNoise(golden["in/action_uniform"], latent)
    stats = behavior.actor.stats(golden["out/feat"][:-1])
    action = uniform_for(stats.exp(), golden["in/action_sample"])
    return ImaginationNoise(action.unsqueeze(-1), latent)


@pytest.mark.golden
@pytest.mark.parametrize("name", BEHAVIORS)
def test_losses_and_gradients_equal_the_originals(name):
    golden = Golden(name)
    world_model = make_world_model(golden)
    rssm = world_model.rssm
    behavior = make_behavior(golden, rssm.feat_size, rssm.action_size)
    start = Latent(golden["in/start/deter"], golden["in/start/stoch"].flatten(2)).flatten_time()
    with torch.no_grad():
        noise = recorded_noise(golden, world_model, behavior)

    is_terminal = golden["in/is_terminal"].flatten().bool()
    rollout, target = behavior.imagine(world_model, start, is_terminal, noise)
    actor_loss, metrics = behavior.actor_loss(rollout, target)
    # With gradients of the dynamics the original adds the entropy bonus to the targets in place, so
    # its critic learns from targets with the bonus; ours doesn't. Here it must see them.
    seen = target._replace(critic=golden["out/target_after_actor_loss"].T)
    critic_loss, _ = behavior.critic_loss(rollout, seen)

    def close(ours, key, skip_last=0):
        theirs = golden[key].transpose(0, 1)
        theirs = theirs[:, : theirs.shape[1] - skip_last]
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)

    close(rollout.feat, "out/feat")
    close(rollout.reward, "out/reward", skip_last=1)
    close(rollout.discount, "out/discount", skip_last=1)
    close(rollout.weight, "out/weight", skip_last=1)
    close(target.critic, "out/target")
    torch.testing.assert_close(actor_loss, golden["out/actor_loss"], rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(critic_loss, golden["out/critic_loss"], rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(
        metrics["actor/entropy"], golden["out/metric/actor_ent"], rtol=1e-4, atol=1e-5
    )

    torch.autograd.backward(actor_loss)
    torch.autograd.backward(critic_loss)
    grads = rename_actor(golden.named("grad"), discrete=golden.meta["discrete_action"])
    record(name, "returns, mean", golden["out/target"].mean(), target.critic.mean())
    record(name, "entropy, mean", golden["out/metric/actor_ent"], metrics["actor/entropy"])
    record(name, "actor loss", golden["out/actor_loss"], actor_loss)
    record(name, "critic loss, its targets given", golden["out/critic_loss"], critic_loss)
    for key, part in (("actor", behavior.actor), ("critic", behavior.critic)):
        prefix = f"{key}."
        own = {k.removeprefix(prefix): v for k, v in grads.items() if k.startswith(prefix)}
        error = assert_grads(part, own, 1e-4)
        norm = torch.nn.utils.get_total_norm([param.grad for param in part.parameters()])
        record(name, f"{key} gradient norm", golden[f"out/grad_norm/{key}"], norm)
        record_error(name, f"largest relative gradient error, {key}", error)


@pytest.mark.golden
def test_nothing_else_gets_gradients_from_the_actor():
    golden = Golden("behavior_dynamics")
    world_model = make_world_model(golden)
    rssm = world_model.rssm
    behavior = make_behavior(golden, rssm.feat_size, rssm.action_size)
    start = Latent(golden["in/start/deter"], golden["in/start/stoch"].flatten(2)).flatten_time()
    noise = recorded_noise(golden, world_model, behavior)
    terminal = torch.zeros(6, dtype=torch.bool)
    rollout, target = behavior.imagine(world_model, start, terminal, noise)
    torch.autograd.backward(behavior.actor_loss(rollout, target)[0])
    others = [world_model, behavior.critic, behavior.slow_critic]
    assert all(p.grad is None for module in others for p in module.parameters())
    # They are trained elsewhere, so they must be as they were.
    assert all(p.requires_grad for p in world_model.parameters())
    assert not any(p.requires_grad for p in behavior.slow_critic.parameters())


def test_slow_critic_copies_at_the_first_update_and_every_hundred():
    torch.manual_seed(0)
    critic = Critic(3, layers=1, units=4)
    slow = SlowCritic(critic, every_updates=100)
    feat = torch.randn(5, 3)
    followed = []
    for updates in range(201):
        with torch.no_grad():
            critic.output.bias += 1.0
        slow.follow(critic, updates)
        if torch.equal(slow.pred(feat), critic.pred(feat)):
            followed.append(updates)
    assert followed == [0, 100, 200]


def test_slow_critic_moves_by_its_fraction():
    critic = Critic(3, layers=1, units=4)
    slow = SlowCritic(critic, every_updates=1, fraction=0.25)
    with torch.no_grad():
        critic.output.bias += 8.0
    slow.follow(critic, 1)
    assert slow.critic.output.bias.item() == pytest.approx(2.0)


def test_a_horizon_of_one_trains_nobody():
    critic = Critic(3)
    with pytest.raises(ValueError, match="horizon must be at least 2, got 1"):
        ActorCritic(
            actor=OneHotActor(3, [2]),
            critic=critic,
            slow_critic=SlowCritic(critic),
            actor_gradient=ReinforceGradient(),
            horizon=1,
        )
