"""Several runs on one GPU: their shares of its memory, and NVIDIA's MPS where it is there."""

import logging
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from launch.worker import GPU_SHARE

log = logging.getLogger(__name__)

_CONTROL = "nvidia-cuda-mps-control"
_MARGIN = 0.95  # of the memory; contexts of the processes take the rest
_SECONDS = 20


@contextmanager
def sharing(runs: int) -> Iterator[dict[str, str]]:
    """Prepares a GPU for runs that share it, for a ``with`` block.

    With MPS the kernels of several processes run at once, without it they take turns.

    Args:
        runs: that will share it.

    Yields:
        The environment of each of them.
    """
    environment = dict(os.environ)
    if runs < 2:
        yield environment
        return
    environment[GPU_SHARE] = f"{_MARGIN / runs:.4f}"
    control = shutil.which(_CONTROL) if environment.get("CUDA_VISIBLE_DEVICES") else None
    if control is None:
        yield environment
        return
    with tempfile.TemporaryDirectory(prefix="harmony-mps-") as folder:
        pipes, logs = Path(folder) / "pipes", Path(folder) / "log"
        for path in (pipes, logs):
            path.mkdir()
        own = {"CUDA_MPS_PIPE_DIRECTORY": str(pipes), "CUDA_MPS_LOG_DIRECTORY": str(logs)}
        if not _control([control, "-d"], {**environment, **own}):
            yield environment
            return
        try:
            yield {**environment, **own}
        finally:
            _control([control], {**environment, **own}, "quit\n")


def _control(command: list[str], environment: dict[str, str], said: str = "") -> bool:
    try:
        subprocess.run(
            command,
            env=environment,
            input=said.encode(),
            capture_output=True,
            check=True,
            timeout=_SECONDS,
        )
    except (OSError, subprocess.SubprocessError) as error:
        log.warning("%s: %s; the runs take turns on the GPU", " ".join(command), error)
        return False
    return True
