"""Pairs of proxies as real processes, by transport, before nginx; and callers that keep their connections."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

from tests.e2e.client import Client, request_bytes
from tests.e2e.nginx import Nginx
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
from tests.proxy.stage import COMPAT_IN, COMPAT_OUT

TRANSPORTS = ("link", "http", "compat")
_REQUEST = request_bytes("GET", "/web/hello")


class Running(NamedTuple):
    """An out proxy and the in proxy that it calls."""

    out: ProxyProcess
    inner: ProxyProcess


@contextmanager
def running(folder: Path, transport: str, access: str = "off") -> Iterator[Running]:
    """Start a pair that talks in one way only, and a service behind it.

    Args:
        folder: for keys and configs. transport: that way.
        access: "on" for an access log, into a pipe that is read.
    """
    log = {"log": {"access": access}}
    with ExitStack() as stack:
        nginx = Nginx(folder)
        stack.callback(nginx.stop)
        for name in ("in", "web"):
            write_key(folder, name)
        services = {"web": [nginx.endpoint]}
        is_compat = transport == "compat"
        config = merged(
            in_config(services, {"web": key_of("web")}), {"listen": {"accept": [transport]}} | log
        )
        inner = _started(stack, folder, merged(config, _COMPAT_IN) if is_compat else config)
        endpoint = endpoint_of(inner.listen)
        config = merged(
            out_config(services, key_of("in"), endpoint), {"defaults": {"transport": transport}} | log
        )
        if is_compat:
            config = merged(config, _COMPAT_OUT | {"services": {"web": {"endpoints": [endpoint]}}})
        yield Running(_started(stack, folder, config), inner)


def _started(stack: ExitStack, folder: Path, config: Config) -> ProxyProcess:
    proxy = ProxyProcess(folder, config)
    stack.callback(proxy.stop)
    return proxy.ready()


_OUT: Config = dict(COMPAT_OUT)
_IN: Config = dict(COMPAT_IN)
_COMPAT_IN: Config = _IN | {"compat": _IN["compat"] | {"callers": {"web": {"sign": ["s"], "encrypt": ["e"]}}}}
_COMPAT_OUT: Config = {
    "private_key": None,
    "receivers": None,
    "defaults": {"receiver": None},
    "compat": _OUT["compat"] | {"callers": {"web": {"sign": "s", "encrypt": "e", "compress": "none"}}},
}


@contextmanager
def callers(pair: Running, count: int) -> Iterator[list[Client]]:
    """Connect this many callers."""
    with ExitStack() as stack:
        yield [stack.enter_context(Client(pair.out.listen)) for _ in range(count)]


def call_all(clients: Sequence[Client], rounds: int) -> None:
    """Let all callers make a request at a time, and another one when all have their answers."""
    for _ in range(rounds):
        for client in clients:
            client.send(_REQUEST)
        for client in clients:
            answer = client.answer()
            assert answer.status == 200
            assert answer.body == b"hello from nginx"
