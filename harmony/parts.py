"""What an algorithm is made of: the sections of `algorithm`, and what they get at run time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from harmony.behavior.actor import (
    NormalActor,
    OneHotActor,
    TanhNormalActor,
    TruncatedNormalActor,
)
from harmony.behavior.actor_critic import ActorCritic
from harmony.behavior.actor_gradient import (
    AdvantageGradient,
    DynamicsGradient,
    MixedGradient,
    ReinforceGradient,
)
from harmony.behavior.critic import Critic, SlowCritic
from harmony.behavior.replay_value import NoReplayValue, ReplayValue
from harmony.behavior.return_norm import IdentityNorm, PercentileNorm
from harmony.behavior.targets import Convention
from harmony.decoder_probe import DecoderProbe, NoProbe
from harmony.models.cells import BlockGRUCell, GRUCell
from harmony.models.decoders import Decoder
from harmony.models.dynamics_loss import DynamicsLoss
from harmony.models.encoders import Encoder, Shapes
from harmony.models.heads import ConstantDiscount, ContinueHead, DiscountHead, RewardHead
from harmony.models.objectives.prototypes import Prototypes
from harmony.models.objectives.reconstruction import Reconstruction
from harmony.models.rssm import RSSM
from harmony.models.views import Views
from harmony.models.world_model import ModelNoise, WorldModel
from harmony.nn.cnn import ConvDecoder, ConvEncoder
from harmony.nn.layers import Style
from harmony.nn.same_cnn import BlockDecoder, PooledEncoder, StridedDecoder, StridedEncoder
from harmony.replay.store import Replay
from harmony.training.laprop import LaProp
from harmony.training.optimizer import Adam
from harmony.types import Losses

_ENCODED = {"channels", "side"}
_DECODED = {"in_size", "channels", "side"}
_OBJECTIVE = {"encoder", "feat_size", "shapes"}
_CONTINUOUS = {"feat_size", "action_size"}
_OPTIMIZER = {"params", "name", "loss_scaler"}

RUNTIME_ARGUMENTS: dict[type | str, set[str]] = {
    Encoder: {"shapes"},
    ConvEncoder: _ENCODED,
    StridedEncoder: _ENCODED,
    PooledEncoder: _ENCODED,
    RSSM: {"embed_size", "action_size"},
    GRUCell: {"stoch_size", "action_size"},
    BlockGRUCell: {"stoch_size", "action_size"},
    Decoder: {"feat_size", "shapes"},
    ConvDecoder: _DECODED,
    StridedDecoder: _DECODED,
    BlockDecoder: _DECODED,
    Reconstruction: _OBJECTIVE,
    Prototypes: _OBJECTIVE,
    DecoderProbe: _OBJECTIVE,
    NoProbe: _OBJECTIVE,
    RewardHead: {"feat_size"},
    ConstantDiscount: {"feat_size"},
    DiscountHead: {"feat_size"},
    ContinueHead: {"feat_size"},
    TruncatedNormalActor: _CONTINUOUS,
    NormalActor: _CONTINUOUS,
    TanhNormalActor: _CONTINUOUS,
    OneHotActor: {"feat_size", "choices"},
    Critic: {"feat_size"},
    SlowCritic: {"critic"},
    ActorCritic: {
        "actor", "critic", "slow_critic", "actor_gradient", "targets", "return_norm",
        "replay_value",
    },
    Adam: _OPTIMIZER,
    LaProp: _OPTIMIZER,
    Replay: {"record_spec", "directory", "num_envs"},
}  # fmt: skip
"""What constructors get from `build` and a configuration may not give."""

MakeContinuous = Callable[..., TruncatedNormalActor | NormalActor | TanhNormalActor]
MakeDiscrete = Callable[..., OneHotActor]
MakeActor = Callable[..., TruncatedNormalActor | NormalActor | TanhNormalActor | OneHotActor]
Gradient = DynamicsGradient | AdvantageGradient | ReinforceGradient | MixedGradient


def actors(continuous: MakeContinuous, discrete: MakeDiscrete) -> dict[str, MakeActor]:
    """The section `algorithm.actor`: actors by the kind of action that they take."""
    return {"continuous": continuous, "discrete": discrete}


@dataclass(frozen=True)
class Parts:
    """What the section `algorithm` must name.

    Attributes:
        style: of hidden layers; parts refer to it.
        sizes: choices of `size` that it has widths for.
        decoder: objective and probe refer to it.
        actor: by the kind of action.
        actor_gradient: by the kind of action.
        optimizer: model, actor and critic, or one that is joint; probe where there is a probe.
        loss_groups: loss group -> loss -> share.
        loss_scales: loss -> fixed weight.
        regularizer_weight: loss group -> weight of the harmonizer's regulariser.
    """

    style: Style
    sizes: list[str]
    encoder: Callable[..., Encoder]
    rssm: Callable[..., RSSM]
    dynamics_loss: DynamicsLoss
    views: Views
    decoder: Callable[..., Decoder]
    objective: Callable[..., Reconstruction | Prototypes]
    reward: Callable[..., RewardHead]
    cont: Callable[..., ConstantDiscount | DiscountHead | ContinueHead]
    actor: dict[str, MakeActor]
    actor_gradient: dict[str, Gradient]
    critic: Callable[..., Critic]
    slow_critic: Callable[..., SlowCritic]
    targets: Convention
    return_norm: IdentityNorm | PercentileNorm
    replay_value: NoReplayValue | ReplayValue
    behavior: Callable[..., ActorCritic]
    optimizer: dict[str, Callable[..., Adam | LaProp]]
    loss_groups: dict[str, dict[str, float]]
    loss_scales: dict[str, float]
    regularizer_weight: dict[str, float]


SCHEMAS: Mapping[str, Callable[..., Any]] = {"algorithm": Parts, "algorithm.actor": actors}
"""Plain sections and what their keys are checked against."""


def make_world_model(parts: Parts, shapes: Shapes, action_size: int) -> WorldModel:
    """A world model with fresh weights.

    Args:
        parts: of the algorithm.
        shapes: of the observations, images channel last.
        action_size: A.

    Raises:
        ValueError: parts that don't fit each other or the observations.
    """
    encoder = parts.encoder(shapes)
    rssm = parts.rssm(encoder.embed_size, action_size)
    return WorldModel(
        encoder=encoder,
        rssm=rssm,
        dynamics_loss=parts.dynamics_loss,
        objective=parts.objective(encoder, rssm.feat_size, shapes),
        reward=parts.reward(rssm.feat_size),
        cont=parts.cont(rssm.feat_size),
        views=parts.views,
    )


@torch.no_grad()
def dry_losses(
    world_model: WorldModel, shapes: Mapping[str, tuple[int, ...]], action_size: int
) -> Losses:
    """Losses of a blank batch: their names are known before anything slow starts.

    Args:
        world_model: on the CPU.
        shapes: of the observations, images channel last.
        action_size: A.
    """
    lead = (1, 2)
    flags = {name: torch.zeros(lead, dtype=torch.bool) for name in ("is_first", "is_terminal")}
    numbers = {"action": torch.zeros(*lead, action_size), "reward": torch.zeros(lead)}
    obs = {name: torch.zeros(*lead, *shape) for name, shape in shapes.items()}
    noise = torch.zeros(world_model.views.count, 2, world_model.rssm.latent.noise_size)
    return world_model.losses({**flags, **numbers, **obs}, ModelNoise(noise)).losses


def make_behavior(parts: Parts, feat_size: int, kind: str, sizes: list[int]) -> ActorCritic:
    """Actor and critic with fresh weights.

    Args:
        parts: of the algorithm.
        feat_size: F.
        kind: of the actions, `continuous` or `discrete`.
        sizes: [A], or the number of options of each choice.

    Raises:
        ValueError: parts that don't fit each other.
    """
    critic = parts.critic(feat_size)
    return parts.behavior(
        actor=parts.actor[kind](feat_size, sizes if kind == "discrete" else sizes[0]),
        critic=critic,
        slow_critic=parts.slow_critic(critic),
        actor_gradient=parts.actor_gradient[kind],
        targets=parts.targets,
        return_norm=parts.return_norm,
        replay_value=parts.replay_value,
    )
