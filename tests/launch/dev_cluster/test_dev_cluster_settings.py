import socket

import pytest

from harmony.errors import ConfigError
from launch.dev_cluster import settings as module
from launch.dev_cluster.settings import Settings, Stored, differences, free_ports, read, write


def test_node_names():
    assert Settings(nodes=3).node_names == ["n1", "n2", "n3"]


@pytest.mark.parametrize(
    ("wrong", "option"),
    [
        ({"nodes": 0}, "--nodes from 1 to 64, got 0"),
        ({"gpus": -1}, "--gpus"),
        ({"memory_mb": 1}, "--memory-mb"),
        ({"requeue_delay_s": 0}, "--requeue-delay from"),
    ],
)
def test_limits(wrong, option):
    with pytest.raises(ConfigError, match=option):
        Settings(**wrong)


def test_stored_and_read_again(tmp_path):
    path = tmp_path / "cluster.json"
    assert read(path) is None
    stored = Stored(Settings(nodes=1, accounting=False), {"slurmctld": 17001})
    write(path, stored)
    assert read(path) == stored


@pytest.mark.parametrize("text", ["", "[]", '{"settings": {"nose": 1}, "ports": {}}'])
def test_a_damaged_file_is_named(tmp_path, text):
    path = tmp_path / "cluster.json"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"cluster\.json"):
        read(path)


def test_differences():
    assert differences(Settings(), Settings(nodes=3, gpus=1)) == ["nodes", "gpus"]


def test_free_ports_are_free_and_distinct(monkeypatch):
    with socket.socket() as taken:
        taken.bind(("", 0))
        port = taken.getsockname()[1]
        monkeypatch.setattr(module, "_PORTS", range(port, port + 20))
        found = free_ports(["a", "b"])
        assert port not in found.values()
        assert len(set(found.values())) == 2
        monkeypatch.setattr(module, "_PORTS", range(port, port + 1))
        with pytest.raises(ConfigError, match="1 free TCP ports"):
            free_ports(["a"])
