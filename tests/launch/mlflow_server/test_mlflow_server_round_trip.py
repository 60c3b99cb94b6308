import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest

from harmony.errors import ConfigError
from launch.mlflow_server.round_trip import EXPERIMENT, Report, check


class Store(ThreadingHTTPServer):
    """As much of a tracking server as a check uses, in memory."""

    daemon_threads = True

    def __init__(self):
        self.experiment = None
        self.metrics, self.files, self.calls = [], {}, []
        self.location = "mlflow-artifacts:/1/r1/artifacts"
        self.lost = 0  # metrics that are forgotten
        super().__init__(("127.0.0.1", 0), Handler)

    def answer(self, call, fields):
        self.calls.append(call)
        if call == "experiments/get-by-name":
            if self.experiment is None:
                return 404, {"error_code": "RESOURCE_DOES_NOT_EXIST"}
            return 200, {"experiment": self.experiment}
        if call == "experiments/create":
            self.experiment = {"experiment_id": "1", "lifecycle_stage": "active"}
            assert fields["name"] == EXPERIMENT
            return 200, {"experiment_id": "1"}
        if call == "runs/create":
            self.metrics = []
            return 200, {"run": {"info": {"run_id": "r1", "artifact_uri": self.location}}}
        if call == "runs/log-batch":
            self.metrics += fields["metrics"]
        if call == "metrics/get-history":
            key = fields["metric_key"][0]
            kept = [metric for metric in self.metrics if metric["key"] == key]
            return 200, {"metrics": kept[self.lost :]}
        return 200, {}


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        parts = urlsplit(self.path)
        if "artifacts/" in parts.path:
            return self.reply(200, self.server.files.get(parts.path, b""))
        return self.call(parts.path, parse_qs(parts.query))

    def do_POST(self):
        self.call(self.path, json.loads(self.body()))

    def do_PUT(self):
        self.server.files[self.path] = self.body()
        self.reply(200, b"{}")

    def do_DELETE(self):
        del self.server.files[self.path]
        self.reply(204, b"")

    def call(self, path, fields):
        status, answer = self.server.answer(path.removeprefix("/api/2.0/mlflow/"), fields)
        self.reply(status, json.dumps(answer).encode())

    def body(self):
        return self.rfile.read(int(self.headers["Content-Length"]))

    def reply(self, status, body):
        self.send_response(status)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def store(monkeypatch):
    monkeypatch.delenv("http_proxy", raising=False)
    with Store() as found:
        thread = threading.Thread(target=found.serve_forever, args=(0.01,))
        thread.start()
        yield found
        found.shutdown()
        thread.join()


def uri(store):
    return f"http://127.0.0.1:{store.server_port}"


def test_a_run_is_written_read_and_deleted(store):
    report = check(uri(store), 5)
    assert len(report.seconds) == 5
    assert len(store.metrics) == 50
    assert store.files == {}
    assert store.calls[-1] == "runs/delete"
    assert "files go through the server" in report.line()
    check(uri(store), 5)
    assert store.calls.count("experiments/create") == 1


def test_a_deleted_experiment_is_restored(store):
    store.experiment = {"experiment_id": "1", "lifecycle_stage": "deleted"}
    check(uri(store), 5)
    assert "experiments/restore" in store.calls


def test_what_is_not_stored_is_found_and_the_run_still_deleted(store):
    store.lost = 1
    with pytest.raises(ConfigError, match=r"wrote the metrics .*, read \[1.1, 1.2, 1.3, 1.4\]"):
        check(uri(store), 5)
    assert store.calls[-1] == "runs/delete"


def test_files_that_bypass_the_server_are_named(store):
    store.location = "s3://bucket/1"
    assert "directly to s3://bucket/1" in check(uri(store), 5).line()


def test_only_servers_can_be_checked(tmp_path):
    with pytest.raises(ConfigError, match="no server to check"):
        check(f"sqlite:///{tmp_path}/mlflow.db", 5)


def test_the_line_has_the_median():
    report = Report("http://h:1", (0.001, 0.002, 0.9), "mlflow-artifacts:/1")
    assert report.line().startswith("http://h:1 works: log_batch takes 2 ms (p50 of 5)")
