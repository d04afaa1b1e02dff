"""Keeps one endpoint registered with a center for as long as this process serves it.

A lease is renewed three times in its life, so that two heartbeats may get lost. Whatever the center answers,
the pace is this side's own. Knows nothing of HTTP and tokens: a function that sends is handed in, and adds
the token.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from urllib.parse import quote

import msgspec

from fastproxy.discovery.outage import Outage
from fastproxy.errors import ProxyError

Send = Callable[[str, str, bytes], Awaitable[tuple[int, bytes]]]
"""Sends method, path and JSON content to the center, with the token: status and content of the answer. Raises
OSError or ProxyError when there is none."""

_log = logging.getLogger("fastproxy.discovery")


class Registration:
    """One endpoint under one name.

    Args:
        send: sends a request to the center.
        kind: "services" or "receivers". name: under which to register.
        address: `HOST:PORT` at which others reach the endpoint.
        random: evenly spread from 0 to 1; keeps many heartbeats from falling together.
        ttl_s: how long the center keeps it without a heartbeat, 3 to 3600 seconds.
        timeout_s: longest wait for an answer, in seconds.
        start_s: how long `start` waits for the first one, in seconds.
        retry_s: first pause after a failure, in seconds; it doubles up to the usual pace.

    registered_s: when the center last confirmed it (the event loop's clock), None before it ever did.
    """

    __slots__ = (
        "_address",
        "_closing",
        "_content",
        "_keeper",
        "_name",
        "_outage",
        "_pace_s",
        "_path",
        "_random",
        "_send",
        "_start_s",
        "_timeout_s",
        "_tried",
        "registered_s",
    )

    def __init__(
        self,
        send: Send,
        kind: str,
        name: str,
        address: str,
        *,
        random: Callable[[], float],
        ttl_s: float = 15.0,
        timeout_s: float = 5.0,
        start_s: float = 1.0,
        retry_s: float = 0.5,
    ) -> None:
        self._send = send
        self._name = name
        self._address = address
        self._path = f"/v1/{quote(kind, safe='')}/{quote(name, safe='')}/endpoints/{quote(address, safe='')}"
        self._content = msgspec.json.encode({"ttl_s": ttl_s})
        self._random = random
        self._pace_s = ttl_s / 3
        self._outage = Outage(retry_s, self._pace_s)
        self._timeout_s = timeout_s
        self._start_s = start_s
        self._tried = asyncio.Event()
        self._closing = asyncio.Event()
        self._keeper: asyncio.Task[None] | None = None
        self.registered_s: float | None = None

    async def start(self) -> None:
        """Register, and keep registered; returns when the first attempt has ended, well or not, or hangs."""
        self._keeper = asyncio.create_task(self._keep())
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._tried.wait(), self._start_s)

    async def close(self) -> None:
        """Deregister, as far as the center can be reached in time; before the endpoint stops serving."""
        self._closing.set()
        if self._keeper is not None:
            await self._keeper  # a heartbeat that is under way must not arrive after the goodbye
            reason = await self._exchange("DELETE", b"")
            if reason:
                self._log_failure(
                    "the center can't be told that this endpoint goes; its lease will end", reason
                )

    async def _keep(self) -> None:
        await self._heartbeat()
        self._tried.set()
        while not self._closing.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._closing.wait(), self._pause_s())
                return
            await self._heartbeat()

    def _pause_s(self) -> float:
        pause_s = self._outage.pause_s if self._outage.is_on else self._pace_s
        return pause_s * (0.8 + 0.2 * self._random())

    async def _heartbeat(self) -> None:
        reason = await self._exchange("PUT", self._content)
        if not reason:
            if self._outage.note_answer() or self.registered_s is None:
                _log.info("registered with the center", extra=self._particulars())
            self.registered_s = asyncio.get_running_loop().time()
        elif self._outage.note_failure():
            self._log_failure("registering with the center fails; it is tried again and again", reason)

    async def _exchange(self, method: str, content: bytes) -> str:
        """Send one request; return why it failed, "" when it didn't."""
        try:
            async with asyncio.timeout(self._timeout_s):
                status, _ = await self._send(method, self._path, content)
        except TimeoutError:
            return f"no answer within {self._timeout_s:g} s"
        except (OSError, ProxyError) as error:
            return str(error)
        return "" if 200 <= status < 300 else f"the center answers {status}"

    def _log_failure(self, message: str, reason: str) -> None:
        _log.warning(message, extra=self._particulars() | {"reason": reason})

    def _particulars(self) -> dict[str, object]:
        return {"center_name": self._name, "address": self._address}
