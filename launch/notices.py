"""What is worth a line before a submission, and no reason to refuse it."""

import logging
import shutil
from collections.abc import Mapping
from typing import Any

_OF_THE_SHELL = {
    "SBATCH_ACCOUNT": "account",
    "SBATCH_PARTITION": "partition",
    "SBATCH_QOS": "qos",
    "SBATCH_CONSTRAINT": "constraint",
    "SBATCH_RESERVATION": "reservation",
}

log = logging.getLogger(__name__)


def tell_of_python(params: Mapping[str, Any]) -> None:
    """Says that the interpreter of the nodes is not on this machine; the nodes may have it.

    Args:
        params: of the launcher.
    """
    python = params.get("python")
    if python and shutil.which(python) is None:
        log.warning(
            "hydra.launcher.python=%s: no program here; every job fails on a node without it",
            python,
        )


def tell_of_shell(params: Mapping[str, Any], environment: Mapping[str, str]) -> None:
    """Says which of the shell's settings for sbatch are not used; the launcher's alone decide.

    Args:
        params: of the launcher.
        environment: variables of the shell.
    """
    more = params.get("additional_parameters") or {}
    for name, key in _OF_THE_SHELL.items():
        if environment.get(name) and params.get(key) is None and key not in more:
            log.warning(
                "%s=%s is set in the shell and not used: to use it, add hydra.launcher.%s=%s",
                name, environment[name], key, environment[name],
            )  # fmt: skip
