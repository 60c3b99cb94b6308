"""HarmonyDream: learnable scales that keep the tasks of a world model in balance.

`total = harmonizer(losses)` is the only place where losses become one scalar. All classes here and
in `harmony.rivals` have that one signature, so a configuration chooses among them by name.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from harmony.types import Losses, Metrics

Groups = Mapping[str, Mapping[str, float]]
"""Loss group -> loss -> share of the group's loss."""


def fit_groups(
    groups: Groups,
    loss_scales: Mapping[str, float],
    optional: Collection[str],
    losses: Collection[str],
) -> tuple[dict[str, dict[str, float]], dict[str, float]]:
    """The rules without those of optional losses that this model does not give.

    Args:
        groups: loss group -> loss -> share.
        loss_scales: loss -> weight.
        optional: losses that exist only with some environments.
        losses: names of the losses that the model gives.

    Returns:
        groups and loss_scales, in their order.

    Raises:
        ValueError: any other difference between losses and rules, or a group without a loss.
    """
    absent = set(optional) - set(losses)
    scales = {name: scale for name, scale in loss_scales.items() if name not in absent}
    fitted = {
        group: {name: share for name, share in shares.items() if name not in absent}
        for group, shares in groups.items()
    }
    _check(losses, fitted, scales)
    for group, shares in fitted.items():
        if not shares:
            raise ValueError(
                f"loss group {group} has no loss: it names {sorted(groups[group])}, the model "
                f"gives {sorted(losses)}; mend algorithm.loss_groups or the environment's "
                "observations"
            )
    return fitted, scales


def _check(losses: Collection[str], groups: Groups, loss_scales: Mapping[str, float]) -> None:
    """Every loss has a rule, every rule has a loss; a name dropped in silence is a bug."""
    grouped = {name for shares in groups.values() for name in shares}
    if set(losses) != set(loss_scales) or not grouped <= set(losses):
        raise ValueError(
            f"losses and their rules differ: the model gives {sorted(losses)}, loss_scales name "
            f"{sorted(loss_scales)}, loss_groups name {sorted(grouped)}; mend "
            "algorithm.loss_scales and algorithm.loss_groups"
        )


def refuse_unknown(argument: str, names: Collection[str], known: Collection[str]) -> None:
    """Refuses names that an argument may not hold.

    Raises:
        ValueError: one of the names is not known.
    """
    if unknown := sorted(set(names) - set(known)):
        raise ValueError(f"{argument} may name {sorted(known)}, got {unknown}")


def group_loss(losses: Losses, weights: Mapping[str, float | Tensor]) -> Tensor:
    """() float32, the weighted sum of the batch means of the losses that weights name."""
    return torch.stack(
        [weight * losses[name].float().mean() for name, weight in weights.items()]
    ).sum()


class LossSum(nn.Module, ABC):
    """What each choice of `harmony` is: losses by name in, one scalar out.

    Args:
        groups: loss group -> loss -> share of the group's loss.
        loss_scales: loss -> fixed weight.

    Raises:
        ValueError: a loss stands in two groups.
    """

    def __init__(self, *, groups: Groups, loss_scales: Mapping[str, float]) -> None:
        super().__init__()
        self.groups = {group: dict(shares) for group, shares in groups.items()}
        self.loss_scales = dict(loss_scales)
        named = [name for shares in self.groups.values() for name in shares]
        if twice := sorted({name for name in named if named.count(name) > 1}):
            raise ValueError(f"loss_groups name {twice} twice, a loss belongs to one group")

    @abstractmethod
    def forward(self, losses: Losses) -> Tensor:
        """Sums losses of shape (B, T) or () to a scalar, in float32.

        Raises:
            ValueError: a loss without a rule, or a rule without a loss.
        """

    @abstractmethod
    def metrics(self, losses: Losses) -> Metrics:
        """Factor (coef) and scaled loss of each group in the last total, () each."""

    def param_groups(self) -> list[tuple[list[nn.Parameter], float]]:
        """Parameters that learn at a rate of their own, with it; all others share the model's."""
        return []

    def check(self, losses: Losses) -> None:
        """Compares the losses with their rules.

        Raises:
            ValueError: a loss without a rule, or a rule without a loss.
        """
        _check(losses, self.groups, self.loss_scales)

    @staticmethod
    def weighted_sum(losses: Losses, weights: Mapping[str, float | Tensor]) -> Tensor:
        """() float32, as `group_loss`, term by term in the order of weights, which may be empty."""
        total = torch.zeros((), device=next(iter(losses.values())).device)
        for name, weight in weights.items():
            total = total + weight * losses[name].float().mean()
        return total

    def group_metrics(
        self, losses: Losses, weights: Mapping[str, float | Tensor], groups: Collection[str]
    ) -> Metrics:
        """Metrics of groups whose losses have these weights.

        Where a group has several losses of different weight, coef is the factor that its shared
        loss has on the whole.
        """
        found: Metrics = {}
        for group in groups:
            shares = self.groups[group]
            plain = group_loss(losses, shares)
            scaled = group_loss(losses, {name: weights[name] for name in shares})
            found[f"harmony/coef/{group}"] = scaled / plain.clamp_min(1e-12)
            found[f"harmony/scaled_loss/{group}"] = scaled
        return found


class FixedScales(LossSum):
    """harmony=off: the plain weighted sum of the losses.

    Args:
        groups: loss group -> loss -> share; only reported here.
        loss_scales: loss -> weight.
    """

    def forward(self, losses: Losses) -> Tensor:
        """Sums losses of shape (B, T) or () to a scalar.

        Raises:
            ValueError: a loss without a scale, or a scale without a loss.
        """
        self.check(losses)
        return self.weighted_sum(losses, self.loss_scales)

    @torch.no_grad()
    def metrics(self, losses: Losses) -> Metrics:
        """Factor (coef) and scaled loss of each group, () each."""
        return self.group_metrics(losses, self.loss_scales, self.groups)


class FixedWeights(FixedScales):
    """harmony=fixed, reward_only: the fixed scales times one weight a group.

    Args:
        groups: loss group -> loss -> share.
        loss_scales: loss -> weight.
        observation: factor on the observation losses (w_o).
        reward: factor on the reward loss (w_r).
        dynamics: factor on the dynamics losses (w_d).

    Source: HarmonyDream (arXiv 2310.00344), section 2: its sweep over w_r.
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


class Harmonizer(LossSum):
    """harmony=on, no_dynamics, own_lr: the rectified harmonious loss.

    For each loss group i with the learnable scalar s_i, sigma_i = exp(s_i):

        total = sum_i  L_i / sigma_i + w_i * log(1 + sigma_i)   +   other losses * fixed scale

    With w_i = 1 the stationary point is sigma_i = (L_i + sqrt(L_i^2 + 4 L_i)) / 2, so every scaled
    loss L_i / sigma_i ends below 1 and none drowns another.

    Args:
        groups: loss group -> loss -> share of the group's loss L_i.
        loss_scales: loss -> weight; used only for losses of no harmonized group, as in the
            originals.
        regularizer_weight: loss group -> w_i, 1 where it is not named.
        harmonized: loss groups that get a scalar, all where it is None. The losses of the others
            keep their fixed scales.
        lr: loss group -> learning rate of its scalar, the model's where it is not named.

    Raises:
        ValueError: a name that is no loss group, or a rate that is not above 0.

    Source: HarmonyDream (arXiv 2310.00344), Eq. 5; `agents/dreamerv2.py` of the torch original.
    Differs: the original drops every loss other than reward, image, kl and discount in silence;
    here a loss without a rule is an error. It has neither harmonized nor lr.
    """

    def __init__(
        self,
        *,
        groups: Groups,
        loss_scales: Mapping[str, float],
        regularizer_weight: Mapping[str, float] | None = None,
        harmonized: Sequence[str] | None = None,
        lr: Mapping[str, float] | None = None,
    ) -> None:
        super().__init__(groups=groups, loss_scales=loss_scales)
        weights = dict(regularizer_weight or {})
        refuse_unknown("harmony.regularizer_weight", weights, self.groups)
        chosen = list(self.groups) if harmonized is None else list(harmonized)
        refuse_unknown("harmony.harmonized", chosen, self.groups)
        self.regularizer_weight = {group: weights.get(group, 1.0) for group in self.groups}
        self.harmonized = [group for group in self.groups if group in chosen]
        self.log_sigma = nn.ParameterDict({group: torch.zeros(()) for group in self.harmonized})
        self.lr = dict(lr or {})
        refuse_unknown("harmony.lr", self.lr, self.harmonized)
        if slow := {group: rate for group, rate in self.lr.items() if not rate > 0}:
            raise ValueError(f"harmony.lr must be above 0, got {slow}")

    def param_groups(self) -> list[tuple[list[nn.Parameter], float]]:
        """The scalars that `lr` names, each with its rate."""
        return [([self.log_sigma[group]], rate) for group, rate in self.lr.items()]

    def regularizer(self, log_sigma: Tensor) -> Tensor:
        """log(1 + sigma), which keeps the weights of tiny losses from growing without measure."""
        return F.softplus(log_sigma)

    def forward(self, losses: Losses) -> Tensor:
        """Sums losses of shape (B, T) or () to a scalar, in float32.

        Raises:
            ValueError: a loss without a rule, or a rule without a loss.
        """
        self.check(losses)
        total = torch.zeros((), device=next(iter(losses.values())).device)
        scaled_names: set[str] = set()
        for group in self.harmonized:
            log_sigma = self.log_sigma[group]
            scaled = group_loss(losses, self.groups[group]) * torch.exp(-log_sigma)
            total = total + scaled + self.regularizer_weight[group] * self.regularizer(log_sigma)
            scaled_names.update(self.groups[group])
        for name, loss in losses.items():
            if name not in scaled_names:
                total = total + self.loss_scales[name] * loss.float().mean()
        return total

    @torch.no_grad()
    def metrics(self, losses: Losses) -> Metrics:
        """Of each group: coef and scaled loss, and sigma = 1 / coef where it has one; () each."""
        found: Metrics = {}
        for group in self.harmonized:
            log_sigma = self.log_sigma[group].detach()
            coef = torch.exp(-log_sigma)
            found[f"harmony/sigma/{group}"] = torch.exp(log_sigma)
            found[f"harmony/coef/{group}"] = coef
            found[f"harmony/scaled_loss/{group}"] = coef * group_loss(losses, self.groups[group])
        others = [group for group in self.groups if group not in self.harmonized]
        return found | self.group_metrics(losses, self.loss_scales, others)


class UnrectifiedHarmonizer(Harmonizer):
    """harmony=unrectified: L / sigma + log(sigma), whose optimum is sigma = L.

    Source: HarmonyDream (arXiv 2310.00344), Eq. 4.
    """

    def regularizer(self, log_sigma: Tensor) -> Tensor:
        """log(sigma)."""
        return log_sigma
