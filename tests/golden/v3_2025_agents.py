"""Our parts: settings of conf/algorithm/dreamerv3_2025.yaml, sizes of a recording."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from harmony.behavior.actor import NormalActor, OneHotActor
from harmony.behavior.actor_critic import ActorCritic
from harmony.behavior.actor_gradient import ReinforceGradient
from harmony.behavior.critic import Critic, SlowCritic
from harmony.behavior.replay_value import ReplayValue
from harmony.behavior.return_norm import PercentileNorm
from harmony.behavior.targets import NextReward
from harmony.harmonizer import FixedScales
from harmony.models.cells import BlockGRUCell
from harmony.models.decoders import Decoder
from harmony.models.dynamics_loss import DynamicsAndRepresentation
from harmony.models.encoders import Encoder
from harmony.models.heads import DiscountHead, RewardHead
from harmony.models.latents import Categorical
from harmony.models.objectives.reconstruction import Reconstruction
from harmony.models.rssm import RSSM
from harmony.models.world_model import WorldModel
from harmony.nn.layers import Style
from harmony.nn.outputs import SymexpTwoHot
from harmony.nn.same_cnn import BlockDecoder, PooledEncoder

STYLE = Style(act="silu", norm="rms", init="trunc_normal_in", bias="always")
Config = dict[str, Any]
Shapes = Mapping[str, tuple[int, ...]]


def make_encoder(config: Config, shapes: Shapes) -> Encoder:
    """From `enc.simple` of the original's configuration."""
    sizes = config["enc"]["simple"]
    cnn = partial(
        PooledEncoder, depth=sizes["depth"], multiples=sizes["mults"], kernel=5, style=STYLE
    )
    return Encoder(
        shapes,
        cnn=cnn,
        vector_layers=sizes["layers"],
        vector_units=sizes["units"],
        symlog_vectors=True,
        style=STYLE,
    )


def make_cell(config: Config) -> partial[BlockGRUCell]:
    """From `dyn.rssm` of the original's configuration."""
    sizes = config["dyn"]["rssm"]
    return partial(
        BlockGRUCell,
        deter=sizes["deter"],
        hidden=sizes["hidden"],
        blocks=sizes["blocks"],
        layers=sizes["dynlayers"],
        style=STYLE,
    )


def make_rssm(config: Config, embed_size: int, action_size: int) -> RSSM:
    """From `dyn.rssm` of the original's configuration."""
    sizes = config["dyn"]["rssm"]
    return RSSM(
        embed_size,
        action_size,
        cell=make_cell(config),
        hidden=sizes["hidden"],
        latent=Categorical(stoch=sizes["stoch"], classes=sizes["classes"], unimix=sizes["unimix"]),
        prior_layers=sizes["imglayers"],
        largest_action=1.0,
        style=STYLE,
    )


def make_decoder(config: Config) -> partial[Decoder]:
    """From `dec.simple` of the original's configuration."""
    sizes = config["dec"]["simple"]
    cnn = partial(
        BlockDecoder,
        deter=config["dyn"]["rssm"]["deter"],
        depth=sizes["depth"],
        multiples=sizes["mults"],
        units=sizes["units"],
        blocks=sizes["bspace"],
        style=STYLE,
    )
    return partial(
        Decoder, cnn=cnn, vector_layers=sizes["layers"], vector_units=sizes["units"], style=STYLE
    )


def make_world_model(config: Config, shapes: Shapes, action_size: int) -> WorldModel:
    """All of the world model.

    Args:
        config: `agent_config` of a recording.
        shapes: of the observations.
        action_size: A.
    """
    encoder = make_encoder(config, shapes)
    rssm = make_rssm(config, encoder.embed_size, action_size)
    reward, cont = config["rewhead"], config["conhead"]
    discount = 1 - 1 / config["horizon"] if config["contdisc"] else 1.0
    return WorldModel(
        encoder=encoder,
        rssm=rssm,
        dynamics_loss=DynamicsAndRepresentation(free_nats=config["dyn"]["rssm"]["free_nats"]),
        objective=Reconstruction(
            encoder,
            rssm.feat_size,
            shapes,
            decoder=make_decoder(config),
            error_weight=1.0,
            symlog_vectors=True,
        ),
        reward=RewardHead(
            rssm.feat_size,
            layers=reward["layers"],
            units=reward["units"],
            scalar=SymexpTwoHot(bins=reward["bins"]),
            out_scale=reward["outscale"],
            style=STYLE,
        ),
        cont=DiscountHead(
            rssm.feat_size,
            discount=discount,
            first="predicted",
            layers=cont["layers"],
            units=cont["units"],
            style=STYLE,
        ),
    )


def make_behavior(
    config: Config, feat_size: int, action_size: int, *, discrete: bool
) -> ActorCritic:
    """Actor, critic and what trains them.

    Args:
        config: `agent_config` of a recording.
        feat_size: F.
        action_size: A.
        discrete: whether an action is one of A options.
    """
    policy, value = config["policy"], config["value"]
    sizes = {"layers": policy["layers"], "units": policy["units"], "style": STYLE}
    actor = (
        OneHotActor(feat_size, [action_size], out_scale=policy["outscale"], **sizes)
        if discrete
        else NormalActor(feat_size, action_size, out_scale=policy["outscale"], **sizes)
    )
    critic = Critic(
        feat_size,
        layers=value["layers"],
        units=value["units"],
        scalar=SymexpTwoHot(bins=value["bins"]),
        out_scale=value["outscale"],
        style=STYLE,
    )
    norm, imag, replay = config["retnorm"], config["imag_loss"], config["repl_loss"]
    return ActorCritic(
        actor=actor,
        critic=critic,
        slow_critic=SlowCritic(
            critic,
            every_updates=config["slowvalue"]["every"],
            fraction=config["slowvalue"]["rate"],
            copy_first=False,
        ),
        actor_gradient=ReinforceGradient(),
        targets=NextReward(return_lambda=imag["lam"]),
        return_norm=PercentileNorm(
            low=norm["perclo"], high=norm["perchi"], decay=1 - norm["rate"], limit=norm["limit"]
        ),
        replay_value=ReplayValue(
            weight=config["loss_scales"]["repval"],
            discount=1 - 1 / config["horizon"],
            return_lambda=replay["lam"],
            slow_regularizer=replay["slowreg"],
        ),
        horizon=config["imag_length"],
        actor_entropy=imag["actent"],
        target_values="online",
        baseline_values="online",
        slow_regularizer=imag["slowreg"],
        eval_action="sample",
    )


def make_harmonizer(config: Config, losses: set[str]) -> FixedScales:
    """The plain weighted sum, `harmony=off`."""
    theirs = config["loss_scales"]
    scales = {"image": theirs["rec"], "vector": theirs["rec"]}
    scales |= {"reward": theirs["rew"], "cont": theirs["con"]}
    scales |= {name: theirs[name] for name in ("dyn", "rep")}
    return FixedScales(groups={}, loss_scales={k: v for k, v in scales.items() if k in losses})
