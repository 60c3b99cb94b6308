"""The composition root: what the configuration names is what is built."""

import inspect

import gymnasium
import numpy as np
import pytest
import torch

from harmony.agent import DreamerAgent, Generators, Optimizers
from harmony.behavior.actor import OneHotActor, TruncatedNormalActor
from harmony.behavior.actor_critic import ActorCritic
from harmony.behavior.actor_gradient import DynamicsGradient, ReinforceGradient
from harmony.behavior.critic import Critic, SlowCritic
from harmony.build import (
    RUNTIME_ARGUMENTS,
    action_kind,
    build_agent,
    build_device,
    build_env,
    build_replay,
    check_values,
    observation_shapes,
)
from harmony.config.compose import compose
from harmony.envs.stream import EpisodeStream
from harmony.errors import ConfigError, UserError
from harmony.harmonizer import FixedScales, FixedWeights, Harmonizer, UnrectifiedHarmonizer
from harmony.models.decoders import Decoder
from harmony.models.dynamics_loss import BalancedKL
from harmony.models.encoders import Encoder
from harmony.models.heads import ConstantDiscount, DiscountHead, RewardHead
from harmony.models.latents import Categorical
from harmony.models.objectives.reconstruction import Reconstruction
from harmony.models.rssm import RSSM
from harmony.models.world_model import WorldModel
from harmony.training.optimizer import Adam
from harmony.training.precision import Precision
from harmony.training.seeding import Seeds
from tests import tiny
from tests.integration.test_kills import assert_same

ALGORITHMS = ["dreamerv2"]
WITHOUT_CUDA = pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")


def count(module):
    return sum(weight.numel() for weight in module.parameters())


def by_hand(discrete):
    """DreamerV2 with the sizes of `tests.tiny`, in the order in which weights are drawn."""
    shapes, mlp = {"image": (8, 8, 3)}, {"layers": 1, "units": 8}
    seeds = Seeds(0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seeds.integer("init"))
        encoder = Encoder(shapes, depth=2, kernels=(4, 3), vector_layers=1, vector_units=8)
        rssm = RSSM(
            encoder.embed_size, 2, deter=8, hidden=8, latent=Categorical(stoch=3, classes=3)
        )
        decoder = Decoder(
            rssm.feat_size, shapes, depth=2, kernels=(3, 4), vector_layers=1, vector_units=8
        )
        world_model = WorldModel(
            encoder=encoder,
            rssm=rssm,
            dynamics_loss=BalancedKL(balance=0.8, free_nats=1.0),
            objective=Reconstruction(decoder),
            reward=RewardHead(rssm.feat_size, **mlp),
            cont=ConstantDiscount(rssm.feat_size, discount=0.99),
        )
        critic = Critic(rssm.feat_size, **mlp)
        kind = OneHotActor if discrete else TruncatedNormalActor
        behavior = ActorCritic(
            actor=kind(rssm.feat_size, 2, **mlp),
            critic=critic,
            slow_critic=SlowCritic(critic, every_updates=100, fraction=1.0),
            actor_gradient=ReinforceGradient() if discrete else DynamicsGradient(),
            horizon=3,
            return_lambda=0.95,
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


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_the_same_seed_gives_the_same_losses(algorithm):
    one, two = (tiny.agent(f"algorithm={algorithm}") for _ in range(2))
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
        ("unrectified", UnrectifiedHarmonizer),
    ],
)
def test_every_harmony_builds_its_class(name, kind):
    assert type(tiny.agent(f"harmony={name}").harmonizer) is kind


def test_a_learned_discount_comes_with_its_loss():
    agent = tiny.agent("cont=learned")
    assert isinstance(agent.world_model.cont, DiscountHead)
    assert "loss/cont" in agent.update(tiny.batch())


def test_optimizers_cover_every_trained_weight_once():
    agent = tiny.agent()
    trained = [weight for optimizer in agent.optimizers for weight in optimizer.params]
    assert len({id(weight) for weight in trained}) == len(trained)
    assert {id(w) for w in trained} == {id(w) for w in agent.parameters() if w.requires_grad}
    slow = {id(weight) for weight in agent.behavior.slow_critic.parameters()}
    assert not slow & {id(weight) for weight in trained}


def test_optimizers_get_their_own_settings():
    agent = tiny.agent("algorithm.optimizer.critic.lr=0.5", "algorithm.optimizer.actor.clip=7.0")
    rates = [optimizer.adam.param_groups[0]["lr"] for optimizer in agent.optimizers]
    assert rates == [3e-4, 8e-5, 0.5]
    assert [optimizer.clip for optimizer in agent.optimizers] == [100.0, 7.0, 100.0]


def test_parts_that_do_not_fit_are_one_line():
    with pytest.raises(ConfigError, match=r"give images of side 8, the env has 10") as caught:
        tiny.agent("env.image_size=10")
    assert "\n" not in str(caught.value)
    with pytest.raises(ConfigError, match="horizon must be at least 2, got 1"):
        tiny.agent("algorithm.behavior.horizon=1")


def test_action_kinds():
    assert action_kind(gymnasium.spaces.Discrete(5)) == ("discrete", 5)
    assert action_kind(gymnasium.spaces.Box(-1.0, 1.0, (3,), np.float32)) == ("continuous", 3)


def test_observation_shapes():
    assert observation_shapes(build_env(tiny.config())) == {"image": (8, 8, 3)}


def test_run_time_arguments_exist_and_are_never_configured():
    for target, names in RUNTIME_ARGUMENTS.items():
        assert names <= set(inspect.signature(target).parameters), target


class TestDevice:
    def test_cpu_and_auto(self):
        assert build_device("cpu").type == "cpu"
        expected = "cuda" if torch.cuda.is_available() else "cpu"
        assert build_device("auto").type == expected

    @WITHOUT_CUDA
    @pytest.mark.parametrize("name", ["cuda", "cuda:1"])
    def test_cuda_without_cuda_is_refused(self, name):
        with pytest.raises(ConfigError, match=rf"^device={name} needs a CUDA device .*0 found"):
            build_device(name)
        with pytest.raises(ConfigError, match=rf"^device={name} needs a CUDA device"):
            check_values(tiny.config(f"device={name}"))

    def test_an_index_that_is_not_there_is_refused(self, monkeypatch):
        monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
        assert build_device("cuda:1") == torch.device("cuda:1")
        with pytest.raises(ConfigError, match=r"device=cuda:2 needs a CUDA device .*2 found"):
            build_device("cuda:2")

    @pytest.mark.parametrize("name", ["gpu", "meta", "cpu:x", ""])
    def test_nonsense_is_refused(self, name):
        with pytest.raises(ConfigError, match="device must be auto, cpu, cuda or cuda:N"):
            build_device(name)


class TestCheckValues:
    def test_the_tiny_configuration_passes(self):
        check_values(tiny.config())

    @pytest.mark.parametrize(
        ("override", "message"),
        [
            ("precision=fp16", "precision=fp16 needs a CUDA device, got device=cpu"),
            ("seed=-1", "seed must be at least 0, got -1"),
            ("training.env_steps=0", r"training\.env_steps must be at least 1, got 0"),
            ("evaluation.episodes=0", r"evaluation\.episodes must be at least 1, got 0"),
            ("checkpoint.keep=1", r"checkpoint\.keep must be at least 2, got 1"),
        ],
    )
    def test_nonsense_is_refused_in_one_line(self, override, message):
        with pytest.raises(UserError, match=message) as caught:
            check_values(tiny.config(override))
        assert "\n" not in str(caught.value)


class TestReplay:
    def stream(self, config):
        return EpisodeStream(build_env(config), lambda k: k)

    def test_its_keys_reach_it(self, tmp_path):
        config = tiny.config("replay.storage=memory", "replay.prioritize_ends=true")
        replay = build_replay(config, self.stream(config), tmp_path / "replay")
        assert (replay.batch_size, replay.batch_length) == (2, 4)
        assert replay.prioritize_ends
        assert replay.directory == tmp_path / "replay"
        assert set(replay.record_spec) == {
            "image", "action", "reward", "is_first", "is_last", "is_terminal",
        }  # fmt: skip

    def test_one_that_is_larger_than_the_disk_is_refused(self, tmp_path):
        config = tiny.config("replay.capacity=1_000_000_000_000_000")
        with pytest.raises(ConfigError, match="fits into"):
            build_replay(config, self.stream(config), tmp_path / "replay")
