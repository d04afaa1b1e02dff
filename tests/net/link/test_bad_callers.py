"""What a caller may not say: each ends its link, with a cause that is counted and a goodbye, and no other."""

from __future__ import annotations

import pytest

from fastproxy.net.drive import Waiter
from fastproxy.net.link.received_stream import ReceivedStream
from fastproxy.net.link.receiver import Sealed
from fastproxy.wire.compressors import SNAPPY
from fastproxy.wire.link.frames import (
    ACK,
    COMPRESSED,
    DATA,
    END,
    EXPECTS,
    GOAWAY,
    HEADER,
    INTERIM,
    LENGTH_BITS,
    MAX_DATA_BYTES,
    PAD,
    PING,
    REFUSED,
    REKEY,
    REQUEST,
    RESET,
    TRAILERS,
    WINDOW,
    build_goaway,
    build_interim,
    build_refused,
    build_reset,
    frame,
)
from tests.net.link.ends import (
    MAX_STREAMS,
    STREAM_WINDOW_BYTES,
    Receiving,
    body_of,
    counted,
    request,
    response,
    window,
)

OPEN = request(1, flags=0)
"""Opens stream 1, whose content is to come."""


async def wait_for_ever(stream: ReceivedStream, request: Sealed) -> None:
    """A service that doesn't answer, nor read."""
    if not request.is_whole:
        body_of(stream)
    await Waiter()


OUT_OF_STATE = {
    "a response": (response(1),),
    "an interim answer": (OPEN, frame(INTERIM, 1, build_interim(103, b""))),
    "a refusal": (OPEN, frame(REFUSED, 1, build_refused("overloaded"))),
    "content on a stream never opened": (frame(DATA, 1, b"a"),),
    "content on a stream far away": (OPEN, frame(DATA, 3, b"a")),
    "trailers on a stream never opened": (frame(TRAILERS | END, 1, b"a: b\r\n"),),
    "a reset of a stream never opened": (frame(RESET, 1, build_reset("")),),
    "credit for a stream never opened": (window(1, 1),),
    "content on the link itself": (frame(DATA, 0, b"a"),),
    "a request on the link itself": (request(0),),
    "a long request on the link itself": (request(0, flags=0),),
    "a stream opened twice": (OPEN, OPEN),
    "a stream opened twice, whole": (request(1), request(1)),
    "falling numbers": (request(2), request(1)),
    "falling numbers, not whole": (request(2), OPEN),
    "content behind the end": (request(1), frame(DATA, 1, b"a")),
    "an end behind the end": (OPEN, frame(DATA | END, 1, b"a"), frame(DATA | END, 1, b"")),
    "trailers behind the end": (OPEN, frame(DATA | END, 1, b"a"), frame(TRAILERS | END, 1, b"a: b\r\n")),
    "trailers twice": (OPEN, frame(TRAILERS | END, 1, b"a: b\r\n"), frame(TRAILERS | END, 1, b"a: b\r\n")),
}


@pytest.mark.parametrize("frames", OUT_OF_STATE.values(), ids=OUT_OF_STATE.keys())
def test_a_frame_out_of_state_ends_the_link(frames: tuple[bytes, ...]) -> None:
    end = Receiving()
    end.service.answer = wait_for_ever
    assert end.refuses(*frames) in ("state", "frame")


OUT_OF_FORM = {
    "half a header": OPEN[:7],
    "half a frame": OPEN[:-1],
    "longer than its record": HEADER.pack(DATA << LENGTH_BITS | 0xFFFFFF, 1) + b"a",
    "no head": frame(REQUEST, 1, b""),
    "an empty head": frame(REQUEST | END, 1, bytes(4)),
    "a head that is cut": frame(REQUEST | END, 1, b"\0\0\1\0abc"),
    "a head without end": frame(REQUEST | END, 1, b"\xff\xff\xff\xffabc"),
    "content without a byte": OPEN + frame(DATA, 1, b""),
    "trailers that don't end": OPEN + frame(TRAILERS, 1, b"a: b\r\n"),
    "a request that is an answer to a ping": frame(REQUEST | ACK, 1, counted(b"a")),
    "content that expects": OPEN + frame(DATA | EXPECTS, 1, b"a"),
    "trailers compressed": OPEN + frame(TRAILERS | END | COMPRESSED, 1, b"a: b\r\n"),
    "a reset with an end": OPEN + frame(RESET | END, 1, build_reset("")),
    "credit with an end": OPEN + frame(WINDOW | END, 1, bytes((0, 0, 0, 1))),
    "a reset without its label": OPEN + frame(RESET, 1, b""),
    "a reset with half a label": OPEN + frame(RESET, 1, b"\5over"),
    "a reset with an odd label": OPEN + frame(RESET, 1, b"\2a\n"),
    "credit that is cut": OPEN + frame(WINDOW, 1, b"\0\0\1"),
    "link credit that is cut": frame(WINDOW, 0, b"\0\0\1"),
    "a ping that is cut": frame(PING, 0, bytes(7)),
    "a ping on a stream": OPEN + frame(PING, 1, bytes(8)),
    "a ping that ends": frame(PING | END, 0, bytes(8)),
    "a goodbye that is cut": frame(GOAWAY, 0, bytes(4)),
    "a goodbye for no reason": frame(GOAWAY, 0, bytes((0, 0, 0, 0, 9))),
    "a goodbye to a stream": OPEN + frame(GOAWAY, 1, build_goaway(0, 0)),
    "a rekey that says something": frame(REKEY, 0, b"a"),
    "a rekey in front of something": frame(REKEY, 0, b"") + frame(PAD, 0, b""),
    "a rekey of a stream": OPEN + frame(REKEY, 1, b""),
    "padding that says something": frame(PAD, 0, b"\0a"),
    "padding on a stream": OPEN + frame(PAD, 1, b"\0"),
    **{f"kind {kind} on the link": frame(kind << 4, 0, b"") for kind in (0, 13, 14, 15)},
    **{f"kind {kind} on a stream": OPEN + frame(kind << 4, 1, b"") for kind in (0, 13, 14, 15)},
}


@pytest.mark.parametrize("frames", OUT_OF_FORM.values(), ids=OUT_OF_FORM.keys())
def test_a_frame_out_of_form_ends_the_link(frames: bytes) -> None:
    end = Receiving()
    end.service.answer = wait_for_ever
    assert end.refuses(frames) == "frame"


@pytest.mark.parametrize("label", [b"", b"\5over", b"\2a\n"])
@pytest.mark.parametrize("kind", [RESET, WINDOW])
def test_what_comes_for_a_stream_on_the_short_way_is_judged_as_strictly(kind: int, label: bytes) -> None:
    class Flight:
        deadline = 1e9
        phase = "wait"

        def cancel(self) -> None:
            """Nobody is there."""

    end = Receiving()
    end.link.last_stream = 1
    end.link.streams[1] = Flight()
    assert end.refuses(frame(kind, 1, label)) == "frame"
    end = Receiving()
    end.link.last_stream = 1
    end.link.streams[1] = Flight()
    assert end.refuses(frame(DATA, 1, b"a")) == "state"


BOMB = SNAPPY.compress(bytes(MAX_DATA_BYTES + 1))
BAD_CONTENT = {
    "compressed by nobody": (b"", "compression"),
    "compressed by someone unknown": (b"\xeeabc", "compression"),
    "not what it says": (bytes((SNAPPY.compressor_id,)) + b"\xff\xff\xff\xff\xff", "compression"),
    "a bomb": (bytes((SNAPPY.compressor_id,)) + BOMB, "compression"),
}


@pytest.mark.parametrize(("content", "cause"), BAD_CONTENT.values(), ids=BAD_CONTENT.keys())
def test_content_that_does_not_decompress_ends_the_link(content: bytes, cause: str) -> None:
    as_whole, in_parts = Receiving(), Receiving()
    in_parts.service.answer = wait_for_ever
    assert as_whole.refuses(request(1, content, END | COMPRESSED)) == cause
    in_parts.peer.send(OPEN)
    if content:
        assert in_parts.refuses(frame(DATA | COMPRESSED, 1, content)) == cause


@pytest.mark.parametrize("flags", [0, END])
def test_more_content_than_a_frame_holds_ends_the_link(flags: int) -> None:
    end = Receiving()
    end.service.answer = wait_for_ever
    assert end.refuses(request(1, bytes(MAX_DATA_BYTES + 1), flags)) == "frame"
    end = Receiving()
    end.service.answer = wait_for_ever
    end.peer.send(OPEN)
    assert end.refuses(frame(DATA | flags, 1, bytes(MAX_DATA_BYTES + 1))) == "frame"


# --- windows ------------------------------------------------------------------------------------------------


def test_content_beyond_the_streams_window_ends_the_link() -> None:
    end = Receiving()
    end.service.answer = wait_for_ever
    end.peer.send(OPEN, frame(DATA, 1, bytes(STREAM_WINDOW_BYTES)))
    assert not end.ended
    assert end.refuses(frame(DATA, 1, b"a")) == "window"


def test_content_in_the_request_counts_for_the_streams_window() -> None:
    end = Receiving()
    end.service.answer = wait_for_ever
    end.peer.send(request(1, bytes(STREAM_WINDOW_BYTES), flags=0))
    assert not end.ended
    assert end.refuses(frame(DATA, 1, b"a")) == "window"


def test_content_beyond_the_links_window_ends_the_link() -> None:
    end = Receiving()
    end.service.answer = wait_for_ever
    for number in range(1, 5):
        end.peer.send(request(number, flags=0), frame(DATA, number, bytes(STREAM_WINDOW_BYTES)))
    assert not end.ended
    assert end.refuses(request(5, b"a", flags=0)) == "window"


def test_compressed_content_counts_as_what_it_becomes() -> None:
    end = Receiving()
    end.service.answer = wait_for_ever
    packed = bytes((SNAPPY.compressor_id,)) + SNAPPY.compress(bytes(STREAM_WINDOW_BYTES))
    end.peer.send(OPEN, frame(DATA | COMPRESSED, 1, packed))
    assert not end.ended
    assert end.refuses(frame(DATA | COMPRESSED, 1, packed)) == "window"


@pytest.mark.parametrize("credit_bytes", [0, 2**31, 2**32 - 1])
@pytest.mark.parametrize("stream", [0, 1])
def test_credit_of_nothing_or_too_much_ends_the_link(stream: int, credit_bytes: int) -> None:
    end = Receiving()
    end.service.answer = wait_for_ever
    assert end.refuses(OPEN, window(stream, credit_bytes)) == "window"


@pytest.mark.parametrize("stream", [0, 1])
def test_credit_that_overflows_in_sum_ends_the_link(stream: int) -> None:
    end = Receiving()
    end.service.answer = wait_for_ever
    assert end.refuses(OPEN, window(stream, 2**30), window(stream, 2**31 - 1)) == "window"


# --- floods -------------------------------------------------------------------------------------------------

FLOODS = {
    "pings": [frame(PING, 0, bytes(8))],
    "answers to pings": [frame(PING | ACK, 0, bytes(8))],
    "padding": [frame(PAD, 0, b"")],
    "credit": [window(0, 1)],
    "credit for a stream": [window(1, 1)],
    "credit for a stream that is gone": [window(2, 1)],
    "resets of a stream that is gone": [frame(RESET, 2, build_reset(""))],
    "content for a stream that is gone": [frame(DATA, 2, b"a")],
    "content in bytes": [frame(DATA, 1, b"a")],
    "goodbyes": [frame(GOAWAY, 0, build_goaway(0, 0))],
}


@pytest.mark.parametrize("flood", FLOODS.values(), ids=FLOODS.keys())
def test_a_flood_ends_the_link(flood: list[bytes]) -> None:
    end = Receiving()
    end.service.answer = read_on
    end.peer.send(OPEN)
    end.peer.send(request(2))
    end.peer.send(frame(RESET, 2, build_reset("")))
    record = b"".join(flood * 500)
    for _ in range(300):
        end.peer.send(record)
        end.peer.hear()
        if end.link.closed:
            break
    assert end.ended == "flood"


async def read_on(stream: ReceivedStream, request: Sealed) -> None:
    """A service that reads all, and answers at the end."""
    if request.is_whole:
        await Waiter()
    body = body_of(stream)
    while await body.read():
        pass


def test_a_flood_of_rekeys_ends_the_link() -> None:
    end = Receiving()
    for _ in range(300):
        end.peer.send(frame(REKEY, 0, b""))
        if end.link.closed:
            break
        end.peer.sealer.rekey()
    assert end.ended == "flood"


def test_streams_opened_and_cancelled_without_end_end_the_link() -> None:
    end = Receiving()
    end.service.answer = wait_for_ever
    for number in range(1, 20_000):
        end.peer.send(request(number), frame(RESET, number, build_reset("")))
        assert len(end.link.streams) == 0
        if end.link.closed:
            break
    assert end.ended == "flood"
    assert len(end.service.errors) == len(end.service.requests) < 6000  # each was cancelled at once


def test_as_much_as_a_busy_link_needs_is_no_flood() -> None:
    end = Receiving()
    end.service.answer = read_on
    end.peer.send(OPEN)
    for number in range(2, 5_000):  # five seconds: cancelled calls, padded records, small pieces
        end.peer.send(request(number), frame(RESET, number, build_reset("")), frame(PAD, 0, b""))
        end.peer.send(*[frame(DATA, 1, b"a")] * 8)
        end.clock.advance(0.001)
        end.peer.hear()
    assert not end.ended


def test_credit_for_a_body_that_goes_fast_is_no_flood() -> None:
    """As it comes where windows are the smallest that a config can set: an eighth of that in each frame."""
    end = Receiving()
    record = window(0, 65_536 // 8) * 500
    for _ in range(200):  # 819 MB within no time
        end.peer.send(record)
    assert not end.ended


def test_more_streams_than_agreed_are_refused_and_leave_nothing() -> None:
    end = Receiving()
    end.service.answer = wait_for_ever
    for number in range(1, MAX_STREAMS + 1):
        end.peer.send(request(number))
    end.peer.send(request(9, b"whole"), request(10, b"begun", flags=0), frame(DATA, 10, b"late"))
    refused = [(each.kind, each.stream) for each in end.peer.hear()]
    assert refused == [(REFUSED, 9), (REFUSED, 10)]
    assert end.is_settled
    assert len(end.link.streams) == MAX_STREAMS
    assert not end.ended


def test_refusals_without_end_end_the_link() -> None:
    end = Receiving()
    end.service.answer = wait_for_ever
    for number in range(1, 20_000):
        end.peer.send(request(number))
        if end.link.closed:
            break
    assert end.ended == "flood"


def test_small_pieces_are_not_held_one_by_one() -> None:
    end = Receiving()
    end.service.answer = wait_for_ever
    end.peer.send(OPEN)
    for _ in range(STREAM_WINDOW_BYTES // 1024):
        end.peer.send(*[frame(DATA, 1, b"a")] * 1024)
        end.clock.advance(0.1)
    assert not end.ended
    stream, _ = end.service.requests[0]
    pieces = stream._body._pieces  # type: ignore[union-attr]
    assert sum(map(len, pieces)) == STREAM_WINDOW_BYTES
    assert len(pieces) <= STREAM_WINDOW_BYTES // 4096


def test_what_one_caller_says_is_no_other_links_matter() -> None:
    good = Receiving()
    bad = Receiving(server=good.server, number=2)
    bad.refuses(frame(DATA, 1, b"a"))
    good.peer.send(request(1, b"hello"))
    (answer,) = good.peer.hear()
    assert answer.payload.endswith(b"hello")
    assert good.server.links == {good.link}
