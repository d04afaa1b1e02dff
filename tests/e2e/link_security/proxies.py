"""Proxies that talk over links and in no other way, each started for itself, and what they count."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.client import Answer, fetch
from tests.e2e.proxies import (
    Config,
    ProxyProcess,
    endpoint_of,
    in_config,
    key_of,
    merged,
    out_config,
    write_key,
)
from tests.e2e.services import Script, ScriptedService

CALLERS = ("web", "guest")
"""Callers that an in proxy of these tests knows, if not told otherwise. Nobody knows `stranger`."""
_FOLDER_KEYS = ("in", "in2", "web", "web2", "guest", "stranger")


class Parties:
    """Starts what ends with a scope.

    Args:
        stack: ends them, and checks then that the proxies went well. factory: for their folders.
    """

    def __init__(self, stack: ExitStack, factory: pytest.TempPathFactory) -> None:
        self._stack = stack
        self._factory = factory

    def folder(self) -> Path:
        """Make a folder with keys in it."""
        folder = self._factory.mktemp("proxy")
        for name in _FOLDER_KEYS:
            write_key(folder, name)
        return folder

    def service(self, script: Script) -> ScriptedService:
        """Start a service that plays `script`."""
        return self._stack.enter_context(ScriptedService(script))

    def in_proxy(
        self, services: Mapping[str, str], changes: Config | None = None, folder: Path | None = None
    ) -> ProxyProcess:
        """Start an in proxy that takes links only. services: name to endpoint."""
        config = in_config(
            {name: [endpoint] for name, endpoint in services.items()},
            {name: key_of(name) for name in CALLERS},
        )
        plain = {
            "listen": {"accept": ["link"]},
            "link": {"new_links_per_peer_per_s": 10_000},  # for tests that make many
        }
        return self.start(merged(merged(config, plain), changes or {}), folder)

    def out_proxy(
        self,
        services: tuple[str, ...],
        receiver: ProxyProcess | str,
        changes: Config | None = None,
        folder: Path | None = None,
    ) -> ProxyProcess:
        """Start an out proxy of the caller `web`. receiver: an in proxy, or where to connect instead."""
        endpoint = receiver if isinstance(receiver, str) else endpoint_of(receiver.listen)
        config = out_config(dict.fromkeys(services, ()), key_of("in"), endpoint)
        plain = {"defaults": {"transport": "link"}, "link": {"wait_s": 0}}
        return self.start(merged(merged(config, plain), changes or {}), folder)

    def start(self, config: Config, folder: Path | None = None) -> ProxyProcess:
        """Start a proxy with this config."""
        proxy = ProxyProcess(folder or self.folder(), config)
        self._stack.callback(proxy.stop)
        return proxy.ready()


def instead_of(receiver: Config, endpoints: Mapping[str, str]) -> Config:
    """What makes an out proxy find others where it looks for the receiver, another one for each service.

    Args:
        receiver: what the out proxy knows of it. endpoints: where it looks, by service.
    """
    services = {name: {"receiver": receiver, "endpoints": [at]} for name, at in endpoints.items()}
    return {"receivers": None, "defaults": {"receiver": None}, "services": services}


def call(proxy: ProxyProcess, body: bytes = b"", method: str = "POST", target: str = "/api/") -> Answer:
    """Make a call through an out proxy."""
    return fetch(proxy.listen, method, target, body)


def failures(proxy: ProxyProcess, **labels: str) -> float:
    """How many handshakes failed so far."""
    return proxy.metrics().total("fastproxy_link_handshake_failures_total", **labels)


def wait_for_total(proxy: ProxyProcess, name: str, value: float, **labels: str) -> None:
    """Scrape until a counter has reached this value; the test's time limit bounds it."""
    while proxy.metrics().total(name, **labels) < value:
        pass


def wait_for_failures(proxy: ProxyProcess, value: float, **labels: str) -> None:
    """Wait until that many handshakes have failed."""
    wait_for_total(proxy, "fastproxy_link_handshake_failures_total", value, **labels)


def wait_for_ends(proxy: ProxyProcess, value: float, **labels: str) -> None:
    """Wait until that many links have ended."""
    wait_for_total(proxy, "fastproxy_links_ended_total", value, **labels)


def refusal_of(proxy: ProxyProcess, cause: str, **wanted: Any) -> str:
    """Wait for the log line in which an in proxy says that it refused a link; return its words."""
    line = proxy.log.wait_for(message="a link was refused", cause=cause, level="warning", **wanted)
    return f"{line['detail']}; {line['advice']}"
