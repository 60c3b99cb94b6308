"""How well a simulator's state can be read off a model's feats: two readouts and their errors.

Shapes: E episodes, T steps in one of them, F feats, M entries of all quantities together.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from harmony.analysis.stats import Interval

Readout = Callable[[np.ndarray], np.ndarray]
"""(T, F) scaled feats to (T, M) scaled states."""

FOLDS = 10
"""One episode in so many is kept for validation."""
CONSTANT = 1e-6
"""An entry whose standard deviation is below this, relative to its size, does not vary."""
BATCH = 256
"""Steps in a batch of the perceptron."""


def split_episodes(is_random: Sequence[bool], rng: np.random.Generator) -> tuple[list[int], ...]:
    """Nine in ten episodes to learn from, one in ten to judge by, of both kinds alike.

    Whole episodes: neighbouring steps are almost the same, so a readout that only remembers steps
    would look good on a validation set of steps.

    Args:
        is_random: of each episode, whether its actions were random.
        rng: decides which.

    Returns:
        Indices for training and for validation, ascending. Validation has `len // 10` episodes.
    """
    shuffled = rng.permutation(len(is_random)).tolist()
    in_kinds = sorted(shuffled, key=lambda index: is_random[index])
    validation = sorted(in_kinds[FOLDS - 1 :: FOLDS])
    return sorted(set(in_kinds) - set(validation)), validation


class Data(NamedTuple):
    """Episodes, in one order.

    Attributes:
        feats: (T, F) each.
        states: (T, M) each.
    """

    feats: Sequence[np.ndarray]
    states: Sequence[np.ndarray]

    def pick(self, indices: Sequence[int]) -> Data:
        """Some of the episodes."""
        return Data([self.feats[k] for k in indices], [self.states[k] for k in indices])

    @property
    def steps(self) -> int:
        """In all episodes."""
        return sum(len(x) for x in self.feats)


def join_quantities(
    episodes: Sequence[Mapping[str, np.ndarray]],
) -> tuple[dict[str, slice], list[np.ndarray]]:
    """Quantities side by side.

    Args:
        episodes: (T, n) by name each, with the same names and n everywhere.

    Returns:
        The columns of each quantity, and a matrix (T, M) for each episode.
    """
    columns: dict[str, slice] = {}
    end = 0
    for name, values in episodes[0].items():
        columns[name] = slice(end, end + values.shape[1])
        end += values.shape[1]
    return columns, [np.concatenate([state[name] for name in columns], 1) for state in episodes]


class Scaling(NamedTuple):
    """Numbers of the training episodes that bring feats and states to about unit size.

    Attributes:
        feat_mean: (F,).
        feat_scale: one number for all feats: a class that was almost never drawn would be blown up
            by a scale of its own.
        state_mean: (M,).
        state_scale: (M,) standard deviations, 1 where the entry does not vary.
        varies: (M,) bool.
    """

    feat_mean: np.ndarray
    feat_scale: float
    state_mean: np.ndarray
    state_scale: np.ndarray
    varies: np.ndarray

    def apply(self, data: Data) -> Data:
        """Scaled data: feats float32, states float64."""
        return Data(
            [((x - self.feat_mean) / self.feat_scale).astype(np.float32) for x in data.feats],
            [(y - self.state_mean) / self.state_scale for y in data.states],
        )


def fit_scaling(train: Data) -> Scaling:
    """Scaling of the training episodes."""
    feat_mean, feat_variance = _moments(train.feats)
    state_mean, state_variance = _moments(train.states)
    deviation = np.sqrt(state_variance)
    varies = deviation > CONSTANT * np.maximum(1.0, np.abs(state_mean))
    scale = float(np.sqrt(feat_variance.mean())) or 1.0
    return Scaling(feat_mean, scale, state_mean, np.where(varies, deviation, 1.0), varies)


def _moments(episodes: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance (n,) over all steps, float64; an episode at a time, to save memory."""
    steps = sum(len(x) for x in episodes)
    mean = np.sum([x.sum(0, dtype=np.float64) for x in episodes], 0) / steps
    variance = np.sum([np.square(x - mean).sum(0) for x in episodes], 0) / steps
    return mean, variance


def fit_ridge(train: Data, penalty: float) -> Readout:
    """Linear regression with a penalty on the weights, in closed form, float64.

    Minimises the mean squared error plus `penalty` times the squared weights. Both sides are
    centred, so there is no intercept.

    Args:
        train: scaled.
        penalty: above 0. Directions of the feats whose variance is below it count little.

    Source: Hoerl and Kennard, Ridge Regression (1970), Eq. 2.1.
    """
    size, outputs = train.feats[0].shape[1], train.states[0].shape[1]
    gram, cross = penalty * np.eye(size), np.zeros((size, outputs))
    for x, y in zip(*train, strict=True):
        wide = x.astype(np.float64)
        gram += wide.T @ wide / train.steps
        cross += wide.T @ y / train.steps
    weight = np.linalg.solve(gram, cross)
    return lambda x: x @ weight


def fit_mlp(
    train: Data,
    *,
    epochs: int,
    seed: int,
    units: int = 256,
    lr: float = 1e-3,
    device: torch.device | str = "cpu",
) -> Readout:
    """A perceptron with two hidden layers, trained by Adam on the squared error.

    The number of epochs is fixed and the learning rate falls to zero: stopping where the validation
    error is lowest would choose the readout by the very number that is reported.

    Args:
        train: scaled.
        epochs: passes over all steps.
        seed: of initial weights and batches.
        units: of each hidden layer.
        lr: at the beginning.
        device: where it is trained.
    """
    x = torch.from_numpy(np.concatenate(train.feats)).to(device, torch.float32)
    y = torch.from_numpy(np.concatenate(train.states)).to(device, torch.float32)
    generator = torch.Generator().manual_seed(seed)
    net = _make_mlp(x.shape[1], units, y.shape[1], seed).to(device)
    optimizer = torch.optim.Adam(net.parameters(), lr)
    updates = epochs * -(-len(x) // BATCH)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda done: 1 - done / updates)
    for _ in range(epochs):
        order = torch.randperm(len(x), generator=generator).to(device)
        for begin in range(0, len(x), BATCH):
            chosen = order[begin : begin + BATCH]
            optimizer.zero_grad()
            F.mse_loss(net(x[chosen]), y[chosen]).backward()  # type: ignore[no-untyped-call] # torch
            optimizer.step()
            schedule.step()

    @torch.no_grad()
    def read(feats: np.ndarray) -> np.ndarray:
        found: np.ndarray = net(torch.from_numpy(feats).to(device, torch.float32)).cpu().numpy()
        return found

    return read


def _make_mlp(inputs: int, units: int, outputs: int, seed: int) -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Linear(inputs, units),
            nn.SiLU(),
            nn.Linear(units, units),
            nn.SiLU(),
            nn.Linear(units, outputs),
        )


class Errors(NamedTuple):
    """Squared errors of validation episodes.

    Attributes:
        squared: (E, M), summed over the steps, in scaled units.
        steps: (E,).
    """

    squared: np.ndarray
    steps: np.ndarray


def sum_errors(readout: Readout, validation: Data) -> Errors:
    """Squared errors of a readout.

    Args:
        readout: fitted to training data.
        validation: scaled as that was.
    """
    squared = [np.square(readout(x) - y).sum(0) for x, y in zip(*validation, strict=True)]
    return Errors(np.stack(squared), np.array([len(y) for y in validation.states]))


class Score(NamedTuple):
    """How well one quantity is read off.

    Attributes:
        rmse: root of the mean squared error over steps and entries, in units.
        normalized_error: 1 - R2: mean squared error over variance, mean over the entries that
            vary. 0 is perfect, 1 is no better than to say the mean.
    """

    rmse: Interval
    normalized_error: Interval


class Scores(NamedTuple):
    """How well all are read off.

    Attributes:
        quantities: by name.
        mean: of their normalised errors.
    """

    quantities: dict[str, Score]
    mean: Interval


def score(
    errors: Errors,
    scaling: Scaling,
    columns: Mapping[str, slice],
    samples: int = 10_000,
    seed: int = 0,
) -> Scores:
    """Errors with 95 % percentile-bootstrap intervals over validation episodes.

    The variance is that of the training episodes, of which there are nine times as many: among the
    few of validation a goal or an object may hardly vary, and the ratio would be noise.

    Args:
        errors: of the validation episodes.
        scaling: of the training episodes.
        columns: entries of each quantity, of which at least one varies.
        samples: resamples of the episodes.
        seed: of the resampling.
    """
    count = len(errors.steps)
    resampled = np.random.default_rng(seed).multinomial(count, [1 / count] * count, samples)
    picks = np.concatenate(
        [np.ones((1, count), resampled.dtype), resampled]
    )  # the data comes first
    relative = picks @ errors.squared / (picks @ errors.steps)[:, None]
    squared = relative * np.square(scaling.state_scale)
    rmse = {name: np.sqrt(squared[:, part].mean(1)) for name, part in columns.items()}
    ratio = {
        name: relative[:, part][:, scaling.varies[part]].mean(1) for name, part in columns.items()
    }
    scores = {name: Score(_interval(rmse[name]), _interval(ratio[name])) for name in columns}
    return Scores(scores, _interval(np.mean(list(ratio.values()), 0)))


def _interval(values: np.ndarray) -> Interval:
    """The first value, and the interval that the others give."""
    low, high = np.percentile(values[1:], [2.5, 97.5])
    return Interval(float(values[0]), float(low), float(high))
