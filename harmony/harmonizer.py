"""HarmonyDream: learnable scales that keep the tasks of a world model in balance.

`total = harmonizer(losses)` is the only place where losses become one scalar. All classes here have
that one signature, so harmony on and off differ by which of them the configuration names.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from harmony.types import Losses, Metrics

Groups = Mapping[str, Mapping[str, float]]


def _check(losses: Losses, groups: Groups, loss_scales: Mapping[str, float]) -> None:
    """Every loss has a rule, every rule has a loss; a name dropped in silence is a bug."""
    grouped = {name for shares in groups.values() for name in shares}
    if set(losses) != set(loss_scales) or not grouped <= set(losses):
        raise ValueError(
            f"losses and their rules differ: the model gives {sorted(losses)}, loss_scales name "
            f"{sorted(loss_scales)}, loss_groups name {sorted(grouped)}; mend "
            "algorithm.loss_scales and algorithm.loss_groups"
        )


def _group_loss(losses: Losses, shares: Mapping[str, float]) -> Tensor:
    """() float32, the batch means of a group's losses weighted by their shares."""
    return torch.stack(
        [share * losses[name].float().mean() for name, share in shares.items()]
    ).sum()


class FixedScales(nn.Module):
    """harmony=off: the plain weighted sum of the losses.

    Args:
        groups: loss group -> loss -> share; only reported here.
        loss_scales: loss -> weight.
    """

    def __init__(self, *, groups: Groups, loss_scales: Mapping[str, float]) -> None:
        super().__init__()
        self.groups = {group: dict(shares) for group, shares in groups.items()}
        self.loss_scales = dict(loss_scales)

    def forward(self, losses: Losses) -> Tensor:
        """Sums losses of shape (B, T) or () to a scalar.

        Raises:
            ValueError: a loss without a scale, or a scale without a loss.
        """
        _check(losses, self.groups, self.loss_scales)
        total = torch.zeros((), device=next(iter(losses.values())).device)
        for name, scale in self.loss_scales.items():
            total = total + scale * losses[name].float().mean()
        return total

    @torch.no_grad()
    def metrics(self, losses: Losses) -> Metrics:
        """Factor (coef) and scaled loss of each group, () each."""
        found: Metrics = {}
        for group, shares in self.groups.items():
            plain = _group_loss(losses, shares)
            weights = {name: self.loss_scales[name] for name in shares}
            scaled = _group_loss(losses, weights)
            found[f"harmony/coef/{group}"] = scaled / plain.clamp_min(1e-12)
            found[f"harmony/scaled_loss/{group}"] = scaled
        return found


class FixedWeights(FixedScales):
    """harmony=fixed: the fixed scales times one weight a group; the paper's sweep over w_r.

    Args:
        groups: loss group -> loss -> share.
        loss_scales: loss -> weight.
        observation: factor on the observation losses (w_o).
        reward: factor on the reward loss (w_r).
        dynamics: factor on the dynamics losses (w_d).

    Source: HarmonyDream (arXiv 2310.00344), section 2.
    """

    def __init__(
        self,
        *,
        groups: Groups,
        loss_scales: Mapping[str, float],
        observation: float = 1.0,
        reward: float = 1.0,
        dynamics: float = 1.0,
    ) -> None:
        weights = {"observation": observation, "reward": reward, "dynamics": dynamics}
        if set(groups) != set(weights):
            raise ValueError(f"loss_groups must be {sorted(weights)}, got {sorted(groups)}")
        scales = dict(loss_scales)
        named = {name for shares in groups.values() for name in shares}
        if missing := sorted(named - set(scales)):
            raise ValueError(f"loss_groups name {missing}, loss_scales are {sorted(scales)}")
        for group, shares in groups.items():
            for name in shares:
                scales[name] *= weights[group]
        super().__init__(groups=groups, loss_scales=scales)


class Harmonizer(nn.Module):
    """harmony=on: the rectified harmonious loss.

    For each loss group i with the learnable scalar s_i, sigma_i = exp(s_i):

        total = sum_i  L_i / sigma_i + w_i * log(1 + sigma_i)   +   losses of no group * fixed scale

    With w_i = 1 the stationary point is sigma_i = (L_i + sqrt(L_i^2 + 4 L_i)) / 2, so every scaled
    loss L_i / sigma_i ends below 1 and none drowns another.

    Args:
        groups: loss group -> loss -> share of the group's loss L_i.
        loss_scales: loss -> weight; used only for losses of no group, as in the originals.
        regularizer_weight: loss group -> w_i, 1 where it is not named.

    Source: HarmonyDream (arXiv 2310.00344), Eq. 5; `agents/dreamerv2.py` of the torch original.
    Differs: the original drops every loss other than reward, image, kl and discount in silence;
    here a loss without a rule is an error.
    """

    def __init__(
        self,
        *,
        groups: Groups,
        loss_scales: Mapping[str, float],
        regularizer_weight: Mapping[str, float] | None = None,
    ) -> None:
        super().__init__()
        self.groups = {group: dict(shares) for group, shares in groups.items()}
        self.loss_scales = dict(loss_scales)
        weights = dict(regularizer_weight or {})
        if unknown := sorted(set(weights) - set(groups)):
            raise ValueError(
                f"regularizer_weight names {unknown}, loss_groups are {sorted(groups)}"
            )
        self.regularizer_weight = {group: weights.get(group, 1.0) for group in self.groups}
        self.log_sigma = nn.ParameterDict({group: torch.zeros(()) for group in self.groups})

    def regularizer(self, log_sigma: Tensor) -> Tensor:
        """log(1 + sigma), which keeps the weights of tiny losses from growing without measure."""
        return F.softplus(log_sigma)

    def forward(self, losses: Losses) -> Tensor:
        """Sums losses of shape (B, T) or () to a scalar, in float32.

        Raises:
            ValueError: a loss without a rule, or a rule without a loss.
        """
        _check(losses, self.groups, self.loss_scales)
        total = torch.zeros((), device=next(iter(losses.values())).device)
        grouped: set[str] = set()
        for group, shares in self.groups.items():
            log_sigma = self.log_sigma[group]
            scaled = _group_loss(losses, shares) * torch.exp(-log_sigma)
            total = total + scaled + self.regularizer_weight[group] * self.regularizer(log_sigma)
            grouped.update(shares)
        for name, loss in losses.items():
            if name not in grouped:
                total = total + self.loss_scales[name] * loss.float().mean()
        return total

    @torch.no_grad()
    def metrics(self, losses: Losses) -> Metrics:
        """Of each group: sigma, coef = 1 / sigma and scaled loss L / sigma, () each."""
        found: Metrics = {}
        for group, shares in self.groups.items():
            log_sigma = self.log_sigma[group].detach()
            coef = torch.exp(-log_sigma)
            found[f"harmony/sigma/{group}"] = torch.exp(log_sigma)
            found[f"harmony/coef/{group}"] = coef
            found[f"harmony/scaled_loss/{group}"] = coef * _group_loss(losses, shares)
        return found


class UnrectifiedHarmonizer(Harmonizer):
    """harmony=unrectified: L / sigma + log(sigma), whose optimum is sigma = L.

    Source: HarmonyDream (arXiv 2310.00344), Eq. 4.
    """

    def regularizer(self, log_sigma: Tensor) -> Tensor:
        """log(sigma)."""
        return log_sigma
