"""Where things lie below the directory of a cluster."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from harmony.errors import ConfigError

_LONGEST_SOCKET = "spool/n64/n64_99999999.4294967291"
_SOCKET_BYTES = 107
"""The kernel's limit on the path of a Unix socket."""


@dataclass(frozen=True)
class Layout:
    """The files of one cluster.

    Attributes:
        root: The directory of the cluster, absolute.
    """

    root: Path

    @property
    def slurm_conf(self) -> Path:
        """What SLURM_CONF points at; gres.conf and slurmdbd.conf are looked for beside it."""
        return self.root / "slurm.conf"

    @property
    def gres_conf(self) -> Path:
        """The GPUs of the nodes."""
        return self.root / "gres.conf"

    @property
    def slurmdbd_conf(self) -> Path:
        """The accounting daemon's configuration."""
        return self.root / "slurmdbd.conf"

    @property
    def stored(self) -> Path:
        """Settings and ports; this file also marks the directory as ours."""
        return self.root / "cluster.json"

    @property
    def lock(self) -> Path:
        """Held while a cluster is started or stopped."""
        return self.root / "cluster.lock"

    @property
    def pids(self) -> Path:
        """One file a daemon."""
        return self.root / "pids"

    @property
    def log(self) -> Path:
        """Logs of the daemons."""
        return self.root / "log"

    @property
    def state(self) -> Path:
        """The controller's queue."""
        return self.root / "state"

    @property
    def spool(self) -> Path:
        """One directory a node: scripts and sockets of its jobs."""
        return self.root / "spool"

    @property
    def gpu(self) -> Path:
        """Devices that stand for GPUs."""
        return self.root / "gpu"

    @property
    def munge(self) -> Path:
        """Key and socket of munged."""
        return self.root / "munge"

    @property
    def munge_socket(self) -> Path:
        """Where munged listens."""
        return self.munge / "munge.socket"

    @property
    def munge_key(self) -> Path:
        """The secret that the daemons share."""
        return self.munge / "munge.key"

    @property
    def mariadb(self) -> Path:
        """The accounting database and its socket."""
        return self.root / "mariadb"

    @property
    def mariadb_data(self) -> Path:
        """The database's tables."""
        return self.mariadb / "data"

    @property
    def mariadb_socket(self) -> Path:
        """Where mariadbd listens."""
        return self.mariadb / "mariadb.socket"

    @property
    def exists(self) -> bool:
        """Whether a cluster was made here."""
        return self.stored.is_file()

    def check(self) -> None:
        """Refuses a directory that can't hold a cluster.

        Raises:
            ConfigError: The path is too long, has a space, or holds something else.
        """
        if any(letter.isspace() or letter in "#,=%[]\"'" for letter in str(self.root)):
            raise ConfigError(f"expected --dir without spaces and # , = % [ ] quotes: {self.root}")
        length = len(str(self.root / _LONGEST_SOCKET).encode())
        if length > _SOCKET_BYTES:
            raise ConfigError(
                f"expected --dir of at most {_SOCKET_BYTES - len(_LONGEST_SOCKET) - 1} bytes, the "
                f"sockets below it allow no more, got {self.root}: choose a shorter path"
            )
        if self.root.exists() and not self.root.is_dir():
            raise ConfigError(f"expected --dir to be a directory, got a file: {self.root}")
        if self.root.is_dir() and not self.exists and self._foreign():
            raise ConfigError(
                f"expected --dir empty or a cluster made here before, got {self.root} with other "
                "files in it: choose another"
            )

    def make(self) -> None:
        """Makes the directories."""
        for path in (self.root, self.pids, self.log, self.state, self.spool, self.gpu):
            path.mkdir(parents=True, exist_ok=True)
        for path in (self.munge, self.mariadb):  # a key and a database: for root only
            path.mkdir(mode=0o700, exist_ok=True)

    def remove(self) -> None:
        """Removes what a cluster makes, and the directory if nothing else is in it."""
        for path in (self.pids, self.log, self.state, self.spool, self.gpu, self.munge):
            shutil.rmtree(path, ignore_errors=True)
        shutil.rmtree(self.mariadb, ignore_errors=True)
        # The mark goes last: until then a second attempt knows the directory.
        for path in (self.slurm_conf, self.gres_conf, self.slurmdbd_conf, self.stored, self.lock):
            path.unlink(missing_ok=True)
        if not any(self.root.iterdir()):
            self.root.rmdir()

    def _foreign(self) -> bool:
        return any(path != self.lock for path in self.root.iterdir())
