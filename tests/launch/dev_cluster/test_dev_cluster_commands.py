import os
from pathlib import Path

import pytest

from harmony.errors import ConfigError, UserError
from launch.dev_cluster import DevCluster, Settings
from launch.dev_cluster.__main__ import asked_settings, default_directory, main, parse


def test_nothing_asked_keeps_the_last_settings():
    last = Settings(nodes=5, accounting=False)
    assert asked_settings(parse(["start"]), last) == last


def test_options():
    line = "start --dir d --nodes 1 --cpus 2 --gpus 0 --memory-mb 900 --max-array-size 11"
    found = parse([*line.split(), "--requeue-delay", "5", "--no-accounting"])
    assert found.dir == Path("d")
    assert asked_settings(found, Settings()) == Settings(1, 2, 0, 900, 11, 5, accounting=False)


def test_default_directory(monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", "/x")
    assert default_directory() == Path("/x/harmony/dev_cluster")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert default_directory() == Path.home() / ".cache/harmony/dev_cluster"


@pytest.mark.parametrize("line", ["", "go", "start --nodes x", "start --node 1", "stop --nodes 2"])
def test_wrong_command_lines(line, capsys):
    assert main(line.split()) == 2
    printed = capsys.readouterr()
    assert printed.err.startswith("error: ")
    assert printed.err.count("\n") == 1


def test_where_nothing_is(tmp_path, capsys):
    directory = tmp_path / "c"
    assert main(["stop", "--dir", str(directory), "--purge"]) == 0
    assert main(["status", "--dir", str(directory)]) == 1
    assert "munged     does not run\n" in capsys.readouterr().out
    assert not directory.exists()
    with pytest.raises(ConfigError, match="start it first"):
        DevCluster(directory).kill_node("n1")


def test_only_root(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(UserError, match="expected root"):
        DevCluster(tmp_path / "c").start()
    assert not (tmp_path / "c").exists()
