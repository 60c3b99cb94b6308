"""Processes of a cluster: started apart from us, recognised by what they are, ended."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from harmony.errors import UserError
from launch.dev_cluster.layout import Layout

MARK = "HARMONY_DEV_CLUSTER"
"""Environment variable of each daemon: the directory of its cluster."""

_POLL_S = 0.05
_GONE = (psutil.NoSuchProcess, psutil.AccessDenied)


@dataclass(frozen=True)
class Daemon:
    """A program that runs until it is stopped.

    Attributes:
        name: What its files are called.
        argv: Program and arguments, exactly as the process shows them.
        layout: The cluster that it belongs to.
        environment: Variables on top of the bare ones.
    """

    name: str
    argv: tuple[str, ...]
    layout: Layout
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def pidfile(self) -> Path:
        """Where its process id is written."""
        return self.layout.pids / f"{self.name}.pid"

    @property
    def output(self) -> Path:
        """What it printed since its start."""
        return self.layout.log / f"{self.name}.out"


def bare_environment(layout: Layout) -> dict[str, str]:
    """Variables for the cluster's own programs: none of the caller's settings leak in."""
    return {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": "/root",
        "USER": "root",
        "LANG": "C.UTF-8",
        "SLURM_CONF": str(layout.slurm_conf),
        MARK: str(layout.root),
    }


def launch(daemon: Daemon) -> None:
    """Starts a daemon that outlives us; its parent is init, so that we leave no zombie.

    Raises:
        UserError: It did not start.
    """
    daemon.pidfile.unlink(missing_ok=True)
    # $$ is the shell's own id, and exec keeps it: the file is right before the daemon begins.
    script = 'echo $$ > "$0" && exec "$@"'
    with daemon.output.open("wb") as output:
        subprocess.run(
            ["setsid", "--fork", "sh", "-c", script, str(daemon.pidfile), *daemon.argv],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=bare_environment(daemon.layout) | daemon.environment,
            cwd=daemon.layout.log,
            timeout=10,
            check=True,
        )
    wait_until(lambda: process_of(daemon) is not None or _ended(daemon), seconds=5)
    if process_of(daemon) is None:
        raise UserError(last_words(daemon))


def process_of(daemon: Daemon) -> psutil.Process | None:
    """The living process of a daemon; a stale pid of something else is not taken for it."""
    try:
        process = psutil.Process(int(daemon.pidfile.read_text("ascii")))
        ours = process.cmdline() == list(daemon.argv) and process.environ().get(MARK) == str(
            daemon.layout.root
        )
        return process if ours and is_alive(process) else None
    except (FileNotFoundError, ValueError, *_GONE):
        return None


def is_alive(process: psutil.Process) -> bool:
    """Whether a process runs; one that ended and waits for init to fetch it does not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except _GONE:
        return False


def node_processes(layout: Layout, nodes: Iterable[str]) -> list[psutil.Process]:
    """Everything that jobs run on some nodes, slurmstepd included, slurmd not."""
    nodes = list(nodes)
    logs = {str(layout.log / f"{node}.log") for node in nodes}
    found: set[psutil.Process] = set()
    for process in psutil.process_iter():
        try:
            if is_stepd(process):
                # Its environment is wiped; the log of its node is what it holds open.
                if logs & {file.path for file in process.open_files()}:
                    found |= {process, *process.children(recursive=True)}
            elif _on_nodes(process.environ(), layout, nodes):
                found.add(process)
        except _GONE:
            continue
    return [process for process in found if process.pid != os.getpid()]


def strays(layout: Layout) -> list[psutil.Process]:
    """What an interrupted start left: our programs, jobs excluded, whether we know them or not."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARK) == str(layout.root) and process.pid != os.getpid():
                found.append(process)
        except _GONE:
            continue
    return found


def is_stepd(process: psutil.Process) -> bool:
    """Whether a process watches over a job step."""
    try:
        return process.name().startswith("slurmstepd")
    except _GONE:
        return False


def end_daemon(daemon: Daemon, grace_s: float) -> None:
    """Ends a daemon and what it forked; SIGKILL after a time of grace in seconds."""
    process = process_of(daemon)
    if process is not None:
        try:
            forked = process.children(recursive=True)
        except _GONE:
            forked = []
        end([process], grace_s)
        end(forked, 0)
    daemon.pidfile.unlink(missing_ok=True)


def end(processes: Iterable[psutil.Process], grace_s: float) -> None:
    """Ends processes: SIGTERM, then SIGKILL after `grace_s` seconds; at once if that is 0."""
    living = [process for process in processes if is_alive(process)]
    if grace_s:
        _send(living, signal.SIGTERM)
        wait_until(lambda: not any(map(is_alive, living)), seconds=grace_s)
    _send(living, signal.SIGKILL)
    wait_until(lambda: not any(map(is_alive, living)), seconds=5)


def cut_power(layout: Layout, node: str, slurmd: Daemon) -> None:
    """SIGKILL to a node's slurmd and to all its jobs, without a word to the controller."""
    process = process_of(slurmd)
    end([] if process is None else [process], 0)
    slurmd.pidfile.unlink(missing_ok=True)
    # The watchers first, so that none reports the end of its job; again for what forked meanwhile.
    while processes := node_processes(layout, [node]):
        _send(sorted(processes, key=is_stepd, reverse=True), signal.SIGKILL)
        wait_until(lambda: not any(map(is_alive, processes)), seconds=5)


def wait_until(check: Callable[[], bool], seconds: float) -> bool:
    """Waits until a check holds; False if it doesn't in time."""
    deadline = time.monotonic() + seconds
    while not check():
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_S)
    return True


def last_words(daemon: Daemon) -> str:
    """One line on why a daemon is not there: the end of what it printed."""
    try:
        lines = daemon.output.read_text("utf-8", errors="replace").split("\n")
    except FileNotFoundError:
        lines = []
    lines = [line.strip() for line in lines if line.strip()]
    fatal = [line for line in lines if "fatal" in line.lower()]
    said = (fatal or lines or ["nothing"])[-1]
    return f"expected {daemon.name} to run, it ended and said: {said}; see {daemon.output}"


def _ended(daemon: Daemon) -> bool:
    try:
        return not is_alive(psutil.Process(int(daemon.pidfile.read_text("ascii"))))
    except psutil.NoSuchProcess:
        return True
    except (FileNotFoundError, ValueError):  # not written yet
        return False


def _on_nodes(environment: dict[str, str], layout: Layout, nodes: list[str]) -> bool:
    # A shell of the user has SLURM_CONF as well; only jobs have the name of a node.
    return (
        environment.get("SLURM_CONF") == str(layout.slurm_conf)
        and environment.get("SLURMD_NODENAME") in nodes
    )


def _send(processes: Iterable[psutil.Process], number: signal.Signals) -> None:
    for process in processes:
        try:
            process.send_signal(number)
        except _GONE:
            continue
