"""What both ends of a link share: records and frames in and out, credit, liveness, the end.

Sending: `send` collects the frames of one turn of the loop; at its end, or as soon as there are many, they
are joined, sealed as one record (or as few as they need) and written at once. Content that is still on its
way (`stream.py`) takes turns, a piece each, and only while the peer reads: a large body never stands in front
of a small message for longer than one turn's worth. A body is read when its turn has come (`reading_turn`),
and sealed at once: what has left the caches in between takes longer to copy.
Receiving: what comes is read into one place for all links (`landing`), from where records are opened: each
read is taken apart before the next. Every frame is checked against the state that it finds; what breaks a
rule ends the link, and everything that a peer can make this end hold or do is bounded.
"""

from __future__ import annotations

import asyncio
import mmap
import ssl
import time
from collections import deque
from typing import TYPE_CHECKING, Any, TypeVar, cast

from msgspec import Struct

from fastproxy.net.drive import Waiter
from fastproxy.net.link.counters import LinkCounters
from fastproxy.net.timers import Timer, Wheel
from fastproxy.wire.link.errors import LinkError
from fastproxy.wire.link.frames import (
    ACK,
    DRAINING,
    GOAWAY,
    HEADER,
    HEADER_BYTES,
    IDLE,
    LENGTH_MASK,
    MAX_CREDIT_BYTES,
    PAD,
    PING,
    PING_BYTES,
    PROTOCOL_ERROR,
    REKEY,
    WINDOW,
    build_goaway,
    build_window,
    frame,
    parse_goaway,
    parse_window,
)
from fastproxy.wire.link.handshake import Established, Params
from fastproxy.wire.link.records import MAX_PLAINTEXT_BYTES, REKEY_RECORDS

if TYPE_CHECKING:
    from fastproxy.net.tls import TlsPeer

_RESERVED = 4
"""That part of the peer's credit is left to messages that one frame holds: whatever readers let bodies stand
still, calls that are small go on. Credit is given back in parts of half of that."""
BULK_BYTES = 131_072
"""Content on its way that leaves in one turn of the loop, over all streams; small messages go beside it."""
_EARLY_FRAMES = 32
"""As many don't wait for the turn's end: the peer begins on them while this end goes on. With 128 requests at
a time both proxies idle less, which gives 5 to 10 % more requests/s."""
_RECORD_BYTES = 65_536
"""What a record holds where there is more to say: larger buffers cost more per byte (page faults, caches)."""
_AT_ONCE_BYTES = 32_768
"""Content in frames of this size is sealed at once, while it is in the caches; unless other frames wait."""
_LANDING_BYTES = 262_144
"""Most that is read at once. As bytes of its own what comes would be copied once more: 8 to 17 % of the CPU a
megabyte, for the end that receives a body."""
_WRITE_HIGH_BYTES, _WRITE_LOW_BYTES = 262_144, 65_536
_PATIENCE, _PATIENCE_PER_S = 50_000, 20_000
"""How much a peer may bother at once (see `Link.bother`), and how much of it comes back in a second. As much
as a busy link needs: 20,000 padded records, or small pieces of content, or 2,000 resets, in a second."""
_MUCH_CREDIT_BYTES = 4096
"""Credit of this size costs no patience: no window holds more than 2 GiB, so there can't be much of it. The
faster a body goes, the more of it there is, and most where windows are the smallest that can be set."""
_DEAR = 200
"""What a ping, a rekey or a goodbye costs, none of which comes often."""
_GOODBYE_S = 1.0
LOST = "lost"
"""Why a link ended whose connection broke."""
LAST_STREAM = 2**32 - 1
_PING = b"\0" * PING_BYTES
_clock = time.monotonic


class LinkSettings(Struct, frozen=True):
    """How a proxy keeps its links; times in seconds.

    params: what it grants the peer. handshake_timeout_s: for the whole handshake.
    ping_interval_s: silence after which the peer is asked whether it is there; after two it counts as gone.
    idle_timeout_s: without a stream, before the link is closed.
    max_age_s: after which a link takes no new stream. rekey_s: after which a direction's key changes.
    write_timeout_s: for a peer that doesn't read.
    """

    params: Params
    handshake_timeout_s: float = 5.0
    ping_interval_s: float = 15.0
    idle_timeout_s: float = 300.0
    max_age_s: float = 86_400.0
    rekey_s: float = 600.0
    write_timeout_s: float = 30.0


class _Turn(Waiter[None]):
    """Waits until content may be sent. is_reading: it has none yet, and reads it then."""

    is_reading: bool = False


_Queued = TypeVar("_Queued", bound=Waiter[None])


class Link(asyncio.BufferedProtocol):
    """One end of a link; `CallerLink` and `ReceiverLink` are the two.

    streams: what is under way, by stream id. credit: content bytes that the peer still takes.
    reserve_bytes: so much of it is for what one frame holds, and not for content that comes in pieces.
    ready: exchanges may begin here. is_open: and the peer reads what is sent.
    closed: the connection is gone, or is going.
    identity: what has proven who is at the other end: a public key, or what a certificate says.
    own_key: the public key by which this end has proven itself; inside TLS, what stands for its certificate.
    failure: why its handshake failed, if it did.
    born_s: when it was established, by the loop's clock.
    read_s: when what came last was read, by the monotonic clock: one look for all that a read brings.
    """

    __slots__ = (
        "_bulk_bytes",
        "_close_reason",
        "_credit_counted",
        "_has_keys",
        "_heard_s",
        "_held",
        "_is_asked",
        "_is_rekey_due",
        "_landing",
        "_loop",
        "_newest",
        "_newest_counted",
        "_opener",
        "_out",
        "_owed_bytes",
        "_pad_to_bytes",
        "_patience",
        "_patience_since_s",
        "_paused_since_s",
        "_rekeyed_s",
        "_room_bytes",
        "_sealer",
        "_timer",
        "_transport",
        "_turns",
        "_used_s",
        "_worth_bytes",
        "born_s",
        "closed",
        "counters",
        "credit",
        "draining",
        "failure",
        "identity",
        "is_open",
        "own_key",
        "peer_stream_window_bytes",
        "read_s",
        "ready",
        "reserve_bytes",
        "settings",
        "streams",
    )

    def __init__(
        self,
        settings: LinkSettings,
        counters: LinkCounters,
        landing: memoryview,
        wheel: Wheel,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._landing = landing
        self.settings = settings
        self.counters = counters
        self._loop = loop
        self._timer = Timer(wheel, self._look_after)
        self._transport: asyncio.Transport | None = None
        self.streams: dict[int, Any] = {}
        self.ready = self.is_open = self.closed = self.draining = False
        self.failure: LinkError | None = None
        self._close_reason = "closed by peer"
        self._has_keys = False
        self.born_s = 0.0
        self.identity: bytes | TlsPeer = b""
        self.own_key = b""
        # sending
        self._out: list[bytes | memoryview] = []
        self._bulk_bytes = 0
        self._pad_to_bytes = 0
        self._is_rekey_due = False
        self._rekeyed_s = 0.0
        self._paused_since_s = 0.0
        self._held: deque[Waiter[None]] = deque()  # what waits until the peer reads
        self._turns: deque[_Turn] = deque()
        self.credit = self._credit_counted = self.reserve_bytes = 0
        self._newest_counted = 0
        self.peer_stream_window_bytes = 0
        # receiving
        self._room_bytes = settings.params.link_window_bytes
        self._worth_bytes = settings.params.link_window_bytes // (2 * _RESERVED)
        self._owed_bytes = 0
        self._heard_s = self._used_s = self.read_s = 0.0
        self._newest = 0  # stream, when the timer looked last
        self._is_asked = False
        self._patience = float(_PATIENCE)
        self._patience_since_s = 0.0

    # --- what the two ends do in their own ways -----------------------------------------------------------

    def _shake_hands(self, data: bytes) -> None:
        """Take bytes of the handshake; call `_establish` and `_begin` when either is due."""
        raise NotImplementedError

    def _take(self, plaintext: bytes) -> None:
        """Take the frames of one record."""
        raise NotImplementedError

    def _ended(self, reason: str) -> None:
        """The link is gone: so is what was under way."""
        raise NotImplementedError

    def _goodbye(self) -> None:
        """The peer takes no new streams, or opens none."""
        raise NotImplementedError

    # --- the transport's side -----------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin the handshake, within its time."""
        self._transport = transport = cast(asyncio.Transport, transport)
        transport.set_write_buffer_limits(_WRITE_HIGH_BYTES, _WRITE_LOW_BYTES)
        self._timer.set(self._loop.time() + self.settings.handshake_timeout_s)
        if self.closed:  # given up while it was being made
            transport.abort()

    def _establish(self, established: Established) -> None:
        """The handshake is through: from now on there are records."""
        self._sealer, self._opener = established.sealer, established.opener
        self.credit = self._credit_counted = established.params.link_window_bytes
        self.reserve_bytes = self.credit // _RESERVED
        self.peer_stream_window_bytes = established.params.stream_window_bytes
        self._has_keys = True

    def _begin(self) -> None:
        """Both sides have proven who they are: exchanges may begin."""
        now_s = self.born_s = self._rekeyed_s = self._heard_s = self._used_s = self._loop.time()
        self._patience_since_s = now_s
        self.ready = self.is_open = True
        self.counters.opened += 1
        self._timer.set(now_s + self.settings.ping_interval_s / 2)

    def get_buffer(self, sizehint: int) -> memoryview:
        """Say where the next bytes go."""
        return self._landing

    def buffer_updated(self, nbytes: int) -> None:
        """So many bytes have come."""
        self.data_received(self._landing[:nbytes])

    def data_received(self, data: bytes | memoryview) -> None:
        """Take bytes of records, or of the handshake; they may change once this has returned."""
        if self.closed:
            return
        try:
            if self._has_keys:
                self._receive(data)
            else:
                self._shake_hands(bytes(data))
        except LinkError as error:
            self.fail(error)

    def _receive(self, data: bytes | memoryview) -> None:
        self._is_asked = False
        self._heard_s = 0.0  # said when the timer looks
        self.read_s = _clock()
        for plaintext in self._opener.feed(data):
            if self.closed:
                return
            self._take(plaintext)

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        self._transport = None
        if not self.born_s and not self.closed:
            self._fail_handshake(handshake_error(exc))
        self._end(LOST if exc is not None else self._close_reason)

    def eof_received(self) -> bool:
        """A link ends in both directions at once."""
        return False

    def pause_writing(self) -> None:
        """The peer reads more slowly than frames come."""
        self._paused_since_s = self._loop.time()
        self.is_open = False

    def resume_writing(self) -> None:
        """The peer has read on."""
        self._paused_since_s = 0.0
        self.is_open = self.ready
        self._give_turns()

    # --- sending ------------------------------------------------------------------------------------------

    @property
    def socket(self) -> Any:
        """Its connection's, None when that is gone."""
        return None if self._transport is None else self._transport.get_extra_info("socket")

    @property
    def held(self) -> int:
        """Number of contents and answers that wait: for credit, for their turn, for a peer that reads."""
        return len(self._held) + len(self._turns)

    @property
    def choked(self) -> bool:
        """Whether the peer doesn't read what is sent."""
        return self._paused_since_s > 0

    def send(self, frame_bytes: bytes) -> None:
        """Send a frame with all else that this turn of the loop produces."""
        out = self._out
        if not out and not self._bulk_bytes:
            self._loop.call_soon(self._flush)
        out.append(frame_bytes)
        if len(out) >= _EARLY_FRAMES and not self._bulk_bytes:
            self._write_out()

    def send_content(self, start: bytes, rest: bytes | memoryview, pad_to_bytes: int) -> None:
        """Send a frame of content that has its turn, and was taken off the credit.

        Args:
            start, rest: the frame: its header (8 bytes) and its payload, or all of it and b"".
            pad_to_bytes: the record that it leaves in is filled up to a multiple of this; 1 for none.
        """
        size_bytes = len(start) + len(rest)
        bulk_bytes, self._bulk_bytes = self._bulk_bytes, self._bulk_bytes + size_bytes
        out, transport, sealer = self._out, self._transport, self._sealer
        if not out and not bulk_bytes:
            self._loop.call_soon(self._flush)
        if (
            size_bytes < _AT_ONCE_BYTES
            or out
            or pad_to_bytes > 1
            or self._is_rekey_due
            or sealer.records >= REKEY_RECORDS
            or transport is None
        ):
            if pad_to_bytes > 1:
                self._pad_to_bytes = pad_to_bytes
            out.append(start)
            if rest:
                out.append(rest)
        else:
            transport.writelines(sealer.parts(start + rest))
            self.counters.sent_bytes += size_bytes

    def _flush(self) -> None:
        """The turn is over: write what it has produced, and let content have its next one."""
        self._write_out()
        if self._turns or self._held:
            self._give_turns()

    def _write_out(self) -> None:
        """Seal and write the frames that wait."""
        out, transport = self._out, self._transport
        bulk_bytes, self._bulk_bytes = self._bulk_bytes, 0
        if not out or transport is None:
            out.clear()
            if bulk_bytes:
                self._count(0)
            return
        sealer = self._sealer
        if self._is_rekey_due or sealer.records >= REKEY_RECORDS:
            self._rekey()
        elif bulk_bytes or self._pad_to_bytes:
            self._write_records(out)
            out.clear()
        else:
            plaintext = b"".join(out)
            if len(plaintext) <= MAX_PLAINTEXT_BYTES:
                transport.write(sealer.seal(plaintext))
                self._count(len(plaintext))
            else:
                self._write_records(out)
            out.clear()

    def _count(self, sent_bytes: int) -> None:
        """Count what the turn has sent; done here, since it costs less than with each message."""
        counters, newest = self.counters, self._newest_stream()
        counters.sent_bytes += sent_bytes
        counters.content_bytes += self._credit_counted - self.credit
        self._credit_counted = self.credit
        counters.streams += newest - self._newest_counted
        self._newest_counted = newest

    def _write_records(self, out: list[bytes | memoryview]) -> None:
        """Write what is more than one record, or holds pieces of content."""
        parts = self._parts(out)
        for part in parts:
            cast(asyncio.Transport, self._transport).writelines(self._sealer.parts(part))
        self._count(sum(map(len, parts)))

    def _parts(self, out: list[bytes | memoryview]) -> list[bytes]:
        """Part the frames into records, filled up where a service asks for it."""
        frames = _whole_frames(out)
        pad_to_bytes, self._pad_to_bytes = self._pad_to_bytes or 1, 0
        parts: list[list[bytes | memoryview]] = [[]]
        size_bytes = 0
        for pieces, frame_bytes in frames:
            if parts[-1] and size_bytes + frame_bytes > _RECORD_BYTES:
                parts.append([])
                size_bytes = 0
            parts[-1] += pieces
            size_bytes += frame_bytes
        if pad_to_bytes > 1:
            for part in parts:
                fill_bytes = -(sum(map(len, part)) + HEADER_BYTES) % pad_to_bytes
                part.insert(0, frame(PAD, 0, bytes(fill_bytes)))  # in front: REKEY ends its record
        return [b"".join(part) for part in parts]

    def _rekey(self) -> None:
        """Write what there is, and go on in this direction under the next key."""
        self._is_rekey_due = False
        self._rekeyed_s = self._loop.time()
        out, self._out = [*self._out, frame(REKEY, 0, b"")], []
        self._write_records(out)
        self._sealer.rekey()
        self.counters.rekeys += 1

    async def turn(self) -> None:
        """Wait until a piece of content may be sent: in turn with other streams, and while the peer reads."""
        is_spent = self.credit <= self.reserve_bytes
        if self.closed or not (
            self._turns or self._bulk_bytes >= BULK_BYTES or self._paused_since_s or is_spent
        ):
            return
        if is_spent:
            self.counters.stalls += 1
        await _wait_in(self._turns, _Turn())

    def has_room(self, size_bytes: int) -> bool:
        """Whether so much content may leave at once, before what waits for its turn."""
        return (
            self._bulk_bytes < BULK_BYTES
            and self.credit - self.reserve_bytes >= size_bytes
            and not self._paused_since_s
            and not self.closed
        )

    @property
    def has_queue(self) -> bool:
        """Whether other streams' content has its turn first, or no more of it leaves in this one."""
        return self._bulk_bytes >= BULK_BYTES or len(self._turns) > 0

    async def reading_turn(self) -> None:
        """Wait until what is read now may leave at once, as long as it is only other streams' turn before.

        Nobody waits here for the peer: what ends a stream needs no credit.
        """
        is_spent = self.credit <= self.reserve_bytes
        if self.has_queue and not (is_spent or self._paused_since_s or self.closed):
            await _wait_in(self._turns, _Turn(is_reading=True))

    async def until_read(self) -> None:
        """Wait until the peer reads, or the link ends: a new message isn't made for one that doesn't."""
        if self.choked and not self.closed:
            await _wait_in(self._held, Waiter())

    def _give_turns(self) -> None:
        held, turns = self._held, self._turns
        while held and self._bulk_bytes < BULK_BYTES and not self._paused_since_s:
            held.popleft().set(None)
        while turns and self.has_room(1):
            turns.popleft().set(None)
        if self._bulk_bytes < BULK_BYTES:  # it is the peer that takes no more: readers don't wait for that
            readers = [turn for turn in turns if turn.is_reading]
            for turn in readers:
                turns.remove(turn)
            for turn in readers:
                turn.set(None)

    # --- receiving ----------------------------------------------------------------------------------------

    def arrived(self, size_bytes: int) -> None:
        """Content has come; it counts against what this end takes until `consumed`.

        Raises:
            LinkError: more than that.
        """
        self._room_bytes -= size_bytes
        if self._room_bytes < 0:
            raise LinkError("window", "more content than this end takes")

    def consumed(self, size_bytes: int) -> None:
        """Content has gone on, or is not wanted: the peer gets credit for more."""
        owed_bytes = self._owed_bytes = self._owed_bytes + size_bytes
        if owed_bytes >= self._worth_bytes:
            self._room_bytes += owed_bytes
            self._owed_bytes = 0
            self.send(frame(WINDOW, 0, build_window(owed_bytes)))

    def discount(self, size_bytes: int) -> None:
        """Content has come that is not held: nobody wants it, or it goes on at once.

        Raises:
            LinkError: more than this end takes.
        """
        if size_bytes:
            self.arrived(size_bytes)
            self.consumed(size_bytes)

    def bother(self, cost: int) -> None:
        """Count what costs this end work and the peer nothing.

        Raises:
            LinkError: too much of it.
        """
        self._patience -= cost
        if self._patience < 0:
            now_s = self._loop.time()
            regained = (now_s - self._patience_since_s) * _PATIENCE_PER_S
            self._patience = min(_PATIENCE, self._patience + regained)
            self._patience_since_s = now_s
            if self._patience < 0:
                raise LinkError("flood", "frames that only make work")

    def take_own(self, kind: int, payload: bytes) -> None:
        """Take a frame that concerns the link itself (stream 0); `kind` with its flags.

        Raises:
            LinkError: there is none of this kind, or not in this form.
        """
        if kind == WINDOW:
            more_bytes = parse_window(payload)
            if more_bytes < _MUCH_CREDIT_BYTES:
                self.bother(1)
            self.credit = added_credit(self.credit, more_bytes)
            self._credit_counted += more_bytes
            self._give_turns()
        elif kind == PING:
            self.bother(_DEAR)
            if len(payload) != PING_BYTES:
                raise LinkError("frame", "a ping of another length")
            self.send(frame(PING | ACK, 0, payload))
        elif kind == PING | ACK:
            self.bother(_DEAR)
            self._take_pong(payload)
        elif kind == REKEY:
            self.bother(_DEAR)
            if payload:
                raise LinkError("frame", "a rekey that says something")
            self._opener.rekey()
            self.counters.rekeys += 1
        elif kind == PAD:
            self.bother(1)
            if payload.count(0) != len(payload):
                raise LinkError("frame", "padding that isn't zero")
        elif kind == GOAWAY:
            self.bother(_DEAR)
            self.ready = self.is_open = False
            self._take_goaway(*parse_goaway(payload))
        else:
            raise LinkError("frame", f"a frame of kind {kind:#x} on stream 0")

    def _take_pong(self, payload: bytes) -> None:
        """The answer to a ping has come; that it was said is all that most of them tell."""

    def _take_goaway(self, last_stream: int, reason: int) -> None:
        self._goodbye()

    # --- liveness and the end -----------------------------------------------------------------------------

    def _look_after(self) -> None:
        """The timer: is the peer there, is a key old, is anybody using this link?"""
        now_s, settings = self._loop.time(), self.settings
        if not self.born_s:
            limit_s = settings.handshake_timeout_s
            self.fail(LinkError("timeout", "the handshake took too long", {"handshake_timeout_s": limit_s}))
            return
        if not self._heard_s:
            self._heard_s = now_s
        newest = self._newest_stream()
        if self.streams or newest != self._newest:
            self._newest = newest
            self._used_s = now_s
        if self._paused_since_s and now_s - self._paused_since_s > settings.write_timeout_s:
            self.fail(LinkError("unread", "the peer doesn't read"))
        elif self._is_asked and now_s - self._heard_s > 2 * settings.ping_interval_s:
            self.fail(LinkError("silent", "the peer doesn't answer"))
        elif now_s - self._used_s >= settings.idle_timeout_s:
            self.close(IDLE, "idle")
        else:
            if now_s - self._rekeyed_s >= settings.rekey_s:
                self._is_rekey_due = True
            if now_s - self._heard_s >= settings.ping_interval_s / 2:
                self._is_asked = True
                self.send(frame(PING, 0, _PING))
            self._grow_old(now_s)
            self._timer.set(now_s + settings.ping_interval_s / 2)

    def _grow_old(self, now_s: float) -> None:
        """Called every so often while the link lives."""

    def fail(self, error: LinkError) -> None:
        """A rule was broken, or the peer is dead: cut the link."""
        if self.closed:
            return
        if not self.born_s:
            self._fail_handshake(error)
            return
        self._close_reason = error.label
        self._say_goodbye(PROTOCOL_ERROR)
        transport = self._transport
        if transport is not None:
            transport.close()
            self._loop.call_later(_GOODBYE_S, transport.abort)
        self._end(self._close_reason)

    def _fail_handshake(self, error: LinkError) -> None:
        """No link comes about: end the connection without a word, whatever the cause."""
        self.counters.handshakes_failed[error.label] += 1
        self.failure = error.with_traceback(None)
        if self._transport is not None:
            self._transport.abort()
        self._end(f"{error.label}: {error.detail}")

    def close(self, reason: int, label: str) -> None:
        """Say goodbye, send what there is, and end the link; what is under way on it is lost."""
        if self.closed:
            return
        self._close_reason = label
        if self.born_s:
            self._say_goodbye(reason)
        if self._transport is not None:
            self._transport.close()
            self._loop.call_later(_GOODBYE_S, self._transport.abort)  # for a peer that doesn't read it
        self._end(label)

    def drain(self, reason: int = DRAINING) -> None:
        """Take or open no more streams, and close when the last one has ended."""
        if self.draining or self.closed:
            return
        self.draining = True
        self.ready = self.is_open = False
        if not self.streams:
            self.close(reason, "drained")
        elif self.born_s:
            self.send(frame(GOAWAY, 0, build_goaway(self._last_taken(), reason)))

    def finished(self) -> None:
        """A stream has ended; the link too, if that was all that kept it."""
        if self.draining and not self.streams:
            self.close(DRAINING, "drained")

    def abort(self) -> None:
        """Cut the link at once, without a word."""
        if self._transport is not None:
            self._transport.abort()
        self._end("aborted")

    def report(self, error: BaseException) -> None:
        """Something failed in an unforeseen way; the stream that it concerns is broken off."""
        self._loop.call_exception_handler(
            {"message": "an exchange failed in an unforeseen way", "exception": error, "protocol": self}
        )

    def _newest_stream(self) -> int:
        """The stream that was opened last, 0 before the first."""
        raise NotImplementedError

    def _last_taken(self) -> int:
        """The last stream of the peer's that this end has taken, or will."""
        return LAST_STREAM

    def _say_goodbye(self, reason: int) -> None:
        self._out.append(frame(GOAWAY, 0, build_goaway(self._last_taken(), reason)))
        self._flush()

    def _end(self, reason: str) -> None:
        if self.closed:
            return
        self.closed = True
        self.ready = self.is_open = False
        self._timer.retire()  # or the two would wait for the collector, as would a traceback that is kept
        if self.born_s:
            self.counters.ended[reason] += 1
        self._ended(reason)
        for queue in (self._held, self._turns):
            while queue:
                queue.popleft().set(None)


def landing() -> memoryview:
    """Return a place that the links of one loop read into, each in turn; it takes what they use of it."""
    return memoryview(mmap.mmap(-1, _LANDING_BYTES))


def _whole_frames(out: list[bytes | memoryview]) -> list[tuple[list[bytes | memoryview], int]]:
    """Put frames that wait to leave in two pieces, header and payload, together; with the size of each."""
    frames: list[tuple[list[bytes | memoryview], int]] = []
    at = 0
    while at < len(out):
        payload_bytes = HEADER.unpack_from(out[at])[0] & LENGTH_MASK
        count = 2 if len(out[at]) == HEADER_BYTES and payload_bytes else 1
        frames.append((out[at : at + count], HEADER_BYTES + payload_bytes))
        at += count
    return frames


async def _wait_in(queue: deque[_Queued], waiter: _Queued) -> None:
    queue.append(waiter)
    try:
        await waiter
    except BaseException:
        if not waiter.done:
            queue.remove(waiter)
        raise


def added_credit(credit_bytes: int, more_bytes: int) -> int:
    """Add to a window.

    Raises:
        LinkError: it would be more than any window holds.
    """
    total_bytes = credit_bytes + more_bytes
    if total_bytes > MAX_CREDIT_BYTES:
        raise LinkError("window", "more credit than a window holds")
    return total_bytes


def handshake_error(error: BaseException | None) -> LinkError:
    """Return what it means for a handshake that its connection ended.

    Args:
        error: what ended it; None when the other end closed it.
    """
    if isinstance(error, ssl.SSLError):
        said = getattr(error, "verify_message", "") or error.reason or "failed"
        return LinkError("tls", f"TLS: {said.lower().replace('_', ' ')}")
    if isinstance(error, TimeoutError | ConnectionAbortedError):  # as event loops say it of TLS
        return LinkError("timeout", "the handshake took too long")
    if isinstance(error, ConnectionError):  # whoever refuses closes; a process that ends resets
        return LinkError(LOST, "the connection broke before the handshake was through")
    return LinkError("closed", "the other end hung up before the handshake was through")


def tls_peer_of(transport: asyncio.BaseTransport) -> TlsPeer:
    """Return who has proven by TLS to be at the other end of a connection.

    Raises:
        LinkError: nobody that counts.
    """
    from fastproxy.net.tls import TlsPeerError, peer_of  # noqa: PLC0415 - 3 MiB that few proxies need

    session = transport.get_extra_info("ssl_object")
    if session is None:
        raise LinkError("identity", "no TLS")
    try:
        return peer_of(session)
    except TlsPeerError as error:
        raise LinkError("identity", str(error)) from error
