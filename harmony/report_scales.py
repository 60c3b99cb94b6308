"""Scales on which the scores of a suite's tasks can be averaged."""

from __future__ import annotations

from collections.abc import Mapping

from harmony.analysis.aggregates import Scale
from harmony.envs.scores import human_normalized

MOST = 1000.0
"""The best return that a task of DeepMind Control can give."""
CONTROL = ("dmc", "dmc_remastered", "natural_background")
SUCCESS = ("metaworld", "rlbench")
ATARI = "atari100k"
AS_IT_IS = ("success", "human_normalized")
"""Metrics that are on one scale already."""


def scales(metric: str) -> Mapping[str, Scale]:
    """Scales by suite, for a metric such as eval/return; none where its scores have none.

    Args:
        metric: that is compared. The share of successes stands for a return of Meta-World and
            RLBench, whose returns have no common scale.
    """
    group, _, name = metric.partition("/")
    suites = (*CONTROL, *SUCCESS, ATARI)
    if name in AS_IT_IS:
        label = name.replace("_", " ")
        return dict.fromkeys(suites, Scale(metric, label, lambda _, value: value))
    if name != "return":
        return {}
    control = Scale(metric, f"return / {MOST:.0f}", lambda _, value: value / MOST)
    success = Scale(f"{group}/success", "success", lambda _, value: value)
    return {
        **dict.fromkeys(CONTROL, control),
        **dict.fromkeys(SUCCESS, success),
        ATARI: Scale(metric, "human-normalised", human_normalized),
    }
