"""Plays DNS changes against a real server; run by test_real_dns.py inside a network namespace.

Argument: a folder for the server's files. Prints one JSON object: what the source knew after each step.
"""

import asyncio
import json
import logging
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

from fastproxy.discovery.dns import DnsSource, resolve_by_system
from tests.discovery.addresses import ip, name

REFRESH_S = 0.01


def dnsmasq(records: Path) -> list[str]:
    """The command of a DNS server at 127.0.0.1 with these records; it names the file when it has read it."""
    return [
        "dnsmasq", "--keep-in-foreground", "--log-facility=-", "--user=root", "--conf-file=/dev/null",
        "--pid-file=", "--no-hosts", "--no-resolv", "--listen-address=127.0.0.1", "--bind-interfaces",
        "--local=/test/", f"--addn-hosts={records}",
    ]  # fmt: skip


class Server:
    """dnsmasq with a hosts file that can be changed while it runs."""

    def __init__(self, folder: Path) -> None:
        self._records = folder / "records"

    async def start(self, *records: str) -> None:
        self._write(records)
        self._process = await asyncio.create_subprocess_exec(*dnsmasq(self._records), stderr=subprocess.PIPE)
        await self._has_read()

    async def change(self, *records: str) -> None:
        self._write(records)
        self._process.send_signal(signal.SIGHUP)
        await self._has_read()

    async def stop(self) -> None:
        self._process.terminate()
        await self._process.wait()

    def _write(self, records: tuple[str, ...]) -> None:
        self._records.write_text("".join(f"{record}\n" for record in records))

    async def _has_read(self) -> None:
        assert self._process.stderr is not None
        said = b""
        while str(self._records).encode() not in (line := await self._process.stderr.readline()):
            if not line:
                raise RuntimeError(f"dnsmasq ended: {said.decode()}")
            said += line


class Watched:
    """Resolves through the system, and tells when a whole round has ended."""

    def __init__(self) -> None:
        self._rounds = 0
        self._next = asyncio.Condition()

    async def resolve(self, host: str, port: int) -> list[str]:
        async with self._next:
            self._rounds += 1
            self._next.notify_all()
        return list(await resolve_by_system(host, port))

    async def rounds(self, more: int) -> None:
        async with self._next:
            wanted = self._rounds + more
            await self._next.wait_for(lambda: self._rounds >= wanted)


async def play(folder: Path) -> dict[str, list[str]]:
    server, watched = Server(folder), Watched()
    await server.start("192.0.2.1 api.test", "2001:db8::1 api.test")
    source = DnsSource(
        [ip("198.51.100.7"), name("api.test")], refresh_s=REFRESH_S, timeout_s=30.0, resolve=watched.resolve
    )
    known: dict[str, list[str]] = {}

    async def note(step: str, change: Callable[[], Awaitable[None]]) -> None:
        await change()
        # The first look-up may have begun before the change; when a third begins, the second is worked in.
        await watched.rounds(3)
        known[step] = [endpoint.host for endpoint in source.endpoints]

    await note("started", source.start)
    await note("changed", lambda: server.change("192.0.2.2 api.test", "192.0.2.3 api.test"))
    await note("name gone", lambda: server.change("192.0.2.9 other.test"))
    await note("server dead", server.stop)
    await note("server back", lambda: server.start("192.0.2.4 api.test"))
    await source.close()
    late = DnsSource([name("late.test")], refresh_s=REFRESH_S, timeout_s=30.0, resolve=watched.resolve)
    await late.start()
    known["not there yet"] = [endpoint.host for endpoint in late.endpoints]
    await server.change("192.0.2.5 late.test")
    await watched.rounds(3)
    known["there now"] = [endpoint.host for endpoint in late.endpoints]
    await late.close()
    await server.stop()
    return known


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(message)s")
    print(json.dumps(asyncio.run(play(Path(sys.argv[1])))))
