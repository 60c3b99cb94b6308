"""Pictures of runs: python -m harmony.analysis.plots OUT.png RUN_DIR [RUN_DIR ...].

Draws the evaluation and training returns over environment steps, the random policy's mean, and the
harmonizer's sigmas; writes the points beside the picture as OUT.csv.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from harmony.analysis.curves import read_curve, run_facts, write_csv

RETURNS = ("episode/return", "eval/return", "eval/random_return")
GROUPS = ("observation", "reward", "dynamics")


def plot_runs(path: Path, run_dirs: Sequence[Path]) -> None:
    """Writes the picture.

    Args:
        path: of a PNG.
        run_dirs: of the runs, one colour each.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4), layout="constrained")
    for index, run_dir in enumerate(run_dirs):
        color, name = f"C{index}", run_facts(run_dir)["name"]
        left.plot(*read_curve(run_dir, "episode/return"), color=color, alpha=0.35, lw=1)
        left.plot(*read_curve(run_dir, "eval/return"), "o-", color=color, label=name)
        for random in read_curve(run_dir, "eval/random_return").value:
            left.axhline(random, color=color, ls=":", label="random policy")
        for group, style in zip(GROUPS, ("-", "--", ":"), strict=True):
            curve = read_curve(run_dir, f"harmony/sigma/{group}")
            right.plot(*curve, style, color=color, label=f"{group}, {name}")
    left.set(
        xlabel="environment steps", ylabel="return", title="evaluation (dots), training (thin)"
    )
    right.set(xlabel="environment steps", ylabel="sigma", yscale="log", title="harmonizer")
    for axes in (left, right):
        axes.grid(alpha=0.3)
        if axes.get_legend_handles_labels()[0]:
            axes.legend(fontsize=8)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def main(arguments: Sequence[str]) -> int:
    """Entry point."""
    if len(arguments) < 2:
        sys.stderr.write(f"{__doc__}\n")
        return 2
    path, run_dirs = Path(arguments[0]), [Path(argument) for argument in arguments[1:]]
    plot_runs(path, run_dirs)
    keys = [*RETURNS, *(f"harmony/sigma/{group}" for group in GROUPS)]
    write_csv(path.with_suffix(".csv"), run_dirs, keys)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
