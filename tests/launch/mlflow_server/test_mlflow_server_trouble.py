import json
import socket
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.error import URLError

import pytest

from harmony.errors import ConfigError
from launch.mlflow_server.rest import Answer, AnswerError, authorization
from launch.mlflow_server.trouble import blotted, cure, probe

URI = "http://login01:5000"


class Server(ThreadingHTTPServer):
    """Answers every path with what is set, and keeps the headers that came."""

    daemon_threads = True

    def __init__(self):
        self.answers = {"/health": (200, "OK")}
        self.headers, self.database_s = [], 0.0
        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def uri(self):
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        status, text = self.server.answers.get(self.path.partition("?")[0], (200, "{}"))
        self.server.headers.append(dict(self.headers))
        if self.path != "/health":
            time.sleep(self.server.database_s)
        self.send_response(status)
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_):
        pass


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    for name in ("USERNAME", "PASSWORD", "TOKEN"):
        monkeypatch.delenv(f"MLFLOW_TRACKING_{name}", raising=False)


@pytest.fixture
def server():
    with Server() as found:
        thread = threading.Thread(target=found.serve_forever, args=(0.01,))
        thread.start()
        yield found
        found.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("trouble", "says"),
    [
        (
            Answer(403, "Invalid Host header - possible DNS rebinding attack detected"),
            "refuses the name login01: restart it with --allowed-hosts login01",
        ),
        (
            Answer(400, '{"message": "QueuePool limit of size 1 overflow 10 reached"}'),
            "--pool-size 50 (a plain mlflow server: MLFLOW_SQLALCHEMYSTORE_POOL_SIZE=50)",
        ),
        (Answer(503, "(sqlite3.OperationalError) database is locked"), "use PostgreSQL"),
        (Answer(503, "FATAL: sorry, too many clients already"), "raise max_connections"),
        (Answer(0, 'FATAL:  database "nix" does not exist'), "createdb --owner USER DATABASE"),
        (Answer(0, 'relation "runs" does not exist'), "which upgrades them"),
        (Answer(0, "password authentication failed for user"), "~/.pgpass"),
        (Answer(401, "You are not authenticated"), "set MLFLOW_TRACKING_USERNAME"),
        (Answer(403, "Permission denied"), "does not allow this (Permission denied)"),
        (Answer(404, "<html>"), "no MLflow server"),
        (Answer(502, "Bad Gateway"), "too busy or has trouble (Bad Gateway)"),
        (URLError(ConnectionRefusedError(111, "Connection refused")), "nothing listens there"),
        (URLError("[Errno -2] Name or service not known"), "knows the name login01"),
        (TimeoutError("timed out"), "packets to port 5000"),
        (ValueError("wrote 3, read 2"), "got wrote 3, read 2"),
        (Answer(418, "teapot"), "got 418: teapot"),
    ],
)
def test_each_trouble_has_a_cure(trouble, says):
    line = cure(trouble, URI)
    assert says in line
    assert line.startswith(f"{URI}: ")
    assert "\n" not in line


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            "API request to endpoint /api/2.0/mlflow/runs/create failed with error code 403 != 200."
            " Response body: 'Invalid Host header - possible DNS rebinding attack detected'",
            "--allowed-hosts login01",
        ),
        (
            "API request to http://login01:5000/api failed with exception HTTPConnectionPool(...): "
            "Max retries exceeded (Caused by ResponseError('too many 503 error responses'))",
            "too busy",
        ),
        ("API request to endpoint /x failed with error code 401 != 200.", "TRACKING_TOKEN"),
    ],
)
def test_messages_of_mlflow_s_client_are_understood(text, says):
    assert says in cure(RuntimeError(text), URI)


def test_a_named_answer_counts_before_its_status():
    text = '{"message": "QueuePool limit of size 5"}'
    assert "--pool-size" in cure(AnswerError(Answer(503, text)), URI)


def test_passwords_are_blotted_out_and_long_texts_cut():
    line = cure(Answer(418, "see http://me:secret@h/" + "x" * 500), "http://me:secret@login01:5000")
    assert "secret" not in line
    assert line.startswith("http://login01:5000: ")
    assert len(line) < 320
    assert blotted("postgresql://u:p%40@h/d") == "postgresql://u:***@h/d"


def test_a_proxy_in_force_is_named(monkeypatch):
    monkeypatch.setenv("http_proxy", "http://me:secret@proxy:3128")
    line = cure(Answer(502, "Bad Gateway"), URI)
    assert "(http_proxy=http://me:***@proxy:3128 is set: export NO_PROXY=login01)" in line
    monkeypatch.setenv("no_proxy", "login01")
    assert "proxy" not in cure(Answer(502, "Bad Gateway"), URI)


def test_probe_of_a_good_server_says_nothing(server):
    probe(server.uri, 5)
    probe(f"{server.uri}/", 5)


def test_probe_tells_a_refused_name(server):
    server.answers["/api/2.0/mlflow/experiments/search"] = (403, "Invalid Host header")
    with pytest.raises(ConfigError, match=r"--allowed-hosts 127\.0\.0\.1"):
        probe(server.uri, 5)


def test_probe_waits_for_what_a_slow_database_says(server):
    said = "QueuePool limit of size 1 overflow 10 reached, connection timed out, timeout 30.00"
    server.answers["/api/2.0/mlflow/experiments/search"] = (400, said)
    server.database_s = 0.6
    with pytest.raises(ConfigError, match=r"too few database connections.*--pool-size 50"):
        probe(server.uri, 0.3)


def test_probe_tells_that_another_program_answers(server):
    server.answers = {
        "/health": (404, "no such page"),
        "/api/2.0/mlflow/experiments/search": (200, "<html>"),
    }
    with pytest.raises(ConfigError, match="no MLflow server"):
        probe(server.uri, 5)


def test_probe_says_who_asks(server, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "me")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "secret")
    probe(server.uri, 5)
    assert [headers["Authorization"] for headers in server.headers] == ["Basic bWU6c2VjcmV0"] * 2


def test_a_token_is_sent_without_user_and_password():
    assert authorization({"MLFLOW_TRACKING_TOKEN": "t"}) == {"Authorization": "Bearer t"}
    assert authorization({"MLFLOW_TRACKING_USERNAME": "me"}) == {}


def test_probe_of_nothing_and_of_a_stopped_server(server):
    with pytest.raises(ConfigError, match="got nothing"):
        probe("", 1)
    uri, address = server.uri, server.server_address
    server.shutdown()  # while its thread still looked, a call would find a port half open
    server.server_close()
    with socket.socket() as taken:  # nobody else listens there meanwhile
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(address)
        with pytest.raises(ConfigError, match="nothing listens there"):
            probe(uri, 10)


def test_stores_without_a_server_need_no_probe(tmp_path):
    probe(f"sqlite:///{tmp_path}/mlflow.db", 1)
    assert list(tmp_path.iterdir()) == []


def test_a_probe_does_not_import_mlflow():
    code = "import launch.mlflow_server.trouble, sys, json; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert not {"mlflow", "torch", "hydra", "sqlalchemy"} & set(json.loads(done.stdout))
