"""Sizes, settings and initial weights of DreamerV3 (2023) against the original."""

import json
import math
from pathlib import Path

import gymnasium
import pytest
import torch
from torch import nn

from harmony.build_agent import _constructors, build_agent
from harmony.config.compose import compose
from harmony.nn.layers import Conv2d, Linear
from harmony.parts import Parts, make_behavior, make_world_model
from harmony.training.seeding import Seeds
from tests.golden.originals import Golden
from tests.golden.table import record
from tests.golden.v3_agents import BASE

RECORDED = json.loads((Path(__file__).parent / "v3" / "parameters.json").read_text())
# What the original's settings for a suite are called here.
SIZES = {
    "atari100k": "small",
    "dmc_vision": "small",
    "dmc_proprio_walker": "small",
    "small": "small",
    "metaworld": "paper",
    "medium": "medium",
    "large": "large",
    "xlarge": "xlarge",
}
PLAIN = ("decoder.cnn.input", "decoder.cnn.output", "decoder.outputs", "prior_out", "post_out")
OUTPUTS = ("cont.output", "actor.logit", "actor.mean", "actor.std")
ZEROS = ("reward.output", "critic.output", "first_deter")
TITLES = {"model_opt_without_harmony": "world model", "actor": "actor", "critic": "critic"}
LARGE = 1000  # entries, for which a deviation is worth its name


def count(*modules: nn.Module | nn.Parameter | None) -> int:
    return sum(
        part.numel()
        for module in modules
        for part in (module.parameters() if isinstance(module, nn.Module) else [module])
    )


def counts_of(name: str) -> dict[str, int]:
    """Weights of each of our parts in the setting that the original calls so; nothing is filled."""
    settings = RECORDED["settings"][name]["settings"]
    shapes = {key: tuple(shape) for key, shape in settings["observations"].items() if shape}
    config = compose([*BASE, f"size={SIZES[name]}"]).config
    kind = "discrete" if settings["discrete"] else "continuous"
    with torch.device("meta"):
        parts = Parts(**{key: _constructors(node) for key, node in config["algorithm"].items()})
        world_model = make_world_model(parts, shapes, settings["actions"])
        rssm = world_model.rssm
        behavior = make_behavior(parts, rssm.feat_size, kind, [settings["actions"]])
    return {
        "encoder": count(world_model.encoder),
        "rssm": count(rssm),
        "decoder": count(world_model.objective),
        "reward": count(world_model.reward),
        "cont": count(world_model.cont),
        "actor": count(behavior.actor),
        "critic": count(behavior.critic),
        "slow_critic": count(behavior.slow_critic),
        "rssm/gru": count(rssm.cell.linear, rssm.cell.norm),
        "rssm/img_in": count(rssm.cell.input, rssm.cell.input_norm),
        "rssm/img_out": count(rssm.prior),
        "rssm/img_stats": count(rssm.prior_out),
        "rssm/initial": count(rssm.first_deter),
        "rssm/obs_out": count(rssm.post, rssm.post_norm),
        "rssm/obs_stats": count(rssm.post_out),
        "model_opt_without_harmony": count(world_model),
        "total_without_slow_and_harmony": count(world_model, behavior.actor, behavior.critic),
    }


@pytest.mark.golden
@pytest.mark.parametrize("name", sorted(SIZES))
def test_parameter_counts_are_the_originals(name):
    expected = dict(RECORDED["settings"][name]["counts"])
    parts = expected.pop("rssm_parts")
    expected |= {f"rssm/{key}": number for key, number in parts.items()}
    # Three scalars, one a loss group: those of the harmonizer.
    scalars = expected.pop("harmony")
    with_scalars = expected.pop("model_opt_with_harmony")
    assert with_scalars == expected["model_opt_without_harmony"] + scalars
    found = counts_of(name)
    for key, title in TITLES.items():
        record(f"v3/parameters, {name}", f"{title}, weights", expected[key], found[key])
    assert found == expected


@pytest.mark.golden
def test_every_setting_was_compared():
    assert SIZES.keys() == RECORDED["settings"].keys()


@pytest.mark.golden
@pytest.mark.parametrize("name", sorted(SIZES))
def test_widths_are_the_originals(name):
    size = compose([*BASE, f"size={SIZES[name]}"]).config["size"]
    settings = RECORDED["settings"][name]["settings"]
    assert size == {
        "deter": settings["deter"],
        "hidden": settings["rssm_units"],
        "depth": settings["cnn_depth"],
        "layers": settings["head_layers"],
        "units": settings["head_units"],
        "stoch": settings["stoch"],
        "classes": settings["classes"],
        "vector_layers": settings["enc_mlp"][0],
        "vector_units": settings["enc_mlp"][1],
    }


@pytest.mark.golden
def test_settings_that_recordings_replace_are_the_originals_too():
    algorithm = compose(BASE).config["algorithm"]
    # Of the files whose settings are the original's defaults; what no file has is written out.
    world_model = Golden("v3/world_model_both_harmony").meta
    theirs = world_model["loss_scales"]
    losses = ("image", "vector", "reward", "cont", "dyn", "rep")
    assert algorithm["loss_scales"] == {name: theirs[name] for name in losses}
    shares = algorithm["loss_groups"]["dynamics"]
    both = theirs["dyn"] + theirs["rep"]
    assert shares == {name: pytest.approx(theirs[name] / both) for name in ("dyn", "rep")}
    assert algorithm["dynamics_loss"]["free_nats"] == world_model["dyn_loss"]["free"]
    assert world_model["grad_heads"] == ["decoder", "reward", "cont"]
    assert not algorithm["reward"]["stop_gradient"]
    assert not algorithm["cont"]["stop_gradient"]
    behavior = algorithm["behavior"]
    assert (behavior["horizon"], behavior["actor_entropy"]) == (15, 3e-4)
    assert (behavior["slow_regularizer"], behavior["eval_action"]) == (1.0, "sample")


def accuracy(weight: torch.Tensor) -> float:
    """Four standard errors of a sample's deviation, relative to it, for a normal one cut at 2."""
    return 4 * 0.6 / math.sqrt(weight.numel())


@pytest.mark.golden
@pytest.mark.parametrize(
    ("key", "make"),
    [
        ("normal (512, 1536)", lambda: Linear(512, 1536, init="trunc_normal_avg")),
        ("uniform (512, 1024)", lambda: Linear(512, 1024, init="glorot")),
        ("normal (4, 4, 32, 64)", lambda: Conv2d(32, 64, 4, init="trunc_normal_avg")),
        ("uniform (4, 4, 3, 32)", lambda: Conv2d(3, 32, 4, init="glorot")),
    ],
)
def test_initial_layers_have_the_originals_scale(key, make):
    torch.manual_seed(0)
    weight = make().weight.detach()
    # `measured` is one draw of the original's, `formula` what its formula says.
    std, largest = RECORDED["initialisers"]["check"][key]["formula_std_max"]
    assert float(weight.std()) == pytest.approx(std, rel=accuracy(weight))
    assert float(weight.abs().max()) == pytest.approx(largest, rel=0.01)


def fresh() -> dict[str, torch.Tensor]:
    """Initial weights of a small agent that sees images and vectors."""
    config = compose([*BASE, "size=small", "harmony=on"]).config
    shapes = {"image": (64, 64, 3), "vector": (300,)}
    space = gymnasium.spaces.Box(-1, 1, (6,))
    agent = build_agent(config, shapes, space, torch.device("cpu"), Seeds(0))
    return {name: weight.detach() for name, weight in agent.named_parameters()}


def deviation(weight: torch.Tensor) -> float:
    """The original's: from the mean of both fans."""
    space = math.prod(weight.shape[2:])
    return math.sqrt(2 / (space * (weight.shape[0] + weight.shape[1])))


@pytest.mark.golden
def test_every_layer_of_a_fresh_agent_begins_as_the_originals():
    seen = {"plain": 0, "hidden": 0}
    for name, weight in fresh().items():
        if any(part in name for part in ZEROS) or name.endswith("bias") or weight.ndim == 0:
            assert not weight.any(), name
        elif weight.ndim == 1:
            assert (weight == 1).all(), name
        elif weight.numel() > LARGE:
            plain = any(part in name for part in (*PLAIN, *OUTPUTS))
            std = deviation(weight)
            # Uniform ones end at sqrt(3) deviations; normal ones were cut at 2, which made the
            # deviation smaller.
            end = math.sqrt(3) if plain else 2 / 0.87962566
            assert float(weight.std()) == pytest.approx(std, rel=accuracy(weight)), name
            assert float(weight.abs().max()) == pytest.approx(end * std, rel=0.03), name
            seen["plain" if plain else "hidden"] += 1
    assert seen == {"plain": 7, "hidden": 31}
