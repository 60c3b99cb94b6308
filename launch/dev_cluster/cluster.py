"""Starting, stopping and hurting a cluster."""

import os
import shutil
import socket
import stat
import subprocess
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from harmony.errors import ConfigError, UserError
from harmony.filelock import locked
from launch.dev_cluster import conf_files, daemons, processes
from launch.dev_cluster.layout import Layout
from launch.dev_cluster.nodes import up_since
from launch.dev_cluster.processes import Daemon, bare_environment
from launch.dev_cluster.settings import Settings, Stored, differences, free_ports, read, write

_READY_S = 60.0
_JOB_GRACE_S = 10.0
_DAEMON_GRACE_S = 30.0
_NULL_DEVICE = os.makedev(1, 3)


class DevCluster:
    """A SLURM of its own on this machine.

    Args:
        directory: All its files lie below it.
        settings: What it pretends to have; by default what it had last, or else the defaults.

    Raises:
        ConfigError: The directory can't hold a cluster.
    """

    def __init__(self, directory: Path, settings: Settings | None = None) -> None:
        self.layout = Layout(directory.expanduser().resolve())
        self.layout.check()
        stored = read(self.layout.stored)
        self.settings = settings or (stored.settings if stored else Settings())

    def environment(self) -> dict[str, str]:
        """The variable with which SLURM's commands find this cluster."""
        return {"SLURM_CONF": str(self.layout.slurm_conf)}

    def status(self) -> dict[str, int | None]:
        """Process id of each daemon, None for those that don't run."""
        found = ((d.name, processes.process_of(d)) for d in self._daemons())
        return {name: process.pid if process else None for name, process in found}

    def start(self) -> bool:
        """Starts what does not run yet, and waits until the nodes are up.

        Returns:
            False if all of it was up already.

        Raises:
            ConfigError: It runs with other settings.
            UserError: We are not root, a program is missing, or a daemon does not start; what this
                call started is ended again.
        """
        if os.geteuid() != 0:
            raise UserError("expected root, SLURM's nodes need it: use sudo, or a container")
        daemons.check_programs(self.settings, self.layout)
        with locked(self.layout.lock):
            if any(self.status().values()):
                self._refuse_changes()
            else:
                self._write_files()
            since = time.time()
            missing = [d for d in self._daemons() if processes.process_of(d) is None]
            with ExitStack() as undo:
                undo.callback(self._end, missing)
                for daemon in missing:
                    self._launch(daemon)
                names = {daemon.name for daemon in missing}
                nodes = [node for node in self.settings.node_names if node in names]
                self._wait_for_nodes(nodes, since)
                undo.pop_all()
        return bool(missing)

    def stop(self, *, purge: bool = False) -> None:
        """Ends jobs and daemons; queued and cut-off jobs come back at the next start.

        Args:
            purge: Remove the cluster's files too.
        """
        if not self.layout.exists:
            return
        with locked(self.layout.lock):
            self._end(self._daemons())
            if purge:
                self.layout.remove()

    def kill_node(self, node: str) -> None:
        """Cuts a node's power: SIGKILL to its slurmd and to all that its jobs run.

        Raises:
            ConfigError: There is no such node.
        """
        processes.cut_power(self.layout, node, self._slurmd(node))

    def kill_slurmd(self, node: str) -> None:
        """SIGKILL to a node's slurmd; its jobs go on.

        Raises:
            ConfigError: There is no such node.
        """
        slurmd = self._slurmd(node)
        process = processes.process_of(slurmd)
        processes.end([] if process is None else [process], 0)
        slurmd.pidfile.unlink(missing_ok=True)

    def restart_node(self, node: str) -> None:
        """Starts a node's slurmd unless it runs, and waits until the node is up.

        Raises:
            ConfigError: There is no such node.
            UserError: It does not come up.
        """
        slurmd = self._slurmd(node)
        since = 0.0
        if processes.process_of(slurmd) is None:
            since = time.time()
            processes.launch(slurmd)
        self._wait_for_nodes([node], since)

    def _daemons(self) -> list[Daemon]:
        return daemons.all_daemons(self._stored_settings(), self.layout)

    def _stored_settings(self) -> Settings:
        """Settings of what may live; those asked for if nothing was started."""
        stored = read(self.layout.stored)
        return stored.settings if stored else self.settings

    def _slurmd(self, node: str) -> Daemon:
        if not self.layout.exists:
            raise ConfigError(f"expected a cluster in {self.layout.root}, got none: start it first")
        names = self._stored_settings().node_names
        if node not in names:
            raise ConfigError(f"expected a node of {names[0]} to {names[-1]}, got {node}")
        return daemons.slurmd(self.layout, node)

    def _end(self, doomed: list[Daemon]) -> None:
        """Ends daemons, and the jobs on the nodes among them."""
        by_name = {daemon.name: daemon for daemon in doomed}
        # The controller first: it then takes no job for failed, and starts those that were cut
        # off again when it comes back.
        if "slurmctld" in by_name:
            processes.end_daemon(by_name.pop("slurmctld"), _DAEMON_GRACE_S)
        nodes = [name for name, daemon in by_name.items() if daemon.argv[0] == "slurmd"]
        for node in nodes:
            processes.end_daemon(by_name.pop(node), _DAEMON_GRACE_S)
        running = processes.node_processes(self.layout, nodes)
        processes.end([p for p in running if not processes.is_stepd(p)], _JOB_GRACE_S)
        processes.end(processes.node_processes(self.layout, nodes), 0)
        for daemon in reversed(by_name.values()):
            processes.end_daemon(daemon, _DAEMON_GRACE_S)
        if not any(self.status().values()):
            processes.end(processes.strays(self.layout), 0)

    def _launch(self, daemon: Daemon) -> None:
        if daemon.name == "mariadbd":
            self._install_database()
        processes.launch(daemon)
        check = self._ready_checks().get(daemon.name)
        if check:
            self._wait(check, [daemon], f"{daemon.name} to answer")
        if daemon.name == "slurmdbd":  # the command fails if it was added before
            self._run("sacctmgr", "-i", "add", "cluster", conf_files.CLUSTER)
        if daemon.name == "slurmctld" and not self._nodes_alive():
            self._requeue_cut_off()

    def _nodes_alive(self) -> bool:
        status = self.status()
        return any(status[node] for node in self._stored_settings().node_names)

    def _requeue_cut_off(self) -> None:
        """Requeues what ran when all was stopped: SLURM alone would take minutes to notice."""
        jobs = self._run("squeue", "-h", "-r", "-t", "R,CF,S", "-o", "%i").stdout.split()
        for job in jobs:
            self._run("scontrol", "requeue", job)

    def _ready_checks(self) -> dict[str, Callable[[], bool]]:
        return {
            "munged": lambda: _listens(self.layout.munge_socket),
            "mariadbd": lambda: _listens(self.layout.mariadb_socket),
            "slurmdbd": lambda: self._run("sacctmgr", "-n", "list", "cluster").returncode == 0,
            "slurmctld": lambda: self._run("sinfo", "-h").returncode == 0,
        }

    def _wait_for_nodes(self, nodes: list[str], since: float) -> None:
        """Waits until nodes are up; what they said before `since` (unix seconds) doesn't count."""

        def up() -> bool:
            found = up_since(self._run("scontrol", "--oneliner", "show", "node").stdout)
            return all(found.get(node, -1) >= int(since) for node in nodes)

        watched = [daemons.slurmctld(self.layout), *map(self._slurmd, nodes)]
        self._wait(up, watched, f"{', '.join(nodes)} to be up")

    def _wait(self, check: Callable[[], bool], watched: list[Daemon], what: str) -> None:
        """Waits until `check` holds, and no longer than the watched daemons live."""

        def dead() -> list[Daemon]:
            return [daemon for daemon in watched if processes.process_of(daemon) is None]

        in_time = processes.wait_until(lambda: bool(dead()) or check(), _READY_S)
        if ended := dead():
            raise UserError(processes.last_words(ended[0]))
        if not in_time:
            raise UserError(f"expected {what} within {_READY_S:.0f} s: see {self.layout.log}")

    def _refuse_changes(self) -> None:
        if changed := differences(self._stored_settings(), self.settings):
            raise ConfigError(
                f"expected the settings that {self.layout.root} runs with, got other values of "
                f"{', '.join(changed)}: stop it first"
            )

    def _write_files(self) -> None:
        """Writes what the daemons read; ports are chosen anew, nothing lives."""
        names = ["slurmctld", "slurmdbd", *self.settings.node_names]
        stored = Stored(self.settings, free_ports(names))
        # First, as it marks the directory as ours, whatever happens next.
        write(self.layout.stored, stored)
        self.layout.make()
        host = socket.gethostname().partition(".")[0]
        self.layout.slurm_conf.write_text(conf_files.slurm_conf(stored, self.layout, host), "utf-8")
        gres = conf_files.gres_conf(stored.settings, self.layout)
        self.layout.gres_conf.write_text(gres, "utf-8")
        accounting = conf_files.slurmdbd_conf(stored.ports, self.layout)
        _write_secret(self.layout.slurmdbd_conf, accounting.encode())
        if not self.layout.munge_key.exists():
            _write_secret(self.layout.munge_key, os.urandom(128))
        _make_devices(self.layout, stored.settings.gpus)

    def _install_database(self) -> None:
        data, new = self.layout.mariadb_data, Path(f"{self.layout.mariadb_data}.new")
        if data.exists():
            return
        shutil.rmtree(new, ignore_errors=True)  # half made
        done = self._run(*daemons.mariadb_install_command(self.layout), timeout_s=_READY_S)
        if done.returncode:
            said = " ".join((done.stderr or done.stdout).split())[-300:]
            raise UserError(f"expected mariadb-install-db to make {new}, it said: {said}")
        new.rename(data)

    def _run(self, *argv: str, timeout_s: float = 20.0) -> "subprocess.CompletedProcess[str]":
        environment = bare_environment(self.layout) | {"SLURM_TIME_FORMAT": "%s"}
        try:
            return subprocess.run(
                argv,
                capture_output=True,
                text=True,
                env=environment,
                timeout=timeout_s,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return subprocess.CompletedProcess(argv, 124, "", f"{argv[0]} took over {timeout_s} s")


def _listens(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(path)) == 0


def _write_secret(path: Path, content: bytes) -> None:
    """Writes a file that only its owner may ever read."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        os.fchmod(descriptor, 0o600)
        file.write(content)


def _make_devices(layout: Layout, gpus: int) -> None:
    """Makes /dev/null's twins, which stand for GPUs.

    Raises:
        UserError: This container may not make devices.
    """
    for index in range(gpus):
        path = layout.gpu / f"gpu{index}"
        if path.exists():
            continue
        try:
            os.mknod(path, stat.S_IFCHR | 0o666, _NULL_DEVICE)
        except PermissionError as error:
            raise UserError(
                f"expected to be allowed to make the device {path}, this container lacks "
                "CAP_MKNOD: use --gpus 0, or give it that capability"
            ) from error
