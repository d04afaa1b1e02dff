"""A sender that seals by hand what no out proxy would: authentic envelopes with foul contents."""

from __future__ import annotations

import os
import time
from typing import NamedTuple

from fastproxy.wire.ciphers import AES_256_GCM, Cipher
from fastproxy.wire.envelope import (
    UNKNOWN_EPOCH,
    Challenge,
    Refusal,
    ResponseHead,
    build_request_head,
    parse_response_head,
    service_field,
)
from fastproxy.wire.identity import PrivateKey
from fastproxy.wire.records import PLAIN, Packing
from fastproxy.wire.responses import ResponseOpener
from fastproxy.wire.sender import SenderSession
from tests.e2e.client import Answer, Client
from tests.e2e.proxies import ProxyProcess, key_of
from tests.e2e.relay import CONTENT_TYPE, TARGET

LIFETIME_MS = 30_000


class Sealed(NamedTuple):
    """A sealed answer, opened. head: whose answer it is. http: its HTTP head. content: its body."""

    head: ResponseHead
    http: bytes
    content: bytes

    @property
    def cause(self) -> str:
        """What the in proxy refused it for, "" when the service answered."""
        return self.head.cause if isinstance(self.head, Refusal) else ""

    @property
    def status(self) -> int:
        """The status inside."""
        return int(self.http.split(b" ", 2)[1])


class Sender:
    """One session with an in proxy, on a connection of its own.

    Args:
        proxy: the in proxy.
        key, receiver_key, name, psk, cipher: of the session; by default those of a pair's config.
    """

    def __init__(
        self,
        proxy: ProxyProcess,
        *,
        key: PrivateKey | None = None,
        receiver_key: PrivateKey | None = None,
        name: str = "in",
        psk: bytes | None = None,
        cipher: Cipher = AES_256_GCM,
    ) -> None:
        self._proxy = proxy
        self.epoch = UNKNOWN_EPOCH
        self.session = SenderSession(
            key or key_of("web"),
            name,
            (receiver_key or key_of("in")).public_key,
            os.urandom(32),
            cipher=cipher,
            psk=psk,
            good_until_s=0.0,
        )

    def learn_epoch(self) -> None:
        """Earn a challenge, and remember the epoch that it tells."""
        answer = self.ask(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        assert isinstance(answer.head, Challenge)
        self.epoch = answer.head.epoch

    def ask(
        self,
        http: bytes,
        *pieces: bytes,
        service: str = "api",
        packing: Packing = PLAIN,
        expires_in_ms: int = LIFETIME_MS,
    ) -> Sealed:
        """Seal a request, send it and open the answer.

        Args:
            http: the head. pieces: the content, one record each.
            expires_in_ms: from now; may be negative.
        """
        message, opener = self.sealed(
            http, *pieces, service=service, packing=packing, expires_in_ms=expires_in_ms
        )
        return open_sealed(self.deliver(message), opener)

    def sealed(
        self,
        http: bytes,
        *pieces: bytes,
        service: str = "api",
        packing: Packing = PLAIN,
        expires_in_ms: int = LIFETIME_MS,
    ) -> tuple[bytes, ResponseOpener]:
        """Seal a request; return it behind what opens its answer. Arguments as for `ask`."""
        meta = build_request_head(5000, "crafted-1", service_field(service), http)
        sealer = self.session.seal(self.epoch, int(time.time() * 1000) + expires_in_ms, packing)
        contents = pieces or (b"",)
        message = b"".join(
            sealer.record(b"" if number else meta, piece, last=number == len(contents) - 1)
            for number, piece in enumerate(contents)
        )
        return message, sealer.opener()

    def deliver(self, message: bytes) -> Answer:
        """Send bytes as an envelope."""
        with Client(self._proxy.listen) as client:
            return client.request("POST", TARGET, message, [CONTENT_TYPE])


def open_sealed(answer: Answer, opener: ResponseOpener) -> Sealed:
    """Open a sealed answer."""
    assert answer.status == 200, answer
    chunks = opener.feed(answer.body)
    opener.eof()
    head = parse_response_head(chunks[0])
    http = b"" if isinstance(head, Challenge) else head.http
    return Sealed(head, http, b"".join(chunk.data for chunk in chunks))
