"""An agent of a configuration: what it names is what is built."""

from functools import partial

import gymnasium
import numpy as np
import pytest
import torch

from harmony.agent import DreamerAgent, Generators, Optimizers
from harmony.behavior.actor import OneHotActor, TruncatedNormalActor
from harmony.behavior.actor_critic import ActorCritic
from harmony.behavior.actor_gradient import DynamicsGradient, ReinforceGradient
from harmony.behavior.critic import Critic, SlowCritic
from harmony.behavior.targets import OwnReward
from harmony.build_agent import action_kind, build_agent
from harmony.config.compose import compose
from harmony.decoder_probe import NoProbe
from harmony.errors import ConfigError
from harmony.harmonizer import FixedScales, FixedWeights, Harmonizer, UnrectifiedHarmonizer
from harmony.models.decoders import Decoder
from harmony.models.dynamics_loss import BalancedKL
from harmony.models.encoders import Encoder
from harmony.models.heads import ConstantDiscount, DiscountHead, RewardHead
from harmony.models.latents import Categorical
from harmony.models.objectives.reconstruction import Reconstruction
from harmony.models.world_model import WorldModel
from harmony.nn.cnn import ConvDecoder, ConvEncoder
from harmony.rivals import DynamicWeightAverage, UncertaintyWeighting
from harmony.training.joint import _Last, _Remember
from harmony.training.optimizer import Adam
from harmony.training.precision import Precision
from harmony.training.seeding import Seeds
from tests import tiny
from tests.integration.test_kills import assert_same
from tests.small import make_rssm


def count(module):
    return sum(weight.numel() for weight in module.parameters())


def by_hand(discrete):
    """DreamerV2 with the sizes of `tests.tiny`, in the order in which weights are drawn."""
    shapes, mlp = {"image": (8, 8, 3)}, {"layers": 1, "units": 8}
    seeds = Seeds(0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seeds.integer("init"))
        encoder = Encoder(shapes, cnn=partial(ConvEncoder, depth=2, kernels=(4, 3)))
        rssm = make_rssm(
            encoder.embed_size, 2, deter=8, hidden=8, latent=Categorical(stoch=3, classes=3)
        )
        decoder = partial(Decoder, cnn=partial(ConvDecoder, depth=2, kernels=(3, 4)))
        world_model = WorldModel(
            encoder=encoder,
            rssm=rssm,
            dynamics_loss=BalancedKL(balance=0.8, free_nats=1.0),
            objective=Reconstruction(encoder, rssm.feat_size, shapes, decoder=decoder),
            reward=RewardHead(rssm.feat_size, **mlp),
            cont=ConstantDiscount(rssm.feat_size, discount=0.99),
        )
        critic = Critic(rssm.feat_size, **mlp)
        kind = OneHotActor if discrete else TruncatedNormalActor
        behavior = ActorCritic(
            actor=kind(rssm.feat_size, [2] if discrete else 2, **mlp),
            critic=critic,
            slow_critic=SlowCritic(critic, every_updates=100, fraction=1.0),
            actor_gradient=ReinforceGradient() if discrete else DynamicsGradient(),
            targets=OwnReward(return_lambda=0.95),
            horizon=3,
            actor_entropy=1e-4,
        )
    harmonizer = Harmonizer(
        groups={
            "observation": {"image": 1.0},
            "reward": {"reward": 1.0},
            "dynamics": {"kl": 1.0},
        },
        loss_scales={"image": 1.0, "reward": 1.0, "kl": 1.0},
    )

    def adam(name, lr, *modules):
        params = [weight for module in modules for weight in module.parameters()]
        scaler = torch.amp.GradScaler("cpu", enabled=False)
        return Adam(params, name, scaler, lr=lr, eps=1e-5, weight_decay=1e-6, clip=100.0)

    return DreamerAgent(
        world_model=world_model,
        harmonizer=harmonizer,
        behavior=behavior,
        probe=NoProbe(encoder, rssm.feat_size, shapes),
        optimizers=Optimizers(
            adam("model", 3e-4, world_model, harmonizer),
            adam("actor", 8e-5, behavior.actor),
            adam("critic", 8e-5, critic),
        ),
        precision=Precision(format="fp32"),
        generators=Generators(*(seeds.torch(tiny.CPU, name) for name in Generators._fields)),
    )


@pytest.mark.parametrize("discrete", [False, True])
def test_dreamerv2_from_yaml_equals_dreamerv2_by_hand(discrete):
    overrides = [f"env.discrete={str(discrete).lower()}"]
    composed, made = tiny.agent(*overrides), by_hand(discrete)
    assert type(composed.behavior.actor) is type(made.behavior.actor)
    assert type(composed.behavior.actor_gradient) is type(made.behavior.actor_gradient)
    assert_same(dict(composed.state_dict()), dict(made.state_dict()))
    for seed in range(3):
        given = tiny.batch(*overrides, seed=seed)
        assert_same(composed.update(given), made.update(given))


@pytest.mark.parametrize("algorithm", tiny.ALGORITHMS)
def test_the_same_seed_gives_the_same_losses(algorithm):
    one, two = (tiny.agent(f"algorithm={algorithm}") for _ in range(2))
    assert_same(dict(one.state_dict()), dict(two.state_dict()))
    assert_same(one.update(tiny.batch()), two.update(tiny.batch()))


def test_building_leaves_the_global_random_numbers_alone():
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    tiny.agent()
    assert torch.equal(torch.rand(3), expected)


def test_parameter_counts_of_meta_world():
    """Those of the original, from the composed configuration of the paper's size."""
    config = compose(["env=metaworld", "tracking=none", "device=cpu"]).config
    space = gymnasium.spaces.Box(-1.0, 1.0, (4,), np.float32)
    agent = build_agent(config, {"image": (64, 64, 3)}, space, tiny.CPU, Seeds(0))
    model, behavior = agent.world_model, agent.behavior
    assert {
        "encoder": count(model.encoder),
        "rssm": count(model.rssm),
        "decoder": count(model.objective),
        "reward": count(model.reward),
        "actor": count(behavior.actor),
        "critic": count(behavior.critic),
        "slow_critic": count(behavior.slow_critic),
        "harmonizer": count(agent.harmonizer),
    } == {
        "encoder": 1_551_312,
        "rssm": 13_125_632,
        "decoder": 11_152_275,
        "reward": 1_301_201,
        "actor": 1_304_008,
        "critic": 1_301_201,
        "slow_critic": 1_301_201,
        "harmonizer": 3,
    }


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("on", Harmonizer),
        ("off", FixedScales),
        ("fixed", FixedWeights),
        ("reward_only", FixedWeights),
        ("observation_only", FixedScales),
        ("unrectified", UnrectifiedHarmonizer),
        ("no_dynamics", Harmonizer),
        ("own_lr", Harmonizer),
        ("uncertainty_weighting", UncertaintyWeighting),
        ("dynamic_weight_average", DynamicWeightAverage),
    ],
)
@pytest.mark.parametrize("algorithm", tiny.ALGORITHMS)
def test_every_harmony_builds_its_class(algorithm, name, kind):
    agent = tiny.agent(f"algorithm={algorithm}", f"harmony={name}")
    assert type(agent.harmonizer) is kind
    metrics = agent.update(tiny.batch())
    assert all(torch.isfinite(value) for value in metrics.values())


def test_a_learned_discount_comes_with_its_loss():
    agent = tiny.agent("cont=learned")
    assert isinstance(agent.world_model.cont, DiscountHead)
    assert "loss/cont" in agent.update(tiny.batch())


def optimizers(agent):
    """By name; one that is joint is the optimizer of all its parts."""
    named = agent.optimizers.named()
    return {
        name: each.joint.optimizer if isinstance(each, _Last) else each
        for name, each in named.items()
        if not isinstance(each, _Remember)
    }


@pytest.mark.parametrize("algorithm", tiny.ALGORITHMS)
@pytest.mark.parametrize("others", [(), ("probe=decoder",), ("harmony=own_lr",)])
def test_optimizers_cover_every_trained_weight_once(algorithm, others):
    agent = tiny.agent(f"algorithm={algorithm}", *others)
    made = optimizers(agent)
    names = {"model", "actor", "critic"} if algorithm != "dreamerv3_2025" else {"critic"}
    assert set(made) == names | ({"probe"} if "probe=decoder" in others else set())
    trained = [weight for optimizer in made.values() for weight in optimizer.params]
    assert len({id(weight) for weight in trained}) == len(trained)
    assert {id(w) for w in trained} == {id(w) for w in agent.parameters() if w.requires_grad}
    slow = {id(weight) for weight in agent.behavior.slow_critic.parameters()}
    assert not slow & {id(weight) for weight in trained}


def test_optimizers_get_their_own_settings():
    agent = tiny.agent("algorithm.optimizer.critic.lr=0.5", "algorithm.optimizer.actor.clip=7.0")
    made = optimizers(agent).values()
    assert [optimizer.adam.param_groups[0]["lr"] for optimizer in made] == [3e-4, 8e-5, 0.5]
    assert [optimizer.clip for optimizer in made] == [100.0, 7.0, 100.0]
    assert [optimizer.name for optimizer in made] == ["model", "actor", "critic"]


@pytest.mark.parametrize(
    ("algorithm", "name", "inner"),
    [
        ("dreamerv2", "model", "adam"),
        ("dreamerpro", "model", "adam"),
        ("dreamerv3", "model", "adam"),
        ("dreamerv3_2025", "critic", "laprop"),
    ],
)
def test_scalars_may_have_a_rate_of_their_own(algorithm, name, inner):
    """All others share the model's, as those of harmony=on do."""
    for harmony, count in (("on", 1), ("own_lr", 4)):
        agent = tiny.agent(f"algorithm={algorithm}", f"harmony={harmony}")
        groups = getattr(optimizers(agent)[name], inner).param_groups
        own = {id(weight): group["lr"] for group in groups[1:] for weight in group["params"]}
        scalars = [id(weight) for weight in agent.harmonizer.parameters()]
        assert len(groups) == count
        assert own == (dict.fromkeys(scalars, 1e-3) if harmony == "own_lr" else {})


def test_what_the_replay_teaches_needs_one_optimizer_for_all():
    replay_value = "harmony.behavior.replay_value.ReplayValue"
    with pytest.raises(ConfigError, match="replay_value trains the world model too") as caught:
        tiny.agent(f"algorithm.replay_value._target_={replay_value}")
    assert "\n" not in str(caught.value)


def test_parts_that_do_not_fit_are_one_line():
    with pytest.raises(ConfigError, match=r"give images of side 8, the env has 10") as caught:
        tiny.agent("env.image_size=10")
    assert "\n" not in str(caught.value)
    with pytest.raises(ConfigError, match="horizon must be at least 2, got 1"):
        tiny.agent("algorithm.behavior.horizon=1")


def test_action_kinds():
    assert action_kind(gymnasium.spaces.Discrete(5)) == ("discrete", [5])
    assert action_kind(gymnasium.spaces.MultiDiscrete([2, 3])) == ("discrete", [2, 3])
    assert action_kind(gymnasium.spaces.Box(-1.0, 1.0, (3,), np.float32)) == ("continuous", [3])
