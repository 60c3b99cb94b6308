"""DreamerPro's parameter names and axis orders, turned into ours."""

import hashlib
import re

import numpy as np
import torch
from torch import Tensor

from tests.golden.originals import Golden

PREFIXES = {
    "encoder.h": "encoder.cnn.layers.",
    "_ema_encoder.h": "objective.ema_encoder.cnn.layers.",
    "_ema_obs_proj": "objective.ema_proj",
    "rssm._prototypes": "objective.prototypes",
    "rssm.obs_proj": "objective.obs_proj",
    "rssm.feat_proj": "objective.feat_proj",
    "rssm.img_in": "rssm.cell.input",
    "rssm._cell._layer": "rssm.cell.linear",
    "rssm._cell._norm": "rssm.cell.norm",
    "rssm.img_out": "rssm.prior.layers.0",
    "rssm.img_dist": "rssm.prior_out",
    "rssm.obs_out": "rssm.post",
    "rssm.obs_dist": "rssm.post_out",
    "heads.reward.h": "reward.mlp.layers.",
    "heads.reward.out.out": "reward.output",
    "heads.discount.h": "cont.mlp.layers.",
    "heads.discount.out.out": "cont.output",
    "actor.h": "actor.mlp.layers.",
    "actor.out.std": "actor.std",
    "critic.h": "critic.mlp.layers.",
    "critic.out.out": "critic.output",
    "_target_critic.h": "slow_critic.critic.mlp.layers.",
    "_target_critic.out.out": "slow_critic.critic.output",
}
SUFFIXES = {"kernel": "weight", "gamma": "weight", "beta": "bias"}
READS_EMBED = re.compile(r"rssm\.obs_out|rssm\.obs_proj|_ema_obs_proj")
EMBED_SIZE = 32  # all recordings have an encoder of depth 1
EMBED_PIXELS = 4  # of its last map


def our_name(name: str, *, discrete: bool = False) -> str:
    """Our name of one of the original's parameters.

    Args:
        name: the original's.
        discrete: whether the actor chooses; both kinds of actor call their first output the same.
    """
    prefixes = {**PREFIXES, "actor.out.out": "actor.logit" if discrete else "actor.mean"}
    for theirs, ours in prefixes.items():
        if name.startswith(theirs):
            stem, _, leaf = (ours + name.removeprefix(theirs)).rpartition(".")
            return f"{stem}.{SUFFIXES.get(leaf, leaf)}"
    raise KeyError(name)


def our_layout(name: str, array: Tensor) -> Tensor:
    """A parameter or gradient in our order of axes and features.

    Kernels come as (in, out) or (row, column, in, out). Layers that read the embed last have its
    features in the order row, column, channel; ours has channel, row, column.

    Args:
        name: the original's.
        array: the original's.
    """
    if array.dim() == 4:
        return array.permute(3, 2, 0, 1).contiguous()
    if not name.endswith(".kernel"):
        return array
    return (embed_layout(array.T) if READS_EMBED.match(name) else array.T).contiguous()


def embed_layout(array: Tensor) -> Tensor:
    """(..., n + E), an embed after n other features, in our order within the embed."""
    front, embed = array.split([array.shape[-1] - EMBED_SIZE, EMBED_SIZE], -1)
    pixels = embed.unflatten(-1, (EMBED_PIXELS, EMBED_SIZE // EMBED_PIXELS))
    return torch.cat([front, pixels.transpose(-1, -2).flatten(-2)], -1)


def named(golden: Golden, group: str, *, discrete: bool = False) -> dict[str, Tensor]:
    """Parameters below a prefix by our name, in our layout.

    Args:
        golden: the recording.
        group: `param`, `grad`, or where the parameters after an update lie.
        discrete: see `our_name`.
    """
    return {
        our_name(name, discrete=discrete): our_layout(name, array)
        for name, array in golden.group(group).items()
        if "/" not in name
    }


def image(golden: Golden, key: str, sha256: str) -> Tensor:
    """(B, T, Hi, Wi, C) uint8, drawn again from the recorded seed and checked.

    Args:
        golden: the recording.
        key: of the seed.
        sha256: of the bytes.
    """
    rng = np.random.default_rng(int(golden[key]))
    pixels = rng.integers(0, 256, golden.meta["image_shape"], dtype=np.uint8)
    assert hashlib.sha256(pixels.tobytes()).hexdigest() == sha256
    return torch.from_numpy(pixels)
