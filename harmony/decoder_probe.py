"""A decoder that only looks: it learns from detached feats and changes no other number of a run."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from harmony.models.decoders import Decoder
from harmony.models.encoders import Encoder, Shapes
from harmony.models.objectives.reconstruction import Reconstruction


class NoProbe(nn.Module):
    """probe=none: nothing looks.

    Args:
        encoder: of the world model; not needed.
        feat_size: F; not needed.
        shapes: of the observations; not needed.
    """

    decoder: Decoder | None = None

    def __init__(
        self,
        encoder: Encoder,  # noqa: ARG002
        feat_size: int,  # noqa: ARG002
        shapes: Shapes,  # noqa: ARG002
    ) -> None:
        super().__init__()

    def loss(self, feat: Tensor, obs: Mapping[str, Tensor]) -> Tensor:  # noqa: ARG002
        """() zero."""
        return torch.zeros((), device=feat.device)


class DecoderProbe(nn.Module):
    """probe=decoder: reconstructs observations from feats that it gets without their graph.

    Its weights have an optimizer and a clip of their own, so the run is the same with and without.

    Args:
        encoder: of the world model; not needed.
        feat_size: F.
        shapes: of the observations, images channel last.
        make_decoder: makes the decoder from (feat_size, shapes).
    """

    def __init__(
        self,
        encoder: Encoder,
        feat_size: int,
        shapes: Shapes,
        *,
        make_decoder: Callable[..., Decoder] = Decoder,
    ) -> None:
        super().__init__()
        self.objective = Reconstruction(encoder, feat_size, shapes, decoder=make_decoder)

    @property
    def decoder(self) -> Decoder:
        """The decoder."""
        return self.objective.decoder

    def loss(self, feat: Tensor, obs: Mapping[str, Tensor]) -> Tensor:
        """() mean of the squared errors.

        Args:
            feat: (B, T, F), without graph.
            obs: images (B, T, C, Hi, Wi) around zero, vectors (B, T, n).
        """
        losses = self.objective.losses(feat, feat, obs)
        return torch.stack([loss.mean() for loss in losses.values()]).sum()
