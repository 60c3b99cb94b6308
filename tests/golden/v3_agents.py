"""Our DreamerV3 (2023) at the sizes of a recording, made from its configuration."""

from collections.abc import Mapping

import gymnasium
import torch
from torch import Tensor, nn

from harmony.agent import DreamerAgent
from harmony.build_agent import build_agent
from harmony.config.compose import compose
from harmony.training.seeding import Seeds
from tests.golden.originals import Golden

BASE = ("algorithm=dreamerv3", "env=probe", "tracking=none", "device=cpu", "harmony=off")
Shapes = Mapping[str, tuple[int, ...]]


def make_agent(golden: Golden, shapes: Shapes, *overrides: str) -> DreamerAgent:
    """An agent of the recording's sizes.

    What a recording changes in the original's settings is changed here too; all else is as in
    `conf/algorithm/dreamerv3.yaml`, which is thereby tested.

    Args:
        golden: the recording.
        shapes: of the observations.
        overrides: of the configuration.
    """
    meta = golden.meta
    rssm, head = meta["rssm"], meta["reward_head"]
    sizes = {
        "deter": rssm["deter"],
        "hidden": rssm["units"],
        "stoch": rssm["stoch"],
        "classes": rssm["classes"],
        "layers": head["layers"],
        "units": head["units"],
        **overridden_sizes(meta),
    }
    config = compose([*BASE, *(f"size.{k}={v}" for k, v in sizes.items()), *overrides]).config
    space: gymnasium.Space = gymnasium.spaces.Box(-1, 1, (meta["action"],))
    if meta["discrete"]:
        space = gymnasium.spaces.Discrete(meta["action"])
    return build_agent(config, shapes, space, torch.device("cpu"), Seeds(0))


def overridden_sizes(meta: dict) -> dict[str, int]:
    """Sizes of the networks for observations; recordings of the behaviour have none."""
    if "encoder" not in meta:
        return {"vector_layers": 1, "vector_units": 4}
    found = {"depth": "cnn_depth", "vector_layers": "mlp_layers", "vector_units": "mlp_units"}
    return {ours: meta["encoder"][theirs] for ours, theirs in found.items()}


def parameters(agent: DreamerAgent) -> dict[str, nn.Parameter]:
    """All parameters of world model and behaviour by name, frozen ones too."""
    return dict(agent.world_model.named_parameters()) | dict(agent.behavior.named_parameters())


def load(own: Mapping[str, nn.Parameter], values: Mapping[str, Tensor]) -> None:
    """Sets parameters; each value must have one."""
    with torch.no_grad():
        for name, value in values.items():
            assert own[name].shape == value.shape, name
            own[name].copy_(value)


def close(ours: Tensor, theirs: Tensor, rtol: float = 1e-4, atol: float = 1e-5) -> None:
    """Fails where they differ; gradients of ours don't matter."""
    torch.testing.assert_close(ours.detach(), theirs, rtol=rtol, atol=atol)


def worst_gradient(own: Mapping[str, nn.Parameter], expected: Mapping[str, Tensor]) -> float:
    """The largest error of a gradient, in units of that gradient's norm, which is below 1e-4."""
    errors = {}
    for name, gradient in expected.items():
        found = own[name].grad
        assert found is not None, name
        errors[name] = float((found - gradient).norm() / gradient.norm())
    assert max(errors.values()) < 1e-4, {k: e for k, e in errors.items() if not e < 1e-4}
    return max(errors.values())
