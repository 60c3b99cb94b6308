import fnmatch
import socket
from types import SimpleNamespace

import pytest

from harmony.errors import ConfigError
from launch.mlflow_server import hosts
from launch.mlflow_server.hosts import address_of, allowed_hosts, allowed_origins, public_name


def accepts(patterns, host):
    """As mlflow matches a Host header."""
    return any(fnmatch.fnmatch(host, p) if "*" in p else host == p for p in patterns)


def test_names_are_allowed_with_and_without_a_port():
    patterns = allowed_hosts(["login01", "login01.cluster", "10.0.0.1", "fd00::2"], [])
    for host in ("login01", "login01:5000", "login01.cluster:5000", "10.0.0.1:8080", "localhost:1"):
        assert accepts(patterns, host), host
    assert accepts(patterns, "[fd00::2]:5000")
    assert accepts(patterns, "[::1]:5000")
    for host in ("login02:5000", "evil.com", "login01.evil.com", "xlogin01", "d:5000"):
        assert not accepts(patterns, host), host


def test_capitals_are_allowed_as_typed_and_as_browsers_send_them():
    assert {"Login01", "login01", "login01:*"} <= set(allowed_hosts(["Login01"], []))


def test_what_the_user_adds_may_have_a_port_or_stars():
    patterns = allowed_hosts([], ["mlflow.lab", "gate:8443", "*.lab.org"])
    assert patterns[-4:] == ["mlflow.lab", "mlflow.lab:*", "gate:8443", "*.lab.org"]


@pytest.mark.parametrize("name", ["http://login01", " "])
def test_addresses_are_no_names(name):
    with pytest.raises(ConfigError, match="expected --allowed-hosts NAME,NAME"):
        allowed_hosts([], [name])


def test_pages_of_each_name_may_write():
    assert allowed_origins(["Login01"], ["gate:8443"], 5000) == [
        "http://login01:5000",
        "https://login01:5000",
        "http://login01",
        "https://login01",
        "http://gate:8443",
        "https://gate:8443",
    ]


def test_jobs_get_the_name_given_or_the_bound_one_or_the_machine_s(monkeypatch):
    monkeypatch.setattr(hosts.socket, "gethostname", lambda: "login01")
    assert public_name("0.0.0.0", None) == "login01"
    assert public_name("10.0.0.1", None) == "10.0.0.1"
    assert public_name("0.0.0.0", "mlflow.lab") == "mlflow.lab"
    assert address_of("login01", 5000) == "http://login01:5000"
    assert address_of("fd00::2", 5000) == "http://[fd00::2]:5000"


def test_machine_names_leave_out_loopback_and_link_local(monkeypatch):
    found = [
        SimpleNamespace(family=socket.AF_INET, address="127.0.0.1"),
        SimpleNamespace(family=socket.AF_INET, address="10.0.0.1"),
        SimpleNamespace(family=socket.AF_INET6, address="fe80::1%eth0"),
        SimpleNamespace(family=socket.AF_PACKET, address="00:11:22:33:44:55"),
    ]
    monkeypatch.setattr(hosts.psutil, "net_if_addrs", lambda: {"eth0": found})
    monkeypatch.setattr(hosts.socket, "gethostname", lambda: "login01.lab")
    monkeypatch.setattr(hosts.socket, "getfqdn", lambda: "localhost.localdomain")
    assert hosts.machine_names() == ["login01", "login01.lab", "10.0.0.1"]


def test_a_name_for_this_machine_alone_is_seen():
    assert hosts.loopback_only("127.0.1.1")
    assert not hosts.loopback_only("10.0.0.1")
