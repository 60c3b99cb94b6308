"""Rewards and frames that a world model predicts from actions alone, beside the truth.

Shapes: B sequences, T steps in one of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from harmony.analysis.stats import Interval, bootstrap_mean
from harmony.errors import ConfigError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

CELLS = 10
"""Frames in a strip, at most."""
WIDTH, PLOT, MARGIN = 10.0, 1.5, 0.55
"""Width of the picture, height of a plot, and of title and ticks of a sequence, inches."""


class Prediction(NamedTuple):
    """One sequence.

    Attributes:
        title: what it is.
        true_reward: (T,).
        predicted_reward: (T,).
        true_frames: (T, Hi, Wi, C) uint8, None where there are none.
        predicted_frames: likewise.
    """

    title: str
    true_reward: np.ndarray
    predicted_reward: np.ndarray
    true_frames: np.ndarray | None = None
    predicted_frames: np.ndarray | None = None

    def strips(self) -> dict[str, np.ndarray]:
        """Those frames that there are, by what they show."""
        found = {"true": self.true_frames, "predicted": self.predicted_frames}
        return {name: frames for name, frames in found.items() if frames is not None}


class RewardErrors(NamedTuple):
    """Errors of predicted rewards.

    Attributes:
        rmse_by_step: (T,), over the sequences.
        context: mean squared error of the steps that were seen, interval over the sequences.
        imagined: likewise of those that were not.
        variance: of the true rewards, for comparison.
    """

    rmse_by_step: list[float]
    context: Interval
    imagined: Interval
    variance: float


def reward_errors(true: np.ndarray, predicted: np.ndarray, context: int) -> RewardErrors:
    """Compares rewards step by step.

    Args:
        true: (B, T).
        predicted: (B, T).
        context: steps that the model has seen, in [1, T).
    """
    squared = np.square(predicted.astype(np.float64) - true)
    return RewardErrors(
        np.sqrt(squared.mean(0)).tolist(),
        bootstrap_mean(squared[:, :context].mean(1)),
        bootstrap_mean(squared[:, context:].mean(1)),
        float(true.astype(np.float64).var()),
    )


def check_matplotlib() -> None:
    """Fails before anything slow starts, if nothing can be drawn.

    Raises:
        ConfigError: matplotlib is missing.
    """
    try:
        import matplotlib  # noqa: F401
    except ModuleNotFoundError as error:
        raise ConfigError(
            "target=reward draws a picture and needs matplotlib, which is missing; "
            "pip install 'harmony-dream[plot]'"
        ) from error


def draw(path: Path, predictions: Sequence[Prediction], context: int) -> None:
    """Writes a picture: for each sequence true frames, predicted frames, and rewards below them.

    Each frame stands above the steps whose middle one it shows.

    Args:
        path: of a PNG.
        predictions: at least one; all have the same kinds of frames.
        context: steps that were seen; a line separates them from the imagined ones.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    rows = [WIDTH / CELLS] * len(predictions[0].strips()) + [PLOT]
    figure, axes = plt.subplots(
        len(rows) * len(predictions),
        figsize=(WIDTH, (sum(rows) + MARGIN) * len(predictions)),
        height_ratios=rows * len(predictions),
        layout="constrained",
        squeeze=False,
    )
    for index, prediction in enumerate(predictions):
        block = axes[index * len(rows) : (index + 1) * len(rows), 0]
        for (name, frames), at in zip(prediction.strips().items(), block, strict=False):
            _draw_strip(at, name, frames)
        _draw_rewards(block[-1], prediction, context)
        block[0].set_title(prediction.title, fontsize=9, loc="left")
    axes[-1, 0].set_xlabel("agent step of the sequence", fontsize=8)
    figure.legend(
        *axes[-1, 0].get_legend_handles_labels(), loc="outside upper right", ncols=3, fontsize=8
    )
    figure.savefig(path, dpi=110)
    plt.close(figure)


def middles(length: int, cells: int = CELLS) -> list[int]:
    """Steps that a strip shows: the middle ones of `cells` parts of equal length, or all."""
    count = min(cells, length)
    return [int((k + 0.5) * length / count) for k in range(count)]


def _draw_strip(axes: Axes, name: str, frames: np.ndarray) -> None:
    shown = [frames[step] for step in middles(len(frames))]
    row = np.concatenate(shown, 1)
    if row.shape[2] == 1:
        row = row.repeat(3, 2)
    edges = np.linspace(-0.5, len(frames) - 0.5, len(shown) + 1)
    axes.imshow(row, extent=(edges[0], edges[-1], 0, 1), aspect="auto")
    axes.vlines(edges[1:-1], 0, 1, color="white", lw=2)
    axes.set_ylabel(name, fontsize=8)
    axes.set(xticks=[], yticks=[])


def _draw_rewards(axes: Axes, prediction: Prediction, context: int) -> None:
    steps = range(len(prediction.true_reward))
    axes.plot(steps, prediction.true_reward, "k-", lw=1.2, label="true reward")
    axes.plot(steps, prediction.predicted_reward, "C3--", lw=1.2, label="predicted reward")
    axes.axvspan(-0.5, context - 0.5, color="0.9", label="seen by the model")
    axes.set_xlim(-0.5, len(steps) - 0.5)
    axes.locator_params(axis="x", integer=True)
    axes.tick_params(labelsize=7)
    axes.grid(alpha=0.3)
