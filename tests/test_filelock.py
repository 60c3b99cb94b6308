import errno
import fcntl
import logging
import subprocess
import sys
import threading

from harmony import filelock
from harmony.filelock import FileLock, locked


def test_only_one_holds_it(tmp_path):
    one, other = FileLock(tmp_path / "deep" / "x.lock"), FileLock(tmp_path / "deep" / "x.lock")
    assert one.acquire(wait=False)
    assert one.acquire(wait=True)  # held already
    assert not other.acquire(wait=False)
    assert not other.held
    one.release()
    one.release()
    assert other.acquire(wait=False)
    other.release()


def test_the_block_frees_it(tmp_path):
    path = tmp_path / "x.lock"
    with locked(path):
        assert not FileLock(path).acquire(wait=False)
    lock = FileLock(path)
    assert lock.acquire(wait=False)
    lock.release()


def test_a_long_wait_is_said(tmp_path, monkeypatch, caplog):
    path = tmp_path / "walk" / ".x.lock"
    monkeypatch.setattr(filelock, "_SILENT_SECONDS", 0.1)
    for seconds, said in (
        (0.02, []),
        (0.4, [f"another process is at work in {path.parent} (.x.lock); this one waits for it"]),
    ):
        other = FileLock(path)
        assert other.acquire(wait=False)
        threading.Timer(seconds, other.release).start()
        with locked(path):
            pass
        assert caplog.messages == said


def test_a_dead_process_frees_it(tmp_path):
    path = tmp_path / "x.lock"
    code = (
        "import os, sys, pathlib; from harmony.filelock import FileLock; "
        "assert FileLock(pathlib.Path(sys.argv[1])).acquire(wait=False); os.kill(os.getpid(), 9)"
    )
    assert subprocess.run([sys.executable, "-c", code, str(path)], check=False).returncode == -9
    lock = FileLock(path)
    assert lock.acquire(wait=False)
    lock.release()


def test_a_file_system_without_locks_is_said_and_used(tmp_path, monkeypatch, caplog):
    def flock(_file, operation):
        if operation != fcntl.LOCK_UN:
            raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", flock)
    lock = FileLock(tmp_path / "x.lock")
    with caplog.at_level(logging.WARNING):
        assert lock.acquire(wait=True)
    assert "no locks" in caplog.text
    lock.release()
