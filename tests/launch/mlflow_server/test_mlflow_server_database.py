import sqlite3
from contextlib import closing
from types import SimpleNamespace

import pytest

from harmony.errors import ConfigError
from launch.mlflow_server import database
from launch.mlflow_server.database import Backend, backend_of, retention_arguments, save

POSTGRES = "postgresql+psycopg2://me:a%20b@db:5432/mlflow?sslmode=require"


@pytest.fixture
def driver(monkeypatch):
    monkeypatch.setattr(database.importlib.util, "find_spec", lambda _: object())


def make_store(path, runs):
    with closing(sqlite3.connect(path)) as store:
        store.execute("CREATE TABLE runs (run_uuid TEXT)")
        store.executemany("INSERT INTO runs VALUES (?)", [(str(run),) for run in range(runs)])
        store.commit()


def test_sqlite_in_the_directory_is_the_default(tmp_path, monkeypatch):
    assert backend_of(None, tmp_path).file == tmp_path / "mlflow.db"
    monkeypatch.chdir(tmp_path)
    assert backend_of("sqlite:///x.db", tmp_path).uri == f"sqlite:///{tmp_path}/x.db"


@pytest.mark.usefixtures("driver")
@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg2"])
def test_postgresql_names_its_driver(tmp_path, scheme):
    found = backend_of(f"{scheme}://me@db/mlflow", tmp_path)
    assert found.uri == "postgresql+psycopg2://me@db/mlflow"
    assert found.file is None
    assert backend_of(found.public(), tmp_path) == found


def test_a_missing_driver_is_named_with_the_command(tmp_path, monkeypatch):
    monkeypatch.setattr(database.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(ConfigError, match=r"pip install 'harmony-dream\[server\]'"):
        backend_of("postgresql://me@db/mlflow", tmp_path)


def test_other_databases_are_refused_without_their_password(tmp_path):
    with pytest.raises(ConfigError, match=r"got mysql://u:\*\*\*@h/d") as caught:
        backend_of("mysql://u:secret@h/d", tmp_path)
    assert "secret" not in str(caught.value)


def test_a_password_goes_by_the_environment():
    address, environ = Backend(POSTGRES).libpq()
    assert address == "postgresql://me@db:5432/mlflow?sslmode=require"
    assert environ == {"PGPASSWORD": "a b"}
    assert Backend("postgresql+psycopg2:///mlflow").libpq() == ("postgresql:///mlflow", {})


def test_a_sqlite_copy_is_whole_private_and_never_overwrites(tmp_path):
    backend = backend_of(None, tmp_path)
    make_store(backend.file, 3)
    target = tmp_path / "copies" / "a.db"
    assert save(backend, target).startswith(f"3 runs saved to {target}")
    assert target.stat().st_mode & 0o777 == 0o600
    with closing(sqlite3.connect(target)) as copy:
        assert copy.execute("SELECT count(*) FROM runs").fetchone() == (3,)
    with pytest.raises(ConfigError, match="exists: choose another name"):
        save(backend, target)
    with pytest.raises(ConfigError, match="exists: choose another name"):
        save(backend, backend.file)


def test_a_copy_that_fails_leaves_nothing(tmp_path):
    backend = backend_of(None, tmp_path)
    with pytest.raises(ConfigError, match="got nothing: give --dir DIR"):
        save(backend, tmp_path / "a.db")
    backend.file.write_text("this is no database, but it is long enough to be looked at")
    with pytest.raises(ConfigError, match="expected a sound database"):
        save(backend, tmp_path / "a.db")
    assert [path.name for path in tmp_path.iterdir()] == ["mlflow.db"]


def test_missing_client_programs_are_named(tmp_path, monkeypatch):
    monkeypatch.setattr(database.shutil, "which", lambda _: None)
    with pytest.raises(ConfigError, match=r"the program pg_dump.*postgresql-client"):
        save(Backend(POSTGRES), tmp_path / "a.dump")


def test_retention_names_age_server_and_files(tmp_path):
    assert retention_arguments("30d", "http://h:1", tmp_path) == [
        "--older-than",
        "30d",
        "--tracking-uri",
        "http://h:1",
        "--artifacts-destination",
        str(tmp_path),
    ]
    assert "1d12h" in retention_arguments("1d12h", "http://h:1", tmp_path)


@pytest.mark.parametrize("age", ["", "30", "d", "30 days", "-1d", "1h1d"])
def test_an_age_must_have_a_unit(age, tmp_path):
    with pytest.raises(ConfigError, match="expected --deleted-older-than 30d"):
        retention_arguments(age, "http://h:1", tmp_path)


def test_sqlite_on_a_network_disk_is_warned_about_and_not_put_into_wal(tmp_path, monkeypatch):
    mounts = [
        SimpleNamespace(mountpoint="/", fstype="ext4"),
        SimpleNamespace(mountpoint=str(tmp_path), fstype="lustre"),
    ]
    monkeypatch.setattr(database.psutil, "disk_partitions", lambda **_: mounts)
    monkeypatch.setattr(database, "_state", lambda *_: {"tables": "current"})
    found = database.prepare(backend_of(None, tmp_path), tmp_path)
    assert "is on lustre" in found["notes"][0]
    assert not (tmp_path / "mlflow.db").exists()
    mounts.pop()
    assert database.prepare(backend_of(None, tmp_path), tmp_path)["notes"] == []
    with closing(sqlite3.connect(tmp_path / "mlflow.db")) as store:
        assert store.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_old_tables_are_copied_before_they_are_upgraded(tmp_path, monkeypatch):
    backend = backend_of(None, tmp_path)
    make_store(backend.file, 2)
    verbs = []
    monkeypatch.setattr(
        database,
        "_state",
        lambda _, verb: verbs.append(verb) or {"tables": "old" if verb == "state" else "current"},
    )
    (note,) = database.prepare(backend, tmp_path)["notes"]
    assert verbs == ["state", "upgrade"]
    assert "upgraded; 2 runs saved to" in note
    assert len(list(tmp_path.glob("before-upgrade-*.db"))) == 1


def test_trouble_in_mlflow_s_part_is_one_line(tmp_path, monkeypatch):
    backend = backend_of(None, tmp_path)
    done = SimpleNamespace(returncode=1, stdout="", stderr="Traceback\ndatabase is locked\n\n")
    monkeypatch.setattr(database.subprocess, "run", lambda *_, **__: done)
    with pytest.raises(ConfigError, match="locked by other writers") as caught:
        database.prepare(backend, tmp_path)
    assert "\n" not in str(caught.value)
