"""target=state of `harmony.probe`: the simulator's state, read off the feats of a world model."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import numpy as np

from harmony.analysis.regression import (
    Data,
    Scores,
    fit_mlp,
    fit_ridge,
    fit_scaling,
    join_quantities,
    score,
    split_episodes,
    sum_errors,
)
from harmony.errors import ConfigError
from harmony.probe_request import Request
from harmony.stored_run import StoredRun
from harmony.training.probing import Watched, check_state, filtered_feats
from harmony.training.seeding import Seeds


def probe_state(
    request: Request, run: StoredRun, episodes: Iterable[Watched], stem: Path
) -> dict[str, Any]:
    """Regresses from feats to states; writes the scores as a CSV file too.

    Args:
        request: what was asked for.
        run: whose world model is probed.
        episodes: one after the other, so that their pictures need not be kept.
        stem: path of the files without ending.

    Raises:
        UserError: the environment does not tell its state, or nothing of it varies.
    """
    check_state(run.env)
    seeds = Seeds(request.seed)
    is_random: list[bool] = []
    feats: list[np.ndarray] = []
    states: list[Mapping[str, np.ndarray]] = []
    for watched in episodes:
        is_random.append(watched.is_random)
        feats.append(filtered_feats(run.agent, watched, seeds))
        states.append(select(watched.states, request.only))
    columns, matrices = join_quantities(states)
    data = Data(feats, matrices)
    train, validation = split_episodes(is_random, seeds.numpy("probe split"))
    scores = regress(request, run, columns, data.pick(train), data.pick(validation))
    write_csv(stem.with_suffix(".csv"), scores)
    varying = next(iter(scores.values())).quantities
    return {
        "random_episodes": sum(is_random),
        "validation_episodes": validation,
        "steps": data.steps,
        "feat_size": feats[0].shape[1],
        "constant": [name for name in columns if name not in varying],
        "readouts": {name: _plain(found) for name, found in scores.items()},
        "table": str(stem.with_suffix(".csv")),
    }


def select(states: Mapping[str, np.ndarray], only: Sequence[str]) -> dict[str, np.ndarray]:
    """The quantities whose names match one of the patterns.

    Raises:
        ConfigError: none does.
    """
    found = {k: x for k, x in states.items() if any(fnmatch(k, pattern) for pattern in only)}
    if not found:
        raise ConfigError(f"only={','.join(only)} matches none of {', '.join(states)}")
    return found


def regress(
    request: Request, run: StoredRun, columns: dict[str, slice], train: Data, validation: Data
) -> dict[str, Scores]:
    """Scores of both readouts, for the quantities that vary.

    Raises:
        ConfigError: none does.
    """
    scaling = fit_scaling(train)
    varying = {name: part for name, part in columns.items() if scaling.varies[part].any()}
    if not varying:
        raise ConfigError(
            f"expected a state that varies, got {', '.join(columns)}, constant in "
            f"{len(train.feats)} episodes; take more episodes or random=1"
        )
    learned, judged = scaling.apply(train), scaling.apply(validation)
    seed = Seeds(request.seed).integer("probe mlp")
    readouts = {
        "ridge": fit_ridge(learned, request.penalty),
        "mlp": fit_mlp(learned, epochs=request.epochs, seed=seed, device=run.agent.device),
    }
    return {
        name: score(sum_errors(readout, judged), scaling, varying)
        for name, readout in readouts.items()
    }


def _plain(scores: Scores) -> dict[str, Any]:
    return {
        "mean_normalized_error": scores.mean._asdict(),
        "quantities": {
            name: {key: interval._asdict() for key, interval in found._asdict().items()}
            for name, found in scores.quantities.items()
        },
    }


def write_csv(path: Path, scores: Mapping[str, Scores]) -> None:
    """A row for each readout and quantity, and one for the mean."""
    ends = ("", "_low", "_high")
    names = [f"{name}{end}" for name in ("rmse", "normalized_error") for end in ends]
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["readout", "quantity", *names])
        for readout, found in scores.items():
            for name, each in found.quantities.items():
                writer.writerow([readout, name, *each.rmse, *each.normalized_error])
            writer.writerow([readout, "mean", "", "", "", *found.mean])


def state_lines(answer: Mapping[str, Any]) -> list[str]:
    """What a person reads."""
    count, kept = answer["episodes"], len(answer["validation_episodes"])
    shown = [
        f"{count} episodes, {answer['random_episodes']} of them random: {count - kept} to learn "
        f"from, {kept} to judge by; {answer['checkpoint']} weights",
    ]
    for readout, found in answer["readouts"].items():
        quantities = found["quantities"]
        width = max(len(name) for name in [*quantities, readout])
        shown += ["", f"{readout:<{width}}  {'RMSE':>10}  {'1 - R2':>8}  95 % interval"]
        for name, each in quantities.items():
            rmse = f"{each['rmse']['estimate']:>10.4g}"
            shown.append(f"{name:<{width}}  {rmse}  {_show(each['normalized_error'])}")
        shown.append(f"{'mean':<{width}}  {'':>10}  {_show(found['mean_normalized_error'])}")
    constant = answer["constant"]
    left_out = [f"constant, left out: {', '.join(constant)}"] if constant else []
    return [*shown, "", *left_out, f"table: {answer['table']}", f"file: {answer['file']}"]


def _show(interval: Mapping[str, float]) -> str:
    return f"{interval['estimate']:>8.3f}  {interval['low']:.3f} to {interval['high']:.3f}"
