"""DreamerV3 (2025): settings, sizes, shapes and initial weights against the original's."""

import functools
import json
import math

import gymnasium
import pytest
import torch
from torch import nn

from harmony.build_agent import build_agent
from harmony.config.compose import compose
from harmony.training.seeding import Seeds
from tests.golden.originals import HERE
from tests.golden.table import record
from tests.golden.v3_2025_agents import make_behavior, make_world_model
from tests.golden.v3_2025_names import Layout, our_name, our_order

pytestmark = pytest.mark.golden
RECORDED = json.loads((HERE / "v3_2025" / "parameters.json").read_text())
SIZES = sorted(RECORDED["sizes"])
IMAGE = {"image": (64, 64, 3)}
VECTORS = {"height": (1,), "orientations": (14,), "velocity": (9,)}


@functools.cache
def composed(*overrides):
    return compose(["algorithm=dreamerv3_2025", "env=probe", "harmony=off", *overrides])


def config_of(values):
    """The original's defaults with the widths of one size."""
    config = json.loads(json.dumps(RECORDED["defaults_agent"]))
    config["dyn"]["rssm"] |= {
        key: values[key] for key in ("deter", "hidden", "stoch", "classes", "blocks")
    }
    for part in ("enc", "dec"):
        config[part]["simple"] |= {key: values[key] for key in ("depth", "mults", "units")}
    for part in ("rewhead", "conhead", "policy", "value"):
        config[part]["units"] = values["units"]
    return config


def counts(values, shapes, *, discrete):
    """Numbers of weights by the original's names of the modules; nothing is allocated."""
    config = config_of(values)
    with torch.device("meta"):
        world_model = make_world_model(config, shapes, 6)
        behavior = make_behavior(config, world_model.rssm.feat_size, 6, discrete=discrete)
    modules: dict[str, nn.Module] = {
        "enc": world_model.encoder,
        "dyn": world_model.rssm,
        "dec": world_model.objective,
        "rew": world_model.reward,
        "con": world_model.cont,
        "pol": behavior.actor,
        "val": behavior.critic,
        "slowval": behavior.slow_critic,
        "world_model": world_model,
    }
    found = {name: sum(p.numel() for p in each.parameters()) for name, each in modules.items()}
    return found | {"trainable_total": found["world_model"] + found["pol"] + found["val"]}


@pytest.mark.parametrize("size", SIZES)
def test_parameter_counts_of_each_size(size):
    recorded = RECORDED["sizes"][size]
    found = counts(recorded["values"], IMAGE, discrete=True)
    assert found == recorded["counts"]
    for name in ("world_model", "pol", "val"):
        record(
            "v3_2025/parameters",
            f"weights of {name}, {size}",
            recorded["counts"][name],
            found[name],
        )


@pytest.mark.parametrize(
    ("task", "shapes"), [("dmc_vision_walker_like", IMAGE), ("dmc_proprio_walker_like", VECTORS)]
)
def test_parameter_counts_with_continuous_actions(task, shapes):
    recorded = RECORDED[task]
    # Scalars there are vectors of one entry here.
    assert counts(recorded["values"], shapes, discrete=False) == recorded["counts"]


@pytest.mark.parametrize("size", [size for size in SIZES if size != "size1m"])
def test_our_sizes_are_the_originals(size):
    values, ours = RECORDED["sizes"][size]["values"], composed(f"size={size.removeprefix('size')}")
    for key in ("deter", "hidden", "stoch", "classes", "depth", "units"):
        assert ours.config["size"][key] == values[key], key


SETTINGS = {  # ours: theirs
    "style.act": "dyn.rssm.act",
    "style.norm": "dyn.rssm.norm",
    "style.init": "dyn.rssm.winit",
    "encoder.cnn.kernel": "enc.simple.kernel",
    "encoder.cnn.multiples": "enc.simple.mults",
    "encoder.vector_layers": "enc.simple.layers",
    "encoder.symlog_vectors": "enc.simple.symlog",
    "rssm.cell.blocks": "dyn.rssm.blocks",
    "rssm.cell.layers": "dyn.rssm.dynlayers",
    "rssm.prior_layers": "dyn.rssm.imglayers",
    "rssm.latent.unimix": "dyn.rssm.unimix",
    "dynamics_loss.free_nats": "dyn.rssm.free_nats",
    "decoder.cnn.kernel": "dec.simple.kernel",
    "decoder.cnn.multiples": "dec.simple.mults",
    "decoder.cnn.blocks": "dec.simple.bspace",
    "decoder.vector_layers": "dec.simple.layers",
    "reward.layers": "rewhead.layers",
    "reward.scalar.bins": "rewhead.bins",
    "reward.out_scale": "rewhead.outscale",
    "cont.layers": "conhead.layers",
    "actor.continuous.layers": "policy.layers",
    "actor.continuous.out_scale": "policy.outscale",
    "actor.continuous.min_std": "policy.minstd",
    "actor.continuous.max_std": "policy.maxstd",
    "actor.discrete.layers": "policy.layers",
    "actor.discrete.out_scale": "policy.outscale",
    "critic.layers": "value.layers",
    "critic.scalar.bins": "value.bins",
    "critic.out_scale": "value.outscale",
    "slow_critic.every_updates": "slowvalue.every",
    "slow_critic.fraction": "slowvalue.rate",
    "targets.return_lambda": "imag_loss.lam",
    "return_norm.low": "retnorm.perclo",
    "return_norm.high": "retnorm.perchi",
    "return_norm.limit": "retnorm.limit",
    "replay_value.weight": "loss_scales.repval",
    "replay_value.return_lambda": "repl_loss.lam",
    "replay_value.slow_regularizer": "repl_loss.slowreg",
    "behavior.horizon": "imag_length",
    "behavior.actor_entropy": "imag_loss.actent",
    "behavior.slow_regularizer": "imag_loss.slowreg",
    "optimizer.joint.lr": "opt.lr",
    "optimizer.joint.agc": "opt.agc",
    "optimizer.joint.beta1": "opt.beta1",
    "optimizer.joint.beta2": "opt.beta2",
    "optimizer.joint.eps": "opt.eps",
    "optimizer.joint.warmup_updates": "opt.warmup",
    "loss_scales.reward": "loss_scales.rew",
    "loss_scales.cont": "loss_scales.con",
    "loss_scales.dyn": "loss_scales.dyn",
    "loss_scales.rep": "loss_scales.rep",
    "loss_scales.image": "loss_scales.rec",
    "loss_scales.vector": "loss_scales.rec",
}


def look_up(tree, path):
    return functools.reduce(lambda node, key: node[key], path.split("."), tree)


@pytest.mark.parametrize("path", SETTINGS)
def test_settings_are_the_originals_defaults(path):
    ours = look_up(composed().config["algorithm"], path)
    theirs = look_up(RECORDED["defaults_agent"], SETTINGS[path])
    assert ours == (pytest.approx(theirs) if isinstance(theirs, float) else theirs)


def test_settings_that_are_written_another_way():
    ours, theirs = composed().config["algorithm"], RECORDED["defaults_agent"]
    for part in ("cont", "replay_value"):
        assert ours[part]["discount"] == pytest.approx(1 - 1 / theirs["horizon"], abs=1e-12)
    assert theirs["contdisc"]
    assert ours["cont"]["first"] == "predicted"
    assert 1 - ours["return_norm"]["decay"] == pytest.approx(theirs["retnorm"]["rate"])
    # Its slow critic begins as a copy and moves by its rate from the first update on.
    assert not ours["slow_critic"]["copy_first"]
    assert not theirs["imag_loss"]["slowtar"]
    assert ours["behavior"]["target_values"] == ours["behavior"]["baseline_values"] == "online"
    assert theirs["policy_dist_disc"] == "categorical"
    assert ours["actor"]["discrete"]["unimix"] == 0
    assert theirs["dyn"]["rssm"]["obslayers"] == 1
    assert theirs["reward_grad"]
    assert not ours["reward"]["stop_gradient"]


def test_what_ours_has_no_setting_for_is_off_in_the_original():
    theirs = RECORDED["defaults_agent"]
    assert theirs["opt"]["wd"] == 0
    assert theirs["opt"]["schedule"] == "const"
    assert theirs["imag_last"] == 0
    assert not theirs["ac_grads"]
    assert theirs["valnorm"]["impl"] == theirs["advnorm"]["impl"] == "none"
    assert not theirs["retnorm"]["debias"]
    assert not theirs["dyn"]["rssm"]["absolute"]
    for part in ("enc", "dec"):
        assert not theirs[part]["simple"]["outer"]
        assert not theirs[part]["simple"]["strided"]


@functools.cache
def weights_12m():
    """Of a fresh agent that the configuration makes, by our names."""
    agent = build_agent(
        composed("size=12m").config,
        IMAGE,
        gymnasium.spaces.Discrete(6),
        torch.device("cpu"),
        Seeds(0),
    )
    return {
        **dict(agent.world_model.named_parameters()),
        **dict(agent.behavior.named_parameters()),
    }


def test_shapes_are_the_originals():
    layout = Layout(deter=2048, image=(4, 4, 64))
    expected = {
        our_name(name): our_order(name, torch.empty(shape, device="meta"), layout).shape
        for name, shape in RECORDED["size12m_shapes"].items()
        if not name.startswith("retnorm")
    }
    assert {name: weight.shape for name, weight in weights_12m().items()} == expected


@pytest.mark.parametrize("name", sorted(RECORDED["size12m_kernel_init"]))
def test_initial_weights_have_the_originals_scale(name):
    init = RECORDED["size12m_kernel_init"][name]
    assert (init["dist"], init["fan"]) == ("trunc_normal", "in")
    weight = weights_12m()[our_name(name)].detach()
    expected = init["outscale"] / math.sqrt(init["fan_in"])
    # Normal, cut at two deviations of the uncut one, which is 1.1368 times as wide.
    assert weight.abs().max() <= 2 * 1.1369 * expected
    if expected:
        assert weight.abs().max() >= 1.9 * expected * 1.1369 or weight.numel() < 1000
    # Four deviations of the estimate.
    assert weight.std().item() == pytest.approx(expected, rel=4 / math.sqrt(2 * weight.numel()))
    assert weight.mean().abs() <= 4 * expected / math.sqrt(weight.numel())


def test_biases_begin_at_zero_and_scales_at_one():
    weights = weights_12m()
    for name in RECORDED["size12m_shapes"]:
        if name.endswith("/bias"):
            assert not weights[our_name(name)].any(), name
        if name.endswith("/scale"):
            assert (weights[our_name(name)] == 1).all(), name


def test_the_slow_critic_begins_as_a_copy():
    weights = weights_12m()
    for name, weight in weights.items():
        if name.startswith("slow_critic."):
            assert torch.equal(weight, weights[name.removeprefix("slow_critic.")])
