"""The programs of a cluster, in the order in which they start."""

import shutil

from harmony.errors import UserError
from launch.dev_cluster.layout import Layout
from launch.dev_cluster.processes import Daemon, bare_environment
from launch.dev_cluster.settings import Settings

_PACKAGES = {
    "setsid": "util-linux",
    "munged": "munge",
    "slurmctld": "slurm-wlm",
    "slurmd": "slurm-wlm",
    "sinfo": "slurm-wlm",
}
_ACCOUNTING_PACKAGES = {
    "sacctmgr": "slurm-wlm",
    "slurmdbd": "slurmdbd",
    "mariadbd": "mariadb-server",
    "mariadb-install-db": "mariadb-server",
}


def check_programs(settings: Settings, layout: Layout) -> None:
    """Refuses to begin without the programs.

    Raises:
        UserError: Some are not installed; the message says how to install them.
    """
    wanted = _PACKAGES | (_ACCOUNTING_PACKAGES if settings.accounting else {})
    path = bare_environment(layout)["PATH"]
    missing = [name for name in wanted if shutil.which(name, path=path) is None]
    if missing:
        packages = sorted({wanted[name] for name in missing})
        raise UserError(
            f"expected these programs, not found: {', '.join(missing)}; on Debian: "
            f"apt-get install --no-install-recommends {' '.join(packages)}"
        )


def all_daemons(settings: Settings, layout: Layout) -> list[Daemon]:
    """Every daemon, those that others need first."""
    accounting = [mariadbd(layout), slurmdbd(layout)] if settings.accounting else []
    nodes = [slurmd(layout, node) for node in settings.node_names]
    return [munged(layout), *accounting, slurmctld(layout), *nodes]


def munged(layout: Layout) -> Daemon:
    """Who says which user a message is from."""
    argv = (
        "munged",
        "--foreground",
        "--force",  # root's home need not be open to everyone: all of us are root
        "--num-threads=10",
        f"--key-file={layout.munge_key}",
        f"--socket={layout.munge_socket}",
        f"--pid-file={layout.munge}/munged.pid",
        f"--log-file={layout.munge}/munged.log",
        f"--seed-file={layout.munge}/munged.seed",
    )
    return Daemon("munged", argv, layout)


def mariadbd(layout: Layout) -> Daemon:
    """The database of the accounting; no network, root only."""
    argv = (
        "mariadbd",
        "--no-defaults",
        "--user=root",  # as it runs as root, no directory above need be open to another user
        f"--datadir={layout.mariadb_data}",
        f"--tmpdir={layout.mariadb}",
        f"--socket={layout.mariadb_socket}",
        f"--pid-file={layout.mariadb}/mariadbd.pid",
        "--skip-networking",
        "--innodb-log-file-size=16M",
        "--innodb-buffer-pool-size=128M",
        "--innodb-lock-wait-timeout=900",
    )
    return Daemon("mariadbd", argv, layout)


def mariadb_install_command(layout: Layout) -> list[str]:
    """What makes an empty database.

    Without ``--user``: with it the script also changes the owner of a plugin below /usr/lib.
    """
    return [
        "mariadb-install-db",
        "--no-defaults",
        f"--datadir={layout.mariadb_data}.new",
        "--auth-root-authentication-method=socket",
        "--auth-root-socket-user=root",
        "--skip-test-db",
    ]


def slurmdbd(layout: Layout) -> Daemon:
    """The accounting; slurmdbd.conf is looked for beside SLURM_CONF."""
    environment = {"MYSQL_UNIX_PORT": str(layout.mariadb_socket)}
    return Daemon("slurmdbd", ("slurmdbd", "-D"), layout, environment)


def slurmctld(layout: Layout) -> Daemon:
    """The controller."""
    return Daemon("slurmctld", ("slurmctld", "-D", "-f", str(layout.slurm_conf)), layout)


def slurmd(layout: Layout, node: str) -> Daemon:
    """A node.

    ``-b`` says at each start that the machine was booted: without it SLURM takes a job that a power
    cut ended for failed, with it the job is requeued. Jobs that still run are left alone.
    """
    return Daemon(node, ("slurmd", "-D", "-b", "-N", node, "-f", str(layout.slurm_conf)), layout)
