"""One run, in a process of its own: ``python -m launch.worker SPEC``, started by a supervisor."""

import json
import logging
import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from harmony.config import cli
from harmony.config.compose import Composed
from harmony.config.run_files import LOCK_FILE
from harmony.config.run_names import settled_path
from harmony.errors import ConfigError
from harmony.filelock import FileLock
from harmony.place import LOCAL_RANK, RANK, RENDEZVOUS, SIZE
from launch.sweep import read_spec

GPU_SHARE = "HARMONY_GPU_SHARE"
"""Environment variable: the part of a GPU's memory that a run may take, above 0, at most 1."""

_ASK_SECONDS = 2.0
_SAY_SECONDS = 60.0

log = logging.getLogger(__name__)


def main(argv: Sequence[str] | None = None) -> int:
    """Trains the run of a spec file.

    Args:
        argv: arguments after the program's name; those of the process by default.

    Returns:
        Exit code of the training; 2 where it refuses to start.
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    with cli.report_errors() as outcome:
        arguments = list(sys.argv[1:] if argv is None else argv)
        if len(arguments) != 1:
            raise ConfigError(f"expected the spec of a run, got {' '.join(arguments) or 'nothing'}")
        outcome.code = _train(read_spec(Path(arguments[0])))
    return outcome.code


def _train(composed: Composed) -> int:
    from harmony import train  # torch: seconds, after the arguments were found right

    log.info("%s: job %s", time.strftime("%Y-%m-%d %H:%M:%S"), json.dumps(_job()))
    take_share(float(os.environ.get(GPU_SHARE, "1")))
    os.environ.update(place_of_step(os.environ))
    if os.environ.get(RANK, "0") == "0":  # the others leave the directory to the first
        wait_for_directory(settled_path(composed.config, composed.choices))
    train.check(composed)
    return train.run(composed, launched=True)


def place_of_step(environment: Mapping[str, str]) -> dict[str, str]:
    """Variables that tell a process of a run which of several it is; see `harmony.place`.

    Args:
        environment: of a task that srun has started; nothing follows where a run has one process.
    """
    if SIZE not in environment or "SLURM_PROCID" not in environment:
        return {}
    # Another port for each job, and for each start of a run in it; below those that are given out.
    job, step = int(environment["SLURM_JOB_ID"]), int(environment["SLURM_STEP_ID"])
    return {
        RANK: environment["SLURM_PROCID"],
        LOCAL_RANK: environment["SLURM_LOCALID"],
        # All tasks of a step are on one node.
        RENDEZVOUS: f"tcp://127.0.0.1:{10_000 + (31 * job + step) % 20_000}",
    }


def take_share(share: float) -> None:
    """Limits what this process may take of the memory of each GPU.

    Args:
        share: above 0; at 1 nothing is limited.
    """
    import torch

    if share < 1 and torch.cuda.is_available():
        for device in range(torch.cuda.device_count()):
            torch.cuda.set_per_process_memory_fraction(share, device)


def wait_for_directory(run_dir: Path | None) -> None:
    """Waits while another process owns the run's directory.

    A node that its scheduler has lost may still work on the run that was started anew here.

    Args:
        run_dir: need not exist.
    """
    if run_dir is None or not run_dir.is_dir():
        return
    said = -_SAY_SECONDS
    lock = FileLock(run_dir / LOCK_FILE)
    while not lock.acquire(wait=False):
        if time.monotonic() - said >= _SAY_SECONDS:
            said = time.monotonic()
            log.info("waiting for the process that has %s", run_dir)
        time.sleep(_ASK_SECONDS)
    lock.release()


def _job() -> dict[str, str]:
    names = ("SLURM_JOB_ID", "SLURM_RESTART_COUNT", "SLURMD_NODENAME", "CUDA_VISIBLE_DEVICES")
    return {name: os.environ[name] for name in names if name in os.environ}


if __name__ == "__main__":
    sys.exit(main())
