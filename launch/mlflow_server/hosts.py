"""Names under which a server may be called.

MLflow refuses calls whose Host header it does not know, with 403, and the list it is given
replaces its own. It does the same with the Origin header of browsers, also of its own pages.
"""

import ipaddress
import socket
from collections.abc import Iterable, Sequence

import psutil

from harmony.errors import ConfigError

_EVERYWHERE = ("0.0.0.0", "::", "")


def machine_names() -> list[str]:
    """This machine's names and addresses, the short name first."""
    name = socket.gethostname()
    names = [name.partition(".")[0], name, socket.getfqdn()]
    for addresses in psutil.net_if_addrs().values():
        internet = (socket.AF_INET, socket.AF_INET6)
        names += [found.address for found in addresses if found.family in internet]
    return [name for name in dict.fromkeys(names) if _useful(name)]


def allowed_hosts(names: Iterable[str], extra: Sequence[str]) -> list[str]:
    """Patterns for mlflow's --allowed-hosts.

    Args:
        names: Names and addresses of this machine.
        extra: What the user adds: names, names with a port, or patterns with `*`.

    Returns:
        Each name without a port and with any, since a tunnel may end at another port.

    Raises:
        ConfigError: A name with a scheme or a path.
    """
    patterns: list[str] = []
    for name in ["localhost", "127.0.0.1", "::1", *names, *extra]:
        if "/" in name or not name.strip():
            raise ConfigError(
                f"expected --allowed-hosts NAME,NAME, got {name!r}: leave out http://"
            )
        for spelling in dict.fromkeys((name.strip(), name.strip().lower())):
            patterns.extend(_patterns(spelling))
    return list(dict.fromkeys(patterns))


def allowed_origins(names: Iterable[str], extra: Sequence[str], port: int) -> list[str]:
    """Origins for mlflow's --cors-allowed-origins: its own pages, opened by each name.

    Args:
        names: Names and addresses of this machine.
        extra: What the user adds, with or without a port.
        port: The server's port.
    """
    origins = []
    for name in [*names, *extra]:
        host = _bracketed(name.strip().lower())
        with_port = ":" in host.rpartition("]")[2] or host.endswith("*")
        hosts = [host] if with_port else [f"{host}:{port}", host]  # the latter behind a gateway
        origins += [f"{scheme}://{found}" for found in hosts for scheme in ("http", "https")]
    return list(dict.fromkeys(origins))


def public_name(host: str, name: str | None) -> str:
    """The name that jobs use: the one given, else the bound one, else this machine's."""
    if name:
        return name
    return socket.gethostname() if host in _EVERYWHERE else host


def address_of(name: str, port: int) -> str:
    """The tracking URI of a name and a port."""
    return f"http://{_bracketed(name)}:{port}"


def loopback_only(name: str) -> bool:
    """Whether this machine takes `name` for itself alone, so that others may not know it."""
    try:
        found = socket.getaddrinfo(name, None)
    except OSError:
        return False
    return all(ipaddress.ip_address(str(entry[4][0])).is_loopback for entry in found)


def _patterns(name: str) -> list[str]:
    host = _bracketed(name)
    if ":" in host.rpartition("]")[2] or "*" in host:
        return [host]
    escaped = host.replace("[", "[[]", 1)  # a pattern, where a bracket opens a set
    return [host, f"{escaped}:*"]


def _bracketed(name: str) -> str:
    try:
        version = ipaddress.ip_address(name).version
    except ValueError:
        return name
    return f"[{name}]" if version == 6 else name


def _useful(name: str) -> bool:
    """Leaves out loopback and addresses that hold on one cable only."""
    try:
        address = ipaddress.ip_address(name.partition("%")[0])
    except ValueError:
        return bool(name) and not name.startswith("localhost")
    return not (address.is_loopback or address.is_link_local)
