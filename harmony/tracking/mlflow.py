"""MLflow as a tracker: one logical run is one MLflow run, however often it was killed.

This module and `store` alone import mlflow, and they do so in the background thread: the import
takes seconds, and training must not wait for it.
"""

import logging
import re
import socket
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harmony.filelock import locked
from harmony.tracking.base import RunInfo, Status
from harmony.tracking.ledger import Destination, Ledger, Progress
from harmony.tracking.outbox import Outbox
from harmony.tracking.provenance import git_commit, job_id
from harmony.tracking.shipper import Point, Shipper
from harmony.tracking.store import (
    PARENT_TAG,
    SWEEP_SIZE_TAG,
    SWEEP_TAG,
    close_parent,
    connect,
    experiment_id,
    find_run,
    get_run,
    origin_tags,
    parent_run,
    store_lock,
    unix_ms,
)
from harmony.tracking.uri import absolute_location, checked_uri, sqlite_file, where

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

DEFAULT_KEYS = (
    "loss/*",
    "harmony/sigma/*",
    "harmony/coef/*",
    "harmony/scaled_loss/*",
    "model/*",
    "actor/*",
    "critic/*",
    "rollout/*",
    "grad_norm/*",
    "episode/*",
    "eval/*",
    "time/frames_per_s",
    "time/updates_per_s",
    "nonfinite/*",
)
"""Metric keys that are sent: about 40 at most, since the UI draws a chart for each."""

RUN_KEY_TAG = "harmony.run_key"

_BRIEF = {"SCHEDULED": 5.0, "KILLED": 10.0}
"""Most seconds that a run that has to go waits for the store: whoever stops it kills it soon."""

_CHUNK = 100  # MLflow takes at most 100 params or tags at once

log = logging.getLogger(__name__)


class MLflowTracker:
    """Sends metrics, parameters, tags and files to MLflow in the background.

    Args:
        tracking_uri: `sqlite:////absolute/path.db` or `http(s)://host:port`.
        artifact_location: Directory or URI for files. None leaves it to the server, so it is
            needed with sqlite only.
        flush_seconds: Pause between two batches.
        finish_seconds: How long the end of a run waits for what has not been sent yet; a run that
            is stopped from outside waits a few seconds at most.
        keys: Patterns (`*` is anything) of the metric keys to send.

    Raises:
        ConfigError: `tracking_uri` is missing or of a kind that MLflow does not take.
    """

    def __init__(
        self,
        *,
        tracking_uri: str,
        artifact_location: str | None = None,
        flush_seconds: float = 15.0,
        finish_seconds: float = 60.0,
        keys: Sequence[str] = DEFAULT_KEYS,
    ) -> None:
        self.destination = Destination(
            tracking_uri=checked_uri(tracking_uri),
            artifact_location=absolute_location(artifact_location),
            keys=list(keys),
        )
        self.flush_seconds = flush_seconds
        self.finish_seconds = finish_seconds
        self._outbox: Outbox | None = None
        self._shipper: Shipper | None = None

    def start(self, info: RunInfo) -> None:
        """Begins or continues the run; the store is contacted in the background."""
        ledger = Ledger(info, self.destination, Progress(started=unix_ms()))
        self._outbox = Outbox(ledger)
        self._outbox.own(new_attempt=True)  # if another process sends right now, the thread waits
        self._shipper = Shipper(MLflowSink(self.destination), self._outbox, self.flush_seconds)
        self._shipper.start()

    def commit(self, offset: int) -> None:
        """Lets rows before `offset` be sent."""
        if self._outbox is not None:
            self._outbox.commit(offset)

    def artifact(self, path: Path, folder: str) -> None:
        """Puts a file on the list of what is sent."""
        if self._outbox is not None:
            self._outbox.add(path, folder)

    def finish(self, status: Status) -> None:
        """Ends the run; says in one line how to send what could not be sent in time."""
        if self._outbox is None or self._shipper is None:
            return
        self._outbox.end(status, unix_ms())
        self._shipper.finish(min(self.finish_seconds, _BRIEF.get(status, self.finish_seconds)))
        if self._outbox.complete():
            return
        uri = self.destination.tracking_uri
        if status == "SCHEDULED":
            log.warning("not everything has reached %s; the run sends it when it goes on", uri)
            return
        log.warning(
            "not everything has reached %s; send the rest with: python -m harmony.sync %s",
            uri,
            self._outbox.info.run_dir,
        )


class MLflowSink:
    """The calls to MLflow for one run; all of them may be repeated without harm.

    Args:
        destination: The store.
    """

    def __init__(self, destination: Destination) -> None:
        self._destination = destination
        self._client: MlflowClient | None = None
        self._run_id = ""

    def open(self, outbox: Outbox) -> None:
        """Connects; finds the run or makes it; writes params, tags and that it runs."""
        if self._client is None:
            self._client = connect(self._destination.tracking_uri)
        client, info = self._client, outbox.info
        with self._lock(info):
            experiment = experiment_id(client, info.experiment, self._destination)
            parent = parent_run(client, experiment, info.sweep) if info.sweep else None
            run = self._stored_run(client, experiment, outbox)
        self._run_id = run.info.run_id
        outbox.found(self._run_id)
        self._describe(client, run, outbox, parent)
        if outbox.progress.status == "RUNNING":
            client.update_run(self._run_id, status="RUNNING")
            if parent is not None:
                client.update_run(parent, status="RUNNING")
        log.info("%s", where(self._destination.tracking_uri, experiment, self._run_id))

    def send(self, points: Sequence[Point]) -> None:
        """Stores points; those that are there already are stored once."""
        from mlflow.entities import Metric

        metrics = [Metric(_name(p.key), p.value, p.time, p.step) for p in points]
        self._connected().log_batch(self._run_id, metrics=metrics)

    def upload(self, path: str, folder: str) -> None:
        """Stores a file."""
        self._connected().log_artifact(self._run_id, path, folder or None)

    def close(self, outbox: Outbox) -> None:
        """Ends the run, and its sweep's parent run when no other child runs."""
        client, progress = self._connected(), outbox.progress
        if progress.status == "SCHEDULED":
            client.update_run(self._run_id, status="SCHEDULED")
            return
        client.set_terminated(self._run_id, progress.status, progress.ended)
        run = client.get_run(self._run_id)
        if parent := run.data.tags.get(PARENT_TAG):
            close_parent(client, run.info.experiment_id, parent, progress.ended)

    def _connected(self) -> "MlflowClient":
        if self._client is None:
            raise RuntimeError("open comes first")
        return self._client

    def _lock(self, info: RunInfo) -> AbstractContextManager[None]:
        """Keeps processes that start together from making the same parent run twice."""
        if sqlite_file(self._destination.tracking_uri) is not None:
            return store_lock(self._destination.tracking_uri)
        return locked(info.run_dir.parent / ".mlflow.lock") if info.sweep else nullcontext()

    def _stored_run(self, client: "MlflowClient", experiment: str, outbox: Outbox) -> "Run":
        info, progress = outbox.info, outbox.progress
        if progress.run_id is not None:
            run = get_run(client, progress.run_id)
            if run is not None:
                return run
            outbox.lost()
        run = find_run(client, experiment, RUN_KEY_TAG, info.run_key)
        if run is None:
            tags = {RUN_KEY_TAG: info.run_key, **origin_tags()}
            run = client.create_run(experiment, progress.started, tags, info.name)
        return run

    def _describe(
        self, client: "MlflowClient", run: "Run", outbox: Outbox, parent: str | None
    ) -> None:
        """Writes params that the run doesn't have (they can't be changed later) and tags."""
        from mlflow.entities import Param, RunTag

        params = {_name(key): str(value) for key, value in outbox.info.params.items()}
        new = [Param(key, params[key]) for key in params if key not in run.data.params]
        for first in range(0, len(new), _CHUNK):
            client.log_batch(run.info.run_id, params=new[first : first + _CHUNK])
        tags = {_name(key): value for key, value in _tags(outbox, parent).items()}
        old = run.data.tags
        changed = [RunTag(key, tags[key]) for key in tags if tags[key] != old.get(key)]
        for first in range(0, len(changed), _CHUNK):
            client.log_batch(run.info.run_id, tags=changed[first : first + _CHUNK])


def open_sweep(
    tracking: Mapping[str, Any], experiment: str, sweep: str, runs: int, directory: str
) -> None:
    """Makes the parent run of a sweep before its runs begin, or says that it has grown.

    Args:
        tracking: the node of the configuration: tracking_uri and artifact_location.
        experiment: name of the experiment.
        sweep: name of the sweep.
        runs: how many belong to it; it ends when all of them have.
        directory: of the sweep.

    Raises:
        Exception: whatever mlflow raises when the store has trouble.
    """
    place = Destination(
        checked_uri(str(tracking["tracking_uri"])),
        absolute_location(tracking.get("artifact_location")),
        [],
    )
    client = connect(place.tracking_uri)
    with store_lock(place.tracking_uri):
        tags = {SWEEP_SIZE_TAG: str(runs), "harmony.sweep_dir": directory}
        experiment = experiment_id(client, experiment, place)
        parent = parent_run(client, experiment, sweep, tags)
        client.update_run(parent, status="RUNNING")


def _tags(outbox: Outbox, parent: str | None) -> dict[str, str]:
    info, attempt = outbox.info, outbox.progress.attempt
    tags = {**info.tags, "harmony.attempt": str(attempt), "harmony.run_dir": str(info.run_dir)}
    tags["harmony.restarts"] = str(attempt - 1)
    tags[f"harmony.attempt.{attempt}.host"] = socket.gethostname()
    if job := job_id():
        tags[f"harmony.attempt.{attempt}.job"] = job
    if commit := git_commit():
        tags[f"harmony.attempt.{attempt}.git_commit"] = commit
    if info.sweep is not None and parent is not None:
        tags |= {SWEEP_TAG: info.sweep, PARENT_TAG: parent}
    return tags


def _name(key: str) -> str:
    """A key with what MLflow doesn't take in names replaced, at most 250 characters."""
    return re.sub(r"[^\w\-. :/]", "_", key)[:250]
