"""Our DreamerPro at the sizes of a recording, made from its configuration."""

import math
from collections.abc import Callable, Iterable

import gymnasium
import torch
from torch import Tensor, nn

from harmony.agent import DreamerAgent
from harmony.build_agent import build_agent
from harmony.config.compose import compose
from harmony.ops import tanh_normal
from harmony.training.seeding import Seeds
from tests.golden.originals import Golden

BASE = ("algorithm=dreamerpro", "env=probe", "tracking=none", "device=cpu", "harmony=off")
SHAPES = {"image": (64, 64, 3)}
CONSTANT = 0.5 * math.log(2 * math.pi)
"""Of the original's reward and critic losses, which are densities; ours leave it out."""


def build(overrides: Iterable[str], action_space: gymnasium.Space) -> DreamerAgent:
    """A fresh agent of `conf/algorithm/dreamerpro.yaml` for images of 64 x 64."""
    config = compose([*BASE, *overrides]).config
    return build_agent(config, SHAPES, action_space, torch.device("cpu"), Seeds(0))


def make_agent(golden: Golden, *overrides: str) -> DreamerAgent:
    """An agent of the recording's sizes.

    What a recording changes in the original's DMC settings is changed here too; all else is as in
    our configuration, which is thereby tested.
    """
    meta = golden.meta
    actor = meta.get("actor", {})
    sizes = meta["reward_head"]
    space: gymnasium.Space = gymnasium.spaces.Box(-1, 1, (meta.get("action_size", 2),))
    if actor.get("dist") == "onehot":
        space = gymnasium.spaces.Discrete(meta["action_size"])
    return build(
        [
            f"size.layers={sizes['layers']}",
            f"size.units={sizes['units']}",
            "size.depth=1",
            *_model(meta),
            *_behavior(meta),
            *overrides,
        ],
        space,
    )


def _model(meta: dict) -> list[str]:
    rssm = meta["rssm"]
    found = [
        f"size.deter={rssm['deter']}",
        f"size.hidden={rssm['hidden']}",
        f"size.stoch={rssm['stoch']}",
        f"algorithm.objective.prototypes={rssm['num_prototypes']}",
        f"algorithm.objective.size={rssm['proto']}",
        f"algorithm.objective.sinkhorn_eps={rssm['sinkhorn_eps']}",
    ]
    if rssm["discrete"]:
        found += ["latent=categorical", f"size.classes={rssm['discrete']}"]
    if "kl" in meta:
        found += [f"algorithm.dynamics_loss.free_nats={meta['kl']['free']}"]
        scales = {name: meta["loss_scales"][name] for name in ("norm", "reward")}
        found += [f"algorithm.loss_scales.{name}={scale}" for name, scale in scales.items()]
    if meta.get("discount_head"):
        found += ["cont=learned", "algorithm.cont.first=predicted"]
        reached = "discount" in meta.get("grad_heads", ["discount"])
        found += [f"algorithm.cont.stop_gradient={not reached}"]
    return found


def _behavior(meta: dict) -> list[str]:
    if "horizon" not in meta:
        return []
    found = [
        # The last of the original's states is where ours ends.
        f"algorithm.behavior.horizon={meta['horizon'] - 1}",
        f"algorithm.behavior.actor_entropy={meta['actor_ent']}",
    ]
    if meta.get("actor_grad") == "both":
        node, mixed = "algorithm.actor_gradient.continuous", "MixedGradient"
        found += [f"{node}._target_=harmony.behavior.actor_gradient.{mixed}"]
        found += [f"+{node}.mix={meta['actor_grad_mix']}"]
    return found


def parameters(agent: DreamerAgent) -> dict[str, nn.Parameter]:
    """All parameters of world model and behaviour by name, frozen ones too."""
    return dict(agent.world_model.named_parameters()) | dict(agent.behavior.named_parameters())


def load(agent: DreamerAgent, values: dict[str, Tensor]) -> set[str]:
    """Sets the parameters that have a value; gives the names of those that have none."""
    own = parameters(agent)
    with torch.no_grad():
        for name, value in values.items():
            assert own[name].shape == value.shape, name
            own[name].copy_(value)
    return own.keys() - values.keys()


def gradient_errors(agent: DreamerAgent, expected: dict[str, Tensor]) -> dict[str, float]:
    """Norm of each gradient's error, relative to the norm of the gradient.

    A gradient that should be zero must be exactly that, and so must one that does not exist.
    """
    own, errors = parameters(agent), {}
    for name, gradient in expected.items():
        found = own[name].grad
        assert found is not None, name
        size = gradient.norm()
        errors[name] = float((found - gradient).norm() / size) if size else float(found.norm())
    assert not {name for name, param in own.items() if param.grad is not None} - expected.keys()
    return errors


def sampled_entropy(draws: Tensor) -> Callable[[Tensor], Tensor]:
    """The original's estimate: minus the mean log-density of 100 samples, here of its own draws.

    Args:
        draws: (100, N, H, A), standard normal.

    Ours computes the entropy by quadrature, which test_pro_ops.py compares with such estimates.
    """

    def entropy(stats: Tensor) -> Tensor:
        mean, std = stats.chunk(2, -1)
        action = torch.tanh(mean + std * draws)
        return -tanh_normal.log_prob(action, mean, std).sum(-1).mean(0)

    return entropy
