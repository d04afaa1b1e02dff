"""Both proxies in one process, with played connections: a hop is the function calls between two of them.

Everything is wired as `fastproxy run` wires it, on uvloop, and set up as in life: with the loop running, the
proxies connect by themselves, each connection being a `Cable` whose bytes are carried by hand. Once the
callers are served on the short way the loop stands still, and everything else is plain calls.

Unlike `tests.net.chain` it plays every transport, and several calls at a time.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import uvloop

from fastproxy.app.running import Proxy
from fastproxy.config.load import load
from fastproxy.net.connection import Connection
from fastproxy.policy.pattern import parse_pattern
from tests.e2e.proxies import merged
from tests.net.chain import ANSWER, REQUEST, configs
from tests.proxy.stage import COMPAT_IN, COMPAT_OUT

RECEIVER, SERVICE = "127.0.0.1:7", "127.0.0.1:9"
PLAIN_SERVICE = {"services": {"search_service": {"endpoints": [SERVICE]}}}
TRANSPORTS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "link": ({"services": {"search_service": {"transport": "link", "endpoints": [RECEIVER]}}}, PLAIN_SERVICE),
    "http": ({"services": {"search_service": {"transport": "http", "endpoints": [RECEIVER]}}}, PLAIN_SERVICE),
    "compat": (merged(COMPAT_OUT, {"services": {"search_service": {"endpoints": [RECEIVER]}}}), COMPAT_IN),
}
"""By transport, what the configs of out proxy and in proxy have beside what `tests.net.chain` writes."""
_WARM_UP_CALLS = 500
_SETTING_UP_TURNS = 2_000
"""Within as many turns of the loop every caller has its answer, or never will."""


class Cable(asyncio.Transport):
    """One end of a played connection: keeps what is written until somebody takes it."""

    def __init__(self, protocol: asyncio.BaseProtocol) -> None:
        super().__init__({"peername": ("127.0.0.1", 4711)})
        self._protocol = protocol
        self.written = b""
        protocol.connection_made(self)

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """From now on this one gets what comes."""
        self._protocol = protocol

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Keep it."""
        self.written += data

    def give(self, data: bytes) -> None:
        """Let this come in."""
        self._protocol.data_received(data)  # type: ignore[attr-defined]  # each is a stream's

    def take(self) -> bytes:
        """What was written since the last time."""
        written, self.written = self.written, b""
        return written

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Nothing stays in a buffer here."""

    def is_closing(self) -> bool:
        """It lasts."""
        return False

    def pause_reading(self) -> None:
        """Nothing comes by itself."""

    def resume_reading(self) -> None:
        """Nothing comes by itself."""

    def close(self) -> None:
        """There is nobody to tell."""

    def abort(self) -> None:
        """There is nobody to tell."""


class StandingLoop(uvloop.Loop):
    """A loop whose connections are played, and that stands still once it is told to.

    standing: what is put off to the end of a turn waits for `end_turn`.

    Args:
        connect: makes a connection's other end; given the port and the near end's cable.
    """

    def __init__(self, connect: Callable[[int, Cable], None]) -> None:
        super().__init__()
        self._connect = connect
        self.standing = False
        self._due: list[tuple[Callable[..., object], tuple[Any, ...]]] = []

    async def create_connection(
        self, protocol_factory: Any, host: Any = None, port: Any = None, **_: Any
    ) -> Any:
        """Connect to a played peer."""
        protocol = protocol_factory()
        cable = Cable(protocol)
        self._connect(port, cable)
        return cable, protocol

    def call_soon(self, callback: Any, *args: Any, context: Any = None) -> Any:  # type: ignore[override]
        """Call it at the end of the turn."""
        if not self.standing:
            return super().call_soon(callback, *args, context=context)
        self._due.append((callback, args))
        return None

    def end_turn(self) -> None:
        """Do what was put off to the end of this turn."""
        due, self._due = self._due, []
        for callback, args in due:
            callback(*args)


class PlayedPair:
    """Callers, an out proxy, an in proxy, and a service that answers at once.

    callers: their connections. Four steps carry one call of each of them; what is `written` in the end is
    what they got.

    Args:
        transport: "link", "http" or "compat". calls: under way at a time, each of a caller of its own.
        request: returns what a caller sends; the same, or something new each time.
        is_logged: both write an access log, to where nobody reads it.
    """

    def __init__(
        self,
        transport: str,
        calls: int = 1,
        request: Callable[[], bytes] = lambda: REQUEST,
        *,
        is_logged: bool = False,
    ) -> None:
        self._request = request
        self._between: list[tuple[Cable, Cable]] = []
        self._services: list[Cable] = []
        self.loop = StandingLoop(self._connected)
        self._nowhere = open(os.devnull, "w")  # noqa: SIM115 - written to until the pair is closed
        log = {"log": {"access": "on" if is_logged else "off"}}
        with TemporaryDirectory() as folder, redirect_stdout(self._nowhere):
            files = configs(Path(folder))
            for file, changes in zip(files, TRANSPORTS[transport], strict=True):
                file.write_text(json.dumps(merged(json.loads(file.read_text()), changes | log)))
            self.out_proxy, self.in_proxy = (
                Proxy(load(file, check_pattern=parse_pattern), self.loop) for file in files
            )
        self.callers = [Cable(Connection(self.out_proxy.server)) for _ in range(calls)]
        self.loop.run_until_complete(self._set_up())
        self.loop.standing = True
        for _ in range(_WARM_UP_CALLS // calls):  # caches fill, the interpreter specialises its code
            self.call()

    def _connected(self, port: int, near: Cable) -> None:
        if f"127.0.0.1:{port}" == SERVICE:
            self._services.append(near)
        else:
            self._between.append((near, Cable(Connection(self.in_proxy.server))))

    async def _set_up(self) -> None:
        """Make all calls at a time, as often as it takes until nothing is new."""
        for _ in range(3):
            for caller in self.callers:
                caller.take()
                caller.give(self._request())
            for _ in range(_SETTING_UP_TURNS):
                await asyncio.sleep(0)
                self._carry()
                if all(caller.written for caller in self.callers):
                    break
            else:
                raise RuntimeError("a caller has no answer")

    def _carry(self) -> None:
        for near, far in self._between:
            for source, target in ((near, far), (far, near)):
                if data := source.take():
                    target.give(data)
        for service in self._services:
            if service.take():
                service.give(ANSWER)

    def close(self) -> None:
        """End it."""
        self.loop.standing = False
        for proxy in (self.out_proxy, self.in_proxy):
            proxy.parts.wheel.close()
        self.loop.close()
        self._nowhere.close()

    # --- one call of each caller, hop by hop ----------------------------------------------------------------

    def ask(self) -> None:
        """The out proxy gets the requests, and sends them on."""
        for caller in self.callers:
            caller.give(self._request())
        self.loop.end_turn()

    def reach_service(self) -> None:
        """The in proxy gets what the out proxy sent, and asks the service."""
        for near, far in self._between:
            far.give(near.take())
        self.loop.end_turn()

    def answer(self) -> None:
        """The in proxy gets the service's answers, and sends them back."""
        for service in self._services:
            service.give(ANSWER)
        self.loop.end_turn()

    def reach_callers(self) -> None:
        """The out proxy gets what the in proxy sent, and answers the callers."""
        for near, far in self._between:
            near.give(far.take())
        self.loop.end_turn()

    def read(self) -> None:
        """Callers and service read what has come to them."""
        for cable in (*self.callers, *self._services):
            cable.take()

    def call(self) -> list[bytes]:
        """Carry one call of each caller; return what they got."""
        self.read()
        self.ask()
        self.reach_service()
        self.answer()
        self.reach_callers()
        return [caller.written for caller in self.callers]
