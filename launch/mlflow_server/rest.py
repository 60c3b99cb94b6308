"""The few calls to a tracking server that a check needs, without importing mlflow.

The import of mlflow takes seconds, and its client tries for four minutes before it gives up; a
check wants an answer at once.
"""

import base64
import json
import os
import ssl
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPResponse
from typing import Any
from urllib.error import HTTPError
from urllib.parse import quote, urlencode

_API = "/api/2.0/mlflow/"
_ARTIFACTS = "/api/2.0/mlflow-artifacts/artifacts/"


@dataclass(frozen=True)
class Answer:
    """What a server said when it did not do what it was asked.

    Attributes:
        status: HTTP status.
        text: Body.
    """

    status: int
    text: str


class AnswerError(Exception):
    """The server answered, but not with success.

    Args:
        answer: What it said.
    """

    def __init__(self, answer: Answer) -> None:
        super().__init__(f"{answer.status}: {answer.text}")
        self.answer = answer


class Rest:
    """A tracking server, reached over HTTP.

    User and password, or token, and the certificate come from the variables that mlflow's own
    client reads: MLFLOW_TRACKING_USERNAME, _PASSWORD, _TOKEN, _SERVER_CERT_PATH, _INSECURE_TLS.

    Args:
        uri: `http(s)://HOST:PORT`, with a path if the server has one.
        timeout: Seconds that a call waits for the server.
    """

    def __init__(self, uri: str, timeout: float) -> None:
        self.uri = uri.rstrip("/")
        self.timeout = timeout

    def health(self) -> None:
        """Asks whether the server runs; any host name is accepted here."""
        self._send("GET", "/health")

    def get(self, call: str, **query: str) -> dict[str, Any]:
        """Makes a reading call, such as `runs/get`.

        Raises:
            AnswerError: The server answered with an error.
            OSError: It can't be reached.
            ValueError: The answer is not MLflow's.
        """
        return _parsed(self._send("GET", f"{_API}{call}?{urlencode(query)}"))

    def post(self, call: str, **fields: object) -> dict[str, Any]:
        """Makes a writing call, such as `runs/create`; raises what `get` raises."""
        body = json.dumps(fields).encode()
        return _parsed(self._send("POST", _API + call, body, "application/json"))

    def artifact(self, method: str, path: str, body: bytes | None = None) -> bytes:
        """Puts, gets or deletes a file of the artifact proxy; raises what `get` raises."""
        return self._send(method, _ARTIFACTS + quote(path), body, "application/octet-stream")

    def _send(
        self, method: str, path: str, body: bytes | None = None, kind: str | None = None
    ) -> bytes:
        headers = authorization(os.environ) | ({"Content-Type": kind} if kind and body else {})
        request = urllib.request.Request(self.uri + path, body, headers, method=method)
        context = _tls(os.environ) if self.uri.startswith("https:") else None
        try:
            response: HTTPResponse
            with urllib.request.urlopen(request, timeout=self.timeout, context=context) as response:
                return response.read()
        except HTTPError as error:
            with error:
                text = error.read().decode(errors="replace")
            raise AnswerError(Answer(error.code, text)) from error


def authorization(environ: Mapping[str, str]) -> dict[str, str]:
    """The header that says who asks; user and password come before the token, as in mlflow."""
    user, password = (
        environ.get("MLFLOW_TRACKING_USERNAME"),
        environ.get("MLFLOW_TRACKING_PASSWORD"),
    )
    if user and password:
        code = base64.b64encode(f"{user}:{password}".encode()).decode()
        return {"Authorization": f"Basic {code}"}
    token = environ.get("MLFLOW_TRACKING_TOKEN")
    return {"Authorization": f"Bearer {token}"} if token else {}


def _tls(environ: Mapping[str, str]) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=environ.get("MLFLOW_TRACKING_SERVER_CERT_PATH"))
    if environ.get("MLFLOW_TRACKING_INSECURE_TLS", "").lower() in ("true", "1"):
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _parsed(body: bytes) -> dict[str, Any]:
    found = json.loads(body or b"{}")
    if not isinstance(found, dict):
        raise ValueError(f"expected a JSON object, got {body[:80]!r}")
    return found
