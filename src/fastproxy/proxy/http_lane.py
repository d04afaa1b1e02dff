"""The short way over HTTP: what of an envelope is the same for all requests whose heads decide the same.

All bytes of the request to the receiver are known beforehand but for counter, expiry, tag, exchange id,
lengths, the rest of the head and the content. The long way is `over_http`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from fastproxy.model import Content, Endpoint, Exchange, Response, ResponseHead
from fastproxy.net.client import ClientConnection
from fastproxy.net.http1 import KnownHeads, end_of_head
from fastproxy.net.pool import Pool
from fastproxy.proxy.transport import Begun, Outgoing
from fastproxy.wire.ciphers import TAG_BYTES
from fastproxy.wire.records import (
    LAST,
    MAX_DATA_BYTES,
    MAX_META_BYTES,
    PREFIX,
    PREFIX_BYTES,
    WORD,
    WORD_BYTES,
)
from fastproxy.wire.responses import open_packed
from fastproxy.wire.sender import SenderSession

if TYPE_CHECKING:
    from fastproxy.proxy.out_flow import OutFlight
    from fastproxy.proxy.over_http import OverHttp


class HttpLane:
    """The way of requests whose heads decide the same to one endpoint of a receiver.

    Args:
        transport: the long way.
        endpoint, pool: where to, and the connections there.
        session: seals requests, as long as it is good.
        epoch: the receiver's.
        outer_start: head of the request to the receiver, but for its framing.
        meta: the sealed head of a request up to its length, with this exchange id, which all others are as
            long as.
        answers: judged heads of sealed answers, by the packed bytes in front of their content.
        unix_clock: seconds since 1970. lifetime_ms: how far ahead an envelope's expiry lies.
    """

    __slots__ = (
        "_after_id",
        "_answers",
        "_before_id",
        "_content_bytes",
        "_epoch",
        "_id_bytes",
        "_lifetime_ms",
        "_meta",
        "_outer_head",
        "_outer_start",
        "_pool",
        "_rest_bytes",
        "_session",
        "_transport",
        "_unix_clock",
        "_usual",
        "_usual_head",
        "_word",
        "endpoint",
    )

    def __init__(
        self,
        transport: OverHttp,
        endpoint: Endpoint,
        pool: Pool,
        session: SenderSession,
        epoch: bytes,
        outer_start: bytes,
        meta: bytes,
        exchange_id: str,
        answers: KnownHeads[ResponseHead | None],
        unix_clock: Callable[[], float],
        lifetime_ms: int,
    ) -> None:
        self._transport = transport
        self.endpoint = endpoint
        self._pool = pool
        self._session = session
        self._epoch = epoch
        self._answers = answers
        self._unix_clock = unix_clock
        self._lifetime_ms = lifetime_ms
        self._outer_start = outer_start
        self._id_bytes = len(exchange_id)
        self._meta = meta.split(exchange_id.encode(), 1)
        self._rest_bytes = self._content_bytes = -1
        self._before_id = self._after_id = self._word = self._outer_head = b""
        self._usual = b""  # the packed head of the last answer
        self._usual_head: ResponseHead | None = None

    def _fit(self, rest_bytes: int, content_bytes: int, framing: bytes) -> bool:
        """Take the lengths of a request; most have the same. False: it is too large for a record."""
        before, after = self._meta
        meta_bytes = len(before) + self._id_bytes + len(after) + len(framing) + rest_bytes
        if meta_bytes > MAX_META_BYTES or content_bytes > MAX_DATA_BYTES:
            return False
        self._rest_bytes, self._content_bytes = rest_bytes, content_bytes
        self._before_id, self._after_id = PREFIX.pack(0, meta_bytes) + before, after + framing
        ciphertext_bytes = PREFIX_BYTES + meta_bytes + content_bytes + TAG_BYTES
        self._word = WORD.pack(ciphertext_bytes | LAST)
        self._outer_head = self._outer_start + end_of_head(
            self._session.header_bytes + WORD_BYTES + ciphertext_bytes
        )
        return True

    def send(self, flight: OutFlight, now_s: float) -> bool:
        """Seal a request and send it, if a connection is free; see `Lane`."""
        idle, session = self._pool.idle, self._session
        exchange_id, rest, content = flight.exchange_id, flight.rest, flight.content
        if (
            not idle
            or now_s >= session.good_until_s
            or len(exchange_id) != self._id_bytes
            or (
                (len(rest) != self._rest_bytes or len(content) != self._content_bytes)
                and not self._fit(len(rest), len(content), flight.head.framing)
            )
        ):
            return False
        header, ciphertext = session.seal_packed(
            self._epoch,
            int(self._unix_clock() * 1000) + self._lifetime_ms,
            b"".join((self._before_id, exchange_id, self._after_id, rest, content)),
        )
        upstream = idle.pop()  # after all that could go wrong: it would be lost to the pool
        if upstream.closed:
            return False
        flight.upstream = upstream
        flight.bound_to = header + ciphertext[-TAG_BYTES:]
        upstream.carry(flight)
        upstream.write(b"".join((self._outer_head, header, self._word, ciphertext)))
        return True

    def open(
        self, flight: OutFlight, outer: ResponseHead, sealed: bytes
    ) -> tuple[ResponseHead, bytes] | None:
        """Open an ordinary answer; see `OutLane`."""
        if outer.status != 200:
            return None
        plaintext = open_packed(self._session.response_aead, flight.bound_to, sealed)
        if plaintext is None:
            return None
        usual = self._usual
        if usual and plaintext.startswith(usual):
            head, meta_end = self._usual_head, len(usual)
        else:
            meta_end = PREFIX_BYTES + int.from_bytes(plaintext[4:PREFIX_BYTES], "big")
            packed = plaintext[:meta_end]
            head = self._answers[packed]
            if packed in self._answers:  # it holds no secret
                self._usual, self._usual_head = packed, head
        if head is None or head.content_bytes != len(plaintext) - meta_end:
            return None
        return head, plaintext[meta_end:]

    def abandon(self, flight: OutFlight) -> None:
        """Nobody waits for its answer any more; see `OutLane`."""
        upstream = flight.upstream
        if type(upstream) is ClientConnection:
            upstream.abandon(flight)

    async def resume(
        self, exchange: Exchange, outgoing: Outgoing, content: Content, begun: Begun
    ) -> Response:
        """Go on in the long way; see `Lane`."""
        opener = self._session.opener(begun.bound_to)
        return await self._transport.resume(exchange, outgoing, content, self.endpoint, begun.answer, opener)
