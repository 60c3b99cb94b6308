"""The agent of a configuration: parts with fresh weights, and what trains them.

The leaves of the configuration are partial constructors, called in the order in which their sizes
become known: encoder, RSSM, heads, behaviour.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import gymnasium
import numpy as np
import torch
from torch import nn

from harmony.agent import DreamerAgent, Generators, Optimizers
from harmony.behavior.actor_critic import ActorCritic
from harmony.config.nodes import instantiate
from harmony.decoder_probe import DecoderProbe, NoProbe
from harmony.errors import ConfigError
from harmony.harmonizer import LossSum, fit_groups
from harmony.models.world_model import WorldModel
from harmony.parts import Parts, dry_losses, make_behavior, make_world_model
from harmony.training.joint import Joint
from harmony.training.precision import Precision
from harmony.training.seeding import Seeds
from harmony.types import Losses


def action_kind(space: gymnasium.Space[Any]) -> tuple[str, list[int]]:
    """Kind of an action space, and what its actor is made for.

    Returns:
        `continuous` and [A], or `discrete` and the number of options of each choice.
    """
    if isinstance(space, gymnasium.spaces.Discrete):
        return "discrete", [int(space.n)]
    if isinstance(space, gymnasium.spaces.MultiDiscrete):
        return "discrete", [int(n) for n in space.nvec]
    assert isinstance(space, gymnasium.spaces.Box)
    return "continuous", [int(np.prod(space.shape))]


def build_agent(
    config: Mapping[str, Any],
    shapes: Mapping[str, tuple[int, ...]],
    action_space: gymnasium.Space[Any],
    device: torch.device,
    seeds: Seeds,
) -> DreamerAgent:
    """An agent with fresh weights.

    Args:
        config: resolved.
        shapes: of the observations, images channel last.
        action_space: of the environment.
        device: where the weights live.
        seeds: of the run.

    Raises:
        ConfigError: parts that don't fit each other or the environment.
    """
    parts = Parts(**{name: _constructors(node) for name, node in config["algorithm"].items()})
    kind, sizes = action_kind(action_space)
    with torch.random.fork_rng(devices=[]):
        # Weights are drawn on the CPU, so that every device begins with the same ones.
        torch.manual_seed(seeds.integer("init"))
        try:
            world_model = make_world_model(parts, shapes, sum(sizes))
            behavior = make_behavior(parts, world_model.rssm.feat_size, kind, sizes)
            losses = dry_losses(world_model, shapes, sum(sizes))
            harmonizer = _harmonizer(config["harmony"], parts, losses)
            probe = _probe(config["probe"], world_model, shapes)
        except ValueError as error:
            raise ConfigError(str(error)) from error
    for module in (world_model, behavior, harmonizer, probe):
        module.to(device)
    precision: Precision = instantiate(config["precision"])
    return DreamerAgent(
        world_model=world_model,
        harmonizer=harmonizer,
        behavior=behavior,
        probe=probe,
        optimizers=_optimizers(
            parts, (world_model, harmonizer, behavior, probe), precision.loss_scaler(device)
        ),
        precision=precision,
        generators=Generators(*(seeds.torch(device, name) for name in Generators._fields)),
    )


def _constructors(node: Any) -> Any:  # noqa: ANN401 - nested nodes of any kind
    """Nodes as constructors or objects, in the same nesting."""
    if not isinstance(node, dict):
        return node
    if "_target_" in node:
        return instantiate(node)
    return {key: _constructors(value) for key, value in node.items()}


OPTIONAL_LOSSES = ("image", "vector")
"""Losses that an environment gives or not; the rules of those that it doesn't are dropped."""


def _harmonizer(node: Mapping[str, Any], parts: Parts, losses: Losses) -> LossSum:
    groups, scales = fit_groups(parts.loss_groups, parts.loss_scales, OPTIONAL_LOSSES, losses)
    harmonizer: LossSum = instantiate({**node, "groups": groups, "loss_scales": scales})
    harmonizer.check(losses)
    return harmonizer


def _probe(
    node: Mapping[str, Any], world_model: WorldModel, shapes: Mapping[str, tuple[int, ...]]
) -> NoProbe | DecoderProbe:
    make: Callable[..., NoProbe | DecoderProbe] = instantiate(node)
    return make(world_model.encoder, world_model.rssm.feat_size, shapes)


def _optimizers(
    parts: Parts,
    modules: tuple[WorldModel, LossSum, ActorCritic, nn.Module],
    loss_scaler: torch.amp.GradScaler,
) -> Optimizers:
    """One optimizer a part; or, where the algorithm names a joint one, views of that."""
    world_model, harmonizer, behavior, probe = modules
    params = {
        "model": _model_groups(world_model, harmonizer),
        "actor": _trained(behavior.actor),
        "critic": _trained(behavior.critic),
    }
    if "joint" in parts.optimizer:
        joint = Joint(parts.optimizer["joint"], params, loss_scaler)
        made = {name: joint.part(name) for name in params}
    elif parts.replay_value.weight:
        raise ConfigError(
            "algorithm.replay_value trains the world model too, so it needs one optimizer over all "
            "parts; name algorithm.optimizer.joint, or take NoReplayValue"
        )
    else:
        made = {n: parts.optimizer[n](group, n, loss_scaler) for n, group in params.items()}
    if looks := _trained(probe):
        made["probe"] = parts.optimizer["probe"](looks, "probe", loss_scaler)
    return Optimizers(**made)


def _model_groups(world_model: WorldModel, harmonizer: LossSum) -> list[Any]:
    """Weights of the world model, scalars of the harmonizer; some may have a rate of their own."""
    own = harmonizer.param_groups()
    if not own:
        return _trained(world_model, harmonizer)
    named = {id(param) for params, _ in own for param in params}
    shared = [p for p in _trained(world_model, harmonizer) if id(p) not in named]
    return [*shared, *({"params": params, "lr": lr} for params, lr in own)]


def _trained(*modules: nn.Module) -> list[nn.Parameter]:
    return [p for module in modules for p in module.parameters() if p.requires_grad]
