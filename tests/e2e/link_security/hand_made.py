"""Links made by hand: a caller without an out proxy, to say to an in proxy what no out proxy would.

Built from the pure parts (`fastproxy.wire.link`) on a blocking socket; what is done with them is the test's.
"""

from __future__ import annotations

import os
import socket
from types import TracebackType
from typing import NamedTuple, Self, cast

from fastproxy.wire.envelope import (
    Refusal,
    ServiceResponse,
    build_request_head,
    parse_response_head,
    service_field,
)
from fastproxy.wire.identity import PrivateKey
from fastproxy.wire.link.frames import (
    END,
    GOAWAY,
    HEADER,
    HEADER_BYTES,
    LENGTH_BITS,
    LENGTH_MASK,
    PING,
    REQUEST,
    RESPONSE,
    frame,
    parse_goaway,
)
from fastproxy.wire.link.handshake import NO_PSK, Established, Initiator, Params
from fastproxy.wire.link.hello import HelloInitiator
from fastproxy.wire.records import Chunk
from tests.e2e.client import Address
from tests.e2e.proxies import key_of

PARAMS = Params(1 << 20, 1 << 24, 0)
_TIMEOUT_S = 20.0
_READ_BYTES = 1 << 16


class Frame(NamedTuple):
    """One frame. kind: with its flags."""

    kind: int
    stream: int
    payload: bytes


class LinkAnswer(NamedTuple):
    """What an in proxy answered over a link. cause: of its refusal, "" when the service answered."""

    status: int
    cause: str
    body: bytes


class Ending(NamedTuple):
    """How a connection ended. said: what came before it. was_reset: by a reset, not by a close."""

    said: bytes
    was_reset: bool


def connected(address: Address, source: str = "") -> socket.socket:
    """Connect to an in proxy, from this address."""
    assert isinstance(address, tuple)
    sock = socket.create_connection(address, _TIMEOUT_S, (source, 0) if source else None)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def ending_of(sock: socket.socket) -> Ending:
    """Read to the end."""
    said = b""
    try:
        while data := sock.recv(_READ_BYTES):
            said += data
    except ConnectionError:
        return Ending(said, was_reset=True)
    return Ending(said, was_reset=False)


def message_1(
    *,
    key: PrivateKey | None = None,
    receiver_name: str = "in",
    receiver_key: bytes | None = None,
    psk: bytes = NO_PSK,
) -> bytes:
    """Return a first message of the handshake; by default an honest one of the caller `web`."""
    return initiator(key=key, receiver_name=receiver_name, receiver_key=receiver_key, psk=psk).message


def initiator(
    *,
    key: PrivateKey | None = None,
    receiver_name: str = "in",
    receiver_key: bytes | None = None,
    psk: bytes = NO_PSK,
) -> Initiator:
    """Begin a handshake; by default an honest one of the caller `web`."""
    return Initiator(
        key or key_of("web"),
        receiver_name,
        receiver_key or key_of("in").public_key,
        psk,
        PARAMS,
        PrivateKey(os.urandom(32)),
    )


class HandMadeLink:
    """A caller's link, which takes whatever the other side grants and gives no credit back.

    Args:
        sock: connected to the in proxy. handshake: of which nothing was said yet.

    Raises:
        ConnectionError: the in proxy closed before it answered.
    """

    def __init__(self, sock: socket.socket, handshake: Initiator | HelloInitiator) -> None:
        self.socket = sock
        self.said = b""
        """What came before the link was there, whole."""
        self._next_stream = 1
        self._frames: list[Frame] = []
        try:
            sock.sendall(handshake.message)
            finished = None
            while finished is None:
                data = sock.recv(_READ_BYTES)
                if not data:
                    raise ConnectionError("closed during the handshake")
                self.said += data
                finished = handshake.finish(data)
            self.established: Established = finished[0]
            self._take(finished[1])
            self.send(frame(PING, 0, bytes(8)))  # a link counts as proven from its first record on
        except BaseException:
            sock.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.socket.close()

    def send(self, *frames: bytes) -> None:
        """Send frames in one record."""
        self.socket.sendall(self.established.sealer.seal(b"".join(frames)))

    def request(self, target: str = "/", service: str = "api", headers: str = "", body: bytes = b"") -> int:
        """Send a POST; return its stream."""
        stream, self._next_stream = self._next_stream, self._next_stream + 1
        http = f"POST {target} HTTP/1.1\r\nhost: x\r\n{headers}content-length: {len(body)}\r\n\r\n"
        meta = build_request_head(15_000, f"by-hand-{stream}", service_field(service), http.encode())
        self.send(frame(REQUEST | END, stream, len(meta).to_bytes(4, "big") + meta + body))
        return stream

    def answer(self, stream: int) -> LinkAnswer:
        """Wait for the answer to a request."""
        while True:
            got = self.next_frame()
            if got.stream == stream:
                assert got.kind == RESPONSE | END, got
                meta_end = 4 + int.from_bytes(got.payload[:4], "big")
                chunk = Chunk(got.payload[4:meta_end], got.payload[meta_end:], last=True)
                head = cast("Refusal | ServiceResponse", parse_response_head(chunk))
                cause = head.cause if isinstance(head, Refusal) else ""
                return LinkAnswer(int(head.http.split(b" ", 2)[1]), cause, chunk.data)

    def call(
        self, target: str = "/", service: str = "api", headers: str = "", body: bytes = b""
    ) -> LinkAnswer:
        """Make a call."""
        return self.answer(self.request(target, service, headers, body))

    def next_frame(self) -> Frame:
        """Wait for a frame.

        Raises:
            ConnectionError: the link has ended.
        """
        while not self._frames:
            data = self.socket.recv(_READ_BYTES)
            if not data:
                raise ConnectionError("the link has ended")
            self._take(data)
        return self._frames.pop(0)

    def goodbye(self) -> int:
        """Wait for a GOAWAY and for the end behind it; return the reason."""
        reason = -1
        try:
            while True:
                got = self.next_frame()
                if got.kind == GOAWAY:
                    _, reason = parse_goaway(got.payload)
        except ConnectionError:
            return reason

    def is_open(self) -> bool:
        """Whether the other side answers a ping."""
        token = os.urandom(8)
        self.send(frame(PING, 0, token))
        try:
            while self.next_frame().payload != token:
                pass
        except ConnectionError:
            return False
        return True

    def _take(self, data: bytes) -> None:
        for plaintext in self.established.opener.feed(data):
            at = 0
            while at < len(plaintext):
                word, stream = HEADER.unpack_from(plaintext, at)
                end = at + HEADER_BYTES + (word & LENGTH_MASK)
                self._frames.append(Frame(word >> LENGTH_BITS, stream, plaintext[at + HEADER_BYTES : end]))
                at = end


def link(
    address: Address,
    *,
    source: str = "",
    key: PrivateKey | None = None,
    receiver_key: bytes | None = None,
    psk: bytes = NO_PSK,
) -> HandMadeLink:
    """Make a link; by default that of the caller `web` to `in`."""
    return HandMadeLink(connected(address, source), initiator(key=key, receiver_key=receiver_key, psk=psk))
