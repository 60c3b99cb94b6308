"""The command line: `python -m launch.mlflow_server start|check|status|stop|backup|retention`."""

import argparse
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import NoReturn

from harmony.config.cli import report_errors
from harmony.errors import ConfigError
from launch.mlflow_server.admin import BACKEND
from launch.mlflow_server.database import backend_of, retain, retention_arguments, save
from launch.mlflow_server.record import Record, end, forget, processes, read_record
from launch.mlflow_server.round_trip import check
from launch.mlflow_server.server import Settings, Started, start
from launch.mlflow_server.trouble import probe

_DESCRIPTION = "An MLflow tracking server for a cluster; docs/mlflow_server.md explains it."
_NOT_RUNNING = 1


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"{message}; see {self.prog} --help")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command.

    Args:
        argv: Arguments after the program's name; those of the process by default.

    Returns:
        Exit code: 0 fine, 1 no server runs (status) or it died (start --foreground), 2 trouble
        that the line on stderr explains.
    """
    with report_errors() as outcome:
        arguments = parser().parse_args(argv)
        run: Callable[[argparse.Namespace], int] = arguments.run
        outcome.code = run(arguments)
    return outcome.code


def parser() -> argparse.ArgumentParser:
    """The command line's parser; a mistake raises ConfigError."""
    top = _Parser(prog="python -m launch.mlflow_server", description=_DESCRIPTION)
    verbs = top.add_subparsers(required=True, metavar="VERB")
    _add_start(verbs)
    verb = verbs.add_parser("check", help="write and read back a run, from any node")
    verb.add_argument("uri", nargs="?", metavar="URI", help="default: MLFLOW_TRACKING_URI")
    verb.add_argument("--timeout", type=float, default=20.0, help="seconds a call (20)")
    verb.set_defaults(run=_check)
    for name, run, text in (
        ("status", _status, "say whether it runs, and where"),
        ("stop", _stop, "stop it; runs keep their metrics and send them later"),
    ):
        verb = verbs.add_parser(name, help=text)
        _add_place(verb)
        verb.set_defaults(run=run)
    verb = verbs.add_parser("backup", help="copy the database, while it runs")
    verb.add_argument("file", type=Path, metavar="FILE", help="a new file")
    _add_place(verb, backend=True)
    verb.set_defaults(run=_backup)
    verb = verbs.add_parser("retention", help="remove for good what was deleted long ago")
    verb.add_argument("--deleted-older-than", required=True, metavar="AGE", help="such as 30d")
    _add_place(verb, backend=True)
    verb.set_defaults(run=_retention)
    return top


def _add_start(verbs: "argparse._SubParsersAction[_Parser]") -> None:
    verb = verbs.add_parser("start", help="start it, and prove that it works")
    _add_place(verb, backend=True)
    verb.add_argument("--host", default="0.0.0.0", help="address to listen on (0.0.0.0, all)")
    verb.add_argument("--port", type=int, default=5000, help="(5000); 0 takes a free one")
    verb.add_argument("--name", help="this machine's name for jobs (default: its host name)")
    verb.add_argument(
        "--allowed-hosts",
        default="",
        metavar="A,B",
        help="names that jobs and browsers use, on top of this machine's own",
    )
    verb.add_argument("--workers", type=int, default=2, metavar="N", help="processes (2)")
    verb.add_argument(
        "--pool-size", type=int, default=50, metavar="N", help="connections of each worker (50)"
    )
    verb.add_argument(
        "--foreground", action="store_true", help="stay, for systemd and sbatch; SIGTERM ends it"
    )
    verb.set_defaults(run=_start)


def _add_place(verb: argparse.ArgumentParser, *, backend: bool = False) -> None:
    runs = Path(os.environ.get("HARMONY_RUNS") or "runs")
    verb.add_argument(
        "--dir",
        type=Path,
        default=runs / "mlflow_server",
        help="log, files of runs, sqlite (default: HARMONY_RUNS/mlflow_server)",
    )
    if backend:
        verb.add_argument(
            "--backend",
            metavar="URI",
            help=f"postgresql://USER@HOST/DATABASE (default: {BACKEND}, else sqlite in DIR)",
        )


def _start(arguments: argparse.Namespace) -> int:
    if arguments.workers < 1 or arguments.pool_size < 1:
        raise ConfigError("expected --workers and --pool-size of 1 or more")
    settings = Settings(
        directory=arguments.dir.resolve(),
        host=arguments.host,
        port=arguments.port,
        name=arguments.name,
        backend=arguments.backend or os.environ.get(BACKEND),
        hosts=tuple(name for name in arguments.allowed_hosts.split(",") if name),
        workers=arguments.workers,
        pool_size=arguments.pool_size,
    )
    with _interruptible():
        started = start(settings, log=not arguments.foreground)
        sys.stdout.write("\n".join(started.lines) + "\n")
        sys.stdout.flush()
        return _hold(started, settings.directory) if arguments.foreground else 0


def _hold(started: Started, directory: Path) -> int:
    """Stays until the server dies or this process is told to end."""
    if started.child is None:
        return 0
    try:
        code = started.child.wait()
    except KeyboardInterrupt:
        return 0
    finally:
        end(directory, started.child.pid)
        started.child.wait()
        forget(directory)
    sys.stderr.write(f"error: the server ended by itself with exit code {code}\n")
    return 1


def _check(arguments: argparse.Namespace) -> int:
    uri = arguments.uri or os.environ.get("MLFLOW_TRACKING_URI", "")
    sys.stdout.write(f"{check(uri, arguments.timeout).line()}\n")
    return 0


def _status(arguments: argparse.Namespace) -> int:
    record = read_record(arguments.dir)
    if record is None or (record.here and not processes(arguments.dir, record.session)):
        sys.stdout.write(f"no server of {arguments.dir} runs\n")
        return _NOT_RUNNING
    since = time.strftime("%Y-%m-%d %H:%M", time.localtime(record.started))
    sys.stdout.write(
        f"{record.uri} on {record.host}, process {record.session}, since {since}, "
        f"database {record.backend}\n"
    )
    begin = time.perf_counter()
    probe(record.uri, timeout=20)
    sys.stdout.write(f"answers in {1000 * (time.perf_counter() - begin):.0f} ms\n")
    return 0


def _stop(arguments: argparse.Namespace) -> int:
    record = read_record(arguments.dir)
    if record is None:
        sys.stdout.write(f"no server of {arguments.dir} runs\n")
        return 0
    if not record.here:
        raise ConfigError(
            f"expected to be on {record.host}, where the server runs, this is another machine: "
            f"stop it there (sbatch: scancel), or delete {arguments.dir}/server.json if it is gone"
        )
    count = end(arguments.dir, record.session)
    forget(arguments.dir)
    sys.stdout.write(f"stopped {record.uri}: {count} processes\n")
    return 0


def _backup(arguments: argparse.Namespace) -> int:
    backend = backend_of(_backend_uri(arguments, read_record(arguments.dir)), arguments.dir)
    sys.stdout.write(f"{save(backend, arguments.file)}\n")
    sys.stdout.write(f"files of runs are not in it: copy {arguments.dir}/artifacts, too\n")
    return 0


def _retention(arguments: argparse.Namespace) -> int:
    record = read_record(arguments.dir)
    if record is None:
        raise ConfigError(
            f"expected a running server of {arguments.dir}, got none: files are removed through "
            "it, so start it first, or give its --dir"
        )
    artifacts = arguments.dir.resolve() / "artifacts"
    gc = retention_arguments(arguments.deleted_older_than, record.uri, artifacts)
    probe(record.uri, timeout=20)
    backend = backend_of(_backend_uri(arguments, record), arguments.dir)
    sys.stdout.write(f"{retain(backend, gc, record.uri)}\n")
    return 0


def _backend_uri(arguments: argparse.Namespace, record: Record | None) -> str | None:
    """The database: as typed, from the environment, or of the server, then without a password."""
    uri: str | None = arguments.backend or os.environ.get(BACKEND)
    return uri or (record.backend if record else None)


@contextmanager
def _interruptible() -> Iterator[None]:
    """Makes SIGTERM do what Ctrl-C does, so that nothing half started is left."""

    def interrupt(_number: int, _frame: FrameType | None) -> NoReturn:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


if __name__ == "__main__":
    sys.exit(main())
