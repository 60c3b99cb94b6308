"""The pure functions behind DreamerPro, and single parts of it, against the original."""

import math
from functools import partial

import pytest
import torch

from harmony.behavior.actor import TanhNormalActor
from harmony.models.cells import GRUCell
from harmony.models.encoders import Encoder
from harmony.models.latents import Gaussian
from harmony.models.objectives.prototypes import Prototypes, unit
from harmony.nn.cnn import ConvEncoder
from harmony.nn.outputs import Mean
from harmony.ops import tanh_normal
from harmony.ops.returns import lambda_return
from harmony.ops.shift import random_shift
from harmony.ops.sinkhorn import sinkhorn
from tests.golden.originals import Golden, load
from tests.golden.pro_names import our_layout, our_name
from tests.golden.table import record_error

OPS = "pro/ops"
SHAPES = {"image": (64, 64, 3)}


@pytest.fixture(scope="module")
def golden():
    return Golden(OPS)


def close(ours, theirs, rtol=1e-5, atol=1e-6):
    torch.testing.assert_close(ours, theirs, rtol=rtol, atol=atol)


def relative(ours, theirs):
    return float((ours - theirs).norm() / theirs.norm())


@pytest.mark.golden
def test_one_shift_a_sequence(golden):
    image = golden["in/shift/image"].movedim(-1, 2)
    found = random_shift(image, golden["in/shift/same"]).movedim(2, -1)
    close(found, golden["out/shift/same"])
    record_error(OPS, "shift", relative(found, golden["out/shift/same"]))


@pytest.mark.golden
def test_one_shift_an_image(golden):
    # Ours shifts sequences; sequences of one image are what the original's other mode does.
    image, shift = golden["in/shift/image"].movedim(-1, 2), golden["in/shift/each"]
    found = random_shift(image.flatten(0, 1).unsqueeze(1), shift.flatten(0, 1))
    close(found.reshape(image.shape).movedim(2, -1), golden["out/shift/each"])


@pytest.mark.golden
@pytest.mark.parametrize("name", ["wide", "tall"])
@pytest.mark.parametrize("eps", [0.05, 0.0125])
@pytest.mark.parametrize("iterations", [1, 3])
def test_sinkhorn(golden, name, eps, iterations):
    scores = golden[f"in/sinkhorn/{name}"].flatten(1).T  # theirs has a column a sample
    expected = golden[f"out/sinkhorn/{name}_eps{eps}_iters{iterations}"].flatten(1).T
    found = sinkhorn(scores, eps, iterations)
    close(found, expected, rtol=1e-4)
    key = f"sinkhorn {name}, eps {eps}, {iterations} iterations"
    record_error(OPS, key, relative(found, expected))


@pytest.mark.golden
def test_vectors_of_length_one_and_those_too_short_for_it(golden):
    x = golden["in/l2/x"].requires_grad_()
    assert x[2].norm() == 0
    assert x[3].norm() < 1e-6
    y = unit(x)
    torch.autograd.backward((y * golden["in/l2/cotangent"]).sum())
    close(y.detach(), golden["out/l2/y"])
    for found, expected in zip(x.grad, golden["grad/l2/x"], strict=True):
        assert relative(found, expected) < 1e-5


def arrays(golden, prefix):
    """Arrays by the original's names; prefix is a folder, a slash and how the names begin."""
    folder, start = prefix.rsplit("/", 1)
    return {
        name.removeprefix(start): array
        for name, array in golden.group(folder).items()
        if name.startswith(start)
    }


@pytest.mark.golden
def test_the_slow_copy_follows_at_the_originals_pace(golden):
    encoder = Encoder(SHAPES, cnn=partial(ConvEncoder, depth=1))
    pace = golden.meta["ema"]
    objective = Prototypes(
        encoder,
        feat_size=6,
        shapes=SHAPES,
        prototypes=5,
        size=3,
        ema_every_updates=pace["every"],
        ema_fraction=pace["fraction"],
    )
    own = {f"encoder.{key}": param for key, param in encoder.named_parameters()}
    own |= {f"objective.{key}": param for key, param in objective.named_parameters()}

    def put(prefix, rename):
        with torch.no_grad():
            for name, array in arrays(golden, prefix).items():
                own[our_name(rename(name))].copy_(our_layout(name, array))

    put("in/ema/start.", slow_name)
    for update in range(4):
        put(f"in/ema/{update}.", str)
        objective.after_update(encoder)
        expected = arrays(golden, f"out/ema/{update}.")
        assert len(expected) == 5
        for name, array in expected.items():
            found = own[our_name(slow_name(name))].detach()
            close(found, our_layout(name, array), atol=1e-7)


def slow_name(name):
    """The original's name of the slow copy of one of its parameters."""
    return f"_ema_{name.removeprefix('rssm.')}"


@pytest.fixture
def actor(golden):
    made = TanhNormalActor(10, 3, layers=2, units=12)
    load(made, head_arrays(golden, "param/actor_head."))
    return made


def head_arrays(golden, prefix):
    """Parameters or gradients of the actor's head, by our name."""
    return {
        our_name(name).removeprefix("actor."): our_layout(name, array)
        for name, array in arrays(golden, prefix).items()
        if name != "feature"
    }


def actor_outputs(golden, actor, stats):
    """What the original computed of its head, from our stats; (5, ...) each."""
    mean, std = stats.chunk(2, -1)
    sample = actor.sample(stats, golden["in/actor_head/eps"])
    many = torch.tanh(mean + std * golden["in/actor_head/entropy_eps"])
    return {
        "loc": mean,
        "scale": std,
        "sample": sample,
        "sample_log_prob": actor.log_prob(stats, sample),
        "log_prob": actor.log_prob(stats, golden["in/actor_head/action"]),
        # The original's estimate, by our log-probability; ours is computed by quadrature.
        "entropy": -actor.log_prob(stats, many).mean(0),
    }


@pytest.mark.golden
def test_the_actors_head(golden, actor):
    outputs = actor_outputs(golden, actor, actor.stats(golden["in/actor_head/feature"]))
    for key, found in outputs.items():
        close(found.detach(), golden[f"out/actor_head/{key}"], rtol=1e-4, atol=1e-5)
        error = relative(found.detach(), golden[f"out/actor_head/{key}"])
        record_error(OPS, f"actor's head, {key}", error)


@pytest.mark.golden
@pytest.mark.parametrize("key", ["sample", "sample_log_prob", "log_prob", "entropy"])
def test_the_gradients_of_the_actors_head(golden, actor, key):
    feature = golden["in/actor_head/feature"].requires_grad_()
    output = actor_outputs(golden, actor, actor.stats(feature))[key]
    cotangent = golden["in/actor_head/sample_cotangent"] if key == "sample" else 1.0
    torch.autograd.backward((output * cotangent).sum())
    assert relative(feature.grad, golden[f"grad/actor_head/{key}.feature"]) < 1e-4
    expected = head_arrays(golden, f"grad/actor_head/{key}.")
    own = dict(actor.named_parameters())
    assert own.keys() - expected.keys() == {"mlp.layers.0.weight", "mlp.layers.0.bias"}
    for name, gradient in expected.items():
        assert relative(own[name].grad, gradient) < 1e-4, name


@pytest.mark.golden
def test_the_quadrature_against_many_samples(golden, actor):
    stats = actor.stats(golden["in/actor_head/feature"]).detach().requires_grad_()
    found = actor.entropy(stats)
    (gradient,) = torch.autograd.grad(found.sum(), stats)

    # The original's estimate with 2000 times its draws, and before the tanh: in float32 its density
    # of saturated actions is rough.
    mean, std = stats.detach().double().chunk(2, -1)
    generator = torch.Generator().manual_seed(0)
    draws = torch.randn(200_000, *mean.shape, generator=generator, dtype=torch.float64)
    x = mean + std * draws
    surprise = std.log() + tanh_normal.HALF_LOG_TWO_PI + 0.5 * draws.square()
    slope = -2 * torch.tanh(x)
    assert_estimated(found, (surprise + tanh_normal.log_slope(x)).sum(-1))
    assert_estimated(gradient, torch.cat([slope, slope * draws + 1 / std], -1))


def assert_estimated(found, samples):
    """Within four standard errors of the samples' mean, and these are small."""
    error = samples.std(0) / math.sqrt(samples.shape[0])
    assert error.max() < 0.01
    assert ((found.double() - samples.mean(0)).abs() < 4 * error + 1e-6).all()


@pytest.mark.golden
@pytest.mark.parametrize("lambda_", [0.0, 0.95, 1.0])
def test_lambda_returns(golden, lambda_):
    inputs = {key: golden[f"in/lambda/{key}"].T for key in ("reward", "value", "discount")}
    found = lambda_return(inputs["reward"], inputs["value"][:, 1:], inputs["discount"], lambda_)
    close(found, golden[f"out/lambda/{lambda_}"].T)
    record_error(OPS, f"lambda {lambda_}", relative(found, golden[f"out/lambda/{lambda_}"].T))


@pytest.mark.golden
def test_the_unit_normal_with_and_without_its_constant(golden):
    mean, target, expected = (
        golden[f"{key}"] for key in ("in/mse/mean", "in/mse/x", "out/mse/log_prob")
    )
    close(-Mean(gaussian_constant=True).loss(mean.unsqueeze(-1), target), expected)
    without = -Mean(gaussian_constant=False).loss(mean.unsqueeze(-1), target)
    close(without - 0.5 * math.log(2 * math.pi), expected)


@pytest.mark.golden
def test_the_standard_deviation_of_the_latent(golden):
    raw = golden["in/std/raw"]
    found = Gaussian(stoch=6)._split(torch.cat([raw, raw], -1))[1]
    close(found, golden["out/std/sigmoid2"])


@pytest.mark.golden
def test_the_recurrent_cell(golden):
    cell = GRUCell(1, 1, deter=8, hidden=5)
    params = {
        "linear.weight": golden["param/gru._layer.kernel"].T,
        "linear.bias": golden["param/gru._layer.bias"],
        "norm.weight": golden["param/gru._norm.gamma"],
        "norm.bias": golden["param/gru._norm.beta"],
    }
    # The recording begins behind the layer over stoch and action; here its bias stands for that.
    cell._act = torch.nn.Identity()
    nothing = torch.zeros(1, 1)
    with torch.no_grad():
        cell.input.weight.zero_()
        for name, value in params.items():
            cell.get_parameter(name).copy_(value)
        for row, state, expected in zip(
            golden["in/gru/input"], golden["in/gru/state"], golden["out/gru/state"], strict=True
        ):
            cell.input.bias.copy_(row)
            close(cell(state.unsqueeze(0), nothing, nothing)[0], expected)
