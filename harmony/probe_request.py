"""What `harmony.probe` was asked for: its keys, their defaults, and the command line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from harmony.errors import ConfigError
from harmony.stored_run import (
    CHECKPOINTS,
    find_run,
    number,
    one_of,
    split_arguments,
    whole_number,
)

SHARED = {"random": "0.5", "policy": "", "checkpoint": "newest", "seed": "1"}
OWN = {
    "state": {"episodes": "100", "only": "*", "penalty": "0.001", "epochs": "100"},
    "reward": {"episodes": "20", "length": "50", "context": "5", "shown": "3"},
}
"""Keys of each target with what they are unless said otherwise."""
LEAST_EPISODES = {"state": 20, "reward": 1}
"""A tenth of them judges a state readout, and an interval needs two."""


def usage() -> str:
    """Every key with its default."""
    lines = ["python -m harmony.probe run=RUN [target=state|reward] [KEY=VALUE ...]"]
    for title, keys in {"both": SHARED, **OWN}.items():
        lines.append(f"  {title + ':':<8}" + " ".join(f"{k}={v}" for k, v in keys.items()))
    return "\n".join([*lines, "  other keys are those of the stored configuration"])


@dataclass(frozen=True)
class Request:
    """What was asked for.

    Attributes:
        run: directory of the run.
        target: state or reward.
        episodes: how many.
        random: share of episodes with random actions.
        policy: directory of the run that acts in the others; None: `run`.
        checkpoint: newest, best or last.
        seed: of episodes and readouts.
        only: patterns of the quantities that are regressed.
        penalty: of the ridge regression.
        epochs: of the perceptron.
        length: steps of a sequence.
        context: those of them that the model sees.
        shown: sequences that are drawn.
        overrides: on top of the stored configuration.
        settings: KEY=VALUE of what differs from its default and is not in the file's name.
    """

    run: Path
    target: str
    episodes: int
    random: float
    policy: Path | None
    checkpoint: str
    seed: int
    only: list[str]
    penalty: float
    epochs: int
    length: int
    context: int
    shown: int
    overrides: list[str]
    settings: list[str]


def parse(arguments: Sequence[str]) -> Request:
    """Reads the command line.

    Raises:
        ConfigError: no run, a key of another target, or a value that can't be meant.
    """
    named, rest = split_arguments(arguments, {"run": "", "target": "state"})
    if not named["run"]:
        raise ConfigError(f"run=... is missing; usage: {usage()}")
    target = one_of("target", named["target"], tuple(OWN))
    usual = SHARED | OWN[target]
    others = {key: value for keys in OWN.values() for key, value in keys.items()}
    given, overrides = split_arguments(rest, others | usual)
    for key in others.keys() - usual.keys():
        if given[key] != others[key]:
            raise ConfigError(f"{key} is no key of target={target}; it has {', '.join(usual)}")
    in_name = ("episodes", "checkpoint", "seed")
    settings = [f"{k}={given[k]}" for k in usual if given[k] != usual[k] and k not in in_name]
    return _request(named["run"], target, given, overrides, settings + overrides)


def _request(
    run: str, target: str, given: dict[str, str], overrides: list[str], settings: list[str]
) -> Request:
    length = whole_number("length", given["length"], least=2)
    request = Request(
        target=target,
        episodes=whole_number("episodes", given["episodes"], least=LEAST_EPISODES[target]),
        random=number("random", given["random"], least=0, most=1),
        checkpoint=one_of("checkpoint", given["checkpoint"], CHECKPOINTS),
        seed=whole_number("seed", given["seed"]),
        only=given["only"].split(","),
        penalty=number("penalty", given["penalty"], least=1e-12),
        epochs=whole_number("epochs", given["epochs"], least=1),
        length=length,
        context=whole_number("context", given["context"], least=1),
        shown=whole_number("shown", given["shown"], least=1),
        run=find_run(run),
        policy=find_run(given["policy"]) if given["policy"] else None,
        overrides=overrides,
        settings=settings,
    )
    if request.context >= length:
        raise ConfigError(f"context must be below length={length}, got {request.context}")
    return request
