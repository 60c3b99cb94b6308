"""A real server on a real PostgreSQL: concurrent writers, refused names, backup, restart.

Needs PostgreSQL's server programs (Debian: postgresql) and psycopg2; starts its own database.
"""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path
from types import SimpleNamespace
from urllib.error import HTTPError

import pytest

from harmony.errors import ConfigError
from launch.mlflow_server.record import end, read_record
from launch.mlflow_server.rest import Answer, AnswerError, Rest
from launch.mlflow_server.round_trip import check
from launch.mlflow_server.trouble import cure, probe

ROOT = Path(__file__).parents[3]
WRITERS, BATCHES, METRICS = 32, 4, 10


def binaries():
    """Where initdb lies: on the PATH, or where Debian puts it."""
    found = shutil.which("initdb")
    folders = [Path(found).parent] if found else []
    return (folders or sorted(Path("/usr/lib/postgresql").glob("*/bin")) or [None])[-1]


def driver():
    try:
        import psycopg2  # noqa: F401
    except ImportError:
        return False
    return True


pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(binaries() is None, reason="needs PostgreSQL: apt install postgresql"),
    pytest.mark.skipif(not driver(), reason="needs psycopg2: pip install 'harmony-dream[server]'"),
    pytest.mark.skipif(shutil.which("pg_dump") is None, reason="needs pg_dump"),
]


def free_port():
    with socket.socket() as trial:
        trial.bind(("127.0.0.1", 0))
        return trial.getsockname()[1]


def as_postgres(folder):
    """What lets PostgreSQL's own user run a command, since PostgreSQL refuses root."""
    if os.geteuid():
        return []
    shutil.chown(folder, "postgres")
    user = pwd.getpwnam("postgres")
    return ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]


def run(*parts, timeout=300, **environ):
    return subprocess.run(
        [str(part) for part in parts],
        env={**os.environ, **environ},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=timeout,
        stdin=subprocess.DEVNULL,
    )


def good(*parts, **environ):
    done = run(*parts, **environ)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def database():
    folder = Path(tempfile.mkdtemp(prefix="harmony-pg-"))  # pytest's own is closed to other users
    user, tools, port = as_postgres(folder), binaries(), free_port()
    data = folder / "data"
    good(*user, tools / "initdb", "-D", data, "-U", "postgres", "--auth=trust", "--no-sync")
    control = [*user, tools / "pg_ctl", "-D", data, "-w"]
    options = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1 -c fsync=off"
    with (folder / "start.log").open("w") as log:  # a pipe would stay open in the daemon
        command = [str(part) for part in [*control, "-l", data / "log", "-o", options, "start"]]
        subprocess.run(command, stdout=log, stderr=log, check=True, timeout=120)

    def sql(text, name="postgres"):
        return good(
            *("psql", "-h", "127.0.0.1", "-p", port, "-U", "postgres"),
            *("-d", name, "-v", "ON_ERROR_STOP=1", "-tAc", text),
        ).strip()

    sql("CREATE ROLE mlflow LOGIN")
    sql("CREATE DATABASE mlflow OWNER mlflow")

    def uri(name, port=port):
        return f"postgresql://mlflow@127.0.0.1:{port}/{name}"

    yield SimpleNamespace(sql=sql, uri=uri, port=port)
    good(*control, "-m", "immediate", "stop")
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def server(database, tmp_path_factory):
    """A running server; `tool` calls the command line."""
    folder = tmp_path_factory.mktemp("server")

    def tool(verb, *arguments, **environ):
        place = [] if verb == "check" else ["--dir", folder]
        program = [sys.executable, "-m", "launch.mlflow_server", verb]
        return run(*program, *arguments, *place, **environ)

    port = free_port()
    options = ["--backend", database.uri("mlflow"), "--host", "127.0.0.1", "--port", port]
    done = tool("start", *options)
    assert done.returncode == 0, done.stderr
    yield SimpleNamespace(
        tool=tool, options=options, folder=folder, uri=f"http://127.0.0.1:{port}", out=done.stdout
    )
    tool("stop")


class Writers:
    """Threads that each write a run, and try again when the connection breaks."""

    def __init__(self, uri, until=None):
        self.rest, self.until = Rest(uri, 60), until
        self.errors, self.retries, self.written = [], 0, {}
        name = f"writers-{time.time()}"
        self.experiment = self.rest.post("experiments/create", name=name)["experiment_id"]
        self.threads = [threading.Thread(target=self._work) for _ in range(WRITERS)]
        for thread in self.threads:
            thread.start()

    def join(self):
        for thread in self.threads:
            thread.join()

    def lost(self):
        """Runs whose points are not there once each."""
        return [run_id for run_id, count in self.written.items() if self._count(run_id) != count]

    def _count(self, run_id):
        answer = self.rest.get("metrics/get-history", run_id=run_id, metric_key="m/0")
        return len(answer["metrics"])

    def _work(self):
        try:
            fields = {"experiment_id": self.experiment, "start_time": 1}
            run_id = self._call("runs/create", **fields)["run"]["info"]["run_id"]
            step = 0
            while step < BATCHES or (self.until is not None and not self.until.is_set()):
                now = round(time.time() * 1000)
                metrics = [
                    {"key": f"m/{index}", "value": step, "timestamp": now, "step": step}
                    for index in range(METRICS)
                ]
                self._call("runs/log-batch", run_id=run_id, metrics=metrics)
                step += 1
            self.written[run_id] = step
        except (AnswerError, ValueError) as error:
            self.errors.append(error)

    def _call(self, call, **fields):
        while True:
            try:
                return self.rest.post(call, **fields)
            except OSError:
                self.retries += 1
                time.sleep(0.5)


def test_start_says_what_to_use_and_hides_the_rest(server):
    assert f"export MLFLOW_TRACKING_URI={server.uri}\n" in server.out
    again = server.tool("start", *server.options)
    assert (again.returncode, again.stdout.splitlines()[0]) == (0, f"up already: {server.uri}")
    assert read_record(server.folder).uri == server.uri
    found = server.tool("check", MLFLOW_TRACKING_URI=server.uri)
    assert found.returncode == 0
    assert "files go through the server" in found.stdout


def test_many_writers_at_once_lose_nothing(server):
    writers = Writers(server.uri)
    writers.join()
    assert writers.errors == []
    assert len(writers.written) == WRITERS
    assert writers.lost() == []


def test_a_name_that_is_not_allowed_is_told_with_its_cure(server):
    port = server.uri.rpartition(":")[2]
    probe(f"http://localhost:{port}", 20)
    path = "/api/2.0/mlflow/experiments/search?max_results=1"
    request = urllib.request.Request(server.uri + path, headers={"Host": f"login01.lab:{port}"})
    with pytest.raises(HTTPError) as caught:
        urllib.request.urlopen(request, timeout=20)
    with caught.value as answer:
        found = Answer(answer.code, answer.read().decode())
    assert "--allowed-hosts login01.lab" in cure(found, f"http://login01.lab:{port}")


def test_a_killed_server_comes_back_and_its_writers_go_on(server):
    done = threading.Event()
    writers = Writers(server.uri, until=done)
    try:
        time.sleep(2)
        session = read_record(server.folder).session
        os.kill(session, signal.SIGKILL)  # its workers outlive it
        stopped = server.tool("stop")
        assert stopped.returncode == 0
        started = server.tool("start", *server.options)
        assert started.returncode == 0, started.stderr
        time.sleep(2)
    finally:
        done.set()
        writers.join()
    assert writers.errors == []
    assert writers.retries > 0
    assert writers.lost() == []


def test_a_backup_can_be_restored(server, database, tmp_path):
    check(server.uri, 30)
    copy = tmp_path / "mlflow.dump"
    saved = server.tool("backup", copy)
    assert saved.returncode == 0, saved.stderr
    database.sql("CREATE DATABASE restored OWNER mlflow")
    target = f"--dbname={database.uri('restored')}"
    good("pg_restore", "--no-owner", "--exit-on-error", target, copy)
    count = "SELECT count(*) FROM metrics"
    assert int(database.sql(count, "restored")) == int(database.sql(count, "mlflow")) > 0
    again = server.tool("backup", copy)
    assert again.returncode == 2
    assert "choose another name" in again.stderr


def test_retention_removes_what_was_deleted(server, database):
    check(server.uri, 30)
    deleted = "SELECT count(*) FROM runs WHERE lifecycle_stage = 'deleted'"
    assert int(database.sql(deleted, "mlflow")) > 0
    kept = server.tool("retention", "--deleted-older-than", "30d")
    assert kept.stdout == "removed for good: 0 runs, 0 experiments\n", kept.stderr
    gone = server.tool("retention", "--deleted-older-than", "0s")
    assert gone.returncode == 0, gone.stderr
    assert int(database.sql(deleted, "mlflow")) == 0


def test_too_small_a_pool_is_told_with_its_cure(server, database, tmp_path):
    """One connection and mlflow's ten on top, all of them waiting for a locked table."""
    small = tmp_path / "small"
    port = free_port()
    options = ["--dir", small, "--pool-size", 1, "--workers", 1, "--port", port]
    program = [sys.executable, "-m", "launch.mlflow_server", "start", "--host", "127.0.0.1"]
    good(*program, *options, "--backend", database.uri("mlflow"))
    try:
        with _locked(database, "latest_metrics", seconds=36):
            writers = Writers(f"http://127.0.0.1:{port}")
            writers.join()
    finally:
        end(small, read_record(small).session)
    assert {error.answer.status for error in writers.errors} == {400}
    assert "--pool-size 50" in cure(writers.errors[0], server.uri)


def _locked(database, table, seconds):
    """A process that keeps a table locked; leaving the block waits for it."""
    lock = f"BEGIN; LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE; SELECT pg_sleep({seconds}); COMMIT"
    command = ["psql", "-h", "127.0.0.1", "-p", str(database.port), "-U", "postgres"]
    process = subprocess.Popen([*command, "-d", "mlflow", "-qc", lock], stdout=subprocess.DEVNULL)
    time.sleep(1)
    return process


def test_postgresql_s_own_troubles_are_one_line(database, tmp_path):
    program = [
        sys.executable,
        "-m",
        "launch.mlflow_server",
        "start",
        "--dir",
        tmp_path,
        "--port",
        0,
    ]
    for uri, says in (
        (database.uri("nix"), "createdb --owner"),
        (database.uri("mlflow", port=1), "start PostgreSQL"),
    ):
        done = run(*program, "--backend", uri)
        assert done.returncode == 2
        (line,) = done.stderr.splitlines()
        assert says in line
    done = run(*program, "--backend", database.uri("mlflow"), "--workers", 9)
    assert "max_connections" in done.stderr
    assert read_record(tmp_path) is None


def test_stop_ends_every_process(server):
    session = read_record(server.folder).session
    done = server.tool("stop")
    assert (done.returncode, done.stdout.startswith("stopped ")) == (0, True)
    assert server.tool("status").returncode == 1
    with pytest.raises(ProcessLookupError):
        os.killpg(session, 0)
    with pytest.raises(ConfigError, match="nothing listens there"):
        probe(server.uri, 5)
