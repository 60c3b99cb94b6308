import os
import subprocess
from pathlib import Path

import psutil
import pytest

from harmony.errors import UserError
from launch.dev_cluster import daemons, processes
from launch.dev_cluster.layout import Layout
from launch.dev_cluster.processes import Daemon
from launch.dev_cluster.settings import Settings


@pytest.fixture
def layout(tmp_path):
    layout = Layout(tmp_path)
    layout.make()
    return layout


def test_a_daemon_lives_apart_and_is_ended(layout):
    daemon = Daemon("sleeper", ("sleep", "60"), layout)
    processes.launch(daemon)
    process = processes.process_of(daemon)
    try:
        assert process.pid == int(daemon.pidfile.read_text())
        assert process.ppid() != os.getpid()
        assert os.getsid(process.pid) != os.getsid(0)
        assert process.environ()["SLURM_CONF"] == str(layout.slurm_conf)
        assert [p.pid for p in processes.strays(layout)] == [process.pid]
    finally:
        processes.end_daemon(daemon, 5)
    assert not processes.is_alive(process)
    assert processes.process_of(daemon) is None
    assert not daemon.pidfile.exists()


def test_one_that_ignores_the_signal_is_killed(layout):
    loop = "trap '' TERM; echo ready; while :; do sleep 0.05; done"
    daemon = Daemon("stubborn", ("sh", "-c", loop), layout)
    processes.launch(daemon)
    assert processes.wait_until(lambda: "ready" in daemon.output.read_text(), 5)
    process = processes.process_of(daemon)
    processes.end_daemon(daemon, 0.2)
    assert not processes.is_alive(process)


def test_a_daemon_that_dies_says_why(layout):
    daemon = Daemon("broken", ("sh", "-c", "echo fatal: no luck; echo bye; exit 1"), layout)
    with pytest.raises(UserError, match=r"broken to run, it ended and said: fatal: no luck; see"):
        processes.launch(daemon)


def test_a_foreign_process_is_never_taken_for_ours(layout):
    daemon = Daemon("sleeper", ("sleep", "60"), layout)
    with subprocess.Popen(["sleep", "60"]) as foreign:
        try:
            daemon.pidfile.write_text(f"{foreign.pid}\n")  # as after a reboot
            assert processes.process_of(daemon) is None
            processes.end_daemon(daemon, 1)
            assert foreign.poll() is None
        finally:
            foreign.kill()


@pytest.mark.parametrize("text", ["", "x\n", "4194304000\n", "1\n"])
def test_odd_pidfiles(layout, text):
    daemon = Daemon("sleeper", ("sleep", "60"), layout)
    daemon.pidfile.write_text(text)
    assert processes.process_of(daemon) is None


def test_processes_of_a_node_are_known_by_their_environment(layout):
    conf = {"SLURM_CONF": str(layout.slurm_conf)}
    other = {"SLURM_CONF": "/elsewhere/slurm.conf", "SLURMD_NODENAME": "n1"}
    environments = [conf | {"SLURMD_NODENAME": "n1"}, conf | {"SLURMD_NODENAME": "n2"}, conf, other]
    started = [subprocess.Popen(["sleep", "60"], env=os.environ | e) for e in environments]
    try:
        assert [p.pid for p in processes.node_processes(layout, ["n1"])] == [started[0].pid]
        both = {p.pid for p in processes.node_processes(layout, ["n1", "n2"])}
        assert both == {started[0].pid, started[1].pid}
        processes.cut_power(layout, "n1", daemons.slurmd(layout, "n1"))
        assert started[0].wait(5) == -9
        assert [p.poll() for p in started[1:]] == [None, None, None]
    finally:
        for process in started:
            process.kill()
            process.wait()


def test_a_zombie_is_not_alive():
    with subprocess.Popen(["true"]) as child:
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert not processes.is_alive(psutil.Process(child.pid))


def test_missing_programs_are_named_with_their_packages(layout, monkeypatch):
    monkeypatch.setattr(daemons, "_PACKAGES", {"sh": "dash", "no-such-program": "slurm-wlm"})
    with pytest.raises(UserError, match=r"not found: no-such-program; .* slurm-wlm$"):
        daemons.check_programs(Settings(accounting=False), layout)


def test_daemons_start_in_the_order_in_which_they_need_each_other():
    layout = Layout(Path("/c"))
    names = [daemon.name for daemon in daemons.all_daemons(Settings(), layout)]
    assert names == ["munged", "mariadbd", "slurmdbd", "slurmctld", "n1", "n2"]
    bare = daemons.all_daemons(Settings(nodes=1, accounting=False), layout)
    assert [daemon.name for daemon in bare] == ["munged", "slurmctld", "n1"]
    assert bare[-1].argv == ("slurmd", "-D", "-b", "-N", "n1", "-f", "/c/slurm.conf")
