"""What the commands of `fake_slurm` do. Few imports: each command is a process of its own."""
# ruff: noqa: PTH123 - pathlib takes as long as the rest

import marshal
import os
import sys


def main(command: str, file: str) -> int:
    """What each of the commands does."""
    arguments = sys.argv[1:]
    with open(file, "rb") as opened:
        state = marshal.load(opened)
    shown = {k: v for k, v in os.environ.items() if k.startswith(("SLURM", "SBATCH", "SRUN"))}
    state["calls"].append({"command": command, "args": arguments, "env": shown})
    try:
        return _answer(command, arguments, state)
    finally:
        with open(file, "wb") as opened:
            marshal.dump(state, opened)


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
    import re

    tried = arguments == ["--test-only"]
    if tried:
        text = sys.stdin.read()
    else:
        with open(arguments[-1]) as opened:
            text = opened.read()
    options = dict(re.findall(r"^#SBATCH --([\w-]+)=?(.*)$", text, re.MULTILINE))
    names = [line.partition("|")[0].rstrip("*") for line in state["partitions"].splitlines()]
    if (asked := options.get("partition", names[0])) not in names:
        sys.stderr.write(
            f"sbatch: error: invalid partition specified: {asked}\n"
            "sbatch: error: Batch job submission failed: Invalid partition name specified\n"
        )
        return 1
    number = state["next"]
    if tried:
        sys.stderr.write(f"sbatch: Job {number} to start at 2026-11-21T18:32:33 on nodes n1\n")
        return 0
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
    if "--format=%F|%k" in arguments:
        sys.stdout.write(state["comments"])
        return 0
    if arguments[2].startswith("--user="):
        living = [job for job, what in state["jobs"].items() if what[0] in ("PENDING", "RUNNING")]
        sys.stdout.write("".join(f"{job}\n" for job in living))
        return 0
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


def _sacctmgr(arguments, state) -> int:
    assert arguments[:4] == ["--noheader", "--parsable2", "show", "assoc"]
    assert arguments[-1] == "format=Account,MaxSubmitJobs"
    if not state["accounting"]:
        sys.stderr.write("You are not running a supported accounting_storage plugin\n")
        return 1
    sys.stdout.write("".join(f"{account}|{limit}\n" for account, limit in state["submit_limits"]))
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
