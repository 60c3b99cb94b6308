"""Parameters of DreamerV3 (2025) by our names and in our axis orders.

Differences of layout: kernels are (in, out) there and (out, in) here, those of convolutions (row,
column, in, out) there; feats are deter before stoch there, but not in the vector decoder; tokens
are vectors before images there; and flattened images are row, column, channel there.
"""

import re
from dataclasses import dataclass, field

import torch
from torch import Tensor

from tests.golden.originals import Golden

RENAMED = (
    (r"enc/cnn(\d)norm/", r"encoder/cnn/norms/\1/norm/"),
    (r"enc/cnn(\d)/", r"encoder/cnn/layers/\1/"),
    (r"enc/mlp(\d)norm/", r"encoder/mlp/norms/\1/"),
    (r"enc/mlp(\d)/", r"encoder/mlp/layers/\1/"),
    (r"dyn/dynin0norm/", r"rssm/cell/input_norms/deter/"),
    (r"dyn/dynin1norm/", r"rssm/cell/input_norms/stoch/"),
    (r"dyn/dynin2norm/", r"rssm/cell/input_norms/action/"),
    (r"dyn/dynin0/", r"rssm/cell/inputs/deter/"),
    (r"dyn/dynin1/", r"rssm/cell/inputs/stoch/"),
    (r"dyn/dynin2/", r"rssm/cell/inputs/action/"),
    (r"dyn/dynhid(\d)norm/", r"rssm/cell/norms/\1/"),
    (r"dyn/dynhid(\d)/", r"rssm/cell/layers/\1/"),
    (r"dyn/dyngru/", r"rssm/cell/gates/"),
    (r"dyn/prior(\d)norm/", r"rssm/prior/norms/\1/"),
    (r"dyn/prior(\d)/", r"rssm/prior/layers/\1/"),
    (r"dyn/priorlogit/", r"rssm/prior_out/"),
    (r"dyn/obs0norm/", r"rssm/post_norm/"),
    (r"dyn/obs0/", r"rssm/post/"),
    (r"dyn/obslogit/", r"rssm/post_out/"),
    (r"dec/sp0/", r"objective/decoder/cnn/from_deter/"),
    (r"dec/sp1norm/", r"objective/decoder/cnn/stoch_norm/"),
    (r"dec/sp1/", r"objective/decoder/cnn/stoch_in/"),
    (r"dec/sp2/", r"objective/decoder/cnn/from_stoch/"),
    (r"dec/spnorm/", r"objective/decoder/cnn/norm/norm/"),
    # The last depth comes first in a decoder, and they number its layers by depth.
    (r"dec/conv2norm/", r"objective/decoder/cnn/norms/0/norm/"),
    (r"dec/conv1norm/", r"objective/decoder/cnn/norms/1/norm/"),
    (r"dec/conv0norm/", r"objective/decoder/cnn/norms/2/norm/"),
    (r"dec/conv2/", r"objective/decoder/cnn/layers/0/"),
    (r"dec/conv1/", r"objective/decoder/cnn/layers/1/"),
    (r"dec/conv0/", r"objective/decoder/cnn/layers/2/"),
    (r"dec/imgout/", r"objective/decoder/cnn/output/"),
    (r"dec/mlp/", r"objective/decoder/mlp/"),
    (r"dec/vec/(\w+)/pred/", r"objective/decoder/outputs/\1/"),
    (r"rew/", r"reward/"),
    (r"con/", r"cont/"),
    (r"pol/head/action/mean/", r"actor/mean/"),
    (r"pol/head/action/stddev/", r"actor/std/"),
    (r"pol/head/action/logits/", r"actor/logit/"),
    (r"pol/", r"actor/"),
    (r"slowval/", r"slow_critic/critic/"),
    (r"val/", r"critic/"),
)
ENDINGS = (
    (r"head/logits?/", r"output/"),
    (r"mlp/linear(\d)/", r"mlp/layers/\1/"),
    (r"mlp/norm(\d)/", r"mlp/norms/\1/"),
    (r"/(kernel|scale)$", r"/weight"),
)
HEADS = ("rew/", "con/", "pol/", "val/", "slowval/")


@dataclass(frozen=True)
class Layout:
    """Sizes that the reordering needs.

    Attributes:
        deter: D.
        vector: entries of the tokens that come from vectors.
        image: rows, columns and channels of the encoder's last map; none without images.
        image_keys: channels of each image by name, in the order of our shapes.
    """

    deter: int
    vector: int = 0
    image: tuple[int, int, int] = (0, 0, 0)
    image_keys: dict[str, int] = field(default_factory=dict)


def our_name(name: str) -> str:
    """Our name of one of the original's parameters."""
    for pattern, ours in RENAMED:
        if re.match(pattern, name):
            name = re.sub(f"^{pattern}", ours, name)
            break
    for pattern, ours in ENDINGS:
        name = re.sub(pattern, ours, name)
    return name.replace("/", ".")


def our_order(name: str, array: Tensor, layout: Layout) -> Tensor:
    """A parameter, or its gradient, in our axis orders."""
    if name.endswith("/kernel") and array.ndim == 4:
        return _image_channels(name, array, layout).permute(3, 2, 0, 1)
    if not (name.endswith("/kernel") and array.ndim == 2):
        return array
    if name == "dyn/obs0/kernel":
        array = _tokens_last(array, layout)
    if name.endswith("mlp/linear0/kernel") and name.startswith(HEADS):
        array = torch.roll(array, -layout.deter, 0)
    return array.T


def image_map(flat: Tensor, layout: Layout) -> Tensor:
    """A flattened map of the encoder, (..., n), from row, column, channel to ours."""
    return flat.unflatten(-1, layout.image).movedim(-1, -3).flatten(-3)


def tokens(array: Tensor, layout: Layout) -> Tensor:
    """(..., E) from vector, image to image, vector."""
    vector, image = array.split([layout.vector, array.shape[-1] - layout.vector], -1)
    return torch.cat([image_map(image, layout), vector], -1)


def params(golden: Golden, group: str, layout: Layout) -> dict[str, Tensor]:
    """Arrays of a group by our name and in our order."""
    return {
        our_name(name): our_order(name, array, layout)
        for name, array in golden.group(group).items()
    }


def part(arrays: dict[str, Tensor], *prefixes: str) -> dict[str, Tensor]:
    """Those of some of our modules; one prefix is cut off."""
    if len(prefixes) == 1:
        start = f"{prefixes[0]}."
        return {k.removeprefix(start): v for k, v in arrays.items() if k.startswith(start)}
    return {k: v for k, v in arrays.items() if k.startswith(prefixes)}


def _tokens_last(kernel: Tensor, layout: Layout) -> Tensor:
    """(deter + tokens, out), deter before tokens as in ours."""
    deter, rest = kernel.split([layout.deter, kernel.shape[0] - layout.deter], 0)
    return torch.cat([deter, tokens(rest.T, layout).T])


def _image_channels(name: str, array: Tensor, layout: Layout) -> Tensor:
    """The encoder reads images in the order of their names, the decoder as ours in both."""
    if name != "enc/cnn0/kernel" or len(layout.image_keys) < 2:
        return array
    names = sorted(layout.image_keys)
    pieces = dict(zip(names, array.split([layout.image_keys[n] for n in names], 2), strict=True))
    return torch.cat([pieces[n] for n in layout.image_keys], 2)
