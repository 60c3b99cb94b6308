"""DreamerV3 (2025): single functions, layers and distributions against the original's."""

from functools import partial

import pytest
import torch
from torch.nn import functional as F

from harmony.behavior.actor import NormalActor, OneHotActor
from harmony.behavior.replay_value import ReplayValue
from harmony.behavior.return_norm import PercentileNorm
from harmony.models.cells import BlockGRUCell
from harmony.models.encoders import Encoder
from harmony.models.heads import DiscountHead, RewardHead
from harmony.models.latents import Categorical
from harmony.models.rssm import RSSM
from harmony.nn.layers import BlockLinear, Conv2d, Linear, RMSNorm
from harmony.nn.mlp import MLP
from harmony.nn.outputs import SymexpTwoHot
from harmony.ops.symlog import symexp, symlog
from harmony.ops.unimix import unimix_logit
from harmony.types import Latent
from tests.golden.originals import Golden, assert_grads, load
from tests.golden.table import record
from tests.golden.v3_2025_agents import STYLE
from tests.golden.v3_2025_names import Layout, our_name, our_order

pytestmark = pytest.mark.golden
PLAIN = Layout(deter=0)


@pytest.fixture(scope="module")
def golden():
    return Golden("v3_2025/ops")


def close(ours, theirs, **kwargs):
    torch.testing.assert_close(ours, theirs, **{"rtol": 1e-5, "atol": 1e-6, **kwargs})


def close_grad(ours, theirs):
    assert (ours - theirs).norm() <= 1e-4 * theirs.norm()


def named(golden, group, prefix=""):
    """Arrays of an op by the names of a module that stands alone."""
    arrays = {
        our_name(name): our_order(name, array, PLAIN) for name, array in golden.group(group).items()
    }
    return {name.removeprefix(prefix): array for name, array in arrays.items()}


def check_layer(golden, tag, module, prefix, forward=None):
    """Output, and the gradients of its product with the cotangent."""
    load(module, named(golden, f"param/{tag}", prefix))
    x = golden[f"in/{tag}/x"].requires_grad_()
    y = (forward or module)(x)
    close(y, golden[f"out/{tag}/y"])
    torch.autograd.backward((y * golden[f"in/{tag}/cotangent"]).sum())
    close_grad(x.grad, golden[f"grad/{tag}/x"])
    assert_grads(module, named(golden, f"grad/{tag}/param", prefix), 1e-4)


def test_rms_norm(golden):
    check_layer(golden, "rmsnorm", RMSNorm(10), "norm.")


def test_linear(golden):
    check_layer(golden, "linear", Linear(10, 7, init="trunc_normal_in"), "lin.")


def test_block_linear(golden):
    check_layer(golden, "blocklinear", BlockLinear(8, 12, 4, init="trunc_normal_in"), "lin.")


def test_mlp(golden):
    check_layer(golden, "mlp", MLP(8, layers=2, units=9, style=STYLE), "mlp.")


def test_convolution(golden):
    conv = Conv2d(2, 3, 5, padding=2, init="trunc_normal_in")
    check_layer(
        golden, "conv_same5", conv, "conv.",
        lambda x: conv(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1),
    )  # fmt: skip


def test_activation_symlog_and_symexp(golden):
    close(STYLE.activate()(golden["in/silu/x"]), golden["out/silu/y"])
    close(symlog(golden["in/symlog/x"]), golden["out/symlog/y"])
    close(symexp(golden["in/symexp/x"]), golden["out/symexp/y"])


@pytest.mark.parametrize(
    ("tag", "sizes"),
    [
        ("core_blocks4", {"deter": 16, "blocks": 4, "layers": 1}),
        ("core_blocks2_layers2", {"deter": 12, "blocks": 2, "layers": 2}),
    ],
)
def test_recurrent_core(golden, tag, sizes):
    deter, stoch, action = (
        golden[f"in/{tag}/{key}"].requires_grad_() for key in ("deter", "stoch", "action")
    )
    cell = partial(BlockGRUCell, hidden=12, style=STYLE, **sizes)
    latent = Categorical(stoch=4, classes=5)
    # The RSSM scales actions down; in the original that belongs to the core.
    rssm = RSSM(1, action.shape[-1], cell=cell, hidden=3, latent=latent, largest_action=1.0)
    load(rssm.cell, named(golden, f"param/{tag}", "rssm.cell."))
    found = rssm.img_step(Latent(deter, stoch.flatten(1)), action, torch.zeros(3, 4)).deter
    close(found, golden[f"out/{tag}/deter"])
    torch.autograd.backward((found * golden[f"in/{tag}/cotangent"]).sum())
    for key, x in (("deter", deter), ("stoch", stoch), ("action", action)):
        close_grad(x.grad, golden[f"grad/{tag}/{key}"])
    assert_grads(rssm.cell, named(golden, f"grad/{tag}/param", "rssm.cell."), 1e-4)


def test_two_hot_bins_and_targets(golden):
    scalar, tag = SymexpTwoHot(bins=255), "twohot_odd"
    close(scalar.bin_values, golden[f"out/{tag}/bins"])
    target = golden[f"in/{tag}/target"]
    logit = torch.zeros(14, 255, requires_grad=True)
    torch.autograd.backward(scalar.loss(logit, target).sum())
    # The gradient at equal logits is 1 / 255 minus the two-hot target.
    close(1 / 255 - logit.grad, golden[f"out/{tag}/encoding"], atol=1e-5)


def test_two_hot_loss_and_prediction(golden):
    scalar, tag = SymexpTwoHot(bins=255), "twohot_odd"
    target, cotangent = golden[f"in/{tag}/target"], golden[f"in/{tag}/cotangent"]
    logit = golden[f"in/{tag}/logits"].requires_grad_()
    loss = scalar.loss(logit, target)
    close(loss, golden[f"out/{tag}/loss"], rtol=1e-4)
    (grad,) = torch.autograd.grad((loss * cotangent).sum(), logit)
    close_grad(grad, golden[f"grad/{tag}/loss/logits"])

    pred, expected = scalar.pred(logit), golden[f"out/{tag}/pred"]
    assert pred[0] == 0
    assert expected[0] == 0
    close(pred, expected, rtol=1e-4)
    # Row 1 predicts 1e6; without it the others would drown.
    (grad,) = torch.autograd.grad(
        (pred * torch.cat([cotangent[:1], torch.zeros(1), cotangent[2:]])).sum(), logit
    )
    close_grad(grad, golden[f"grad/{tag}/pred/logits"])
    record(golden.name, "two-hot loss", golden[f"out/{tag}/loss"].mean(), loss.mean())


def test_normal_policy(golden):
    actor, tag = NormalActor(8, 3, layers=0, units=0, style=STYLE), "bounded_normal"
    rename = {"h.mean": "mean", "h.stddev": "std"}
    weights, grads = (
        {
            f"{rename[k.rpartition('.')[0]]}.{k.rpartition('.')[2]}": v
            for k, v in named(golden, group).items()
        }
        for group in (f"param/{tag}", f"grad/{tag}/param")
    )
    load(actor, weights)
    stats = actor.stats(golden[f"in/{tag}/x"])
    mean, std = stats.chunk(2, -1)
    close(mean, golden[f"out/{tag}/mean"])
    close(std, golden[f"out/{tag}/std"])
    close(actor.mode(stats), golden[f"out/{tag}/pred"])
    log_prob, entropy = actor.log_prob(stats, golden[f"in/{tag}/event"]), actor.entropy(stats)
    close(log_prob, golden[f"out/{tag}/logp"])
    close(entropy, golden[f"out/{tag}/entropy"])
    close(actor.sample(stats, golden[f"in/{tag}/eps"]), golden[f"out/{tag}/sample"])
    weighted = log_prob * golden[f"in/{tag}/cot_logp"] + entropy * golden[f"in/{tag}/cot_entropy"]
    torch.autograd.backward(weighted.sum())
    assert_grads(actor, grads, 1e-4)


def test_categorical_policy_has_no_unimix(golden):
    actor, tag = OneHotActor(5, [5], layers=0, units=0, style=STYLE), "categorical_policy"
    logit = golden[f"in/{tag}/logits"].requires_grad_()
    with torch.no_grad():
        actor.logit.weight.copy_(torch.eye(5))
    action = F.one_hot(golden[f"in/{tag}/index"].long(), 5).float()
    log_prob = actor.log_prob(actor.stats(logit), action)
    close(log_prob, golden[f"out/{tag}/logp"])
    (grad,) = torch.autograd.grad((log_prob * golden[f"in/{tag}/cotangent"]).sum(), logit)
    close_grad(grad, golden[f"grad/{tag}/logp/logits"])
    entropy = actor.entropy(actor.stats(logit))
    close(entropy, golden[f"out/{tag}/entropy"])
    (grad,) = torch.autograd.grad((entropy * golden[f"in/{tag}/cotangent"]).sum(), logit)
    close_grad(grad, golden[f"grad/{tag}/entropy/logits"])


def test_latent_with_unimix(golden):
    tag, latent = "onehot_unimix", Categorical(stoch=4, classes=6, unimix=0.01)
    logit, other = (
        golden[f"in/{tag}/{key}"].requires_grad_() for key in ("logits", "other_logits")
    )
    close(unimix_logit(logit, 0.01), golden[f"out/{tag}/mixed_logits"])
    sample = latent.sample(logit.flatten(1), golden[f"in/{tag}/uniform"]).unflatten(-1, (4, 6))
    assert torch.equal(sample, golden[f"out/{tag}/sample"])
    (grad,) = torch.autograd.grad((sample * golden[f"in/{tag}/cot_sample"]).sum(), logit)
    close_grad(grad, golden[f"grad/{tag}/sample/logits"])

    cotangent = golden[f"in/{tag}/cot_kl"]
    post_side, prior_side = latent.kl_sides(logit.flatten(1), other.flatten(1))
    close(post_side, golden[f"out/{tag}/kl"])
    close(prior_side, golden[f"out/{tag}/kl"])
    # Each side stops the other's gradient; the original has one divergence and stops outside.
    (grad,) = torch.autograd.grad((post_side * cotangent).sum(), logit)
    close_grad(grad, golden[f"grad/{tag}/kl/logits"])
    (grad,) = torch.autograd.grad((prior_side * cotangent).sum(), other)
    close_grad(grad, golden[f"grad/{tag}/kl/other_logits"])

    entropy = latent.entropy(logit.flatten(1))
    close(entropy, golden[f"out/{tag}/entropy"])
    (grad,) = torch.autograd.grad((entropy * cotangent).sum(), logit)
    close_grad(grad, golden[f"grad/{tag}/entropy/logits"])


@pytest.mark.parametrize("discount", [1.0, 332 / 333])
def test_binary_loss(golden, discount):
    # The head makes its label of a flag: the discount where the state goes on, else 0.
    head = DiscountHead(1, discount=discount, first="predicted", layers=0, units=0, style=STYLE)
    with torch.no_grad():
        head.output.weight.fill_(1.0)
    feat = golden["in/binary/logit"].reshape(1, -1, 1).requires_grad_()
    event = golden["in/binary/event"]
    rows = (event == 0) | ((event - discount).abs() < 1e-6)
    loss = head.losses(feat, (event == 0).unsqueeze(0))["cont"][0]
    close(loss[rows], golden["out/binary/loss"][rows])
    (grad,) = torch.autograd.grad(loss[rows].sum(), feat)
    close(grad.flatten()[rows], golden["grad/binary/loss/logit"][rows])
    close(head.discount(feat, torch.zeros(1)).flatten(), golden["out/binary/prob1"])


def test_reward_head(golden):
    tag = "head_twohot"
    head = RewardHead(11, layers=2, units=9, scalar=SymexpTwoHot(bins=255), style=STYLE)
    load(head, named(golden, f"param/{tag}", "head."))
    x = golden[f"in/{tag}/x"].requires_grad_()
    loss = head.losses(x, golden[f"in/{tag}/target"])["reward"]
    close(head.pred(x), golden[f"out/{tag}/pred"], rtol=1e-4)
    close(loss, golden[f"out/{tag}/loss"])
    torch.autograd.backward(loss.sum())
    close_grad(x.grad, golden[f"grad/{tag}/x"])
    assert_grads(head, named(golden, f"grad/{tag}/param", "head."), 1e-4)


def test_continue_head(golden):
    tag = "head_binary"
    head = DiscountHead(11, discount=1.0, first="predicted", layers=1, units=9, style=STYLE)
    load(head, named(golden, f"param/{tag}", "head."))
    x, target = golden[f"in/{tag}/x"].requires_grad_(), golden[f"in/{tag}/target"]
    loss = head.losses(x, target == 0)["cont"]
    close(head.discount(x, target == 0), golden[f"out/{tag}/pred"])
    close(loss, golden[f"out/{tag}/loss"])
    torch.autograd.backward(loss.sum())
    close_grad(x.grad, golden[f"grad/{tag}/x"])
    assert_grads(head, named(golden, f"grad/{tag}/param", "head."), 1e-4)


def test_vector_encoder(golden):
    tag = "vector_encoder"
    shapes = {"alpha": (1,), "code": (4,), "zeta": (3,)}
    encoder = Encoder(shapes, vector_layers=3, vector_units=9, symlog_vectors=True, style=STYLE)
    load(encoder, named(golden, f"param/{tag}", "encoder."))
    # Ours knows no discrete observations, which the original leaves out of symlog: here symlog
    # gives back the one-hot code.
    code = symexp(F.one_hot(golden[f"in/{tag}/code"].long(), 4).float())
    obs = {
        "alpha": golden[f"in/{tag}/alpha"].unsqueeze(-1),
        "code": code,
        "zeta": golden[f"in/{tag}/zeta"],
    }
    found = encoder(obs)
    close(symlog(torch.cat(list(obs.values()), -1)), golden[f"out/{tag}/concat"])
    close(found, golden[f"out/{tag}/tokens"])
    torch.autograd.backward((found * golden[f"in/{tag}/cotangent"]).sum())
    assert_grads(encoder, named(golden, f"grad/{tag}/param", "encoder."), 1e-4)


@pytest.mark.parametrize("return_lambda", [0.0, 0.95, 1.0])
def test_lambda_return_along_the_replay(golden, return_lambda):
    tag = "lambda_return"
    batch = {
        "reward": golden[f"in/{tag}/rew"],
        "is_last": golden[f"in/{tag}/last"].bool(),
        # Terminations lie between 0 and 1 there, as in imagination; see `Partly`.
        "is_terminal": Partly(golden[f"in/{tag}/term"]),
    }
    part_of = ReplayValue(discount=golden.meta["lambda_return_disc"], return_lambda=return_lambda)
    found = part_of.returns(batch, golden[f"in/{tag}/boot"])
    close(found, golden[f"out/{tag}/lam{return_lambda}"])
    record(
        golden.name,
        f"lambda return {return_lambda}",
        golden[f"out/{tag}/lam{return_lambda}"].mean(),
        found.mean(),
    )


class Partly:
    """A flag between 0 and 1: what is not terminal is the rest."""

    def __init__(self, share):
        self.share = share

    def __getitem__(self, index):
        return Partly(self.share[index])

    def __invert__(self):
        return 1 - self.share


@pytest.mark.parametrize("limit", ["1", "1e-08"])
def test_percentile_norm(golden, limit):
    tag = f"normalize/perc_debias0_limit{limit}"
    norm = PercentileNorm(decay=0.9, limit=float(limit))
    assert golden.meta[f"{tag}_state_order"] == ["n/hi/value", "n/lo/value"]
    for x, expected, state in zip(
        golden["in/normalize/x"], golden[f"out/{tag}/offset_scale"], golden[f"out/{tag}/state"],
        strict=True,
    ):  # fmt: skip
        scale = norm(x)
        # The offset is not used: it cancels in the advantage.
        close(scale, expected[1])
        close(norm.low, expected[0])
        close(torch.stack([norm.high, norm.low]), state)
