"""What `harmony.doctor` says of suites: installed or not, how to get them, and whether they run."""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

import harmony
from harmony.config.compose import compose
from harmony.config.conf_dir import find_conf_dir, list_groups
from harmony.envs.suite import check_suite
from harmony.errors import EnvError, UserError

_COMMAND = re.compile(r"pip install '[^']+'")


@dataclass
class Suite:
    """What was found of a suite.

    Attributes:
        name: choice of `env`.
        state: works, missing (something that it needs is not here), or fails.
        problem: one line; "" where it works.
        commands: that install what is missing.
        packages: those that it imports -> version, "" where one is missing.
        trial: what `harmony.doctor_trial` measured.
    """

    name: str
    state: Literal["works", "missing", "fails"] = "works"
    problem: str = ""
    commands: list[str] = field(default_factory=list)
    packages: dict[str, str] = field(default_factory=dict)
    trial: dict[str, Any] = field(default_factory=dict)


def suite_names() -> list[str]:
    """All choices of `env`."""
    return list_groups(find_conf_dir())["env"]


def examine(name: str, overrides: Sequence[str], seconds: float) -> Suite:
    """Looks at one suite, and tries it where nothing is missing.

    Args:
        name: choice of `env`.
        overrides: of the configuration, besides `env=`.
        seconds: that trying it may take.
    """
    suite = Suite(name)
    given = [f"env={name}", *overrides]
    try:
        node = compose(given).config["env"]
        _look_for_packages(suite, node["_target_"])
        if suite.state == "works":
            check_suite(node["_target_"], node)
    except EnvError as error:
        suite.state, suite.problem = "missing", _line(error)
        suite.commands = [_command(text) for text in _COMMAND.findall(suite.problem)]
    except UserError as error:
        suite.state, suite.problem = "fails", _line(error)
    if suite.state == "works":
        suite.trial = try_suite(given, seconds)
        if "error" in suite.trial:
            suite.state = "missing" if suite.trial.get("missing") else "fails"
            suite.problem, suite.trial = suite.trial["error"], {}
    return suite


def try_suite(overrides: Sequence[str], seconds: float) -> dict[str, Any]:
    """What `harmony.doctor_trial` prints; where it crashes or hangs, `error` says so.

    Args:
        overrides: of the configuration.
        seconds: that it may take; then it is killed with everything that it has started.
    """
    command = [sys.executable, "-m", "harmony.doctor_trial", *overrides]
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        start_new_session=True,
    ) as child:
        try:
            output, errors = child.communicate(timeout=seconds)
        except KeyboardInterrupt:  # which does not reach a session of its own
            os.killpg(child.pid, signal.SIGKILL)
            raise
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)
            child.communicate()
            return {"error": f"no end after {seconds:g} s; timeout=SECONDS allows more"}
    if child.returncode:
        return {"error": _crash(child.returncode, errors)}
    found: dict[str, Any] = json.loads(output.splitlines()[-1])
    return found


def _crash(code: int, errors: str) -> str:
    """How a process ended, with the last thing that it said."""
    how = f"exit code {code}" if code > 0 else f"killed by {signal.Signals(-code).name}"
    said = [line.strip() for line in errors.splitlines() if line.strip()]
    return f"crashed ({how}): {said[-1][:200]}" if said else f"crashed ({how})"


def _look_for_packages(suite: Suite, target: str) -> None:
    module = importlib.import_module(target.rpartition(".")[0])
    requires: dict[str, str] = getattr(module, "REQUIRES", {})
    suite.packages = {package: _version(package) for package in requires}
    missing = [package for package, version in suite.packages.items() if not version]
    if missing:
        suite.state = "missing"
        suite.problem = f"not installed: {', '.join(missing)}"
        extras = dict.fromkeys(requires[package] for package in missing)
        suite.commands = [_command(f"pip install 'harmony-dream[{','.join(extras)}]'")]


def _version(package: str) -> str:
    """Version of what a module comes from; "" where it is missing, "?" where nothing tells."""
    if importlib.util.find_spec(package) is None:
        return ""
    names = metadata.packages_distributions().get(package, [package])
    try:
        return metadata.version(names[0])
    except metadata.PackageNotFoundError:
        return "?"


def _command(text: str) -> str:
    """The command as it works here: from a checkout, with its pinned versions."""
    root = Path(harmony.__file__).parents[1]
    if not (root / "constraints.txt").is_file():
        return text
    return text.replace(
        "pip install 'harmony-dream[", f"pip install -c {root / 'constraints.txt'} -e '{root}["
    )


def _line(error: Exception) -> str:
    return " ".join(str(error).split())


def check_asked(names: Sequence[str], overrides: Sequence[str]) -> None:
    """Refuses what can't be meant: no such suite, key or task.

    Args:
        names: choices of `env`.
        overrides: of the configuration, besides `env=`.

    Raises:
        UserError: names what there is.
    """
    for name in names:
        node = compose([f"env={name}", *overrides]).config["env"]
        module = importlib.import_module(node["_target_"].rpartition(".")[0])
        check_task = getattr(module, "check_task", None)
        if check_task is not None and "task" in node:
            check_task(node["task"])
