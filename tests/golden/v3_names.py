"""Parameters of DreamerV3 (2023) by our names and in our axis orders.

Differences of layout: kernels are (in, out) there and (out, in) here, those of convolutions (row,
column, in, out) there, of transposed ones (row, column, out, in) and mirrored in rows and columns;
feats are deter before stoch there, as are the inputs of the GRU; and the encoder's last map is
flattened row, column, channel there.
"""

import re

import torch
from torch import Tensor

from tests.golden.originals import Golden

DETER = 16  # of the recordings
PIXELS = 16  # of the encoder's last map
IMAGE = 24 * PIXELS  # entries of the embed that come from an image, where there is one
PREFIXES = {
    "wm/enc/cnn/": "encoder.cnn.",
    "wm/enc/mlp/": "encoder.mlp.",
    "wm/rssm/img_in/norm": "rssm.cell.input_norm",
    "wm/rssm/img_in": "rssm.cell.input",
    "wm/rssm/gru/norm": "rssm.cell.norm",
    "wm/rssm/gru": "rssm.cell.linear",
    "wm/rssm/img_out/norm": "rssm.prior.norms.0",
    "wm/rssm/img_out": "rssm.prior.layers.0",
    "wm/rssm/img_stats": "rssm.prior_out",
    "wm/rssm/obs_out/norm": "rssm.post_norm",
    "wm/rssm/obs_out": "rssm.post",
    "wm/rssm/obs_stats": "rssm.post_out",
    "wm/rssm/initial": "rssm.first_deter",
    "wm/dec/cnn/in": "objective.decoder.cnn.input",
    "wm/dec/cnn/": "objective.decoder.cnn.",
    "wm/dec/mlp/dist_": "objective.decoder.outputs.",
    "wm/dec/mlp/": "objective.decoder.mlp.",
    "wm/rew/dist_out/out": "reward.output",
    "wm/rew/": "reward.mlp.",
    "wm/cont/dist_out/out": "cont.output",
    "wm/cont/": "cont.mlp.",
    "wm/har_s1/harmony_s": "log_sigma.reward",
    "wm/har_s2/harmony_s": "log_sigma.observation",
    "wm/har_s3/harmony_s": "log_sigma.dynamics",
    "task_behavior/ac/actor/dist_out/std": "actor.std",
    "task_behavior/ac/actor/": "actor.mlp.",
    "task_behavior/critic/net/dist_out/out": "critic.output",
    "task_behavior/critic/net/": "critic.mlp.",
    "task_behavior/critic/slow/dist_out/out": "slow_critic.critic.output",
    "task_behavior/critic/slow/": "slow_critic.critic.mlp.",
}
LAYERS = (
    (r"\.cnn\.s3res$", ".cnn.output"),  # of the decoder; the encoder's is below
    (r"\.cnn\.s(\d)res$", r".cnn.layers.\1"),
    (r"\.cnn\.s(\d)res/norm$", r".cnn.norms.\1.norm"),
    (r"\.mlp\.h(\d)$", r".mlp.layers.\1"),
    (r"\.mlp\.h(\d)/norm$", r".mlp.norms.\1"),
    (r"/out$", ""),  # of a vector's output layer
)
READS_FEAT = re.compile(r"wm/dec/cnn/in/|(wm/(dec/mlp|rew|cont)|task_behavior/.*)/h0/kernel")
TRANSPOSED = "wm/dec/cnn/s"


def our_name(name: str, *, discrete: bool = False) -> str:
    """Our name of one of the original's parameters.

    Args:
        name: the original's.
        discrete: whether the actor chooses; both kinds of actor call their first output the same.
    """
    if name.startswith("task_behavior/ac/actor/dist_out/out"):
        layer = "actor.logit" if discrete else "actor.mean"
        return f"{layer}.{_leaf(name)}"
    start = next(theirs for theirs in PREFIXES if name.startswith(theirs))
    ours = PREFIXES[start] + name.removeprefix(start)
    if "/" not in ours:
        return ours
    layer = ours.rpartition("/")[0]
    rules = LAYERS[1:] if layer.startswith("encoder") else LAYERS
    for pattern, replacement in rules:
        if re.search(pattern, layer):
            layer = re.sub(pattern, replacement, layer)
            break
    return f"{layer}.{_leaf(name)}"


def _leaf(name: str) -> str:
    return {"kernel": "weight", "scale": "weight"}.get(leaf := name.rpartition("/")[2], leaf)


def our_order(name: str, array: Tensor) -> Tensor:
    """A parameter, or its gradient, in our axis orders.

    Args:
        name: the original's.
        array: the original's.
    """
    if array.ndim == 4:
        turned = array.permute(3, 2, 0, 1)
        return turned.flip(2, 3) if name.startswith(TRANSPOSED) else turned
    if not name.endswith("/kernel"):
        return array
    if READS_FEAT.match(name) or name == "wm/rssm/gru/kernel":
        return deter_last(array.T)
    if name == "wm/rssm/obs_out/kernel":
        return torch.cat([array[:DETER].T, embed_order(array[DETER:].T)], -1)
    return array.T


def deter_last(feat: Tensor) -> Tensor:
    """(..., D + n), deter first, to deter last."""
    return torch.roll(feat, -DETER, -1)


def embed_order(embed: Tensor) -> Tensor:
    """(..., E), row, column, channel to channel, row, column; what comes from vectors stays."""
    if embed.shape[-1] < IMAGE:
        return embed
    image, vector = embed.split([IMAGE, embed.shape[-1] - IMAGE], -1)
    image = image.unflatten(-1, (PIXELS, -1)).transpose(-1, -2).flatten(-2)
    return torch.cat([image, vector], -1)


def named(golden: Golden, group: str, *, discrete: bool = False) -> dict[str, Tensor]:
    """Parameters or gradients below a prefix by our name, in our order.

    Args:
        golden: the recording.
        group: `param`, `grad`, `after1`, ...
        discrete: see `our_name`.
    """
    return {
        our_name(name, discrete=discrete): our_order(name, array.float())
        for name, array in golden.group(group).items()
    }
