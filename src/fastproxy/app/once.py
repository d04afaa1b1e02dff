"""One call through an out proxy that exists only for it.

The proxy is the one that `fastproxy run` would start with this config, but for where it listens: on a Unix
socket in a folder that nobody else may enter. So the call takes the way that every call takes, and what is
known of it afterwards is its line in the access log.
Knows nothing of how a request is written or an answer shown.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import redirect_stdout
from tempfile import TemporaryDirectory, TemporaryFile

import msgspec
from msgspec.structs import replace

from fastproxy.app.running import Proxy
from fastproxy.config.snapshot import OutSnapshot
from fastproxy.net.listener import StartError, bind
from fastproxy.telemetry.access_log import AccessLine

_PIECE_BYTES = 65_536


async def call_once(snapshot: OutSnapshot, request: bytes, take: Callable[[bytes], None]) -> AccessLine:
    """Start the proxy, carry one request through it, and drain it.

    Args:
        snapshot: config of the out proxy.
        request: a whole request in HTTP/1.0, whose answer comes unchunked and ends with the connection.
        take: gets the bytes of the answer as they come.

    Returns:
        What the access log says of the exchange; with a cause when the proxies refused it, or when the
        answer broke off.

    Raises:
        StartError: the proxy can't start.
    """
    with TemporaryDirectory(prefix="fastproxy-call-") as folder, TemporaryFile("w+") as access_log:
        with redirect_stdout(access_log):  # a proxy logs to what is standard output when it is made
            proxy = Proxy(_for_one_call(snapshot), asyncio.get_running_loop())
        path = f"{folder}/out"
        await proxy.start([bind(path, 0, 0o600)])
        try:
            await _exreplace(path, request, take)
        finally:
            await proxy.drain()
        access_log.seek(0)
        line = access_log.readline()
    if not line:
        raise StartError("the access log of the call can't be written; is the disk full?")
    return msgspec.json.decode(line, type=AccessLine)


def _for_one_call(snapshot: OutSnapshot) -> OutSnapshot:
    """The same config for one call of whoever can enter the folder."""
    config = snapshot.config
    return replace(
        snapshot,
        config=replace(
            config,
            listen=replace(config.listen, allowed_uids=[]),
            log=replace(config.log, access="on"),
            drain=replace(config.drain, grace_s=0.0),
        ),
    )


async def _exreplace(socket_path: str, request: bytes, take: Callable[[bytes], None]) -> None:
    reader, writer = await asyncio.open_unix_connection(socket_path)
    try:
        writer.write(request)  # nobody waits for it to leave: a refusal may come before all of it is taken
        while piece := await _next_piece(reader):
            take(piece)
    finally:
        writer.close()


async def _next_piece(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.read(_PIECE_BYTES)
    except ConnectionError:  # the answer broke off; the access log says why
        return b""
