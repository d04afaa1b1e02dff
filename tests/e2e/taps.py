"""Clients that tap running proxies."""

from __future__ import annotations

import json
import select
from http.client import HTTPConnection
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlencode

from tests.e2e.client import Address, connect_to
from tests.e2e.proxies import ProxyProcess

_PATIENCE_S = 20.0


class _Connection(HTTPConnection):
    def __init__(self, address: Address, receive_bytes: int) -> None:
        super().__init__("localhost", timeout=_PATIENCE_S)
        self._address = address
        self._receive_bytes = receive_bytes

    def connect(self) -> None:
        self.sock = connect_to(self._address, _PATIENCE_S, receive_bytes=self._receive_bytes)


class TapClient:
    """A client that taps; the proxy's workers see exchanges once it is made.

    status: of the answer. problem: what it says when it isn't 200.

    Args:
        proxy: what is tapped. token: what lets in. receive_bytes: of the kernel, for one that reads slowly.
        wanted: parameters.
    """

    def __init__(
        self, proxy: ProxyProcess, token: str = "", *, receive_bytes: int = 0, **wanted: object
    ) -> None:
        self._connection = _Connection(proxy.admin, receive_bytes)
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._connection.request("GET", f"/api/v1/tap?{urlencode(wanted)}", headers=headers)
        self._response = self._connection.getresponse()
        self.status = self._response.status
        self.problem: Any = json.loads(self._response.read()) if self.status != 200 else None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Hang up."""
        self._response.close()
        self._connection.close()

    def next(self) -> Any:
        """Wait for the next line; {} at the end."""
        while line := self._response.readline():
            if line != b"\n":
                return json.loads(line)
        return {}

    def poll(self) -> Any:
        """Return the next line, if there is one within a second; else {}."""
        sock = self._connection.sock
        readable = select.select([sock], [], [], 1.0)[0]
        line = self._response.readline() if readable else b""
        return json.loads(line.strip() or b"{}")
