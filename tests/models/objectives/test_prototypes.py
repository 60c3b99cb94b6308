"""Clusters of views by hand."""

import math
from functools import partial

import pytest
import torch
from torch.nn import functional as F

from harmony.models.encoders import Encoder
from harmony.models.objectives.prototypes import Prototypes
from harmony.nn.cnn import ConvEncoder
from harmony.ops.sinkhorn import sinkhorn
from tests.no_reads import NoReads

SHAPES = {"image": (8, 8, 3)}
E, F_SIZE, B, T = 4, 5, 2, 3  # both views together are 2 * B sequences


def make_encoder():
    return Encoder(SHAPES, cnn=partial(ConvEncoder, depth=2, kernels=[4, 3]))


def make(**others):
    torch.manual_seed(0)
    encoder = make_encoder()
    assert encoder.embed_size == E
    sizes = {"prototypes": 6, "size": 2, **others}
    return encoder, Prototypes(encoder, F_SIZE, SHAPES, **sizes)


def inputs(encoder):
    torch.manual_seed(1)
    obs = {"image": torch.randn(2 * B, T, 3, 8, 8)}
    return torch.randn(2 * B, T, F_SIZE), encoder(obs), obs


def by_hand(part, feat, embed, obs):
    """The three losses, sequence by sequence and step by step."""
    prototypes = F.normalize(part.prototypes.detach(), dim=-1)
    slow = F.normalize(part.ema_proj(part.ema_encoder(obs)), dim=-1) @ prototypes.T
    targets = [
        sinkhorn(view[:, 1:].reshape(-1, 6), part.sinkhorn_eps, 3).reshape(B, T - 1, 6)
        for view in slow.split(B)
    ]
    swav, temp, lengths = [], [], [[], []]
    for view in (0, 1):
        for row in range(B):
            n = view * B + row
            for t in range(T):
                obs_proj, feat_proj = part.obs_proj(embed[n, t]), part.feat_proj(feat[n, t])
                lengths[0].append((obs_proj.norm() - 1) ** 2)
                lengths[1].append((feat_proj.norm() - 1) ** 2)
                if t == 0:
                    continue
                logit = (prototypes @ (obs_proj / obs_proj.norm()) / 0.1).log_softmax(-1)
                swav.append(-(targets[1 - view][row, t - 1] * logit).sum())
                logit = (prototypes @ (feat_proj / feat_proj.norm()) / 0.1).log_softmax(-1)
                temp.append(-(targets[view][row, t - 1] * logit).sum())
    mean = {name: torch.stack(terms).mean() for name, terms in {"swav": swav, "temp": temp}.items()}
    return mean | {"norm": sum(torch.stack(terms).mean() for terms in lengths)}


def test_losses_step_by_step():
    encoder, part = make()
    # The slow copy is another network than the encoder, as it is in training.
    for weight in part.ema_proj.parameters():
        weight.add_(torch.randn_like(weight))
    feat, embed, obs = inputs(encoder)
    found = part.losses(feat, embed, obs)
    expected = by_hand(part, feat, embed, obs)
    assert set(found) == {"swav", "temp", "norm"}
    for name, loss in found.items():
        assert loss.shape == ()
        assert loss.item() == pytest.approx(expected[name].item(), rel=1e-5), name


def test_two_prototypes_by_hand(monkeypatch):
    """Two axes as prototypes; one step that counts; targets given."""
    _, part = make(prototypes=2, temperature=0.5, warm_up=0)
    targets = torch.tensor([[[1.0, 0.0]], [[0.25, 0.75]]])
    monkeypatch.setattr(part, "_targets", lambda _: targets)
    with torch.no_grad():
        part.prototypes.copy_(3 * torch.eye(2))  # their length does not matter
        part.obs_proj.weight.copy_(torch.eye(2, E))
        part.feat_proj.weight.copy_(torch.eye(2, F_SIZE))
    embed = torch.tensor([[[3.0, 4.0, 0.0, 0.0]], [[0.0, 2.0, 0.0, 0.0]]])  # cosines .6 .8, 0 1
    feat = torch.tensor([[[2.0, 0.0, 0.0, 0.0, 0.0]], [[1.0, 1.0, 0.0, 0.0, 0.0]]])

    def log_prob(*cosines):
        total = math.log(sum(math.exp(cosine / 0.5) for cosine in cosines))
        return [cosine / 0.5 - total for cosine in cosines]

    first, second = log_prob(0.6, 0.8), log_prob(0.0, 1.0)
    swav = -(0.25 * first[0] + 0.75 * first[1] + second[0]) / 2  # each view by the other's clusters
    root = math.sqrt(0.5)
    first, second = log_prob(1.0, 0.0), log_prob(root, root)
    temp = -(first[0] + 0.25 * second[0] + 0.75 * second[1]) / 2  # each view by its own
    norm = ((5 - 1) ** 2 + (2 - 1) ** 2) / 2 + ((2 - 1) ** 2 + (math.sqrt(2) - 1) ** 2) / 2
    found = part.losses(feat, embed, {})
    assert {name: loss.item() for name, loss in found.items()} == {
        "swav": pytest.approx(swav),
        "temp": pytest.approx(temp),
        "norm": pytest.approx(norm),
    }


def test_prototypes_are_brought_to_length_one_in_place():
    encoder, part = make()
    direction = F.normalize(part.prototypes.detach().clone(), dim=-1)
    part.losses(*inputs(encoder))
    torch.testing.assert_close(part.prototypes.detach(), direction)


def grads(loss, weights):
    """Whether each weight gets a gradient other than zero."""
    found = torch.autograd.grad(loss, weights, allow_unused=True, retain_graph=True)
    return [grad is not None and bool(grad.abs().sum() > 0) for grad in found]


def test_what_each_loss_trains():
    encoder, part = make(freeze_updates=0)
    feat, embed, obs = inputs(encoder)
    feat.requires_grad_()
    found = part.losses(feat, embed, obs)
    weights = [
        feat, encoder.cnn.layers[0].weight, part.obs_proj.weight, part.feat_proj.weight,
        part.prototypes,
    ]  # fmt: skip
    assert grads(found["swav"], weights) == [False, True, True, False, True]
    assert grads(found["temp"], weights) == [True, False, False, True, True]
    assert grads(found["norm"], weights) == [True, True, True, True, False]


def test_targets_and_the_slow_copy_have_no_gradient():
    encoder, part = make()
    targets = part._targets(inputs(encoder)[2])
    assert not targets.requires_grad
    slow = [*part.ema_encoder.parameters(), *part.ema_proj.parameters()]
    assert len(slow) == 4 + 2
    assert not any(weight.requires_grad for weight in slow)
    assert all(weight.requires_grad for weight in encoder.parameters())


def test_each_view_has_its_own_balance():
    encoder, part = make(sinkhorn_iterations=100, sinkhorn_eps=1.0)
    targets = part._targets(inputs(encoder)[2])
    assert targets.shape == (2 * B, T - 1, 6)
    torch.testing.assert_close(targets.sum(-1), torch.ones(2 * B, T - 1))
    for view in targets.split(B):
        torch.testing.assert_close(view.sum((0, 1)), torch.full((6,), B * (T - 1) / 6))


def test_the_first_steps_count_for_no_cluster_but_keep_their_length():
    encoder, part = make(warm_up=2)
    feat, embed, obs = inputs(encoder)
    embed, feat = embed.detach().requires_grad_(), feat.requires_grad_()
    found = part.losses(feat, embed, obs)
    for name, given in (("swav", embed), ("temp", feat)):
        (grad,) = torch.autograd.grad(found[name], given, retain_graph=True)
        assert (grad.abs().sum((0, 2)) > 0).tolist() == [False, False, True], name
    for grad in torch.autograd.grad(found["norm"], (embed, feat)):
        assert (grad.abs().sum((0, 2)) > 0).tolist() == [True, True, True]


def test_prototypes_stay_for_some_updates():
    encoder, part = make(freeze_updates=2)
    given = inputs(encoder)
    learned, values = [], []
    for _ in range(4):
        found = part.losses(*given)
        learned.append(grads(found["swav"] + found["temp"], [part.prototypes])[0])
        values.append(found["temp"].item())
        # Their value is used all the same: the projections learn from the first update on.
        assert grads(found["temp"], [part.feat_proj.weight]) == [True]
        part.after_update(encoder)
    assert learned == [False, False, True, True]
    assert values == [pytest.approx(values[0])] * 4
    # A gradient of zero and not none: an optimizer's weights all have one.
    _, part = make(freeze_updates=9)
    torch.autograd.backward(part.losses(*given)["temp"])
    assert torch.equal(part.prototypes.grad, torch.zeros(6, 2))


def shifted(encoder, part):
    with torch.no_grad():
        for weight in [*encoder.parameters(), *part.obs_proj.parameters()]:
            weight.add_(1.0)


def distances(encoder, part):
    """How far each weight of the slow copy is behind, where it is the same for all."""
    slow = [*part.ema_encoder.parameters(), *part.ema_proj.parameters()]
    fast = [*encoder.parameters(), *part.obs_proj.parameters()]
    found = torch.cat([(f - s).flatten() for s, f in zip(slow, fast, strict=True)])
    torch.testing.assert_close(found, found[:1].expand_as(found), rtol=0.0, atol=1e-6)
    return found[0].item()


def test_the_slow_copy_begins_as_a_copy_and_follows():
    encoder, part = make(ema_fraction=0.25)
    assert distances(encoder, part) == 0.0
    shifted(encoder, part)
    part.after_update(encoder)
    assert distances(encoder, part) == 0.0  # the first update copies
    shifted(encoder, part)
    part.after_update(encoder)
    assert distances(encoder, part) == pytest.approx(0.75, rel=1e-5)
    shifted(encoder, part)
    part.after_update(encoder)
    assert distances(encoder, part) == pytest.approx(0.75 * 1.75, rel=1e-5)
    assert part.updates.item() == 3


def test_the_slow_copy_may_follow_every_few_updates():
    encoder, part = make(ema_fraction=0.5, ema_every_updates=3)
    part.after_update(encoder)
    found = []
    shifted(encoder, part)
    for _ in range(6):
        part.after_update(encoder)
        found.append(distances(encoder, part))
    # Updates 1 and 2 wait, 3 steps, 4 and 5 wait, 6 steps.
    assert found == [pytest.approx(x, rel=1e-5) for x in (1.0, 1.0, 0.5, 0.5, 0.5, 0.25)]


def test_count_and_slow_copy_are_in_the_state():
    encoder, part = make(freeze_updates=2)
    for _ in range(3):
        part.after_update(encoder)
    _, other = make(freeze_updates=2)
    other.load_state_dict(part.state_dict())
    assert other.updates.item() == 3
    given = inputs(encoder)
    one, two = part.losses(*given), other.losses(*given)
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert grads(two["temp"], [other.prototypes]) == [True]


def test_losses_are_taken_in_float32():
    encoder, part = make()
    with torch.autocast("cpu", torch.bfloat16):
        feat, embed, obs = inputs(encoder)
        found = part.losses(feat.bfloat16(), embed, obs)
        targets = part._targets(obs)
    assert {loss.dtype for loss in found.values()} == {torch.float32}
    assert targets.dtype == torch.float32


def test_nothing_waits_for_the_device():
    encoder, part = make(freeze_updates=1)
    given = inputs(encoder)
    with NoReads():
        for _ in range(3):
            part.losses(*given)
            part.after_update(encoder)


def test_it_has_no_decoder():
    assert make()[1].decoder is None


def test_without_images_there_is_nothing_to_shift():
    encoder = Encoder({"pose": (3,)})
    message = r"^the objective needs images.*gives \['pose'\]: take objective=reconstruction"
    with pytest.raises(ValueError, match=message) as caught:
        Prototypes(encoder, F_SIZE, {"pose": (3,)})
    assert "\n" not in str(caught.value)
