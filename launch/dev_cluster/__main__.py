"""``python -m launch.dev_cluster start|stop|status``."""

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

from harmony.config.cli import report_errors
from harmony.errors import ConfigError
from launch.dev_cluster.cluster import DevCluster
from launch.dev_cluster.settings import Settings

_NUMBERS = {
    "nodes": "nodes, n1, n2, ...",
    "cpus": "cores a node; may be more than there are",
    "gpus": "GPUs a node; they need not exist",
    "memory-mb": "memory a node, MB; may be more than there is",
    "max-array-size": "one more than the highest index of a job array",
    "requeue-delay": "seconds that a requeued job waits before it may start",
}


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"{message}; see python -m launch.dev_cluster --help")


def default_directory() -> Path:
    """Where a cluster lies if nothing is said: below the user's cache."""
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(cache).expanduser() / "harmony" / "dev_cluster"


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Reads a command line.

    Raises:
        ConfigError: An unknown command or option.
    """
    parser = _Parser(
        prog="python -m launch.dev_cluster",
        description="A real SLURM on this machine, for tests and for trying things.",
        epilog='Start and use it: eval "$(python -m launch.dev_cluster start)" && sinfo',
        allow_abbrev=False,
    )
    commands = parser.add_subparsers(dest="command", required=True)
    texts = {
        "start": "start it, print the line that makes SLURM's commands use it",
        "stop": "end its jobs and daemons; queued jobs come back at the next start",
        "status": "say what runs; exit code 1 if any of it doesn't",
    }
    for name, text in texts.items():
        command = commands.add_parser(name, help=text, description=text, allow_abbrev=False)
        command.add_argument("--dir", type=Path, default=default_directory(), metavar="DIR")
        if name == "start":
            _add_settings(command)
        if name == "stop":
            command.add_argument("--purge", action="store_true", help="remove its files too")
    return parser.parse_args(list(argv))


def _add_settings(command: argparse.ArgumentParser) -> None:
    defaults = Settings()
    for option, text in _NUMBERS.items():
        name = _field(option)
        text = f"{text} (default {getattr(defaults, name)})"
        command.add_argument(f"--{option}", type=int, dest=name, metavar="N", help=text)
    text = "without slurmdbd and its database: no sacct"
    command.add_argument(
        "--no-accounting", action="store_false", default=None, dest="accounting", help=text
    )


def _field(option: str) -> str:
    return "requeue_delay_s" if option == "requeue-delay" else option.replace("-", "_")


def asked_settings(found: argparse.Namespace, last: Settings) -> Settings:
    """The last settings, with what the command line changes."""
    names = [*map(_field, _NUMBERS), "accounting"]
    given = {name: getattr(found, name) for name in names if getattr(found, name) is not None}
    return replace(last, **given)


def _start(found: argparse.Namespace) -> int:
    last = DevCluster(found.dir)
    cluster = DevCluster(found.dir, asked_settings(found, last.settings))
    started = cluster.start()
    sys.stderr.write(f"the cluster in {cluster.layout.root} {'is' if started else 'was'} up\n")
    for name, value in cluster.environment().items():
        sys.stdout.write(f"export {name}={value}\n")
    return 0


def _stop(found: argparse.Namespace) -> int:
    cluster = DevCluster(found.dir)
    cluster.stop(purge=found.purge)
    sys.stderr.write(f"the cluster in {cluster.layout.root} is down\n")
    return 0


def _status(found: argparse.Namespace) -> int:
    cluster = DevCluster(found.dir)
    status = cluster.status()
    for name, pid in status.items():
        sys.stdout.write(f"{name:<10} {'does not run' if pid is None else f'runs, pid {pid}'}\n")
    return 0 if all(status.values()) else 1


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command; returns the exit code."""
    with report_errors() as outcome:
        found = parse(sys.argv[1:] if argv is None else argv)
        commands = {"start": _start, "stop": _stop, "status": _status}
        outcome.code = commands[found.command](found)
    return outcome.code


if __name__ == "__main__":
    sys.exit(main())
