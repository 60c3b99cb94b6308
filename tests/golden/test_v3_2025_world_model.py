"""DreamerV3 (2025): the world model's losses and gradients against the original's."""

import pytest
import torch

from harmony.models.world_model import ModelNoise, WorldModel
from harmony.types import Latent
from tests.golden.originals import Golden, assert_grads, load
from tests.golden.table import record, record_error
from tests.golden.v3_2025_agents import make_harmonizer, make_world_model
from tests.golden.v3_2025_names import Layout, params

CONTINUOUS, DISCRETE = "world_model_image_vector_continuous", "world_model_image_discrete"
SHAPES = {
    # Vectors in the order of their names, as the original concatenates them.
    CONTINUOUS: {"image": (64, 64, 3), "pos": (2,), "vec": (5,)},
    DISCRETE: {"image": (64, 64, 3)},
}
LOSSES = {"dyn": ["dyn"], "rep": ["rep"], "reward": ["rew"], "cont": ["con"], "image": ["image"]}


def make(name):
    golden = Golden(f"v3_2025/{name}")
    config = golden.meta["agent_config"]
    world_model = make_world_model(config, SHAPES[name], 4 if name == DISCRETE else 2)
    return golden, config, world_model


def make_layout(name, world_model: WorldModel) -> Layout:
    channels = world_model.encoder.cnn.norms[-1].norm.weight.shape[0]
    vector = 14 if name == CONTINUOUS else 0
    return Layout(world_model.rssm.deter, vector, (4, 4, channels))


def make_batch(golden, name):
    flags = {key: golden[f"in/{key}"].bool() for key in ("is_first", "is_last", "is_terminal")}
    action = golden["in/prevact"]
    if name == DISCRETE:
        action = torch.nn.functional.one_hot(action.long(), 4).float()
    plain = {key: golden[f"in/{key}"] for key in SHAPES[name] if key != "image"}
    return {
        "image": golden.image(), "action": action, "reward": golden["in/reward"], **plain, **flags
    }  # fmt: skip


def close(ours, theirs, **kwargs):
    torch.testing.assert_close(ours, theirs, **{"rtol": 1e-4, "atol": 1e-5, **kwargs})


def modelled(golden, world_model, name):
    start = Latent(golden["in/carry/deter"], golden["in/carry/stoch"].flatten(1))
    noise = ModelNoise(golden["in/post_uniform"])
    return world_model.losses(make_batch(golden, name), noise, start)


@pytest.mark.golden
@pytest.mark.parametrize("name", [CONTINUOUS, DISCRETE])
def test_losses_and_gradients_equal_the_originals(name):
    golden, config, world_model = make(name)
    layout = make_layout(name, world_model)
    weights = params(golden, "param", layout)
    assert set(weights) == set(dict(world_model.named_parameters()))
    load(world_model, weights)

    found = modelled(golden, world_model, name)
    harmonizer = make_harmonizer(config, set(found.losses))
    total = harmonizer(found.losses)
    torch.autograd.backward(total)

    assert torch.equal(found.latent.stoch, golden["in/post_stoch"].flatten(2))
    close(found.latent.deter, golden["out/post/deter"])
    names = LOSSES | ({"vector": ["vec", "pos"]} if name == CONTINUOUS else {})
    assert set(found.losses) == set(names)
    for ours, theirs in names.items():
        # Ours has one loss for all vectors.
        expected = torch.stack([golden[f"out/loss/{key}"] for key in theirs]).sum(0)
        close(found.losses[ours], expected, atol=1e-6)
        record(golden.name, f"loss {ours}", expected.mean(), found.losses[ours].mean())
    close(found.metrics["model/kl"], golden["out/kl"].mean(), atol=1e-6)
    close(total, golden["out/total"])
    record(golden.name, "loss total", golden["out/total"], total)
    grads = params(golden, "grad", layout)
    largest = assert_grads(world_model, grads, 1e-4)
    record_error(golden.name, "largest gradient error of a parameter", largest)
    norms = [
        torch.stack([g.norm() for g in group]).norm()
        for group in (grads.values(), [p.grad for p in world_model.parameters()])
    ]
    record(golden.name, "global gradient norm", *norms)


@pytest.mark.golden
@pytest.mark.parametrize("name", [CONTINUOUS, DISCRETE])
def test_statistics_and_predictions_equal_the_originals(name):
    golden, _, world_model = make(name)
    load(world_model, params(golden, "param", make_layout(name, world_model)))
    batch = make_batch(golden, name)
    obs = world_model.observations(batch)
    rssm = world_model.rssm
    start = Latent(golden["in/carry/deter"], golden["in/carry/stoch"].flatten(1))
    with torch.no_grad():
        observed = rssm.observe(
            world_model.encoder(obs), batch["action"], batch["is_first"],
            golden["in/post_uniform"], start,
        )  # fmt: skip
        feat = rssm.get_feat(observed.latent)
        decoded = world_model.objective.decoder(feat)
        reward = world_model.reward.pred(feat)
        cont = world_model.cont.discount(feat, batch["is_terminal"])
    close(observed.post, golden["out/post/logit"].flatten(2))
    close(observed.prior, golden["out/prior/logit"].flatten(2))
    deter, stoch = golden["out/feat"].split([rssm.deter, rssm.latent.size], -1)
    close(feat, torch.cat([stoch, deter], -1))
    image = golden["out/recon_coarse/image"]
    # Images lie around zero here.
    close(decoded["image"][..., ::16, ::16].movedim(-3, -1) + 0.5, image)
    for key in ("vec", "pos") if name == CONTINUOUS else ():
        close(decoded[key], golden[f"out/recon/{key}"])
    close(reward, golden["out/rew_pred"], atol=1e-4)
    close(cont, torch.sigmoid(golden["out/con_logit"]))


@pytest.mark.golden
@pytest.mark.parametrize("name", [CONTINUOUS, DISCRETE])
@pytest.mark.parametrize("loss", ["dyn", "rep"])
def test_each_divergence_trains_its_own_side(name, loss):
    golden, _, world_model = make(name)
    layout = make_layout(name, world_model)
    load(world_model, params(golden, "param", layout))
    torch.autograd.backward(modelled(golden, world_model, name).losses[loss].mean())
    weights = dict(world_model.named_parameters())
    for key, expected in params(golden, f"grad_{loss}", layout).items():
        grad = weights[key].grad
        if not expected.any():
            assert grad is None or not grad.any(), key
        else:
            assert (grad - expected).norm() <= 1e-4 * expected.norm(), key
