"""MLflow as a tracker: one logical run is one MLflow run, however often it was killed.

The only module that imports mlflow, and it does so in the background thread: the import takes
seconds, and training must not wait for it.
"""

import getpass
import logging
import os
import re
import socket
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from harmony.filelock import locked
from harmony.tracking.base import RunInfo, Status
from harmony.tracking.ledger import Destination, Ledger, Progress
from harmony.tracking.outbox import Outbox
from harmony.tracking.provenance import git_commit
from harmony.tracking.shipper import Point, Shipper
from harmony.tracking.uri import (
    absolute_location,
    checked_uri,
    sqlite_file,
    warn_if_shared,
    where,
)

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
SWEEP_TAG = "harmony.sweep"
PARENT_KEY_TAG = "harmony.sweep_parent"
_PARENT_TAG = "mlflow.parentRunId"

_CHUNK = 100  # MLflow takes at most 100 params or tags at once

log = logging.getLogger(__name__)


class MLflowTracker:
    """Sends metrics, parameters, tags and files to MLflow in the background.

    Args:
        tracking_uri: `sqlite:////absolute/path.db` or `http(s)://host:port`.
        artifact_location: Directory or URI for files. None leaves it to the server, so it is
            needed with sqlite only.
        flush_seconds: Pause between two batches.
        finish_seconds: How long the end of a run waits for what has not been sent yet.
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
        self._shipper.finish(self.finish_seconds)
        if not self._outbox.complete():
            log.warning(
                "not everything has reached %s; send the rest with: python -m harmony.sync %s",
                self.destination.tracking_uri,
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
            experiment = self._experiment(client, info.experiment)
            parent = self._parent(client, experiment, info)
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
        client.set_terminated(self._run_id, progress.status, progress.ended)
        run = client.get_run(self._run_id)
        parent = run.data.tags.get(_PARENT_TAG)
        if parent is None:
            return
        running = f"tags.`{_PARENT_TAG}` = '{parent}' and attributes.status = 'RUNNING'"
        if not client.search_runs([run.info.experiment_id], running, max_results=1):
            client.set_terminated(parent, "FINISHED", progress.ended)

    def _connected(self) -> "MlflowClient":
        if self._client is None:
            raise RuntimeError("open comes first")
        return self._client

    def _lock(self, info: RunInfo) -> AbstractContextManager[None]:
        """Keeps processes that start together from making the same parent run twice."""
        if sqlite_file(self._destination.tracking_uri) is not None:
            return store_lock(self._destination.tracking_uri)
        return locked(info.run_dir.parent / ".mlflow.lock") if info.sweep else nullcontext()

    def _experiment(self, client: "MlflowClient", name: str) -> str:
        from mlflow.exceptions import MlflowException

        found = client.get_experiment_by_name(name)
        if found is None:
            location = self._destination.artifact_location
            try:
                return str(client.create_experiment(name, artifact_location=location))
            except MlflowException:  # another machine was faster
                found = client.get_experiment_by_name(name)
                if found is None:
                    raise
        if found.lifecycle_stage == "deleted":
            raise RuntimeError(
                f"experiment {name} is deleted; mlflow experiments restore -x "
                f"{found.experiment_id} brings it back"
            )
        return str(found.experiment_id)

    def _parent(self, client: "MlflowClient", experiment: str, info: RunInfo) -> str | None:
        if info.sweep is None:
            return None
        found = _search(client, experiment, PARENT_KEY_TAG, info.sweep)
        if found is None:
            tags = {PARENT_KEY_TAG: info.sweep, SWEEP_TAG: info.sweep, **_origin()}
            found = client.create_run(experiment, unix_ms(), tags, info.sweep)
        return str(found.info.run_id)

    def _stored_run(self, client: "MlflowClient", experiment: str, outbox: Outbox) -> "Run":
        info, progress = outbox.info, outbox.progress
        if progress.run_id is not None:
            run = _get_run(client, progress.run_id)
            if run is not None:
                return run
            outbox.lost()
        run = _search(client, experiment, RUN_KEY_TAG, info.run_key)
        if run is None:
            tags = {RUN_KEY_TAG: info.run_key, **_origin()}
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


def connect(tracking_uri: str) -> "MlflowClient":
    """Imports mlflow and opens a store; a missing sqlite file is made.

    Raises:
        Exception: Whatever mlflow raises when the store can't be reached.
    """
    # Default is 7 retries of 120 s: with a dead server the last round of a run would take minutes.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    from mlflow import MlflowClient

    for chatty in ("alembic", "mlflow.store.db.utils"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    with store_lock(tracking_uri):
        client = MlflowClient(tracking_uri)
        client.search_experiments(
            max_results=1
        )  # makes the tables, or shows that a server is there
    return client


def store_lock(tracking_uri: str) -> AbstractContextManager[None]:
    """The lock of a sqlite store: two processes that make its tables at once both fail."""
    database = sqlite_file(tracking_uri)
    if database is None:
        return nullcontext()
    database.parent.mkdir(parents=True, exist_ok=True)
    warn_if_shared(database.parent)
    return locked(database.with_name(f"{database.name}.lock"))


def unix_ms() -> int:
    """Now, in unix milliseconds."""
    return round(time.time() * 1000)


def _get_run(client: "MlflowClient", run_id: str) -> "Run | None":
    from mlflow.exceptions import MlflowException

    try:
        run = client.get_run(run_id)
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return None
        raise
    return run if run.info.lifecycle_stage == "active" else None


def _search(client: "MlflowClient", experiment: str, tag: str, value: str) -> "Run | None":
    """The oldest run with a tag, so that all processes agree on one."""
    quote = '"' if "'" in value else "'"
    condition = f"tags.`{tag}` = {quote}{value}{quote}"
    found = client.search_runs(
        [experiment], condition, max_results=1, order_by=["attributes.start_time ASC"]
    )
    return found[0] if found else None


def _tags(outbox: Outbox, parent: str | None) -> dict[str, str]:
    info, attempt = outbox.info, outbox.progress.attempt
    tags = {**info.tags, "harmony.attempt": str(attempt), "harmony.run_dir": str(info.run_dir)}
    tags[f"harmony.attempt.{attempt}.host"] = socket.gethostname()
    if job := os.environ.get("SLURM_JOB_ID"):
        tags[f"harmony.attempt.{attempt}.job"] = job
    if commit := git_commit():
        tags[f"harmony.attempt.{attempt}.git_commit"] = commit
    if info.sweep is not None and parent is not None:
        tags |= {SWEEP_TAG: info.sweep, _PARENT_TAG: parent}
    return tags


def _origin() -> dict[str, str]:
    """Tags that mlflow would guess from the main file; under a job launcher that is not ours."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container whose user has no name
        user = "unknown"
    tags = {"mlflow.user": user, "mlflow.source.name": "harmony", "mlflow.source.type": "LOCAL"}
    if commit := git_commit():
        tags["mlflow.source.git.commit"] = commit
    return tags


def _name(key: str) -> str:
    """A key with what MLflow doesn't take in names replaced, at most 250 characters."""
    return re.sub(r"[^\w\-. :/]", "_", key)[:250]
