"""Recurrent state-space model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from harmony.models.cells import BlockGRUCell, GRUCell
from harmony.models.latents import LatentPart
from harmony.nn.layers import PLAIN, JointLinear, Linear, Style, project
from harmony.nn.mlp import MLP
from harmony.types import Latent

Initial = Literal["zeros", "learned"]


class Observed(NamedTuple):
    """What observing a batch of sequences gives.

    Attributes:
        latent: posterior states, (B, T, D) and (B, T, Z).
        post: (B, T, stats_size), statistics of the posterior.
        prior: (B, T, stats_size), statistics of the prior.
    """

    latent: Latent
    post: Tensor
    prior: Tensor


class RSSM(nn.Module):
    """Deterministic path through a recurrent cell, stochastic state on top of it.

    Args:
        embed_size: E, of the encoder.
        action_size: A.
        cell: makes the cell from (stoch size, action size).
        hidden: width of the layers of prior and posterior.
        latent: kind of the stochastic state.
        prior_layers: hidden layers of the prior.
        initial: the state before an episode: zeros, or a learned deter with the likeliest stoch.
        largest_action: actions are scaled down where an entry is larger; None leaves them alone.
        style: norm, activation and initialiser.

    Source: DreamerV2, section 2; `nets/dynamics/` of the torch original with an ensemble of one;
    DreamerV3, `nets.py: RSSM` (2023) and `dreamerv3/rssm.py` (2025).
    Differs: the prior's statistics are computed after the scan in one batch, and never sampled
    there, since nothing in the scan uses that sample.
    """

    def __init__(
        self,
        embed_size: int,
        action_size: int,
        *,
        cell: Callable[..., GRUCell | BlockGRUCell],
        hidden: int,
        latent: LatentPart,
        prior_layers: int = 1,
        initial: Initial = "zeros",
        largest_action: float | None = None,
        style: Style = PLAIN,
    ) -> None:
        super().__init__()
        self.latent = latent
        self.action_size = action_size
        self.largest_action = largest_action
        self.cell = cell(latent.size, action_size)
        self.deter = self.cell.deter
        self.feat_size = latent.size + self.deter
        self.prior = MLP(self.deter, layers=prior_layers, units=hidden, style=style)
        self.prior_out = Linear(hidden, latent.stats_size, init=style.out_init)
        self.post = JointLinear(
            (self.deter, embed_size), hidden, bias=style.has_bias, init=style.init
        )
        self.post_norm = style.normalize(hidden)
        self.post_out = Linear(hidden, latent.stats_size, init=style.out_init)
        self.first_deter = nn.Parameter(torch.zeros(self.deter)) if initial == "learned" else None
        self._act = style.activate()

    def initial(self, batch_size: int, device: torch.device) -> Latent:
        """The state before an episode, (B, D) and (B, Z)."""
        deter, stoch = self._first(device)
        sizes = (self.deter, self.latent.size)
        return Latent(deter.expand(batch_size, sizes[0]), stoch.expand(batch_size, sizes[1]))

    def _first(self, device: torch.device) -> Latent:
        """The state before an episode, (1, D) and (1, Z), or (1, 1) where it is zero."""
        if self.first_deter is None:
            return Latent(*torch.zeros(2, 1, 1, device=device))
        deter = torch.tanh(self.first_deter).unsqueeze(0)
        # The mode carries no gradient where it is a one-hot vector.
        return Latent(deter, self.latent.mode(self.prior_stats(deter)))

    def get_feat(self, latent: Latent) -> Tensor:
        """(..., F), stoch before deter."""
        return torch.cat([latent.stoch, latent.deter], -1)

    def prior_stats(self, deter: Tensor) -> Tensor:
        """(..., D) to the statistics of the prior (..., stats_size), float32."""
        stats: Tensor = self.prior_out(self.prior(deter))
        return stats.float()

    def observe(
        self,
        embed: Tensor,
        action: Tensor,
        is_first: Tensor,
        noise: Tensor,
        start: Latent | None = None,
    ) -> Observed:
        """Filters sequences.

        Args:
            embed: (B, T, E).
            action: (B, T, A), action t led to observation t.
            is_first: (B, T) bool; before such a step the state is `initial`, the action zero.
            noise: (B, T, noise_size), for the posterior's samples.
            start: (B, D) and (B, Z), the states before the sequences; `initial` where it is None.

        Returns:
            Posterior states and the statistics of both distributions.
        """
        keep = (~is_first).float().unsqueeze(-1)
        deter_weight, embed_weight = self.post.parts()
        # All products that don't depend on the state, for all steps at once; time first from here.
        cells = self.cell.steps(self._limit(action) * keep)
        embed_in = project(embed, embed_weight, self.post.bias)
        first = self._first(embed.device)
        resets = [(1 - keep) * x.unsqueeze(1) for x in first]
        deter, stoch = start or self.initial(embed.shape[0], embed.device)
        deters: list[Tensor] = []
        stochs: list[Tensor] = []
        posts: list[Tensor] = []
        inputs = (embed_in, keep.unbind(1), noise.unbind(1), *(x.unbind(1) for x in resets))
        for cell, (x_embed, x_keep, x_noise, reset_deter, reset_stoch) in zip(
            cells, zip(*inputs, strict=True), strict=True
        ):
            deter = torch.addcmul(reset_deter, deter, x_keep)
            stoch = torch.addcmul(reset_stoch, stoch, x_keep)
            deter = cell(deter, stoch)
            post = self._post_stats(torch.addmm(x_embed, deter, deter_weight.T))
            stoch = self.latent.sample(post, x_noise)
            deters.append(deter)
            stochs.append(stoch)
            posts.append(post)
        latent = Latent(torch.stack(deters, 1), torch.stack(stochs, 1))
        return Observed(latent, torch.stack(posts, 1), self.prior_stats(latent.deter))

    def obs_step(
        self, latent: Latent, action: Tensor, embed: Tensor, is_first: Tensor, noise: Tensor
    ) -> Latent:
        """One step of `observe`, for acting.

        Args:
            latent: (B, D) and (B, Z), the state before.
            action: (B, A), the action that led to the observation.
            embed: (B, E).
            is_first: (B,) bool.
            noise: (B, noise_size).

        Returns:
            The posterior state, (B, D) and (B, Z).
        """
        keep = (~is_first).float().unsqueeze(-1)
        deter, stoch = (
            torch.addcmul((1 - keep) * first, old, keep)
            for first, old in zip(self._first(embed.device), latent, strict=True)
        )
        deter = self.cell(deter, stoch, self._limit(action) * keep)
        post = self._post_stats(self.post(torch.cat([deter, embed], -1)))
        return Latent(deter, self.latent.sample(post, noise))

    def img_step(self, latent: Latent, action: Tensor, noise: Tensor) -> Latent:
        """One step without an observation.

        Args:
            latent: (N, D) and (N, Z).
            action: (N, A), chosen in that state.
            noise: (N, noise_size).

        Returns:
            The prior state after the action, (N, D) and (N, Z).
        """
        deter = self.cell(latent.deter, latent.stoch, self._limit(action))
        return Latent(deter, self.latent.sample(self.prior_stats(deter), noise))

    def _post_stats(self, raw: Tensor) -> Tensor:
        stats: Tensor = self.post_out(self._act(self.post_norm(raw)))
        return stats.float()

    def _limit(self, action: Tensor) -> Tensor:
        """(..., A), each entry scaled into the limit; the scale carries no gradient."""
        if self.largest_action is None:
            return action
        return action * (self.largest_action / action.abs().clamp_min(self.largest_action)).detach()
