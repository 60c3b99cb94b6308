"""Recurrent state-space model."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from harmony.models.cells import GRUCell
from harmony.models.latents import LatentPart
from harmony.nn.layers import Act, JointLinear, Linear, activation
from harmony.types import Latent


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
    """Deterministic path through a GRU, stochastic state on top of it.

    Args:
        embed_size: E, of the encoder.
        action_size: A.
        deter: D, size of the recurrent state.
        hidden: width of the layers around it.
        latent: kind of the stochastic state.
        act: activation.

    Source: DreamerV2, section 2; `nets/dynamics/` of the torch original with an ensemble of one.
    Differs: the prior's statistics are computed after the scan in one batch, and never sampled
    there, since nothing in the scan uses that sample.
    """

    def __init__(
        self,
        embed_size: int,
        action_size: int,
        *,
        deter: int,
        hidden: int,
        latent: LatentPart,
        act: Act = "elu",
    ) -> None:
        super().__init__()
        self.latent = latent
        self.deter = deter
        self.feat_size = latent.size + deter
        self.action_size = action_size
        self.img_in = JointLinear((latent.size, action_size), hidden)
        self.cell = GRUCell(hidden, deter)
        self.img_out = Linear(deter, hidden)
        self.img_stats = Linear(hidden, latent.stats_size)
        self.obs_out = JointLinear((deter, embed_size), hidden)
        self.obs_stats = Linear(hidden, latent.stats_size)
        self._act = activation(act)

    def initial(self, batch_size: int, device: torch.device) -> Latent:
        """Zero states, (B, D) and (B, Z)."""
        return Latent(
            torch.zeros(batch_size, self.deter, device=device),
            torch.zeros(batch_size, self.latent.size, device=device),
        )

    def get_feat(self, latent: Latent) -> Tensor:
        """(..., F), stoch before deter."""
        return torch.cat([latent.stoch, latent.deter], -1)

    def prior_stats(self, deter: Tensor) -> Tensor:
        """(..., D) to the statistics of the prior (..., stats_size), float32."""
        stats: Tensor = self.img_stats(self._act(self.img_out(deter)))
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
            is_first: (B, T) bool; state and action before such a step are zeroed.
            noise: (B, T, noise_size), for the posterior's samples.
            start: (B, D) and (B, Z), the states before the sequences; zeros where there is none.

        Returns:
            Posterior states and the statistics of both distributions.
        """
        keep = (~is_first).float().unsqueeze(-1)
        stoch_weight, action_weight = self.img_in.parts()
        deter_weight, embed_weight = self.obs_out.parts()
        # All products that don't depend on the state, for all steps at once; time first from here.
        action_in = _project(action * keep, action_weight, self.img_in.bias)
        embed_in = _project(embed, embed_weight, self.obs_out.bias)
        deter, stoch = start or self.initial(embed.shape[0], embed.device)
        deters: list[Tensor] = []
        stochs: list[Tensor] = []
        posts: list[Tensor] = []
        steps = zip(action_in, embed_in, keep.unbind(1), noise.unbind(1), strict=True)
        for step_action, step_embed, step_keep, step_noise in steps:
            deter, stoch = deter * step_keep, stoch * step_keep
            x = self._act(torch.addmm(step_action, stoch, stoch_weight.T))
            deter = self.cell(x, deter)
            x = self._act(torch.addmm(step_embed, deter, deter_weight.T))
            post = self.obs_stats(x).float()
            stoch = self.latent.sample(post, step_noise)
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
        deter = self._deter_step(latent.deter * keep, latent.stoch * keep, action * keep)
        x = self._act(self.obs_out(torch.cat([deter, embed], -1)))
        return Latent(deter, self.latent.sample(self.obs_stats(x).float(), noise))

    def img_step(self, latent: Latent, action: Tensor, noise: Tensor) -> Latent:
        """One step without an observation.

        Args:
            latent: (N, D) and (N, Z).
            action: (N, A), chosen in that state.
            noise: (N, noise_size).

        Returns:
            The prior state after the action, (N, D) and (N, Z).
        """
        deter = self._deter_step(latent.deter, latent.stoch, action)
        return Latent(deter, self.latent.sample(self.prior_stats(deter), noise))

    def _deter_step(self, deter: Tensor, stoch: Tensor, action: Tensor) -> Tensor:
        x = self._act(self.img_in(torch.cat([stoch, action], -1)))
        new_deter: Tensor = self.cell(x, deter)
        return new_deter


def _project(x: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, ...]:
    """(B, T, n) to T tensors (B, out): one product for all steps, each step contiguous."""
    steps = x.transpose(0, 1).reshape(-1, x.shape[-1])
    return F.linear(steps, weight, bias).reshape(x.shape[1], x.shape[0], -1).unbind(0)
