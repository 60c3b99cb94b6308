"""DreamerPro at its real size: shapes, counts, initial weights and settings of the original."""

import json
import math

import gymnasium
import pytest
import torch

from harmony.config.compose import compose
from tests.golden.originals import HERE
from tests.golden.pro_agents import BASE, build, parameters
from tests.golden.pro_names import our_name
from tests.golden.table import record

RECORDED = json.loads((HERE / "pro/parameters.json").read_text())
FILE = "pro/parameters"
NORMS = ("gamma", "beta")


@pytest.fixture(scope="module")
def agent():
    return build([], gymnasium.spaces.Box(-1, 1, (RECORDED["actions"],)))


def our_shape(name, shape):
    """Of one of the original's parameters; the order of features does not matter here."""
    if len(shape) == 4:
        rows, columns, inputs, outputs = shape
        return (outputs, inputs, rows, columns)
    return tuple(reversed(shape)) if name.endswith("kernel") else tuple(shape)


@pytest.mark.golden
def test_every_parameter_has_the_originals_shape(agent):
    expected = {
        our_name(name): our_shape(name, shape) for name, shape in RECORDED["shapes"].items()
    }
    assert {name: tuple(param.shape) for name, param in parameters(agent).items()} == expected


@pytest.mark.golden
def test_counts(agent):
    model, objective, behavior = agent.world_model, agent.world_model.objective, agent.behavior

    def count(*modules):
        return sum(param.numel() for module in modules for param in module.parameters())

    heads = count(objective.obs_proj, objective.feat_proj) + objective.prototypes.numel()
    found = {
        "encoder": count(model.encoder),
        "rssm": count(model.rssm) + heads,
        "rssm without projections and prototypes": count(model.rssm),
        "prototypes": objective.prototypes.numel(),
        "rssm.obs_proj": count(objective.obs_proj),
        "rssm.feat_proj": count(objective.feat_proj),
        "heads.reward": count(model.reward),
        "_ema_encoder": count(objective.ema_encoder),
        "_ema_obs_proj": count(objective.ema_proj),
        "actor": count(behavior.actor),
        "critic": count(behavior.critic),
        "_target_critic": count(behavior.slow_critic),
        "trained by the model optimiser": sum(p.numel() for p in agent.optimizers.model.params),
    }
    assert found == RECORDED["counts"]
    for key, value in found.items():
        record(FILE, f"parameters, {key}", RECORDED["counts"][key], value)


@pytest.mark.golden
def test_the_model_optimizer_trains_what_the_originals_does(agent):
    names = {id(param): name for name, param in parameters(agent).items()}
    found = {names[id(param)] for param in agent.optimizers.model.params}
    assert found == {our_name(name) for name in RECORDED["model_optimiser_order"]}


@pytest.mark.golden
def test_initial_weights_are_drawn_as_the_originals(agent):
    own = parameters(agent)
    for name, shape in RECORDED["shapes"].items():
        value = own[our_name(name)].detach()
        if name.endswith("kernel"):
            space = math.prod(shape[:-2])
            limit = math.sqrt(6 / (space * (shape[-2] + shape[-1])))  # Glorot's uniform
            assert value.abs().max() <= limit, name
            # The standard deviation of n uniform numbers errs by 0.45 / sqrt(n) of itself.
            slack = 5 * 0.45 / math.sqrt(value.numel())
            assert value.std() == pytest.approx(limit / math.sqrt(3), rel=slack), name
        elif not name.endswith("_prototypes"):
            filling = 1.0 if name.endswith("gamma") else 0.0
            assert torch.equal(value, torch.full_like(value, filling)), name


@pytest.mark.golden
def test_fresh_prototypes_are_standard_normal_until_the_first_loss():
    agent = build([], gymnasium.spaces.Box(-1, 1, (1,)))
    # The losses' names are known from a blank batch, so prototypes have length one already; their
    # directions are those of normal vectors.
    prototypes = agent.world_model.objective.prototypes.detach()
    torch.testing.assert_close(prototypes.norm(dim=-1), torch.ones(2500))
    size = prototypes.shape[1]
    assert prototypes.std() == pytest.approx(1 / math.sqrt(size), rel=0.01)
    assert prototypes.mean().abs() < 4 / math.sqrt(size * prototypes.numel())


@pytest.mark.golden
def test_the_copies_begin_as_copies(agent):
    model, behavior = agent.world_model, agent.behavior
    pairs = [
        (model.encoder, model.objective.ema_encoder),
        (model.objective.obs_proj, model.objective.ema_proj),
        (behavior.critic, behavior.slow_critic),
    ]
    for fast, slow in pairs:
        for one, other in zip(fast.parameters(), slow.parameters(), strict=True):
            assert torch.equal(one, other)
            assert not other.requires_grad


@pytest.mark.golden
def test_the_settings_of_our_configuration_are_the_originals():
    theirs, ours = RECORDED["settings"], compose(BASE).config["algorithm"]
    rssm, objective, kl = theirs["rssm"], ours["objective"], theirs["kl"]
    assert objective["temperature"] == rssm["temperature"]
    assert objective["sinkhorn_eps"] == rssm["sinkhorn_eps"]
    assert objective["sinkhorn_iterations"] == rssm["sinkhorn_iters"]
    assert objective["warm_up"] == rssm["warm_up"]
    assert objective["freeze_updates"] == theirs["freeze_prototypes_iters"]
    assert objective["ema_every_updates"] == theirs["ema_update_every"]
    assert objective["ema_fraction"] == theirs["ema_update_fraction"]
    assert ours["views"]["max_shift"] == theirs["aug"]["max_delta"]
    assert theirs["aug"]["same_across_time"]
    assert theirs["aug"]["bilinear"]
    assert ours["rssm"]["latent"]["min_std"] == rssm["min_std"]
    assert ours["rssm"]["latent"]["std_act"] == rssm["std_act"]
    assert ours["dynamics_loss"]["balance"] == kl["balance"]
    assert ours["dynamics_loss"]["free_nats"] == kl["free"]
    assert kl["free_avg"]
    assert ours["actor"]["continuous"]["min_std"] == theirs["actor"]["min_std"]
    assert ours["behavior"]["horizon"] == theirs["imag_horizon"] - 1  # the last state only ends it
    assert ours["behavior"]["actor_entropy"] == theirs["actor_ent"]
    assert ours["cont"]["discount"] == theirs["discount"]
    assert ours["targets"]["return_lambda"] == theirs["discount_lambda"]
    assert ours["slow_critic"]["every_updates"] == theirs["slow_target_update"]
    assert ours["slow_critic"]["fraction"] == theirs["slow_target_fraction"]
    # The recording is of natural backgrounds, whose reward scale of 1000 is not ours.
    scales = {name: scale for name, scale in ours["loss_scales"].items() if name != "reward"}
    assert scales == {name: theirs["loss_scales"][name] for name in scales}
    for part in ("model", "actor", "critic"):
        given = {"wd": "weight_decay", "lr": "lr", "eps": "eps", "clip": "clip"}
        for key, name in given.items():
            assert ours["optimizer"][part][name] == theirs[f"{part}_opt"][key], (part, name)
