"""DreamerPro's world model against the original."""

import pytest
import torch

from harmony.models.latents import Gaussian
from harmony.models.objectives.prototypes import unit
from harmony.models.world_model import ModelNoise
from tests.golden.originals import Golden
from tests.golden.pro_agents import CONSTANT, gradient_errors, load, make_agent
from tests.golden.pro_names import embed_layout, image, named
from tests.golden.table import record, record_error

FILES = [
    "pro/world_model_gaussian",
    "pro/world_model_gaussian_standard",
    "pro/world_model_categorical",
    "pro/world_model_categorical_discount",
]
WITHOUT = ", without the constant of the density"
UNFROZEN = "algorithm.objective.freeze_updates=0"


def close(ours, theirs, rtol=1e-4, atol=1e-5):
    torch.testing.assert_close(ours, theirs, rtol=rtol, atol=atol)


def make(name, *overrides):
    """Recording, agent with its weights, batch and noise."""
    golden = Golden(name)
    agent = make_agent(golden, *overrides)
    assert load(agent, named(golden, "param")) == set(dict(agent.behavior.named_parameters()))
    kind = "uniform" if golden.meta["rssm"]["discrete"] else "eps"
    noise = ModelNoise(golden[f"in/post_{kind}"], golden["in/shift"])
    discount = golden["in/discount"]
    flags = torch.zeros_like(discount, dtype=torch.bool)
    batch = {
        "image": image(golden, "in/image_seed", golden.meta["image_sha256"]),
        "action": golden["in/action"],
        "reward": golden["in/reward"],
        # The original's loss knows no episode borders, and its first action counts.
        "is_first": flags,
        "is_last": flags,
        "is_terminal": discount == 0,
    }
    return golden, agent, batch, noise


def their_losses(golden):
    """Under our names, and as ours would be: without the reward's constant."""
    losses = golden.group("out/loss")
    losses["reward"] = losses["reward"] - CONSTANT
    if "discount" in losses:
        losses["cont"] = losses.pop("discount")
    return losses


@pytest.mark.golden
@pytest.mark.parametrize("name", FILES)
def test_losses_and_gradients_equal_the_originals(name):
    golden, agent, batch, noise = make(name, UNFROZEN)

    modelled = agent.world_model.losses(batch, noise)
    total = agent.harmonizer(modelled.losses)
    torch.autograd.backward(total)

    expected = their_losses(golden)
    assert set(modelled.losses) == set(expected)
    for key, value in expected.items():
        ours = modelled.losses[key].detach().mean()
        close(ours, value, atol=1e-7)
        record(name, f"loss/{key}{WITHOUT if key == 'reward' else ''}", value, ours)
    theirs = golden["out/total"] - golden.meta["loss_scales"]["reward"] * CONSTANT
    close(total.detach(), theirs, atol=1e-7)
    record(name, f"total{WITHOUT}", theirs, total.detach())
    close(modelled.metrics["model/kl"], golden["out/model_kl"])
    assert (modelled.metrics["model/kl"] < 1.0) == golden.meta["free_binds"]

    errors = gradient_errors(agent, named(golden, "grad"))
    assert max(errors.values()) < 1e-4, errors
    norm = torch.nn.utils.get_total_norm([p.grad for p in agent.optimizers.model.params])
    close(norm, golden["out/grad_norm"])
    record(name, "global gradient norm", golden["out/grad_norm"], norm)
    record_error(name, "largest relative gradient error", max(errors.values()))


@pytest.mark.golden
@pytest.mark.parametrize("name", FILES)
def test_each_loss_has_the_originals_gradient(name):
    golden, agent, batch, noise = make(name, UNFROZEN)
    losses = agent.world_model.losses(batch, noise).losses
    params = agent.optimizers.model.params
    prototypes = agent.world_model.objective.prototypes
    norms = golden.group("out/grad_norm")
    norms["cont"] = norms.pop("discount", None)
    for key, loss in losses.items():
        mean = loss.mean()
        found = torch.autograd.grad(mean, params, retain_graph=True, allow_unused=True)
        grads = {id(p): g for p, g in zip(params, found, strict=True) if g is not None}
        close(torch.nn.utils.get_total_norm(list(grads.values())), norms[key], atol=1e-7)
        if key in ("swav", "temp"):
            expected = golden[f"grad_prototypes/{key}"]
            assert (grads[id(prototypes)] - expected).norm() < 1e-4 * expected.norm()


@pytest.mark.golden
@pytest.mark.parametrize("name", FILES)
def test_what_leads_to_the_losses_equals_the_originals(name):
    golden, agent, batch, noise = make(name)
    world_model, objective = agent.world_model, agent.world_model.objective
    modelled = world_model.losses(batch, noise)  # sets the prototypes to length one
    close(objective.prototypes.detach(), golden["out/prototypes"])
    with torch.no_grad():
        obs, doubled = modelled.obs, modelled.batch
        embed, slow = world_model.encoder(obs), objective.ema_encoder(obs)
        observed = world_model.rssm.observe(
            embed, doubled["action"], doubled["is_first"], noise.latent
        )
        feat = world_model.rssm.get_feat(observed.latent)

        coarse = obs["image"].movedim(2, -1)[:, :, ::8, ::8]
        close(coarse, golden["out/augmented_coarse"])
        close(obs["image"].mean((2, 3, 4)), golden["out/augmented_mean"])
        close(embed, embed_layout(golden["out/embed"]))
        close(slow, embed_layout(golden["out/ema_embed"]))
        close(observed.latent.stoch, golden["in/post_stoch"].flatten(2))
        close(observed.latent.deter, golden["out/post/deter"])
        close(feat, golden["out/feat"])
        check_distributions(world_model.rssm.latent, observed, golden)
        check_heads(world_model, feat, golden)
        check_clusters(objective, golden, {"obs": embed, "feat": feat, "ema": slow}, obs)


def check_distributions(latent, observed, golden):
    for side in ("post", "prior"):
        stats = getattr(observed, side)
        if isinstance(latent, Gaussian):
            mean, std = latent._split(stats)
            close(mean, golden[f"out/{side}/mean"])
            close(std, golden[f"out/{side}/std"])
        else:
            close(stats, golden[f"out/{side}/logit"].flatten(2))
        close(latent.entropy(stats).mean(), golden[f"out/{side}_ent"])
    for divergence in latent.kl_sides(observed.post, observed.prior):
        close(divergence, golden["out/kl_value"])


def check_heads(world_model, feat, golden):
    reward = torch.cat([golden["in/reward"]] * 2)
    close(world_model.reward.pred(feat), golden["out/reward_mean"])
    found = world_model.reward.losses(feat, reward)["reward"]
    close(-found - CONSTANT, golden["out/log_prob/reward"])
    if "out/discount_mean" in golden:
        is_terminal = torch.cat([golden["in/discount"]] * 2) == 0
        close(world_model.cont.discount(feat, is_terminal), golden["out/discount_mean"])
        found = world_model.cont.losses(feat, is_terminal)["cont"]
        close(-found, golden["out/log_prob/discount"])


def check_clusters(objective, golden, inputs, obs):
    layers = {"obs": objective.obs_proj, "feat": objective.feat_proj, "ema": objective.ema_proj}
    for key, layer in layers.items():
        raw = layer(inputs[key])
        close(raw, golden[f"out/{key}_proj_raw"])
        close(unit(raw), golden[f"out/{key}_proj"])
        if key != "ema":
            logit, length = objective._logit(raw, objective.prototypes)
            close(logit, samples_first(golden[f"out/{key}_logits"]))
            close(length, golden[f"out/{key}_norm"])
    targets = torch.cat([samples_first(golden[f"out/ema_targets_{view}"]) for view in (1, 2)])
    close(objective._targets(obs), targets)


def samples_first(array):
    """(K, sequences, time) to (sequences, time, K)."""
    return array.movedim(0, -1)


@pytest.mark.golden
def test_while_prototypes_are_frozen_all_else_learns_as_in_the_original():
    name = "pro/world_model_gaussian_standard"
    golden, agent, batch, noise = make(name)
    total = agent.harmonizer(agent.world_model.losses(batch, noise).losses)
    torch.autograd.backward(total)
    close(total.detach() + CONSTANT, golden["out/total"])
    expected = named(golden, "grad")
    expected["objective.prototypes"].zero_()
    assert max(gradient_errors(agent, expected).values()) < 1e-4


@pytest.mark.golden
def test_the_length_of_raw_prototypes_does_not_matter():
    name = "pro/world_model_gaussian_standard"
    golden, agent, batch, noise = make(name)
    with torch.no_grad():
        agent.world_model.objective.prototypes *= torch.linspace(0.5, 2, 11).unsqueeze(1)
    for key, value in agent.world_model.losses(batch, noise).losses.items():
        close(value.detach().mean(), their_losses(golden)[key])
