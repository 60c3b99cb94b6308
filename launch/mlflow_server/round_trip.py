"""A run that is written, read back and deleted: proof that a tracking server works."""

import contextlib
import os
import socket
import statistics
import time
from dataclasses import dataclass
from typing import Any

from harmony.errors import ConfigError
from launch.mlflow_server.rest import AnswerError, Rest
from launch.mlflow_server.trouble import cure, probe

EXPERIMENT = "harmony.check"
"""Where the runs of checks go; they are deleted at once, `retention` removes them for good."""

_BATCHES = 5
_METRICS = 10
_PROXIED = "mlflow-artifacts:"


@dataclass(frozen=True)
class Report:
    """What a check found.

    Attributes:
        uri: Address of the server.
        seconds: Duration of each log_batch call, of ten metrics each.
        artifacts: Where files of runs go; `mlflow-artifacts:` means through the server.
    """

    uri: str
    seconds: tuple[float, ...]
    artifacts: str

    def line(self) -> str:
        """One line for a person."""
        p50 = 1000 * statistics.median(self.seconds)
        if self.artifacts.startswith(_PROXIED):
            files = "files go through the server"
        else:
            files = f"files go directly to {self.artifacts}, which every node must reach"
        return f"{self.uri} works: log_batch takes {p50:.0f} ms (p50 of {_BATCHES}), {files}"


def check(uri: str, timeout: float) -> Report:
    """Writes a run with metrics and a file, reads both, deletes them.

    Args:
        uri: Address of the server, as jobs will use it.
        timeout: Seconds that each call may take.

    Raises:
        ConfigError: Something of this does not work; the message says what to do.
    """
    probe(uri, timeout)
    if not uri.startswith("http"):
        raise ConfigError(f"expected http(s)://HOST:PORT, got {uri}: there is no server to check")
    try:
        return _round_trip(Rest(uri, timeout))
    except (AnswerError, OSError, ValueError, KeyError) as error:
        raise ConfigError(cure(error, uri)) from error


def _round_trip(rest: Rest) -> Report:
    name = f"{socket.gethostname()}-{os.getpid()}"
    created = rest.post(
        "runs/create",
        experiment_id=_experiment(rest),
        start_time=round(time.time() * 1000),
        run_name=name,
    )
    info = created["run"]["info"]
    try:
        seconds = tuple(_write(rest, info["run_id"], step) for step in range(_BATCHES))
        _read(rest, info["run_id"])
        if info["artifact_uri"].startswith(_PROXIED):
            _file(rest, info["artifact_uri"], name)
        rest.post("runs/update", run_id=info["run_id"], status="FINISHED")
    finally:
        with contextlib.suppress(AnswerError, OSError, ValueError):  # the first trouble counts
            rest.post("runs/delete", run_id=info["run_id"])
    return Report(rest.uri, seconds, info["artifact_uri"])


def _experiment(rest: Rest) -> str:
    found = _found_experiment(rest)
    if found is None:
        try:
            return str(rest.post("experiments/create", name=EXPERIMENT)["experiment_id"])
        except AnswerError:  # another check was faster, or this is the true trouble
            found = _found_experiment(rest)
            if found is None:
                raise
    if found["lifecycle_stage"] == "deleted":
        rest.post("experiments/restore", experiment_id=found["experiment_id"])
    return str(found["experiment_id"])


def _found_experiment(rest: Rest) -> dict[str, Any] | None:
    try:
        answer = rest.get("experiments/get-by-name", experiment_name=EXPERIMENT)
    except AnswerError as error:
        if "RESOURCE_DOES_NOT_EXIST" in error.answer.text:
            return None
        raise
    found: dict[str, Any] = answer["experiment"]
    return found


def _write(rest: Rest, run_id: str, step: int) -> float:
    """Writes ten metrics; returns seconds."""
    now = round(time.time() * 1000)
    metrics = [
        {"key": f"check/{index}", "value": index + step / 10, "timestamp": now, "step": step}
        for index in range(_METRICS)
    ]
    begin = time.perf_counter()
    rest.post("runs/log-batch", run_id=run_id, metrics=metrics)
    return time.perf_counter() - begin


def _read(rest: Rest, run_id: str) -> None:
    history = rest.get("metrics/get-history", run_id=run_id, metric_key="check/1")
    values = sorted(metric["value"] for metric in history.get("metrics", []))
    expected = [1 + step / 10 for step in range(_BATCHES)]
    if values != expected:
        raise ValueError(f"wrote the metrics {expected}, read {values}")


def _file(rest: Rest, location: str, name: str) -> None:
    """Puts, gets and deletes a file below a run's location on the server."""
    path = f"{location.removeprefix(_PROXIED).strip('/')}/check.txt"
    rest.artifact("PUT", path, name.encode())
    came = rest.artifact("GET", path)
    if came != name.encode():
        raise ValueError(f"wrote a file with {name!r}, read {came[:80]!r}")
    rest.artifact("DELETE", path)
