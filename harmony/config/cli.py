"""The command line of ``python -m harmony``: its options and its help. No heavy import."""

import argparse
import contextlib
import os
import select
import signal
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from harmony.config.conf_dir import list_groups
from harmony.errors import ConfigError, UserError

HELP = """\
Train an agent.

usage: python -m harmony [options] [GROUP=OPTION ...] [KEY=VALUE ...]

options:
  -m, --multirun  run every combination of values: seed=0,1,2 harmony=on,off
  --cfg job       print the configuration that a run would use, and stop
  --version       print the version, and stop
  -h, --help      print this, and stop

groups and their options (conf/GROUP/OPTION.yaml):
{groups}

examples:
  python -m harmony env=metaworld env.task=lever_pull harmony=on seed=0
  python -m harmony env.task=walker_walk size=tiny training.env_steps=20000
  python -m harmony -m seed=0,1,2,3,4 harmony=on,off sweep=walker
  python -m harmony run_dir=runs/mine           # new, or continues the run that is there
  python -m harmony 'run_dir="/data/a=b"'       # quote twice what holds = , [ ] {{ }} or spaces

Every KEY is listed by --cfg job. A run lies in run_dir, by default a new directory below
HARMONY_RUNS (./runs); the same command with the same run_dir continues it.
"""

_NO_READER = 128 + signal.SIGPIPE


@dataclass(frozen=True)
class Arguments:
    """What was asked for.

    Attributes:
        overrides: Hydra overrides, as typed.
        multirun: run a sweep.
        show_config: print the configuration and stop.
        help: print the help and stop.
        version: print the version and stop.
    """

    overrides: list[str]
    multirun: bool
    show_config: bool
    help: bool
    version: bool


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"{message}; see python -m harmony --help")


@dataclass
class Outcome:
    """Exit code of a command: 0 done, 2 a mistake that the user can mend, 130 interrupted.

    141: nobody reads what it prints any more, as after ``| head``.
    """

    code: int = 0


@contextlib.contextmanager
def report_errors() -> Iterator[Outcome]:
    """Turn what a user can mend into one line on stderr; the outcome says the exit code."""
    outcome = Outcome()
    try:
        yield outcome
    except UserError as error:
        sys.stderr.write(f"error: {' '.join(str(error).split())}\n")
        outcome.code = 2
    except KeyboardInterrupt:
        outcome.code = 130
    except BrokenPipeError:
        if not _reader_is_gone():
            raise  # another pipe: the command itself has failed
        outcome.code = _NO_READER
    if not _printed():
        outcome.code = outcome.code or _NO_READER


def _reader_is_gone() -> bool:
    """Tell whether one of the output streams is a pipe that nobody reads any more."""
    poll = select.poll()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):  # one of a test, or a closed one
            poll.register(stream.fileno(), 0)  # errors are told all the same
    return any(event & select.POLLERR for _, event in poll.poll(0))


def _printed() -> bool:
    """Write out what waits in stdout; when its reader is gone, forget it and return False."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())  # or the interpreter would complain at its end
        os.close(nowhere)
        return False
    return True


def parse(argv: Sequence[str]) -> Arguments:
    """Read a command line.

    Args:
        argv: arguments after the program's name.

    Raises:
        ConfigError: an unknown option.
    """
    parser = _Parser(prog="python -m harmony", add_help=False, allow_abbrev=False)
    parser.add_argument("overrides", nargs="*")
    parser.add_argument("-m", "--multirun", action="store_true")
    parser.add_argument("-c", "--cfg", choices=["job"])
    parser.add_argument("-h", "--help", action="store_true")
    parser.add_argument("--version", action="store_true")
    found = parser.parse_intermixed_args(list(argv))
    if found.cfg and found.multirun:
        raise ConfigError("--cfg job shows one configuration; leave out -m")
    return Arguments(found.overrides, found.multirun, bool(found.cfg), found.help, found.version)


def help_text(conf_dir: Path) -> str:
    """Return the help, with the groups and options of a conf directory."""
    groups = list_groups(conf_dir)
    width = max((len(group) for group in groups), default=0)
    lines = [f"  {group:<{width}}  {', '.join(options)}" for group, options in groups.items()]
    return HELP.format(groups="\n".join(lines))
