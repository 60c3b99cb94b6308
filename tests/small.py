"""Small modules by hand, as a configuration would make them."""

from functools import partial
from typing import Any

from harmony.models.cells import GRUCell
from harmony.models.latents import LatentPart
from harmony.models.rssm import RSSM


def make_rssm(
    embed_size: int,
    action_size: int,
    *,
    deter: int,
    hidden: int,
    latent: LatentPart,
    **others: Any,
) -> RSSM:
    """DreamerV2's RSSM."""
    cell = partial(GRUCell, deter=deter, hidden=hidden)
    return RSSM(embed_size, action_size, cell=cell, hidden=hidden, latent=latent, **others)
