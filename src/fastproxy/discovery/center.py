"""Endpoints that a center knows: asked for once, then watched with requests that wait for a change.

What is known stays while the center is down, hangs, answers garbage or contradicts itself; `center_belief`
decides what of its answers holds. Only the age tells that nothing is confirmed any more.
Knows nothing of HTTP: a function that fetches a path is handed in.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from math import ceil
from urllib.parse import quote

from fastproxy.discovery.center_belief import Belief, Told, read_answer
from fastproxy.discovery.outage import Outage
from fastproxy.errors import ProxyError
from fastproxy.model import Endpoint

Fetch = Callable[[str], Awaitable[tuple[int, bytes]]]
"""Gets a path with its query from the center: status and content, of which it reads no more than
`center_belief.ANSWER_LIMIT_BYTES` and a little. Raises OSError or ProxyError when there is no answer."""

_log = logging.getLogger("fastproxy.discovery")


class CenterSource:
    """Endpoints of one name.

    Args:
        fetch: gets a path from the center.
        kind: "services" or "receivers". name: whose endpoints.
        random: evenly spread from 0 to 1; keeps many watchers from coming back all at once.
        wait_s: how long a watching request waits for a change, in whole seconds, at most 60.
        timeout_s: longest wait for an answer beyond that, in seconds.
        start_s: how long `start` waits for the first answer, in seconds.
        gap_s: from an answer to the next request, in seconds; bounds what a center that always answers at
            once costs, and lets changes that come together be learnt together.
        retry_s, longest_retry_s: first and longest pause after a failure, in seconds; it doubles in between.
        confirm_s: how long the center must insist on a doubtful answer, in seconds; longer than a usual
            lease, so that a center without memory is full again by then.
    """

    __slots__ = (
        "_asked",
        "_belief",
        "_confirmed_s",
        "_fetch",
        "_gap_s",
        "_keeper",
        "_name",
        "_outage",
        "_path",
        "_random",
        "_start_s",
        "_timeout_s",
        "_wait_s",
        "_was_doubted",
        "endpoints",
    )

    def __init__(
        self,
        fetch: Fetch,
        kind: str,
        name: str,
        *,
        random: Callable[[], float],
        wait_s: int = 30,
        timeout_s: float = 5.0,
        start_s: float = 1.0,
        gap_s: float = 0.5,
        retry_s: float = 1.0,
        longest_retry_s: float = 30.0,
        confirm_s: float = 60.0,
    ) -> None:
        self._fetch = fetch
        self._name = name
        self._path = f"/v1/{quote(kind, safe='')}/{quote(name, safe='')}"
        self._random = random
        self._wait_s = wait_s
        self._timeout_s = timeout_s
        self._start_s = start_s
        self._gap_s = gap_s
        self._outage = Outage(retry_s, longest_retry_s)
        self._belief = Belief(confirm_s)
        self._confirmed_s: float | None = None
        self._was_doubted = False
        self._asked = asyncio.Event()
        self._keeper: asyncio.Task[None] | None = None
        self.endpoints: tuple[Endpoint, ...] = ()

    @property
    def missing(self) -> str:
        """See `Source.missing`."""
        if self._confirmed_s is None:
            return f"the center has not said yet where {self._name} is"
        return f"the center knows no endpoint of {self._name}"

    async def start(self) -> None:
        """Ask, then watch; returns with the first answer, or without it when that takes too long.

        Whoever waits for this takes no connections yet, and a center that hangs must not hold that up.
        """
        self._keeper = asyncio.create_task(self._keep())
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._asked.wait(), self._start_s)

    def age_s(self, now_s: float) -> float | None:
        """Return the seconds since an answer last held, None when none ever did.

        While all is well that is up to `wait_s`, since a watching request is answered no earlier.
        """
        return None if self._confirmed_s is None else now_s - self._confirmed_s

    async def close(self) -> None:
        """Stop watching."""
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)

    async def _keep(self) -> None:
        await self._ask(self._path, self._timeout_s)
        self._asked.set()
        while True:
            await asyncio.sleep(self._pause_s())
            if self._outage.is_on:
                await self._ask(self._path, self._timeout_s)  # at once: whether it is back is the question
                continue
            doubt_s = self._belief.doubt_ends_in_s(asyncio.get_running_loop().time())
            wait_s = self._wait_s if doubt_s is None else min(self._wait_s, ceil(doubt_s))
            watch = f"{self._path}?after={self._belief.told_version}&wait_s={wait_s}"
            await self._ask(watch, wait_s + self._timeout_s)

    def _pause_s(self) -> float:
        if not self._outage.is_on:
            return self._gap_s
        return self._outage.pause_s * (0.5 + 0.5 * self._random())

    async def _ask(self, path: str, timeout_s: float) -> None:
        try:
            async with asyncio.timeout(timeout_s):
                status, content = await self._fetch(path)
            if status != 200:
                raise ValueError(f"the center answers {status}")
            told = read_answer(content, self._name)
        except TimeoutError:
            self._note_failure(f"no answer within {timeout_s:g} s")
        except (OSError, ProxyError, ValueError) as error:
            self._note_failure(str(error))
        else:
            self._note_answer(told)

    def _note_answer(self, told: Told) -> None:
        if self._outage.note_answer():
            _log.info("the center answers again", extra={"center_name": self._name})
        now_s = asyncio.get_running_loop().time()
        if not self._belief.consider(told, now_s):
            if not self._was_doubted:
                _log.warning(
                    "the center says something doubtful; the last known endpoints are kept for now",
                    extra={
                        "center_name": self._name,
                        "version": told.version,
                        "addresses": _texts(told.endpoints),
                    },
                )
            self._was_doubted = True
            return
        self._was_doubted = False
        self._confirmed_s = now_s
        if self._belief.endpoints != self.endpoints:
            self.endpoints = self._belief.endpoints
            _log.info(
                "the center has new endpoints",
                extra={
                    "center_name": self._name,
                    "addresses": _texts(self.endpoints),
                    "passed_over": told.passed_over,
                },
            )

    def _note_failure(self, reason: str) -> None:
        self._belief.interrupt()
        self._was_doubted = False
        if self._outage.note_failure():  # said once; the age of what is known says the rest
            _log.warning(
                "the center can't be asked; the last known endpoints are kept",
                extra={"center_name": self._name, "reason": reason, "addresses": _texts(self.endpoints)},
            )


def _texts(endpoints: tuple[Endpoint, ...]) -> list[str]:
    return [str(endpoint) for endpoint in endpoints]
