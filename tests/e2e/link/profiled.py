"""What the tests of profiles share: asking for them, and calls that keep a proxy busy meanwhile."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Self

from fastproxy.telemetry.profiling import pprof
from fastproxy.telemetry.profiling.profile import Profile
from tests.e2e.client import Address, Answer, Client

_LIMIT_BYTES = 2**26
TIMEOUT_S = 60.0


def ask(address: Address, target: str, *headers: str, method: str = "GET") -> Answer:
    """Ask an admin address as an honest client would."""
    host = "localhost" if isinstance(address, str) else f"{address[0]}:{address[1]}"
    with Client(address, TIMEOUT_S) as client:
        return client.request(method, target, headers=headers, host=host)


def profile_of(answer: Answer) -> Profile:
    """The profile that an answer has."""
    assert answer.status == 200, answer.body
    assert answer.get("content-type") == "application/octet-stream"
    return pprof.read(answer.body, _LIMIT_BYTES)


class Calls:
    """Calls one after the other, on a thread, from entering it until leaving it."""

    def __init__(self, address: Address, target: str) -> None:
        self._address = address
        self._target = target
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._call)
        self.answered = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()

    def _call(self) -> None:
        with Client(self._address, TIMEOUT_S) as client:
            while not self._over.is_set():
                assert client.request("GET", self._target).status == 200
                self.answered += 1
