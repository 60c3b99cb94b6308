from pathlib import Path
from types import SimpleNamespace

import pytest

from harmony.errors import ConfigError
from harmony.tracking import uri
from harmony.tracking.uri import absolute_location, checked_uri, sqlite_file, where


def test_sqlite_paths_become_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert checked_uri("sqlite:///runs/mlflow.db") == f"sqlite:///{tmp_path}/runs/mlflow.db"
    assert checked_uri("sqlite:////data/mlflow.db") == "sqlite:////data/mlflow.db"
    assert sqlite_file("sqlite:////data/mlflow.db") == Path("/data/mlflow.db")
    assert sqlite_file("http://host:5000") is None


def test_servers_stay_as_they_are():
    for address in ("http://10.0.0.1:5000", "https://mlflow.org", "postgresql+psycopg2://u:p@h/d"):
        assert checked_uri(address) == address


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("", "got nothing: set MLFLOW_TRACKING_URI"),
        ("./mlruns", "got ./mlruns"),
        ("file:///mlruns", "got file:///mlruns"),
        ("http://me:secret@host", "MLFLOW_TRACKING_PASSWORD"),
    ],
)
def test_others_are_refused_in_one_line(address, message):
    with pytest.raises(ConfigError, match=message) as caught:
        checked_uri(address)
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)


def test_artifact_locations(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert absolute_location("artifacts") == f"{tmp_path}/artifacts"
    assert absolute_location("s3://bucket/x") == "s3://bucket/x"
    assert absolute_location(None) is None


def test_where_names_a_link_or_a_command():
    assert where("http://h:1/", "3", "ab") == "MLflow run: http://h:1/#/experiments/3/runs/ab"
    assert where("sqlite:////x.db", "3", "ab").endswith(
        "mlflow ui --backend-store-uri sqlite:////x.db"
    )


def test_sqlite_on_a_network_file_system_is_warned_about(monkeypatch, caplog):
    mounts = [
        SimpleNamespace(mountpoint="/", fstype="ext4"),
        SimpleNamespace(mountpoint="/home", fstype="nfs4"),
    ]
    monkeypatch.setattr(uri.psutil, "disk_partitions", lambda **_: mounts)
    uri.warn_if_shared(Path("/data/runs"))
    assert caplog.text == ""
    uri.warn_if_shared(Path("/home/me/runs"))
    assert "nfs4" in caplog.text
    assert "tracking=server" in caplog.text
