"""What `harmony.report` was asked for."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from harmony.analysis.report_cells import Question
from harmony.config.names import nearest
from harmony.errors import ConfigError

USAGE = "python -m harmony.report RUNS ... [metric=eval/return] [at=last|STEP] [out=DIR] ..."
OWN = {"metric": "eval/return", "at": "last", "out": "", "baseline": "", "split": "", "ignore": ""}


@dataclass(frozen=True)
class Request:
    """What was asked for.

    Attributes:
        runs: names of runs, sweeps and folders; none for all.
        question: metric, step and baseline.
        out: directory for the report, None for none.
        split: facts and keys that are shown apart.
        ignore: keys that make no difference.
        filters: values by key.
        command: as it was typed.
    """

    runs: list[str]
    question: Question
    out: Path | None
    split: list[str]
    ignore: list[str]
    filters: dict[str, str]
    command: str


def parse(arguments: Sequence[str]) -> Request:
    """Reads the command line.

    Raises:
        ConfigError: an option that does not exist, or a value that can't be meant.
    """
    own, runs, filters = dict(OWN), [], {}
    for argument in arguments:
        key, equals, value = argument.partition("=")
        if argument.startswith("-"):
            raise ConfigError(f"{argument}: no such option; usage: {USAGE}")
        if not equals or Path(argument).expanduser().is_dir():
            runs.append(argument)
        elif key in own:
            own[key] = value
        else:
            _check_filter(key, value)
            filters[key] = value
    return Request(
        runs=runs,
        question=_question(own),
        out=Path(own["out"]).expanduser() if own["out"] else None,
        split=[key for key in own["split"].split(",") if key],
        ignore=[key for key in own["ignore"].split(",") if key],
        filters=filters,
        command=shlex.join(["python", "-m", "harmony.report", *arguments]),
    )


def _question(own: Mapping[str, str]) -> Question:
    group = own["metric"].partition("/")[0]
    baseline = _baseline(own["baseline"])
    return Question(own["metric"], f"{group}/success", _step(own["at"]), baseline)


def _check_filter(key: str, value: str) -> None:
    if not key or not value:
        raise ConfigError(f"{key}={value}: expected KEY=VALUE; usage: {USAGE}")
    hint = nearest(key, OWN)
    if "." not in key and "did you mean" in hint:
        raise ConfigError(f"{key}={value}: no such key{hint}")


def _step(value: str) -> int | None:
    if value == "last":
        return None
    try:
        step = float(value)
    except ValueError:
        step = 0.0
    if not step.is_integer() or step < 1:
        raise ConfigError(f"at must be last or an env step, such as at=100_000, got {value!r}")
    return int(step)


def _baseline(value: str) -> dict[str, str] | None:
    if value in ("", "none"):
        return {} if value else None
    pairs = [part.partition("=") for part in value.split(",")]
    if not all(key and equals and wanted for key, equals, wanted in pairs):
        raise ConfigError(f"baseline={value}: expected KEY=VALUE, such as baseline=harmony=off")
    return {key: wanted for key, _, wanted in pairs}
