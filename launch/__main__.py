"""``python -m launch``: watch a sweep, read its logs, retry, cancel or extend it."""

import argparse
import logging
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from harmony.config import cli
from harmony.config.names import nearest
from harmony.errors import ConfigError, RunDirectoryError
from launch import commands, local
from launch.sweep import SWEEP_FILE, Sweep

USAGE = """\
Watch and steer sweeps.

usage: python -m launch status                     one row a sweep
       python -m launch status SWEEP [--json]      one row a run
       python -m launch logs SWEEP [RUN] [--lines N] [--follow]
                                                   what runs have printed; RUN is a number
       python -m launch retry SWEEP [hydra.launcher.KEY=VALUE ...]
                                                   submits what has failed or is missing
       python -m launch cancel SWEEP [RUN ...]     stops runs; they save before they end
       python -m launch extend SWEEP KEY=VALUE,... submits more runs of the sweep: seed=5,6,7,
                                                   or lets them train longer: training.env_steps=N

SWEEP is the directory that the submission has printed, or its name below HARMONY_RUNS (./runs).
One-machine cluster to try things on: python -m launch.dev_cluster --help
Tracking server for a cluster:        python -m launch.mlflow_server --help
"""

_COMMANDS = ("status", "logs", "retry", "cancel", "extend")


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"{message}; see python -m launch --help")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command.

    Args:
        argv: arguments after the program's name; those of the process by default.

    Returns:
        Exit code: 0 done, 1 a run has failed, 2 a mistake that the user can mend.
    """
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    logging.getLogger("urllib3").setLevel(logging.ERROR)  # its retries; what follows is told once
    with cli.report_errors() as outcome:
        outcome.code = _run(list(sys.argv[1:] if argv is None else argv))
    return outcome.code


def _run(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help"):
        sys.stdout.write(USAGE)
        return 0
    command, *rest = arguments
    if command not in _COMMANDS:
        raise ConfigError(f"expected a command, got {command}{nearest(command, _COMMANDS)}")
    if "-h" in rest or "--help" in rest:
        sys.stdout.write(USAGE)
        return 0
    if command == "status" and not rest:
        return commands.overview(_root())
    found = _parser(command).parse_args(rest)
    sweep = Sweep.read(sweep_directory(found.sweep))
    if command == "status":
        return commands.status(sweep, as_json=found.json)
    if command == "logs":
        return commands.logs(sweep, found.run, found.lines, follow=found.follow)
    if command == "cancel":
        return commands.cancel(sweep, found.runs)
    _with_its_code(sweep, arguments)
    if command == "retry":
        return commands.retry(sweep, found.changes)
    return commands.extend(sweep, found.overrides)


def _parser(command: str) -> argparse.ArgumentParser:
    parser = _Parser(prog=f"python -m launch {command}", add_help=False, allow_abbrev=False)
    parser.add_argument("sweep")
    if command == "status":
        parser.add_argument("--json", action="store_true")
    elif command == "logs":
        parser.add_argument("run", nargs="?", type=int)
        parser.add_argument("--lines", type=int, default=20)
        parser.add_argument("--follow", action="store_true")
    elif command == "cancel":
        parser.add_argument("runs", nargs="*", type=int)
    elif command == "retry":
        parser.add_argument("changes", nargs="*")
    elif command == "extend":
        parser.add_argument("overrides", nargs="+")
    return parser


def sweep_directory(given: str) -> Path:
    """The directory of a sweep that was named, or given as a path.

    Args:
        given: what stands on the command line.

    Raises:
        RunDirectoryError: there is none.
    """
    path, named = Path(given).expanduser().absolute(), _root() / given
    for directory in (path, named):
        if (directory / SWEEP_FILE).is_file():
            return directory
    if path.is_dir() and not named.is_dir():
        return path  # reading it says what is wrong
    there = sorted(file.parent.name for file in _root().glob(f"*/{SWEEP_FILE}"))
    raise RunDirectoryError(
        f"no sweep {given} in {_root()}, nor below the working directory{nearest(given, there)}; "
        "set HARMONY_RUNS where sweeps lie elsewhere"
    )


def _root() -> Path:
    return Path(os.environ.get("HARMONY_RUNS") or "runs").absolute()


def _with_its_code(sweep: Sweep, arguments: Sequence[str]) -> None:
    """Goes on in a process that has the sweep's copy of the code, unless this is that process.

    What is added to a sweep is composed and checked by the code that its runs have.
    """
    if not sweep.code.is_dir() or Path(__file__).resolve().is_relative_to(sweep.code.resolve()):
        return
    command = [sys.executable, "-m", "launch", arguments[0], str(sweep.directory), *arguments[2:]]
    environment = local.code_environment(sweep, os.environ)
    sys.exit(subprocess.run(command, env=environment, check=False).returncode)


if __name__ == "__main__":
    sys.exit(main())
