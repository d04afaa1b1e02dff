"""`python -m tests.e2e.operations.load`: callers who make requests at a constant rate, come what may.

An open loop: requests are due by the clock and not when others have been answered, so that a proxy which
stands still for a moment is seen by all who would have called then. Each is a POST, which nobody repeats,
with a number as its content that no other has; every tenth is answered late by the service.

A connection serves one request at a time and is kept until an answer says that it ends. One that ends while a
request is on it is a failure, as is any other answer than the one that was due. Of several addresses one is
used until an answer ends its connection, or nobody listens there: then the next, as a balancer would have it.

It is told by lines on standard input and answers each with a line of JSON:

    look        what was counted so far
    kill PID    kill a process; when that was, and how many requests were under way
    hold COUNT SECONDS    make so many requests more now, each answered after so long
    end         make no more, wait for what is under way; the last line

All is bounded: `--seconds`, the requests under way, the failures that are kept. Knows nothing of proxies.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys
import time
from array import array
from collections import deque
from functools import partial
from typing import Any, cast

import uvloop

TICK_S = 0.004
SLOW_EVERY = 10
UNDER_WAY_AT_MOST = 4000
"""More are not begun, but counted as held back: who can't keep up is not to be drowned."""
ANSWER_LIMIT_S = 60.0
"""A request without an answer for that long has failed."""
FAILURES_SHOWN = 50_000


class Request:
    """One request. number: its content. began_s: when it was due, by the monotonic clock."""

    __slots__ = ("began_s", "delay_s", "number", "service")

    def __init__(self, number: int, service: str, delay_s: float, began_s: float) -> None:
        self.number = number
        self.service = service
        self.delay_s = delay_s
        self.began_s = began_s

    def head_and_content(self) -> bytes:
        """Its bytes."""
        content = b"%d" % self.number
        return b"POST /%b/after/%g HTTP/1.1\r\nHost: load\r\nContent-Length: %d\r\n\r\n%b" % (
            self.service.encode(), self.delay_s, len(content), content,
        )  # fmt: skip


class Connection(asyncio.Protocol):
    """One connection, with at most one request on it.

    Args:
        load: what is told of answers and ends. address: host and port.
    """

    def __init__(self, load: Load, address: tuple[str, int]) -> None:
        self._load = load
        self.address = address
        self._transport: asyncio.Transport | None = None
        self._received = b""
        self._request: Request | None = None
        self.is_open = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's bears no such name
        self.is_open = True

    def ask(self, request: Request) -> None:
        """Send a request."""
        assert self._transport is not None
        self._request = request
        self._transport.write(request.head_and_content())

    def close(self) -> None:
        """Hang up."""
        self.is_open = False
        if self._transport is not None:
            self._transport.close()

    def give_up(self, before_s: float) -> None:
        """Hang up on a request that began before then and has no answer."""
        if self._request is not None and self._request.began_s < before_s and self._transport is not None:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, end, rest = self._received.partition(b"\r\n\r\n")
        if not end:
            return
        first, *lines = head.decode("latin-1").split("\r\n")
        fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        if len(rest) < int(fields.get("content-length", "0")):
            return
        self._received = b""
        request, self._request = self._request, None
        stays = fields.get("connection", "").lower() != "close"
        if not stays:
            self._load.leave(self.address)
            self.close()
        if request is None:
            self._load.failed(None, f"an answer that nobody asked for: {first}")
            return
        if first.split(" ")[1] == "200" and rest == b"%d" % request.number:
            self._load.answered(request)
        else:
            exchange = fields.get("fastproxy-exchange", "none")
            words = rest[:300].decode(errors="replace")
            self._load.failed(request, f"{first}; exchange {exchange}; {words}")
        if stays:
            self._load.free(self)

    def connection_lost(self, error: Exception | None) -> None:
        self.is_open = False
        self._load.gone(self)
        if self._request is not None:
            request, self._request = self._request, None
            got = f" after {self._received[:200]!r}" if self._received else ""
            self._load.failed(request, f"the connection was closed on it{got} ({error})")


class Load:
    """The callers.

    Args:
        addresses: HOST:PORT, in the order in which they are tried. services: called in turn.
        rate_per_s: of requests. slow_s: after how long every tenth is answered.
    """

    def __init__(self, addresses: list[str], services: list[str], rate_per_s: float, slow_s: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._addresses = [(host, int(port)) for host, _, port in (a.rpartition(":") for a in addresses)]
        self._services = services
        self._rate_per_s = rate_per_s
        self._slow_s = slow_s
        self._idle: deque[Connection] = deque()
        self._all: set[Connection] = set()
        self._connecting: set[asyncio.Task[None]] = set()
        self._sent = self._answered = self._failed = self._held_back = 0
        self._quick_s = array("f")
        self._failures: list[dict[str, Any]] = []
        self._began_s = time.monotonic()
        self._seconds = 0.0

    async def run(self, until_s: float, stop: asyncio.Event) -> None:
        """Make requests until it is told to stop, or until then; return when all have ended."""
        due = 0.0
        then_s = self._began_s
        while not stop.is_set() and then_s < until_s:
            await asyncio.sleep(TICK_S)
            now_s = time.monotonic()
            due += (now_s - then_s) * self._rate_per_s
            then_s = now_s
            count, due = int(due), due % 1
            for _ in range(count):
                if self.under_way >= UNDER_WAY_AT_MOST:
                    self._held_back += 1
                else:
                    self._begin(self._slow_s if self._sent % SLOW_EVERY == 0 else 0, now_s)
            for connection in list(self._all) if self._sent % 100 < count else ():
                connection.give_up(now_s - ANSWER_LIMIT_S)
        self._seconds = time.monotonic() - self._began_s
        while self.under_way:
            await asyncio.sleep(TICK_S)
            for connection in list(self._all):
                connection.give_up(time.monotonic() - ANSWER_LIMIT_S)
        for connection in list(self._all):
            connection.close()

    @property
    def under_way(self) -> int:
        """Requests without an end."""
        return self._sent - self._answered - self._failed

    def hold(self, count: int, delay_s: float) -> None:
        """Make so many requests now that are answered after so long."""
        for _ in range(count):
            self._begin(delay_s, time.monotonic())

    def counted(self) -> dict[str, Any]:
        """What was counted so far."""
        seconds = self._seconds or time.monotonic() - self._began_s
        return {
            "sent": self._sent,
            "answered": self._answered,
            "failed": self._failed,
            "under_way": self.under_way,
            "held_back": self._held_back,
            "seconds": round(seconds, 3),
        }

    def report(self) -> dict[str, Any]:
        """What was counted in all, how long quick answers took, and what failed how."""
        quick = sorted(self._quick_s)
        p99_ms = round(quick[len(quick) * 99 // 100] * 1000, 1) if quick else 0
        return {**self.counted(), "p99_ms": p99_ms, "failures": self._failures}

    def _begin(self, delay_s: float, now_s: float) -> None:
        # In tens, so that quick and slow ones go to each of the services.
        service = self._services[self._sent // SLOW_EVERY % len(self._services)]
        request = Request(self._sent, service, delay_s, now_s)
        self._sent += 1
        while self._idle:
            connection = self._idle.popleft()  # the one that has rested longest: all are used
            if connection.is_open:
                connection.ask(request)
                return
        task = self._loop.create_task(self._connect(request))
        self._connecting.add(task)
        task.add_done_callback(self._connecting.discard)

    async def _connect(self, request: Request) -> None:
        words = ""
        for host, port in list(self._addresses):
            connection = Connection(self, (host, port))
            try:
                await self._loop.create_connection(partial(_same, connection), host, port)
            except ConnectionRefusedError as error:
                words = f"{words} {host}:{port}: {error}"
                continue
            except OSError as error:
                words = f"{words} {host}:{port}: {error}"
                break
            self._all.add(connection)
            connection.ask(request)
            return
        self.failed(request, f"no connection:{words}")

    # --- told by connections ----------------------------------------------------------------------------

    def answered(self, request: Request) -> None:
        """A request has got its answer."""
        self._answered += 1
        if not request.delay_s:
            self._quick_s.append(time.monotonic() - request.began_s)

    def failed(self, request: Request | None, words: str) -> None:
        """A request has failed; None: something that was no request has."""
        if request is not None:
            self._failed += 1
        if len(self._failures) < FAILURES_SHOWN:
            self._failures.append(
                {
                    "number": request.number if request else -1,
                    "service": request.service if request else "",
                    "delay_s": request.delay_s if request else 0,
                    "began_s": request.began_s if request else 0,
                    "ended_s": time.monotonic(),
                    "words": words,
                }
            )

    def free(self, connection: Connection) -> None:
        """A connection can take another request."""
        self._idle.append(connection)

    def leave(self, address: tuple[str, int]) -> None:
        """An answer has ended its connection: what is at this address may be about to end."""
        if self._addresses[0] == address:
            self._addresses = [*self._addresses[1:], address]

    def gone(self, connection: Connection) -> None:
        """A connection has ended."""
        self._all.discard(connection)


def _same(connection: Connection) -> Connection:
    """Return what a connection that was made is to be."""
    return connection


def _say(words: dict[str, Any]) -> None:
    print(json.dumps(words), flush=True)


async def _listen(load: Load, stop: asyncio.Event) -> None:
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while words := (await reader.readline()).decode().split():
        if words[0] == "look":
            _say(load.counted())
        elif words[0] == "kill":
            os.kill(int(words[1]), signal.SIGKILL)
            _say({"killed_s": time.monotonic(), "under_way": load.under_way})
        elif words[0] == "hold":
            load.hold(int(words[1]), float(words[2]))
            _say({"under_way": load.under_way})
        else:
            break
    stop.set()  # also when nobody is there any more who could say so


async def main() -> None:
    """Run as the command line says."""
    parser = argparse.ArgumentParser()
    parser.add_argument("addresses", nargs="+")
    parser.add_argument("--services", nargs="+", required=True)
    parser.add_argument("--rate-per-s", type=float, required=True)
    parser.add_argument("--slow-s", type=float, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    options = parser.parse_args()
    load = Load(options.addresses, options.services, options.rate_per_s, options.slow_s)
    stop = asyncio.Event()
    listening = asyncio.create_task(_listen(load, stop))
    await load.run(time.monotonic() + options.seconds, stop)
    await listening if stop.is_set() else listening.cancel()
    _say(load.report())


if __name__ == "__main__":
    uvloop.run(main())
