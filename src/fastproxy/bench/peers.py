"""Which chains are compared, what each needs installed, and the command that runs each of its proxies.

A chain is caller, out proxy, in proxy, service; the caller is the load, the service the same nginx for all.
A chain is added by one row of `CHAINS`. Starts nothing: that is for `processes`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from fastproxy.bench import configs, own_configs
from fastproxy.bench.configs import Leg
from fastproxy.bench.tools import ENVOY, HAPROXY, NGINX, Tool


@dataclass(frozen=True, slots=True)
class Chain:
    """One way from the caller to the service.

    name: for the command line. title: for people.
    tool: what it needs beyond this package; None when nothing.
    prepare: writes a proxy's config into its folder and returns the command that runs it;
        None when no proxy stands between.
    """

    name: str
    title: str
    tool: Tool | None
    prepare: Callable[[Leg], list[str]] | None

    @property
    def is_own(self) -> bool:
        """Whether its proxies are those of this package."""
        return self.tool is None and self.prepare is not None


def service_command(port: int, folder: Path) -> list[str]:
    """Write the service's config and files into its folder and return the command that runs it."""
    files = folder / "files"
    files.mkdir(exist_ok=True)
    (folder / configs.SOCKET_NAME).unlink(missing_ok=True)  # of a start that failed
    for name, size_bytes in configs.FILE_BYTES.items():
        with (files / name).open("wb") as file:
            os.truncate(file.fileno(), size_bytes)  # all holes: takes no room, and reads as zeros
    return nginx_command(configs.nginx_service(port, folder), folder)


def nginx_command(config: str, folder: Path) -> list[str]:
    """Write a config and return the command; `-e` keeps nginx off the system's own error log."""
    path = _written(folder / "nginx.conf", config)
    return [str(NGINX.find()), "-e", "stderr", "-p", str(folder), "-c", path]


def haproxy_command(config: str, folder: Path) -> list[str]:
    """Write a config and return the command; `-db` keeps HAProxy in the foreground."""
    return [str(HAPROXY.find()), "-db", "-f", _written(folder / "haproxy.cfg", config)]


def envoy_command(config: str, folder: Path) -> list[str]:
    """Write a config and return the command; hot restart, which shares a name between all, is off."""
    path = _written(folder / "envoy.json", config)
    quiet = ["--disable-hot-restart", "--log-level", "warn"]
    return [str(ENVOY.find()), "--concurrency", "1", *quiet, "-c", path]


def fastproxy_command(config: str, leg: Leg) -> list[str]:
    """Write a config, with sockets for the endpoints in it, and return the command, as users give it."""
    for name in own_configs.endpoint_sockets(leg):
        name.parent.mkdir(exist_ok=True)
        name.symlink_to(leg.service_socket)  # to one service: that many wouldn't fit on the machine
    return [sys.executable, "-m", "fastproxy", "run", _written(leg.folder / "fastproxy.yaml", config)]


def _written(path: Path, config: str) -> str:
    path.write_text(config, encoding="utf-8")
    return str(path)


def _haproxy_tcp(leg: Leg) -> list[str]:
    return haproxy_command(configs.haproxy_tcp(leg), leg.folder)


def _haproxy_h1(leg: Leg) -> list[str]:
    return haproxy_command(configs.haproxy_tls(leg, "http/1.1"), leg.folder)


def _haproxy_h2(leg: Leg) -> list[str]:
    return haproxy_command(configs.haproxy_tls(leg, "h2"), leg.folder)


def _nginx_h1(leg: Leg) -> list[str]:
    return nginx_command(configs.nginx_tls(leg), leg.folder)


def _envoy_h2(leg: Leg) -> list[str]:
    return envoy_command(configs.envoy_h2(leg), leg.folder)


def _fastproxy_link(leg: Leg) -> list[str]:
    return fastproxy_command(own_configs.fastproxy_link(leg), leg)


def _fastproxy_http(leg: Leg) -> list[str]:
    return fastproxy_command(own_configs.fastproxy_http(leg), leg)


def _fastproxy_compat(leg: Leg) -> list[str]:
    return fastproxy_command(own_configs.fastproxy_compat(leg), leg)


CHAINS = (
    Chain("none", "no proxy at all", None, None),
    Chain("haproxy-tcp", "HAProxy, raw TCP relay", HAPROXY, _haproxy_tcp),
    Chain("haproxy-h1", "HAProxy, HTTP/1.1 over mTLS", HAPROXY, _haproxy_h1),
    Chain("haproxy-h2", "HAProxy, HTTP/2 over mTLS", HAPROXY, _haproxy_h2),
    Chain("nginx-h1", "nginx, HTTP/1.1 over mTLS", NGINX, _nginx_h1),
    Chain("envoy-h2", "Envoy, HTTP/2 over mTLS", ENVOY, _envoy_h2),
    Chain("fastproxy-link", "fastproxy, link", None, _fastproxy_link),
    Chain("fastproxy-http", "fastproxy, http (envelope v2)", None, _fastproxy_http),
    Chain("fastproxy-compat", "fastproxy, compat (AES-CBC, HMAC, snappy)", None, _fastproxy_compat),
)
