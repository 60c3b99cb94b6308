"""SLURM's commands as small scripts that keep what they know in a file; for tests of submissions.

They print what those of SLURM 22.05 print, also when they fail.
"""

import json
import os
import re
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
COMMANDS = ("sbatch", "srun", "squeue", "sacct", "sinfo", "scontrol", "scancel")


class FakeSlurm:
    """A cluster without machines.

    Args:
        folder: for its commands and what they know.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / "bin"
        self._file = folder / "state.json"
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
            }
        )
        for name in COMMANDS:
            script = self.path / name
            script.write_text(
                f"#!{sys.executable} -IS\nimport sys\nsys.path.insert(0, {str(Path(__file__).parent)!r})\n"
                f"import fake_slurm\nsys.exit(fake_slurm.main({name!r}, {str(self._file)!r}))\n"
            )
            script.chmod(0o755)

    def _read(self):
        return json.loads(self._file.read_text())

    def _write(self, state) -> None:
        self._file.write_text(json.dumps(state))

    def set(self, **values) -> None:
        """Changes the cluster: partitions, nodes, array_size, accounting, next."""
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


def main(command: str, file: str) -> int:
    """What each of the commands does."""
    path, arguments = Path(file), sys.argv[1:]
    state = json.loads(path.read_text())
    shown = {k: v for k, v in os.environ.items() if k.startswith(("SLURM", "SBATCH", "SRUN"))}
    state["calls"].append({"command": command, "args": arguments, "env": shown})
    try:
        return _answer(command, arguments, state)
    finally:
        path.write_text(json.dumps(state))


def _answer(command, arguments, state) -> int:
    if arguments == ["--version"]:
        sys.stdout.write("slurm-wlm 22.05.8\n")
        return 0
    trouble = state["trouble"].get(command)
    if trouble is not None:
        trouble["after"] -= 1
        if trouble["after"] < 0:
            sys.stderr.write(trouble["text"])
            return 1
    return globals()[f"_{command}"](arguments, state)


def _sbatch(arguments, state) -> int:
    text = Path(arguments[-1]).read_text()
    options = dict(re.findall(r"^#SBATCH --([\w-]+)=?(.*)$", text, re.MULTILINE))
    names = [line.partition("|")[0].rstrip("*") for line in state["partitions"].splitlines()]
    if (asked := options.get("partition", names[0])) not in names:
        sys.stderr.write(NO_PARTITION.replace("nope", asked))
        return 1
    number = state["next"]
    state["next"] += 1
    state["scripts"].append(text)
    ids = [str(number)]
    if "array" in options:
        last = int(re.fullmatch(r"0-(\d+)(?:%\d+)?", options["array"].strip("'"))[1])
        if last >= state["array_size"]:
            sys.stderr.write(
                "sbatch: error: Batch job submission failed: Invalid job array specification\n"
            )
            return 1
        ids = [f"{number}_{task}" for task in range(last + 1)]
    state["jobs"] |= {job: ["PENDING", "", "Priority"] for job in ids}
    sys.stdout.write(f"Submitted batch job {number}\n")
    return 0


def _asked(arguments, state):
    """The jobs that --jobs names, array by array."""
    (given,) = [a.partition("=")[2] for a in arguments if a.startswith("--jobs=")]
    wanted = given.split(",")
    jobs = {j: v for j, v in state["jobs"].items() if j.partition("_")[0] in wanted}
    return wanted, jobs


def _squeue(arguments, state) -> int:
    assert {"--noheader", "--array", "--states=all", "--format=%i|%T|%N|%r"} <= {*arguments}
    wanted, jobs = _asked(arguments, state)
    shown = {job: values for job, values in jobs.items() if len(values) == 3}
    if not shown and len(wanted) == 1:
        sys.stderr.write("slurm_load_jobs error: Invalid job id specified\n")
        return 1
    for job, values in shown.items():
        sys.stdout.write("|".join([job, *values]) + "\n")
    return 0


def _sacct(arguments, state) -> int:
    known = {
        "--noheader", "--allocations", "--parsable2", "--duplicates",
        "--format=JobID,State,NodeList",
    }  # fmt: skip
    for argument in arguments:
        if argument not in known and not argument.startswith("--jobs="):
            sys.stderr.write(f"sacct: unrecognized option '{argument}'\n")
            return 1
    if not state["accounting"]:
        sys.stderr.write("Slurm accounting storage is disabled\n")
        return 1
    for job, (what, node, *_) in _asked(arguments, state)[1].items():
        by = " by 0" if what == "CANCELLED" else ""
        sys.stdout.write(f"{job}|{what}{by}|{node or 'None assigned'}\n")
    return 0


def _sinfo(arguments, state) -> int:
    if "--Node" in arguments:
        sys.stdout.write("".join(f"{node}\n" for node in state["nodes"]))
    else:
        assert "--format=%P|%a|%l|%G|%c|%m" in arguments
        sys.stdout.write(state["partitions"])
    return 0


def _scontrol(arguments, state) -> int:
    assert arguments == ["show", "config"]
    sys.stdout.write(
        "Configuration data as of 2026-11-21T11:36:46\nAccountingStorageBackupHost = (null)\n"
        f"MaxArraySize            = {state['array_size']}\nMaxJobCount             = 20000\n"
    )
    return 0


def _scancel(arguments, state) -> int:
    for job in arguments:
        if job not in state["jobs"]:
            sys.stderr.write(f"scancel: error: Kill job error on job id {job}: Invalid job id\n")
            return 1
        state["jobs"][job][0] = "CANCELLED"
    return 0


def _srun(arguments, _state) -> int:
    words = [word for word in arguments if not word.startswith("-")]
    os.execvp(words[0], arguments[arguments.index(words[0]) :])
