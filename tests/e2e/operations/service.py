"""`python -m tests.e2e.operations.service`: a service that remembers what it was given, and how often.

The content of each request is a number; it is the content of the answer, which comes after as many seconds as
the last segment of the path says. First it prints its port; when its standard input ends, what it was given.
Bounded: the numbers, the wait, and the time that it lives.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import cast

import uvloop

NUMBERS = 10_000_000
LONGEST_WAIT_S = 60.0
LIFE_S = 7200.0
SHOWN = 20


class Counts:
    """How often each number came."""

    def __init__(self) -> None:
        self._times = bytearray(NUMBERS)

    def count(self, number: int) -> None:
        """One more."""
        self._times[number] = min(255, self._times[number] + 1)

    def report(self) -> dict[str, object]:
        """How many came at all, and which came more than once."""
        came = NUMBERS - self._times.count(0)
        doubled = came - self._times.count(1)
        which = [n for n, times in enumerate(self._times) if times > 1][:SHOWN] if doubled else []
        return {"came": came, "doubled": doubled, "which": which}


class Connection(asyncio.Protocol):
    """One connection; requests on it come one after the other.

    Args:
        counts: told of each request.
    """

    def __init__(self, counts: Counts) -> None:
        self._counts = counts
        self._received = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's bears no such name

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, end, rest = self._received.partition(b"\r\n\r\n")
        if not end:
            return
        first, *lines = head.lower().split(b"\r\n")
        (length,) = (int(line[15:]) for line in lines if line.startswith(b"content-length:"))
        if len(rest) < length:
            return
        self._received = b""
        self._counts.count(int(rest))
        delay_s = min(float(first.split(b" ")[1].rpartition(b"/")[2]), LONGEST_WAIT_S)
        answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (length, rest)
        if delay_s:
            asyncio.get_running_loop().call_later(delay_s, self._write, answer)
        else:
            self._write(answer)

    def _write(self, answer: bytes) -> None:
        """Answer, if somebody is still there."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(answer)


async def main() -> None:
    """Serve until standard input ends."""
    loop = asyncio.get_running_loop()
    counts = Counts()
    server = await loop.create_server(lambda: Connection(counts), "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    over = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(over), sys.stdin)
    async with asyncio.timeout(LIFE_S):
        await over.read()
    print(json.dumps(counts.report()), flush=True)


if __name__ == "__main__":
    uvloop.run(main())
