"""SLURM's commands as small scripts that keep what they know in a file; for tests of submissions.

They print what those of SLURM 22.05 print, also when they fail.
"""

import marshal
import sys
from pathlib import Path

MUNGE_DOWN = """\
sbatch: error: If munged is up, restart with --num-threads=10
sbatch: error: Munge encode failed: Failed to access "/run/munge/munge.socket.2": No such file or \
directory (Did you start munged?)
sbatch: error: slurm_send_node_msg: auth_g_create: REQUEST_SUBMIT_BATCH_JOB has authentication error
sbatch: error: Batch job submission failed: Protocol authentication error
"""
UNREACHABLE = "slurm_load_partitions: Unable to contact slurm controller (connect failure)\n"
NO_ACCOUNT = (
    "sbatch: error: Batch job submission failed: Invalid account or account/partition combination "
    "specified\n"
)
NO_PARTITION = """\
sbatch: error: invalid partition specified: nope
sbatch: error: Batch job submission failed: Invalid partition name specified
"""
TOO_MANY = """\
sbatch: error: AssocMaxSubmitJobLimit
sbatch: error: Batch job submission failed: Job violates accounting/QOS policy (job submit limit, \
user's size and/or time limits)
"""
POLICY = (
    "sbatch: error: Batch job submission failed: Job violates accounting/QOS policy (job submit "
    "limit, user's size and/or time limits)\n"
)
TIMED_OUT = "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation\n"
TOO_MUCH = """\
sbatch: error: Memory specification can not be satisfied
sbatch: error: Batch job submission failed: Requested node configuration is not available
"""
NO_CONFIG = """\
sinfo: error: resolve_ctls_from_dns_srv: res_nsearch error: Unknown host
sinfo: error: fetch_config: DNS SRV lookup failed
sinfo: error: _establish_config_source: failed to fetch config
sinfo: fatal: Could not establish a configuration source
"""
PARTITIONS = "debug*|up|1:00:00|gpu:2|8|8000\nlong|up|infinite|gpu:2|8|8000\n"
COMMANDS = ("sbatch", "srun", "squeue", "sacct", "sinfo", "scontrol", "scancel", "sacctmgr")


class FakeSlurm:
    """A cluster without machines.

    Args:
        folder: for its commands and what they know.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / "bin"
        self._file = folder / "state"
        self.path.mkdir(parents=True)
        self._write(
            {
                "next": 100,
                "jobs": {},
                "calls": [],
                "scripts": [],
                "trouble": {},
                "partitions": PARTITIONS,
                "nodes": ["n1", "n2"],
                "array_size": 1001,
                "accounting": True,
                "submit_limits": [["default", ""]],
                "comments": "",
            }
        )
        for name in COMMANDS:
            script = self.path / name
            script.write_text(
                f"#!{sys.executable} -IS\nimport sys\n"
                f"sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
                f"from fake_slurm_commands import main\n"
                f"sys.exit(main({name!r}, {str(self._file)!r}))\n"
            )
            script.chmod(0o755)

    def _read(self):
        return marshal.loads(self._file.read_bytes())

    def _write(self, state) -> None:
        self._file.write_bytes(marshal.dumps(state))

    def set(self, **values) -> None:
        """Changes the cluster: partitions, nodes, array_size, accounting, submit_limits, next."""
        self._write(self._read() | values)

    def fail(self, command: str, text: str, after: int = 0) -> None:
        """Lets a command fail from now on, once it has worked a number of times."""
        state = self._read()
        state["trouble"][command] = {"text": text, "after": after}
        self._write(state)

    def mend(self, command: str) -> None:
        """Lets a command work again."""
        state = self._read()
        del state["trouble"][command]
        self._write(state)

    def job(self, job: str, state: str, node: str = "", reason: str = "None") -> None:
        """What becomes of a job."""
        whole = self._read()
        whole["jobs"][job] = [state, node, reason]
        self._write(whole)

    def forget(self, job: str) -> None:
        """The queue does not know a job any more; accounts do."""
        whole = self._read()
        whole["jobs"][job].append("forgotten")
        self._write(whole)

    @property
    def jobs(self) -> dict[str, str]:
        """States by id."""
        return {job: values[0] for job, values in self._read()["jobs"].items()}

    @property
    def scripts(self) -> list[str]:
        """What was given to sbatch."""
        return self._read()["scripts"]

    def calls(self, command: str):
        """Arguments and environment of the calls of a command."""
        return [(c["args"], c["env"]) for c in self._read()["calls"] if c["command"] == command]
