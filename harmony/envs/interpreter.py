"""Other Python interpreters on this machine."""

import shutil
import subprocess
from pathlib import Path

from harmony.errors import EnvError

_PROBE = (
    "import sys, importlib.util as u;"
    "print('%d.%d' % sys.version_info[:2], u.find_spec('numpy') is not None)"
)
_PROBE_S = 60.0
_GUIDES = {"minedojo": "docs/minedojo.md", "rlbench": "docs/rlbench.md"}  # else docs/bridge.md


def find_interpreter(python: str | None, version: str | None, name: str) -> str:
    """Checks that an interpreter is there, can be run, has the version, and has NumPy.

    Args:
        python: a path, or a command to find in PATH.
        version: that it must have, such as "3.9"; None takes any.
        name: of the suite, for the message.

    Returns:
        Its absolute path, symbolic links kept: they tell Python of its virtual environment.

    Raises:
        EnvError: something of this is not so; says what to do.
    """
    wanted = f"env {name}: env.python must be a Python {version or 3} with the simulator, "
    cure = f"; {_GUIDES.get(name, 'docs/bridge.md')} tells how to make one"
    if not python:
        raise EnvError(f"{wanted}got none{cure}")
    path = shutil.which(Path(python).expanduser())
    if path is None:
        there = Path(python).expanduser().exists()
        fault = "can't be executed" if there else "is not there"
        raise EnvError(f"{wanted}but {python} {fault}{cure}")
    found, _, has_numpy = _ask(path).partition(" ")
    if not found:
        raise EnvError(f"{wanted}but {python} runs no Python code{cure}")
    if version is not None and found != version:
        raise EnvError(f"{wanted}but {python} is Python {found}{cure}")
    if has_numpy != "True":
        raise EnvError(f"{wanted}but {python} has no NumPy; {python} -m pip install numpy")
    return str(Path(path).absolute())


def _ask(path: str) -> str:
    """Version, and whether there is NumPy; "" if it is no Python that runs."""
    command = [path, "-I", "-c", _PROBE]
    try:
        done = subprocess.run(
            command, capture_output=True, check=True, timeout=_PROBE_S, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.decode(errors="replace").strip()
