"""Trouble with a tracking server, told in one line with what to do about it.

Imports nothing heavy and starts nothing, so a launcher can ask before it submits.
"""

import re
import urllib.request
from dataclasses import dataclass
from urllib.parse import urlsplit

from harmony.errors import ConfigError
from harmony.tracking.uri import checked_uri
from launch.mlflow_server.rest import Answer, AnswerError, Rest

_DATABASE_SECONDS = 40.0  # its pool of connections gives up after 30, and then says so
_MAX_TEXT = 200  # characters of a foreign message that one line can hold
_NOISE = r"\(Background on this error at: \S+\)|\(psycopg2\.\w+\)|\(\w+Error\)$"


@dataclass(frozen=True)
class _Cure:
    """What to say: `line`, if the message matches `pattern` or the status is in `statuses`."""

    pattern: str
    line: str
    statuses: tuple[int, ...] = ()
    network: bool = False  # a proxy on the way can be the cause


_CURES = (
    _Cure(
        r"Invalid Host header",
        "the server refuses the name {host}: restart it with --allowed-hosts {host} (a plain "
        "mlflow server: add {host},{host}:* to its --allowed-hosts), or use a name that it allows",
    ),
    _Cure(
        r"QueuePool limit|connection pool .*exhausted",
        "the server has too few database connections for its clients: restart it with "
        "--pool-size 50 (a plain mlflow server: MLFLOW_SQLALCHEMYSTORE_POOL_SIZE=50)",
    ),
    _Cure(
        r"database (table )?is locked",
        "its sqlite database is locked by other writers: use PostgreSQL (--backend "
        "postgresql://...), or fewer runs that write at once",
    ),
    _Cure(
        r"too many clients|remaining connection slots|too many connections",
        "PostgreSQL has no connection left: restart the server with fewer --workers, or raise "
        "max_connections of PostgreSQL",
    ),
    _Cure(
        r"No space left|disk is full|could not extend file|Disk quota exceeded",
        "the server's disk is full: free space there; runs keep their metrics.jsonl until then",
    ),
    _Cure(
        r"out-of-date database schema|no such table|relation \S+ does not exist",
        "the database's tables are of another version of mlflow: stop the server and start it "
        "again with python -m launch.mlflow_server start, which upgrades them",
    ),
    _Cure(
        r"password authentication failed|no password supplied",
        "PostgreSQL refuses user or password: put them into ~/.pgpass or PGPASSWORD, "
        "or into --backend postgresql://USER:PASSWORD@HOST/DATABASE",
    ),
    _Cure(
        r'(database|role) "[^"]*" does not exist',
        "PostgreSQL lacks it ({text}): createuser --pwprompt USER; createdb --owner USER DATABASE",
    ),
    _Cure(
        r"connection to server .*failed|could not connect to server|server closed the connection|"
        r"terminating connection|database system is (starting up|shutting down)|psycopg2",
        "the database does not answer as it should ({text}): start PostgreSQL, or mend --backend",
    ),
    _Cure(
        r"CERTIFICATE_VERIFY_FAILED",
        "its certificate is not known here: set MLFLOW_TRACKING_SERVER_CERT_PATH to the "
        "authority's file",
    ),
    _Cure(
        r"WRONG_VERSION_NUMBER|RECORD_LAYER_FAILURE|HTTP_REQUEST|BadStatusLine",
        "one side speaks https, the other http: change the beginning of the address",
    ),
    _Cure(
        r"Name or service not known|Temporary failure in name resolution|Failed to resolve|"
        r"No address associated|nodename nor servname",
        "no machine here knows the name {host}: use the server's full name or its address "
        "(python -m launch.mlflow_server start --name NAME says it to others)",
        network=True,
    ),
    _Cure(
        r"Connection refused",
        "nothing listens there: start it with python -m launch.mlflow_server start, or mend "
        "MLFLOW_TRACKING_URI",
        network=True,
    ),
    _Cure(
        r"timed out|TimeoutError",
        "no answer in time: the server is overloaded or stopped, or a firewall drops the "
        "packets to port {port}",
        network=True,
    ),
    _Cure(
        r"No route to host|Network is unreachable|Connection reset|RemoteDisconnected|"
        r"closed connection|Tunnel connection failed",
        "the connection breaks ({text}): is the server up, and does this machine reach it?",
        network=True,
    ),
    _Cure(
        r"Unauthenticated|not authenticated",
        "it wants to know who asks: set MLFLOW_TRACKING_USERNAME and "
        "MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN",
        (401,),
    ),
    _Cure(
        r"Permission denied",
        "it does not allow this ({text}): ask for the permission, or set other "
        "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD",
        (403,),
        network=True,
    ),
    _Cure(
        r"JSONDecodeError|expected a JSON object",
        "what answers there is no MLflow server: mend MLFLOW_TRACKING_URI (host, port, path)",
        (404, 405),
        network=True,
    ),
    _Cure(
        r"too many 5\d\d error responses",
        "the server is too busy or has trouble ({text}): see its server.log; runs catch up later",
        (408, 429, 500, 502, 503, 504),
        network=True,
    ),
)


def cure(trouble: BaseException | Answer, uri: str) -> str:
    """Says in one line what is wrong and what to do.

    Args:
        trouble: What a call raised, of urllib or of mlflow's client, or what the server answered.
        uri: Address of the server.

    Returns:
        The line, with the address in front; passwords in it are blotted out.
    """
    status, text = _facts(trouble)
    address = urlsplit(uri)
    facts = {
        "host": address.hostname or uri,
        "port": str(address.port or address.scheme),
        "text": _short(text),
    }
    found = _find(status, text)
    if found is None:
        came = f"{status}: {facts['text']}" if status else facts["text"]
        line = f"expected a server and a database that work, got {came}"
    else:
        line = found.line.format(**facts)
    hint = _proxy_hint(uri) if found is not None and found.network else ""
    return f"{_masked(uri)}: {line}{hint}"


def probe(uri: str, timeout: float) -> None:
    """Asks a server whether it runs and takes calls under this name; writes nothing.

    A store without a server, such as sqlite, has nothing to ask.

    Args:
        uri: Address of the store.
        timeout: Seconds until the server answers; its database may then take longer.

    Raises:
        ConfigError: It can't be used; the message says why and what to do.
    """
    address = checked_uri(uri)
    if not address.startswith("http"):
        return
    try:
        _healthy(Rest(address, timeout))
        Rest(address, _DATABASE_SECONDS).get("experiments/search", max_results="1")
    except (AnswerError, OSError, ValueError) as error:
        raise ConfigError(cure(error, address)) from error


def blotted(text: str) -> str:
    """A text without the passwords of the addresses in it."""
    return re.sub(r"(://[^/\s:@]*):[^/\s@]*@", r"\1:***@", text)


def _healthy(rest: Rest) -> None:
    try:
        rest.health()
    except AnswerError as error:
        if error.answer.status not in (401, 403, 404):  # a gateway in front may hide it
            raise


def _facts(trouble: BaseException | Answer) -> tuple[int, str]:
    """Status, 0 if there is none, and all that is said."""
    if isinstance(trouble, AnswerError):
        trouble = trouble.answer
    if isinstance(trouble, Answer):
        return trouble.status, trouble.text
    text = f"{trouble} ({type(trouble).__name__})"
    told = re.search(r"error code (\d{3})", text)  # mlflow's client puts the status in its text
    return int(told[1]) if told else 0, text


def _find(status: int, text: str) -> _Cure | None:
    for known in _CURES:
        if re.search(known.pattern, text, re.IGNORECASE):
            return known
    return next((known for known in _CURES if status in known.statuses), None)


def _short(text: str) -> str:
    line = " ".join(re.sub(_NOISE, "", blotted(text)).split())
    return line if len(line) <= _MAX_TEXT else f"{line[:_MAX_TEXT]}..."


def _masked(uri: str) -> str:
    """An address without user and password."""
    return re.sub(r"(://)[^/\s@]*@", r"\1", uri).rstrip("/")


def _proxy_hint(uri: str) -> str:
    """The variable that sends calls elsewhere, which is easily forgotten on a cluster."""
    parts = urlsplit(uri)
    proxy = urllib.request.getproxies().get(parts.scheme)
    if not proxy or not parts.hostname or urllib.request.proxy_bypass(parts.hostname):
        return ""
    return f" ({parts.scheme}_proxy={blotted(proxy)} is set: export NO_PROXY={parts.hostname})"
