"""Observations are modelled by reconstructing them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torch import Tensor, nn

from harmony.models.decoders import Decoder
from harmony.models.encoders import Encoder, Shapes
from harmony.ops.symlog import symlog
from harmony.types import Losses


class Reconstruction(nn.Module):
    """The squared error of each pixel and vector entry, summed over the observation.

    The loss of all images is called `image`, that of all vectors `vector`.

    Args:
        encoder: of the world model; not needed here.
        feat_size: F.
        shapes: of the observations, images channel last.
        decoder: makes the decoder from (feat_size, shapes).
        error_weight: factor on the squared error: 0.5 for a unit-variance normal density.
        symlog_vectors: whether vectors are predicted on the symlog axis.

    Source: `core/dists.py: MSE` of the torch original; `jaxutils.py: MSEDist, SymlogDist` of
    DreamerV3 (2023), without the half. Differs: the TensorFlow original keeps the Gaussian
    constant, 0.919 nats a pixel, which would set the scale of a harmonised loss; DreamerV3 (2023)
    counts squared symlog errors below 1e-8 as zero.
    """

    def __init__(
        self,
        encoder: Encoder,  # noqa: ARG002
        feat_size: int,
        shapes: Shapes,
        *,
        decoder: Callable[..., Decoder] = Decoder,
        error_weight: float = 0.5,
        symlog_vectors: bool = False,
    ) -> None:
        super().__init__()
        self.decoder = decoder(feat_size, shapes)
        self.error_weight = error_weight
        self.symlog_vectors = symlog_vectors

    def losses(self, feat: Tensor, embed: Tensor, obs: Mapping[str, Tensor]) -> Losses:  # noqa: ARG002
        """Losses by name, (B, T) each.

        Args:
            feat: (B, T, F).
            embed: (B, T, E); not needed here.
            obs: images (B, T, C, Hi, Wi) around zero, vectors (B, T, n).
        """
        found: Losses = {}
        for key, recon in self.decoder(feat).items():
            is_image = key in self.decoder.images
            target = symlog(obs[key]) if self.symlog_vectors and not is_image else obs[key]
            error = self.error_weight * (recon.float() - target).square().flatten(2).sum(-1)
            name = "image" if is_image else "vector"
            found[name] = found[name] + error if name in found else error
        return found

    def after_update(self, encoder: Encoder) -> None:
        """Nothing follows the encoder here."""
