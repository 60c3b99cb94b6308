"""One thing made in two ways gives the same numbers."""

from functools import partial

import pytest
import torch

from harmony.behavior.actor import NormalActor, OneHotActor
from harmony.build import build_env, observation_shapes
from harmony.models.cells import GRUCell
from harmony.models.decoders import Decoder
from harmony.models.dynamics_loss import BalancedKL, DynamicsAndRepresentation
from harmony.models.encoders import Encoder
from harmony.models.heads import ConstantDiscount, ContinueHead, RewardHead
from harmony.models.latents import Categorical, Gaussian
from harmony.models.objectives.prototypes import Prototypes
from harmony.models.objectives.reconstruction import Reconstruction
from harmony.models.rssm import RSSM
from harmony.models.views import ShiftedViews
from harmony.models.world_model import WorldModel
from harmony.nn.cnn import ConvEncoder
from harmony.nn.layers import PLAIN, Style
from harmony.nn.outputs import TwoHot
from harmony.nn.same_cnn import StridedDecoder, StridedEncoder
from harmony.training.seeding import Seeds
from tests import tiny

ALGORITHMS = ("dreamerv2", "dreamerv3", "dreamerv3_2025", "dreamerpro")


def dreamerv3_by_hand(shapes, action_size):
    style = Style(act="silu", norm="layer", init="trunc_normal_avg", bias="unnormed")
    head = {"layers": 1, "units": 8, "style": style}
    encoder = Encoder(
        shapes, cnn=partial(StridedEncoder, depth=2, min_side=4, style=style), style=style,
        symlog_vectors=True,
    )  # fmt: skip
    rssm = RSSM(
        encoder.embed_size,
        action_size,
        cell=partial(GRUCell, deter=8, hidden=8, style=style),
        hidden=8,
        latent=Categorical(stoch=3, classes=3, unimix=0.01),
        initial="learned",
        largest_action=1.0,
        style=style,
    )
    decoder = partial(
        Decoder, cnn=partial(StridedDecoder, depth=2, min_side=4, style=style), style=style
    )
    return WorldModel(
        encoder=encoder,
        rssm=rssm,
        dynamics_loss=DynamicsAndRepresentation(free_nats=1.0),
        objective=Reconstruction(
            encoder, rssm.feat_size, shapes, decoder=decoder, error_weight=1.0, symlog_vectors=True
        ),
        reward=RewardHead(rssm.feat_size, scalar=TwoHot(), out_scale=0.0, **head),
        cont=ContinueHead(rssm.feat_size, discount=1 - 1 / 333, **head),
    )


def dreamerpro_by_hand(shapes, action_size):
    encoder = Encoder(shapes, cnn=partial(ConvEncoder, depth=2, kernels=[4, 3], style=PLAIN))
    rssm = RSSM(
        encoder.embed_size,
        action_size,
        cell=partial(GRUCell, deter=8, hidden=8),
        hidden=8,
        latent=Gaussian(stoch=3),
    )
    return WorldModel(
        encoder=encoder,
        rssm=rssm,
        dynamics_loss=BalancedKL(balance=0.8, free_nats=1.0),
        objective=Prototypes(
            encoder, rssm.feat_size, shapes, prototypes=12, size=4, sinkhorn_eps=0.0125
        ),
        reward=RewardHead(rssm.feat_size, layers=1, units=8),
        cont=ConstantDiscount(rssm.feat_size),
        views=ShiftedViews(max_shift=3.0),
    )


@pytest.mark.parametrize(
    ("algorithm", "by_hand"),
    [("dreamerv3", dreamerv3_by_hand), ("dreamerpro", dreamerpro_by_hand)],
)
def test_a_world_model_of_yaml_is_the_one_made_by_hand(algorithm, by_hand):
    composed = tiny.agent(f"algorithm={algorithm}").world_model
    shapes = observation_shapes(build_env(tiny.config(f"algorithm={algorithm}")))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(Seeds(0).integer("init"))
        made = by_hand(shapes, composed.rssm.action_size)
    batch = tiny.batch(f"algorithm={algorithm}")
    noise = composed.draw_noise(batch, torch.Generator().manual_seed(1))
    # A pass, which building an agent does too: it brings prototypes to length one.
    made.losses(batch, noise)
    assert list(made.state_dict()) == list(composed.state_dict())
    for name, value in made.state_dict().items():
        assert torch.equal(value, composed.state_dict()[name]), name
    ours, theirs = (model.losses(batch, noise).losses for model in (composed, made))
    assert set(ours) == set(theirs)
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_the_kind_of_action_decides_the_actor():
    assert isinstance(tiny.agent("algorithm=dreamerv3").behavior.actor, NormalActor)
    several = tiny.agent("algorithm=dreamerv3", "env.nvec=[3,2]").behavior.actor
    assert isinstance(several, OneHotActor)
    assert several.choices == [3, 2]


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_off_is_the_plain_weighted_sum_bit_for_bit(algorithm):
    overrides = (f"algorithm={algorithm}", "harmony=off")
    agent, batch = tiny.agent(*overrides), tiny.batch(*overrides)
    noise = agent.world_model.draw_noise(batch, torch.Generator().manual_seed(1))
    losses = agent.world_model.losses(batch, noise).losses
    scales = agent.harmonizer.loss_scales
    plain = torch.zeros(())
    for name, scale in scales.items():
        plain = plain + scale * losses[name].mean()
    assert set(scales) == set(losses)
    assert torch.equal(agent.harmonizer(losses), plain)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_bf16_stays_near_fp32(algorithm):
    """Losses of one pass; bf16 keeps 8 bits, so 3 % of the loss or 0.05 nats."""
    totals = {}
    for precision in ("fp32", "bf16"):
        overrides = (f"algorithm={algorithm}", f"precision={precision}")
        agent, batch = tiny.agent(*overrides), tiny.batch(*overrides)
        noise = agent.world_model.draw_noise(batch, torch.Generator().manual_seed(1))
        with agent.precision.autocast(agent.device):
            losses = agent.world_model.losses(batch, noise).losses
        totals[precision] = {name: loss.float().mean().item() for name, loss in losses.items()}
    assert totals["bf16"] == pytest.approx(totals["fp32"], rel=0.03, abs=0.05)


def compiled_losses(algorithm: str, backend: str):
    overrides = (f"algorithm={algorithm}",)
    agent, batch = tiny.agent(*overrides), tiny.batch(*overrides)
    noise = agent.world_model.draw_noise(batch, torch.Generator().manual_seed(1))
    eager = agent.world_model.losses(batch, noise).losses
    torch._dynamo.reset()
    compiled = torch.compile(agent.world_model.losses, backend=backend)(batch, noise).losses
    return eager, compiled


OF_TORCH = "ignore:.*should not be instantiated:DeprecationWarning"
"""Dynamo's own way with autograd functions."""


@pytest.mark.filterwarnings(OF_TORCH)
@pytest.mark.parametrize(
    "algorithm",
    ["dreamerv2", *(pytest.param(name, marks=pytest.mark.slow) for name in ALGORITHMS[1:])],
)
def test_traced_is_eager(algorithm):
    """The graph that a compiler would get, run without one."""
    eager, compiled = compiled_losses(algorithm, "aot_eager")
    for name, loss in eager.items():
        torch.testing.assert_close(compiled[name], loss, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
@pytest.mark.filterwarnings(OF_TORCH)
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_compiled_is_eager(algorithm):
    eager, compiled = compiled_losses(algorithm, "inductor")
    for name, loss in eager.items():
        torch.testing.assert_close(compiled[name], loss, rtol=1e-4, atol=1e-5)
