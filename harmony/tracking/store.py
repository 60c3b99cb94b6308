"""What is asked of an MLflow store: connections, experiments, the parent run of a sweep."""

import getpass
import logging
import os
import time
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

from harmony.filelock import locked
from harmony.tracking.ledger import Destination
from harmony.tracking.provenance import git_commit
from harmony.tracking.uri import sqlite_file, warn_if_shared

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

SWEEP_TAG = "harmony.sweep"
SWEEP_SIZE_TAG = "harmony.sweep_runs"
PARENT_KEY_TAG = "harmony.sweep_parent"
PARENT_TAG = "mlflow.parentRunId"

_PAGE = 1000


def connect(tracking_uri: str) -> "MlflowClient":
    """Imports mlflow and opens a store; a missing sqlite file is made.

    Raises:
        Exception: Whatever mlflow raises when the store can't be reached.
    """
    # Default is 7 retries of 120 s: with a dead server the last round of a run would take minutes.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    # Its "View run" lines would come between what a command prints for other programs.
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    from mlflow import MlflowClient

    for chatty in ("alembic", "mlflow.store.db.utils"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    # What it says of each retry is told in one line when the last has failed.
    logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)
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


def experiment_id(client: "MlflowClient", name: str, destination: Destination) -> str:
    """The id of an experiment, which is made if it isn't there.

    Raises:
        RuntimeError: it was deleted.
    """
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(name)
    if found is None:
        location = destination.artifact_location
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


def parent_run(
    client: "MlflowClient", experiment: str, sweep: str, tags: dict[str, str] | None = None
) -> str:
    """The id of the run that a sweep's runs belong to; the store's lock must be held.

    Args:
        client: of the store.
        experiment: its id.
        sweep: name of the sweep.
        tags: for the run, also if it is there already.
    """
    found = find_run(client, experiment, PARENT_KEY_TAG, sweep)
    if found is None:
        own = {PARENT_KEY_TAG: sweep, SWEEP_TAG: sweep, **origin_tags()}
        found = client.create_run(experiment, unix_ms(), own, sweep)
    for key, value in (tags or {}).items():
        client.set_tag(found.info.run_id, key, value)
    return str(found.info.run_id)


def close_parent(
    client: "MlflowClient", experiment: str, parent: str, ended: int | None = None
) -> None:
    """Ends a sweep's run when all of its runs have ended, with the worst of their ends.

    Args:
        client: of the store.
        experiment: its id.
        parent: id of the sweep's run; where a tag says how many runs it has, all must be there.
        ended: when, unix milliseconds.
    """
    tags = client.get_run(parent).data.tags
    children = _all_runs(client, experiment, f"tags.`{PARENT_TAG}` = '{parent}'")
    states = {run.info.status for run in children}
    if states & {"RUNNING", "SCHEDULED"} or len(children) < int(tags.get(SWEEP_SIZE_TAG, 0)):
        return
    worst = next((state for state in ("FAILED", "KILLED") if state in states), "FINISHED")
    client.set_terminated(parent, worst, ended)


def _all_runs(client: "MlflowClient", experiment: str, condition: str) -> "list[Run]":
    runs: list[Run] = []
    page = client.search_runs([experiment], condition, max_results=_PAGE)
    runs.extend(page)
    while page.token:
        page = client.search_runs([experiment], condition, max_results=_PAGE, page_token=page.token)
        runs.extend(page)
    return runs


def get_run(client: "MlflowClient", run_id: str) -> "Run | None":
    """The run with an id, None if the store has none that is not deleted."""
    from mlflow.exceptions import MlflowException

    try:
        run = client.get_run(run_id)
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return None
        raise
    return run if run.info.lifecycle_stage == "active" else None


def find_run(client: "MlflowClient", experiment: str, tag: str, value: str) -> "Run | None":
    """The oldest run with a tag, so that all processes agree on one."""
    quote = '"' if "'" in value else "'"
    condition = f"tags.`{tag}` = {quote}{value}{quote}"
    found = client.search_runs(
        [experiment], condition, max_results=1, order_by=["attributes.start_time ASC"]
    )
    return found[0] if found else None


def origin_tags() -> dict[str, str]:
    """Tags that mlflow would guess from the main file; under a job launcher that is not ours."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container whose user has no name
        user = "unknown"
    tags = {"mlflow.user": user, "mlflow.source.name": "harmony", "mlflow.source.type": "LOCAL"}
    if commit := git_commit():
        tags["mlflow.source.git.commit"] = commit
    return tags
