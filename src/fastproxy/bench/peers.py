"""Which chains are compared, what each needs installed, and the command that runs each of its proxies.

A chain is caller, out proxy, in proxy, service; the caller is the load, the service the same nginx for all.
A chain is added by one row of `CHAINS`. Starts nothing: that is for `processes`.
"""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from fastproxy.bench import configs
from fastproxy.bench.configs import Leg

SYSTEM_PATH = "/usr/local/sbin:/usr/sbin:/sbin"
"""Where servers are installed, and where the search path of a user who isn't root often doesn't lead."""


_VERSION = re.compile(r"\d+\.\d+\.\d+")


class ToolMissingError(Exception):
    """A program that a chain needs isn't installed; the message says how to install it."""


@dataclass(frozen=True, slots=True)
class Tool:
    """A program of others.

    install: the command that installs it. version_flag: what makes it print its version.
    """

    name: str
    install: str
    version_flag: str

    def find(self) -> Path:
        """Return where the program is.

        Raises:
            ToolMissingError: it is not there.
        """
        found = _packaged_envoy() if self.name == "envoy" else None
        found = found or shutil.which(self.name) or shutil.which(self.name, path=SYSTEM_PATH)
        if found is None:
            raise ToolMissingError(f"{self.name} is not installed; install it with: {self.install}")
        return Path(found)

    def version(self) -> str:
        """Return the program's version as it states it itself, "unknown" when it doesn't.

        Raises:
            ToolMissingError: it is not there.
        """
        shown = subprocess.run([self.find(), self.version_flag], capture_output=True, text=True, timeout=20)
        first_line = (shown.stdout + shown.stderr).strip().partition("\n")[0]
        # The last one: Envoy puts its own path in front, which may hold the version of something else.
        versions: list[str] = _VERSION.findall(first_line)
        return versions[-1] if versions else "unknown"


WRK = Tool("wrk", "apt-get install wrk", "-v")
NGINX = Tool("nginx", "apt-get install nginx-light", "-v")
HAPROXY = Tool("haproxy", "apt-get install haproxy", "-v")
ENVOY = Tool("envoy", "pip install 'fastproxy-link[bench]'", "--version")


@dataclass(frozen=True, slots=True)
class Chain:
    """One way from the caller to the service.

    name: for the command line. title: for people.
    tool: what it needs beyond this package; None when nothing.
    prepare: writes a proxy's config into its folder and returns the command that runs it;
        None when no proxy stands between.
    baseline: whether the other chains' figures are set in ratio to this one's.
    """

    name: str
    title: str
    tool: Tool | None
    prepare: Callable[[Leg], list[str]] | None
    baseline: bool = False


def service_command(port: int, folder: Path) -> list[str]:
    """Write the service's config into its folder and return the command that runs it."""
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


def fastproxy_command(config: str, folder: Path) -> list[str]:
    """Write a config and return the command, as users give it."""
    return [sys.executable, "-m", "fastproxy", "run", _written(folder / "fastproxy.yaml", config)]


def _written(path: Path, config: str) -> str:
    path.write_text(config, encoding="utf-8")
    return str(path)


def _packaged_envoy() -> str | None:
    """Return the binary inside the Python package `envoy`; its start script would stand in between."""
    package = importlib.util.find_spec("envoy")
    for folder in (package.submodule_search_locations or []) if package else []:
        binary = Path(folder) / "_bin" / "envoy"
        if binary.is_file():
            return str(binary)
    return None


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


def _fastproxy_http(leg: Leg) -> list[str]:
    return fastproxy_command(configs.fastproxy_http(leg), leg.folder)


def _fastproxy_compat(leg: Leg) -> list[str]:
    return fastproxy_command(configs.fastproxy_compat(leg), leg.folder)


CHAINS = (
    Chain("none", "no proxy at all", None, None),
    Chain("haproxy-tcp", "HAProxy, raw TCP relay", HAPROXY, _haproxy_tcp),
    Chain("haproxy-h1", "HAProxy, HTTP/1.1 over mTLS", HAPROXY, _haproxy_h1, baseline=True),
    Chain("haproxy-h2", "HAProxy, HTTP/2 over mTLS", HAPROXY, _haproxy_h2, baseline=True),
    Chain("nginx-h1", "nginx, HTTP/1.1 over mTLS", NGINX, _nginx_h1),
    Chain("envoy-h2", "Envoy, HTTP/2 over mTLS", ENVOY, _envoy_h2, baseline=True),
    Chain("fastproxy-http", "fastproxy, http (envelope v2)", None, _fastproxy_http),
    Chain("fastproxy-compat", "fastproxy, compat (AES-CBC, HMAC, snappy)", None, _fastproxy_compat),
)
