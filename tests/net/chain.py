"""Both proxies in one process, with played connections between them: one call is plain function calls.

Everything is wired as `fastproxy run` wires it, but the connections between the parts are open from the start
and the chain hands their bytes over. What is left is the work of the proxies themselves.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Iterator
from pathlib import Path

from fastproxy.app.running import Proxy
from fastproxy.config.load import load
from fastproxy.net.client import ClientConnection
from fastproxy.net.connection import Connection
from fastproxy.net.outbox import AT_ONCE
from fastproxy.net.pool import Pool, Pools
from fastproxy.policy.pattern import parse_pattern
from fastproxy.wire.identity import PrivateKey

REQUEST = (
    b"POST /search_service/api/service HTTP/1.1\r\nHost: 127.0.0.1:8034\r\nContent-Length: 11\r\n"
    b"Content-Type: application/x-www-form-urlencoded\r\nAccept: */*\r\n\r\nparam=hello"
)
ANSWER = (
    b"HTTP/1.1 200 OK\r\nDate: Sun, 22 Nov 2026 20:18:41 GMT\r\nContent-Type: application/json\r\n"
    b'Content-Length: 27\r\nConnection: keep-alive\r\n\r\n{"code":0,"message":"okay"}'
)


class Pipe(asyncio.Transport):
    """Keeps what was written last until the chain hands it over."""

    def __init__(self, protocol: asyncio.Protocol) -> None:
        super().__init__({"peername": ("127.0.0.1", 4711)})
        self.protocol = protocol
        self.written = b""
        protocol.connection_made(self)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written = bytes(data)

    def is_closing(self) -> bool:
        return False

    def abort(self) -> None:
        """The chain says itself when a connection is gone."""

    def resume_reading(self) -> None:
        """Everything is read at once."""


class Chain:
    """A caller's connection to an out proxy, an in proxy behind it, and a connection to a service."""

    def __init__(self, folder: Path, loop: asyncio.AbstractEventLoop) -> None:
        out_proxy, in_proxy = (
            Proxy(load(file, check_pattern=parse_pattern), loop) for file in configs(folder)
        )
        self.proxies = (out_proxy, in_proxy)
        for proxy in self.proxies:
            proxy.server.outbox = AT_ONCE  # no turn of the loop is ever over here
        self.caller = Pipe(Connection(out_proxy.server))
        self._sealed_in = Pipe(Connection(in_proxy.server))
        self._sealed_out = _kept_connection(out_proxy, loop)
        self._service = _kept_connection(in_proxy, loop)
        self._pass_on(REQUEST)  # the in proxy's epoch isn't known yet: it is asked for first
        self.call()

    def _pass_on(self, request: bytes) -> None:
        self.caller.protocol.data_received(request)
        self._sealed_in.protocol.data_received(self._sealed_out.written)
        self._sealed_out.protocol.data_received(self._sealed_in.written)
        self._sealed_in.protocol.data_received(self._sealed_out.written)
        self._service.protocol.data_received(ANSWER)
        self._sealed_out.protocol.data_received(self._sealed_in.written)

    def call(self) -> bytes:
        """Carry one call from the caller to the service and back."""
        for _ in self.steps():
            pass
        return self.caller.written

    def steps(self) -> Iterator[None]:
        """The same, stopping after each hop while the call is under way."""
        self.caller.protocol.data_received(REQUEST)
        yield
        self.reach_the_in_proxy()
        yield
        self._service.protocol.data_received(ANSWER)
        yield
        self.return_its_answer()

    def forget_the_short_way(self) -> None:
        """Let the next call take the long one."""
        for proxy in self.proxies:
            for head in proxy.server.parser.requests.values():
                head.flows.clear()

    def reach_the_in_proxy(self) -> None:
        """Hand over what the out proxy sealed."""
        self._sealed_in.protocol.data_received(self._sealed_out.written)

    def return_its_answer(self) -> None:
        """Hand back what the in proxy sealed."""
        self._sealed_out.protocol.data_received(self._sealed_in.written)


def _kept_connection(proxy: Proxy, loop: asyncio.AbstractEventLoop) -> Pipe:
    """Put an open connection into the pool of the proxy's only endpoint."""
    endpoint = proxy.parts.sources[0].endpoints[0]
    pools: Pools = next(iter(proxy.parts.pools.values()))
    pool = Pool(endpoint, pools.parser, pools._limits, pools._wheel, loop)
    pools._pools[endpoint] = pool
    connection = ClientConnection(pool._parser, endpoint, pool._freed, pool._lost)
    pipe = Pipe(connection)
    pool._all.add(connection)
    pool.idle.append(connection)
    return pipe


def configs(folder: Path) -> tuple[Path, Path]:
    """Write keys and configs of an out proxy and an in proxy into `folder`; returns the two files."""
    public: dict[str, str] = {}
    for name in ("caller", "receiver"):
        secret = os.urandom(32)
        file = folder / f"{name}.key"
        file.touch(mode=0o600)
        file.write_text(secret.hex())
        public[name] = PrivateKey(secret).public_key.hex()
    quiet = {"access": "off"}
    in_config = {
        "role": "in",
        "name": "receiver",
        "private_key": {"file": "receiver.key"},
        "callers": {"caller": {"public_keys": [public["caller"]]}},
        "services": {"search_service": {"endpoints": ["127.0.0.1:9"]}},
        "privileges": [
            {
                "callers": ["caller"],
                "services": ["search_service"],
                "methods": ["POST"],
                "paths": ["/api/service"],
                "rate": {"per_s": 1_000_000, "burst": 1_000_000},
            }
        ],
        "log": quiet,
    }
    receiver = {"name": "receiver", "public_keys": [public["receiver"]]}
    out_config = {
        "role": "out",
        "caller": "caller",
        "private_key": {"file": "caller.key"},
        "services": {
            "search_service": {"transport": "http", "receiver": receiver, "endpoints": ["127.0.0.1:9"]}
        },
        "log": quiet,
    }
    files = []
    for name, config in (("out", out_config), ("in", in_config)):
        file = folder / f"{name}.yaml"
        file.write_text(json.dumps(config))  # JSON is YAML
        files.append(file)
    return files[0], files[1]
