"""Observations are modelled by reconstructing them."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from harmony.models.decoders import Decoder
from harmony.types import Losses


class Reconstruction(nn.Module):
    """Half the squared error of each pixel and vector entry, summed over the observation.

    The loss of all images is called `image`, that of all vectors `vector`.

    Args:
        decoder: from feats to observations.

    Source: `core/dists.py: MSE` of the torch original. Differs: the TensorFlow original keeps the
    Gaussian constant, 0.919 nats a pixel, which would set the scale of a harmonised loss.
    """

    def __init__(self, decoder: Decoder) -> None:
        super().__init__()
        self.decoder = decoder

    def losses(self, feat: Tensor, obs: Mapping[str, Tensor]) -> Losses:
        """Losses by name, (B, T) each.

        Args:
            feat: (B, T, F).
            obs: images (B, T, C, Hi, Wi) around zero, vectors (B, T, n).
        """
        found: Losses = {}
        for key, recon in self.decoder(feat).items():
            name = "image" if key in self.decoder.images else "vector"
            error = 0.5 * (recon.float() - obs[key]).square().flatten(2).sum(-1)
            found[name] = found[name] + error if name in found else error
        return found
