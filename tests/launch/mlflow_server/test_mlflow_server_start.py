import os
import socket
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from harmony.errors import ConfigError
from launch.mlflow_server import __main__ as cli
from launch.mlflow_server import server
from launch.mlflow_server.database import Backend
from launch.mlflow_server.record import MARK, Record, read_record, write_record
from launch.mlflow_server.server import Settings, command, environment, start

SERVER = """
import http.server
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
    def log_message(self, *_):
        pass
print("serving", flush=True)
http.server.HTTPServer(("127.0.0.1", {port}), Handler).serve_forever()
"""


@pytest.fixture
def fake(monkeypatch):
    """A small server in place of mlflow's, and no database."""
    found = SimpleNamespace(code=SERVER, check=None)
    report = SimpleNamespace(line=lambda: "it works")
    monkeypatch.setattr(server, "prepare", lambda *_: {"notes": []})
    monkeypatch.setattr(server, "probe", lambda *_, **__: None)
    monkeypatch.setattr(server, "check", lambda *_: found.check() if found.check else report)
    monkeypatch.setattr(
        server,
        "command",
        lambda settings, _: [sys.executable, "-c", found.code.format(port=settings.port)],
    )
    monkeypatch.delenv("http_proxy", raising=False)
    monkeypatch.delenv("MLFLOW_BACKEND_STORE_URI", raising=False)
    return found


@pytest.fixture
def free_port():
    with socket.socket() as trial:
        trial.bind(("127.0.0.1", 0))
        return trial.getsockname()[1]


def after(arguments, option):
    return arguments[arguments.index(option) + 1]


def test_the_command_has_hosts_and_files_and_no_secret(tmp_path):
    settings = Settings(tmp_path, port=5001, hosts=("gate",), backend="postgresql://u:secret@h/d")
    found = command(settings, ["login01", "10.0.0.1"])
    assert found[1:4] == ["-m", "mlflow", "server"]
    hosts = after(found, "--allowed-hosts").split(",")
    assert {"localhost:*", "login01", "login01:*", "10.0.0.1:*", "gate", "gate:*"} <= set(hosts)
    assert "http://login01:5001" in after(found, "--cors-allowed-origins").split(",")
    assert after(found, "--artifacts-destination") == str(tmp_path / "artifacts")
    assert after(found, "--port") == "5001"
    assert "secret" not in " ".join(found)


def test_the_environment_has_the_pool_and_the_database(tmp_path):
    found = environment(Settings(tmp_path, pool_size=7), Backend("postgresql://u:secret@h/d"))
    assert found["MLFLOW_SQLALCHEMYSTORE_POOL_SIZE"] == "7"
    assert int(found["MLFLOW_SQLALCHEMYSTORE_MAX_OVERFLOW"]) > 0
    assert found["MLFLOW_BACKEND_STORE_URI"] == "postgresql://u:secret@h/d"
    assert found[MARK] == str(tmp_path)


def test_postgresql_must_have_room_for_all_workers(tmp_path):
    server._enough_connections(Settings(tmp_path, workers=2), 97)
    server._enough_connections(Settings(tmp_path, workers=8, pool_size=1), 98)  # 8 x 11 + 10
    server._enough_connections(Settings(tmp_path, workers=99), None)
    with pytest.raises(ConfigError, match=r"room for 170 .* has 97: --workers 2, or .* = 190"):
        server._enough_connections(Settings(tmp_path, workers=4), 97)


@pytest.mark.usefixtures("fake")
def test_a_taken_port_is_one_line(tmp_path, capsys):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        place = ["--dir", str(tmp_path), "--host", "127.0.0.1"]
        assert cli.main(["start", *place, "--port", str(port)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"127.0.0.1:{port} can't be used" in line
    assert read_record(tmp_path) is None


@pytest.mark.usefixtures("fake")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # it stays: detached
def test_start_twice_status_and_stop(tmp_path, capsys, free_port, monkeypatch):
    monkeypatch.setattr(cli, "probe", lambda *_, **__: None)
    place = ["--dir", str(tmp_path)]
    begin = ["start", *place, "--host", "127.0.0.1", "--port", str(free_port)]
    assert cli.main(begin) == 0
    out = capsys.readouterr().out
    uri = f"http://127.0.0.1:{free_port}"
    assert f"export MLFLOW_TRACKING_URI={uri}\n" in out
    assert "tracking=server" in out
    assert (tmp_path / "server.log").read_text() == "serving\n"
    assert cli.main(begin) == 0
    assert capsys.readouterr().out.startswith(f"up already: {uri}\n")
    assert cli.main(["status", *place]) == 0
    assert uri in capsys.readouterr().out
    assert cli.main(["stop", *place]) == 0
    assert capsys.readouterr().out == f"stopped {uri}: 1 processes\n"
    assert cli.main(["status", *place]) == 1
    assert cli.main(["stop", *place]) == 0


def test_a_server_that_ends_at_once_says_why_and_leaves_nothing(tmp_path, fake, free_port):
    fake.code = "import sys; sys.exit('no such option postgresql://u:secret@h/d')"
    settings = Settings(tmp_path, host="127.0.0.1", port=free_port)
    with pytest.raises(ConfigError, match=r"it ended: no such option .*server\.log") as caught:
        start(settings, log=True)
    assert "secret" not in str(caught.value)
    assert read_record(tmp_path) is None


@pytest.mark.parametrize("trouble", [ConfigError("refused"), KeyboardInterrupt()])
def test_a_server_that_fails_its_check_is_stopped(tmp_path, fake, free_port, trouble):
    def fail():
        raise trouble

    fake.check = fail
    settings = Settings(tmp_path, host="127.0.0.1", port=free_port)
    with pytest.raises(type(trouble)):
        start(settings, log=True)
    assert read_record(tmp_path) is None
    with socket.socket() as trial:
        assert trial.connect_ex(("127.0.0.1", free_port)) != 0


def test_in_the_foreground_the_end_of_the_server_is_seen(tmp_path, capfd, fake, free_port):
    fake.code = SERVER.replace(".serve_forever()", ".handle_request(); sys.exit(3)")
    fake.code = f"import sys\n{fake.code}"
    place = ["--dir", str(tmp_path), "--host", "127.0.0.1", "--port", str(free_port)]
    assert cli.main(["start", *place, "--foreground"]) == 1
    found = capfd.readouterr()
    assert "export MLFLOW_TRACKING_URI=" in found.out
    assert found.err == "error: the server ended by itself with exit code 3\n"
    assert read_record(tmp_path) is None


def test_a_server_on_another_machine_is_asked_and_replaced_when_it_is_gone(tmp_path, monkeypatch):
    record = Record(1, "gone01", "http://gone01:5000", "sqlite:////x.db", time.time())
    write_record(tmp_path, record)
    monkeypatch.setattr(server, "probe", lambda *_: None)
    assert server._running(tmp_path) == (record, ())
    assert cli.main(["stop", "--dir", str(tmp_path)]) == 2

    def down(*_):
        raise ConfigError("nothing listens there")

    monkeypatch.setattr(server, "probe", down)
    up, (note,) = server._running(tmp_path)
    assert up is None
    assert "ran on gone01" in note


def test_a_record_of_a_dead_process_is_no_server(tmp_path):
    record = Record(2**22 + 5, socket.gethostname(), "http://h:1", "sqlite:////x.db", time.time())
    write_record(tmp_path, record)
    assert server._running(tmp_path) == (None, ())


def test_a_long_log_is_put_aside(tmp_path, monkeypatch):
    monkeypatch.setattr(server, "_LOG_BYTES", 3)
    (tmp_path / "server.log").write_text("long")
    server._log_file(tmp_path).close()
    assert (tmp_path / "server.log.1").read_text() == "long"
    assert (tmp_path / "server.log").read_text() == ""


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["frob"], "invalid choice"),
        (["start", "--workers", "0"], "1 or more"),
        (["backup"], "FILE"),
        (["retention", "--deleted-older-than", "30d"], "expected a running server"),
        (["check", "sqlite:////x.db"], "no server to check"),
    ],
)
def test_mistakes_are_one_line(arguments, says, capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("HARMONY_RUNS", str(tmp_path))
    assert cli.main(arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert says in line


def test_the_directory_is_below_the_run_root(monkeypatch):
    monkeypatch.setenv("HARMONY_RUNS", "/data/runs")
    assert cli.parser().parse_args(["stop"]).dir == Path("/data/runs/mlflow_server")
    monkeypatch.delenv("HARMONY_RUNS")
    assert cli.parser().parse_args(["stop"]).dir == Path("runs/mlflow_server")
    assert os.environ.get("HARMONY_RUNS") is None
