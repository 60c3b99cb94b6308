"""Addresses of stores."""

import logging
from pathlib import Path
from urllib.parse import urlsplit

import psutil

from harmony.errors import ConfigError

_SHARED_FILE_SYSTEMS = {"nfs", "nfs4", "lustre", "gpfs", "beegfs", "cifs", "smb3", "fuse.sshfs"}

log = logging.getLogger(__name__)


def checked_uri(uri: str) -> str:
    """Checks the address of a store and makes a sqlite path absolute.

    Raises:
        ConfigError: Empty, of an unknown kind, or with a password in it.
    """
    how = "set MLFLOW_TRACKING_URI=http://HOST:PORT or tracking.tracking_uri, or use tracking=local"
    if not uri:
        raise ConfigError(f"expected tracking.tracking_uri, got nothing: {how}")
    scheme = urlsplit(uri).scheme.partition("+")[0]
    if scheme not in ("sqlite", "http", "https", "postgresql", "mysql", "mssql"):
        raise ConfigError(f"expected sqlite:///PATH or http(s)://HOST:PORT, got {uri}: {how}")
    if scheme in ("http", "https") and urlsplit(uri).password:
        raise ConfigError(
            "expected tracking.tracking_uri without a password, got one, which would be stored "
            "with the run: set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
        )
    database = sqlite_file(uri)
    return uri if database is None else f"sqlite:///{database}"


def sqlite_file(uri: str) -> Path | None:
    """The absolute path of the file behind a sqlite address, None for other stores."""
    prefix, found, path = uri.partition("sqlite:///")
    return Path(path).absolute() if found and not prefix else None


def absolute_location(location: str | None) -> str | None:
    """A directory as an absolute path; URIs and None stay as they are."""
    if location is None or "://" in location:
        return location
    return str(Path(location).absolute())


def where(uri: str, experiment: str, run_id: str) -> str:
    """One line that says where to look at the run."""
    if uri.startswith("http"):
        return f"MLflow run: {uri.rstrip('/')}/#/experiments/{experiment}/runs/{run_id}"
    return f"MLflow run {run_id}: mlflow ui --backend-store-uri {uri}"


def warn_if_shared(directory: Path) -> None:
    """Logs a warning if a sqlite file in `directory` would lie on a network file system."""
    mounts = [
        (len(part.mountpoint), part.fstype)
        for part in psutil.disk_partitions(all=True)
        if directory.is_relative_to(part.mountpoint)
    ]
    kind = max(mounts, default=(0, ""))[1]
    if kind in _SHARED_FILE_SYSTEMS:
        log.warning(
            "%s is on %s, where sqlite breaks when several machines write: use tracking=server",
            directory,
            kind,
        )
