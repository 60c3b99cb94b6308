"""What SLURM says: its limits, its partitions, its jobs. Parsers are pure; `ask` runs a command."""

import getpass
import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from harmony.errors import UserError

_SECONDS = 60
_MANY = 500  # job ids in one command line
_TROUBLE = (
    ("munge", "the authentication service is down; ask the admin, or start munged"),
    ("Protocol authentication", "munge keys or clocks differ; ask the admin"),
    ("Unable to contact slurm controller", "slurmctld does not answer; wait, or ask the admin"),
    (
        "Socket timed out",
        "slurmctld is overloaded, and the jobs may be there all the same: squeue --me --name=NAME "
        "shows them; scancel those that python -m launch status does not know, then try again",
    ),
    ("configuration source", "no slurm.conf is found; set SLURM_CONF, or log in to the cluster"),
    ("process configuration file", "SLURM_CONF names no readable slurm.conf; set it right"),
    ("nvalid account", "set hydra.launcher.account; sacctmgr show assoc user=$USER lists yours"),
    ("nvalid qos", "set hydra.launcher.qos; sacctmgr show assoc user=$USER lists yours"),
    ("nvalid partition", "set hydra.launcher.partition; sinfo -s lists them"),
    ("nvalid feature", "set hydra.launcher.constraint; sinfo -o %f lists them"),
    ("gpus-per-task used without", "set hydra.launcher.gpus_per_node in place of gpus_per_task"),
    ("nvalid generic resource", "set hydra.launcher.gpus_per_node=null, or another partition"),
    ("node configuration is not available", "ask for less; sinfo -o '%P %c %m %G' says how much"),
    ("nvalid node name", "mend hydra.launcher.exclude; sinfo -N lists the nodes"),
    ("nvalid license", "mend hydra.launcher.additional_parameters; scontrol show lic lists them"),
    ("reservation is invalid", "mend hydra.launcher.reservation; scontrol show res lists them"),
    (
        "unrecognized option",
        "mend hydra.launcher.additional_parameters; man sbatch has all options",
    ),
    ("nvalid --", "mend the setting of that name; man sbatch says what it may be"),
    ("mutually exclusive", "set one of them, the others null"),
    ("MaxSubmitJob", "fewer runs at once, or hydra.launcher.runs_per_gpu=2"),
    ("accounting/QOS policy", "more than your account may have; sacctmgr show assoc,qos says what"),
    ("time limit", "set a smaller hydra.launcher.timeout_min; sinfo -s says how much"),
)


class ClusterError(UserError):
    """SLURM is not there, or refuses."""


@dataclass(frozen=True)
class Partition:
    """A partition.

    Attributes:
        name: of it.
        is_default: whether jobs go there that name none.
        is_up: whether it takes jobs; one that is down lets them wait.
        limit_min: longest time of a job, minutes; None without a limit.
        gpus: of its best node.
        cpus: of its largest node.
        memory_mb: of its largest node.
    """

    name: str
    is_default: bool
    is_up: bool
    limit_min: int | None
    gpus: int
    cpus: int
    memory_mb: int


@dataclass(frozen=True)
class JobState:
    """A job as SLURM sees it.

    Attributes:
        state: such as PENDING, RUNNING, COMPLETED, FAILED, TIMEOUT, CANCELLED, NODE_FAIL.
        node: where it runs or ran last.
        reason: why it waits.
    """

    state: str
    node: str = ""
    reason: str = ""

    @property
    def is_alive(self) -> bool:
        """Whether the job runs, or waits to."""
        return self.state in {
            "PENDING", "RUNNING", "REQUEUED", "REQUEUE_HOLD", "COMPLETING", "CONFIGURING",
            "SUSPENDED", "RESIZING", "SIGNALING", "STAGE_OUT", "STOPPED", "SPECIAL_EXIT",
            "REQUEUE_FED",
        }  # fmt: skip


def ask(
    command: Sequence[str], environment: Mapping[str, str] | None = None, given: str = ""
) -> str:
    """Returns what a command of SLURM prints.

    Args:
        command: its words.
        environment: of the command; that of this process, cleaned, by default.
        given: what it reads from its standard input.

    Raises:
        ClusterError: it is not there, fails or does not answer; names the cure.
    """
    if shutil.which(command[0]) is None:
        raise ClusterError(
            f"expected {command[0]} on the path, found none: run this on the cluster's login node, "
            "use hydra/launcher=local, or try python -m launch.dev_cluster start"
        )
    try:
        done = subprocess.run(
            list(command),
            input=given,
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
            env=clean_environment() if environment is None else dict(environment),
        )
    except subprocess.TimeoutExpired as error:
        raise ClusterError(f"{command[0]} has not answered for {_SECONDS} s: try later") from error
    if done.returncode:
        said = (done.stderr or done.stdout).replace(f"{command[0]}: ", "")
        raise ClusterError(f"{command[0]}: {cure(said)}")
    return done.stdout


def cure(text: str) -> str:
    """One line: what a command of SLURM has said, and what to do about it."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    said = lines[0] if lines else "it failed without a word"
    whole = " ".join(lines)
    for part, what in _TROUBLE:
        if part.lower() in whole.lower():
            return f"{said}: {what}"
    return said


def clean_environment(environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """An environment without the variables of the job that this process may itself run in.

    They would decide over jobs that are submitted from there. ``SLURM_CONF`` stays.
    """
    whole = os.environ if environment is None else environment
    prefixes = ("SLURM_", "SLURMD_", "SBATCH_", "SRUN_", "SUBMITIT_")
    return {k: v for k, v in whole.items() if k == "SLURM_CONF" or not k.startswith(prefixes)}


def max_array_size(config: str) -> int:
    """MaxArraySize, one more than the largest index of an array, of ``scontrol show config``."""
    found = re.search(r"^MaxArraySize\s*=\s*(\d+)", config, re.MULTILINE)
    return int(found[1]) if found else 1001


def submit_limit(text: str, account: str | None) -> int | None:
    """Jobs that a user may have in the queue at once, None without a limit.

    Args:
        text: of ``sacctmgr --noheader --parsable2 show assoc format=Account,MaxSubmitJobs``.
        account: that the jobs are charged to; None is any of the user's.
    """
    rows = [line.split("|") for line in text.splitlines() if "|" in line]
    limits = [limit for name, limit in rows if account is None or name == account]
    if not limits or not all(limits):
        return None
    return max(int(limit) for limit in limits)


def room_for_jobs(account: str | None) -> int | None:
    """How many more jobs this user may submit now; None without a limit, or where none is known.

    Args:
        account: that the jobs are charged to; None is the user's default.
    """
    user = getpass.getuser()
    command = ["sacctmgr", "--noheader", "--parsable2", "show", "assoc", f"user={user}"]
    try:
        limit = submit_limit(ask([*command, "format=Account,MaxSubmitJobs"]), account)
    except ClusterError:
        return None  # accounting is a service of its own, which not every cluster has
    if limit is None:
        return None
    queue = ask(["squeue", "--noheader", "--array", f"--user={user}", "--format=%i"])
    return max(limit - len(queue.splitlines()), 0)


def living_jobs(comment: str) -> set[str]:
    """Ids of this user's jobs that wait or run and have a comment; an array is one job.

    Args:
        comment: whole.
    """
    lines = ask(["squeue", "--noheader", f"--user={getpass.getuser()}", "--format=%F|%k"])
    told = (line.partition("|") for line in lines.splitlines())
    return {job.strip() for job, _, said in told if said.strip() == comment}


def partitions(text: str) -> list[Partition]:
    """Partitions of ``sinfo --noheader --format '%P|%a|%l|%G|%c|%m'``; nodes that differ join."""
    found: dict[str, Partition] = {}
    for line in text.splitlines():
        name, up, limit, gres, cpus, memory = (part.strip() for part in line.split("|"))
        bare = name.rstrip("*")
        before = found.get(bare)
        new = Partition(
            name=bare,
            is_default=name.endswith("*"),
            is_up=up in ("up", "down"),
            limit_min=minutes(limit),
            gpus=_gpus(gres),
            cpus=int(cpus.rstrip("+")),
            memory_mb=int(memory.rstrip("+")),
        )
        if before is not None:
            new = Partition(
                name=bare,
                is_default=new.is_default,
                is_up=new.is_up or before.is_up,
                limit_min=new.limit_min,
                gpus=max(new.gpus, before.gpus),
                cpus=max(new.cpus, before.cpus),
                memory_mb=max(new.memory_mb, before.memory_mb),
            )
        found[bare] = new
    return list(found.values())


def minutes(limit: str) -> int | None:
    """Minutes of a time such as ``2-12:00:00``, ``30:00`` or ``infinite`` (None)."""
    if not limit or not limit[0].isdigit():
        return None
    days, _, clock = limit.rpartition("-")
    parts = [int(part) for part in clock.split(":")]
    if days or len(parts) == 3:
        hours, mins = [*parts, 0][:2]
    else:  # minutes, perhaps with seconds
        hours, mins = 0, parts[0]
    return int(days or 0) * 1440 + hours * 60 + mins


def _gpus(gres: str) -> int:
    """GPUs of a list such as ``gpu:a100:4(S:0-1),shard:8``."""
    without = re.sub(r"\([^)]*\)", "", gres)
    words = [word.split(":") for word in without.split(",")]
    return sum(int(w[-1]) if w[-1].isdigit() else 1 for w in words if w[0] == "gpu")


def queued(text: str) -> dict[str, JobState]:
    """Jobs of ``squeue --noheader --array --format '%i|%T|%N|%r'``."""
    states = {}
    for line in text.splitlines():
        job, state, node, reason = (part.strip() for part in line.split("|", 3))
        states[job] = JobState(state, node, "" if reason == "None" else reason)
    return states


def accounted(text: str) -> dict[str, JobState]:
    """Jobs of ``sacct --noheader --allocations --parsable2 --format JobID,State,NodeList``.

    A requeued job has a line for each start; the last one counts. Tasks of an array that never
    began share a line, such as ``12_[1-4,7%2]``.
    """
    states = {}
    for line in text.splitlines():
        jobs, state, node = (part.strip() for part in line.split("|", 2))
        said = JobState((state.split() or ["UNKNOWN"])[0], "" if node == "None assigned" else node)
        states.update(dict.fromkeys(_tasks(jobs), said))
    return states


def _tasks(jobs: str) -> list[str]:
    """Ids of the jobs of one line, such as ``12``, ``12_3`` or ``12_[1-4,7%2]``."""
    array, bracket, tasks = jobs.partition("_[")
    if not bracket:
        return [jobs]
    found = re.findall(r"(\d+)(?:-(\d+))?", tasks.partition("%")[0])
    return [f"{array}_{n}" for low, high in found for n in range(int(low), int(high or low) + 1)]


def job_states(ids: Iterable[str]) -> dict[str, JobState]:
    """What SLURM knows of jobs: of its queue, else of its accounts, where it keeps them.

    Args:
        ids: such as 12 or 12_3.

    Returns:
        By id; jobs that SLURM has forgotten are missing.

    Raises:
        ClusterError: SLURM does not answer.
    """
    wanted = list(ids)
    arrays = sorted({job.partition("_")[0] for job in wanted}, key=int)
    known: dict[str, JobState] = {}
    for first in range(0, len(arrays), _MANY):
        jobs = ",".join(arrays[first : first + _MANY])
        known |= _accounted(jobs)
        known |= _queued(jobs)
    return {job: known[job] for job in wanted if job in known}


def _queued(jobs: str) -> dict[str, JobState]:
    command = ["squeue", "--noheader", "--array", "--states=all", "--format=%i|%T|%N|%r"]
    try:
        return queued(ask([*command, f"--jobs={jobs}"]))
    except ClusterError as error:
        if "Invalid job id" in str(error):
            return {}  # SLURM forgets jobs minutes after their end
        raise


def _accounted(jobs: str) -> dict[str, JobState]:
    command = ["sacct", "--noheader", "--allocations", "--parsable2", "--duplicates"]
    whole = {**clean_environment(), "SLURM_BITSTR_LEN": "0"}  # long lists of tasks are not cut
    try:
        return accounted(ask([*command, "--format=JobID,State,NodeList", f"--jobs={jobs}"], whole))
    except ClusterError:
        return {}  # accounting is a service of its own, which not every cluster has
