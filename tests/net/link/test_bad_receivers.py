"""What a receiver may not say: each ends its link, and no call is left without an answer by it."""

from __future__ import annotations

import pytest

from fastproxy.wire.compressors import SNAPPY
from fastproxy.wire.envelope import EPOCH_BYTES, Challenge, build_response_head
from fastproxy.wire.link.frames import (
    ACK,
    COMPRESSED,
    DATA,
    END,
    EXPECTS,
    INTERIM,
    MAX_DATA_BYTES,
    PAD,
    PING,
    REFUSED,
    REKEY,
    RESET,
    RESPONSE,
    TRAILERS,
    WINDOW,
    build_interim,
    build_refused,
    build_reset,
    frame,
)
from tests.net.kit import Run
from tests.net.link.ends import (
    STREAM_WINDOW_BYTES,
    Answer,
    Calling,
    Pieces,
    counted,
    request,
    response,
    response_meta,
    window,
)

CHALLENGE = build_response_head(Challenge(bytes([1]) * EPOCH_BYTES))
BEGUN = response(1, flags=0, length=None)
"""An answer to stream 1 whose content is to come."""

OUT_OF_STATE = {
    "an answer on a stream never opened": (response(2),),
    "content on a stream never opened": (frame(DATA, 2, b"a"),),
    "a reset of a stream never opened": (frame(RESET, 2, build_reset("")),),
    "a request": (request(1),),
    "a request on a stream of its own": (request(2),),
    "content before the answer": (frame(DATA, 1, b"a"),),
    "an end before the answer": (frame(DATA | END, 1, b""),),
    "trailers before the answer": (frame(TRAILERS | END, 1, b"a: b\r\n"),),
    "a second answer": (BEGUN, BEGUN),
    "a second answer, whole": (BEGUN, response(1, b"abc")),
    "a second answer, whole, of an unknown form": (BEGUN, response(1, b"abc", length=None)),
    "a refusal behind the answer": (BEGUN, frame(REFUSED, 1, build_refused("overloaded"))),
    "an interim answer behind the answer": (BEGUN, frame(INTERIM, 1, build_interim(103, b""))),
    "an answer on the link itself": (response(0),),
}


@pytest.mark.parametrize("is_short", [True, False], ids=["short", "long"])
@pytest.mark.parametrize("frames", OUT_OF_STATE.values(), ids=OUT_OF_STATE.keys())
def test_a_frame_out_of_state_ends_the_link_and_its_calls(frames: tuple[bytes, ...], is_short: bool) -> None:
    end = Calling()
    answer = end.call_short() if is_short else end.call()
    for each in frames[:-1]:
        end.peer.send(each)
    reading = Run(answer.body.read()) if answer.told else None
    assert end.refuses(frames[-1]) in ("state", "frame")
    if reading is None:
        assert answer.cause == "connection_lost"
    else:
        with pytest.raises(Exception, match="the link ended"):
            reading.value()


OUT_OF_FORM = {
    "half a frame": BEGUN[:-1],
    "no head": frame(RESPONSE | END, 1, b""),
    "an empty head": frame(RESPONSE | END, 1, bytes(4)),
    "a head that is cut": frame(RESPONSE | END, 1, b"\0\0\1\0abc"),
    "a challenge": frame(RESPONSE | END, 1, counted(CHALLENGE)),
    "content without a byte": BEGUN + frame(DATA, 1, b""),
    "an answer that expects": frame(RESPONSE | EXPECTS, 1, counted(response_meta(0))),
    "a refusal that ends": frame(REFUSED | END, 1, build_refused("overloaded")),
    "a refusal without a label": frame(REFUSED, 1, b""),
    "an interim answer that ends": frame(INTERIM | END, 1, build_interim(103, b"")),
    "an interim answer that is cut": frame(INTERIM, 1, b"\0"),
    "an interim change of protocol": frame(INTERIM, 1, build_interim(101, b"")),
    "an interim answer that is final": frame(INTERIM, 1, build_interim(200, b"")),
    "credit that is cut": frame(WINDOW, 1, b"\0\0\1"),
    "a rekey that says something": frame(REKEY, 0, b"a"),
    "a rekey in front of something": frame(REKEY, 0, b"") + frame(PAD, 0, b""),
    "padding that says something": frame(PAD, 0, b"a"),
    **{f"kind {kind}": frame(kind << 4, 1, b"") for kind in (0, 13, 14, 15)},
}


@pytest.mark.parametrize("is_short", [True, False], ids=["short", "long"])
@pytest.mark.parametrize("frames", OUT_OF_FORM.values(), ids=OUT_OF_FORM.keys())
def test_a_frame_out_of_form_ends_the_link_and_its_calls(frames: bytes, is_short: bool) -> None:
    end = Calling()
    answer = end.call_short() if is_short else end.call()
    assert end.refuses(frames) == "frame"
    assert answer.told


SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: chat\r\n"


@pytest.mark.parametrize(
    "late", [frame(DATA, 1, b"a"), frame(DATA | END, 1, b""), frame(TRAILERS | END, 1, b"a: b\r\n")]
)
def test_content_behind_the_end_of_a_tunnels_one_side_ends_the_link(late: bytes) -> None:
    end = Calling()
    answer = end.call(Pieces(bytes(1 << 21)), upgrade=b"chat")  # which still says something
    end.peer.send(frame(RESPONSE, 1, counted(response_meta(None, SWITCH))), frame(DATA | END, 1, b"bye"))
    assert Run(answer.body.read()).value() == b"bye"
    assert list(end.link.streams) == [1]
    assert end.refuses(late) == "state"


def test_trailers_that_do_not_end_or_come_twice_end_the_link() -> None:
    end = Calling()
    end.call()
    assert end.refuses(BEGUN, frame(TRAILERS, 1, b"a: b\r\n")) == "state"


BROKEN_ANSWERS = {
    "no known form": frame(RESPONSE | END, 1, counted(b"?abc") + bytes(100)),
    "no HTTP": frame(RESPONSE | END, 1, counted(b"sabc") + bytes(100)),
    "no HTTP, content to come": frame(RESPONSE, 1, counted(b"sabc") + bytes(100)),
    "less than declared": response(1, bytes(100), length=101),
    "more than declared": response(1, bytes(100), length=99),
    "a protocol nobody asked for": frame(
        RESPONSE,
        1,
        counted(response_meta(None, b"HTTP/1.1 101 x\r\nconnection: upgrade\r\nupgrade: chat\r\n"))
        + bytes(100),
    ),
    "an interim answer that is no HTTP": frame(INTERIM, 1, build_interim(103, b"\0: \n")),
}


@pytest.mark.parametrize("is_short", [True, False], ids=["short", "long"])
@pytest.mark.parametrize("answer_frame", BROKEN_ANSWERS.values(), ids=BROKEN_ANSWERS.keys())
def test_a_broken_answer_ends_only_its_call_and_costs_no_credit(answer_frame: bytes, is_short: bool) -> None:
    end = Calling()
    other = end.call_short()
    end.peer.send(response(1, b"other"))
    broken = answer_frame.replace(b"\0\0\0\1", b"\0\0\0\2", 1)
    for number in range(2, 12):
        answer = end.call_short() if is_short else end.call()
        end.peer.send(broken[:4] + number.to_bytes(4, "big") + broken[8:])
        assert answer.cause in ("response_broken", "response_malformed")
    assert other.content == b"other"
    assert end.ended == ""
    assert end.link.streams == {}
    assert end.is_settled


def test_interim_answers_without_end_end_the_link() -> None:
    end = Calling()
    answer = end.call()
    interim = frame(INTERIM, 1, build_interim(103, b""))
    end.peer.send(*[interim] * 17)  # sixteen, and a 100
    assert len(answer.interims) == 17
    assert end.refuses(interim) == "flood"
    assert answer.cause == "connection_lost"


BOMB = bytes((SNAPPY.compressor_id,)) + SNAPPY.compress(bytes(MAX_DATA_BYTES + 1))


@pytest.mark.parametrize("content", [b"", b"\xeeabc", BOMB], ids=["nobody", "unknown", "bomb"])
def test_content_that_does_not_decompress_ends_the_link(content: bytes) -> None:
    end = Calling()
    answer = end.call()
    assert end.refuses(response(1, content, END | COMPRESSED, length=3)) == "compression"
    assert answer.cause == "connection_lost"


@pytest.mark.parametrize("is_short", [True, False], ids=["short", "long"])
def test_an_answer_larger_than_a_frame_may_be_ends_the_link(is_short: bool) -> None:
    end = Calling()
    answer = end.call_short() if is_short else end.call()
    assert end.refuses(response(1, bytes(MAX_DATA_BYTES + 1))) == "frame"
    assert answer.cause == "connection_lost"


# --- windows ------------------------------------------------------------------------------------------------


def test_content_beyond_the_streams_window_ends_the_link() -> None:
    end = Calling()
    answer = end.call()
    end.peer.send(BEGUN, frame(DATA, 1, bytes(STREAM_WINDOW_BYTES)))
    assert answer.told
    assert end.refuses(frame(DATA, 1, b"a")) == "window"


def test_content_beyond_the_links_window_ends_the_link_and_no_call_waits_for_ever() -> None:
    end = Calling()
    for _ in range(5):
        end.call()
    for number in range(1, 5):
        end.peer.send(response(number, flags=0, length=None), frame(DATA, number, bytes(STREAM_WINDOW_BYTES)))
    last = end.call_short()
    assert end.refuses(response(6, b"a")) == "window"  # an ordinary answer, which waits for nobody to read it
    assert last.cause == "connection_lost"


@pytest.mark.parametrize("credit_bytes", [0, 2**31])
@pytest.mark.parametrize("stream", [0, 1])
@pytest.mark.parametrize("is_short", [True, False], ids=["short", "long"])
def test_credit_of_nothing_or_too_much_ends_the_link(stream: int, credit_bytes: int, is_short: bool) -> None:
    end = Calling()
    if is_short:
        end.call_short()
    else:
        end.call()
    assert end.refuses(window(stream, credit_bytes)) == "window"


@pytest.mark.parametrize("stream", [0, 1])
def test_credit_that_overflows_in_sum_ends_the_link(stream: int) -> None:
    end = Calling()
    end.call()
    assert end.refuses(window(stream, 2**30), window(stream, 2**31 - 1)) == "window"


# --- floods -------------------------------------------------------------------------------------------------

FLOODS = {
    "pings": frame(PING, 0, bytes(8)),
    "answers to pings": frame(PING | ACK, 0, bytes(8)),
    "padding": frame(PAD, 0, b""),
    "credit": window(0, 1),
    "credit for a stream": window(1, 1),
    "credit for a stream on the short way": window(2, 1),
    "resets of a stream that is gone": frame(RESET, 3, build_reset("")),
    "content in bytes": frame(DATA, 1, b"a"),
}


@pytest.mark.parametrize("flood", FLOODS.values(), ids=FLOODS.keys())
def test_a_flood_ends_the_link(flood: bytes) -> None:
    end = Calling()
    answer = end.call()
    end.call_short()
    end.link.abandon(end.open(Answer())._stream_id)
    end.peer.send(BEGUN)
    for _ in range(300):
        reading = Run(answer.body.read())
        end.peer.send(flood * 500)
        end.peer.hear()
        if end.link.closed:
            break
        assert reading.done or DATA not in flood[:1]
        reading.drive.cancel()
    assert end.ended == "flood"


# --- ends that cross ----------------------------------------------------------------------------------------


def test_what_crosses_the_end_of_a_stream_gives_its_credit_back() -> None:
    end = Calling()
    for number in range(1, 400):
        stream = end.open(answer := Answer())
        stream.cancel()
        late = [
            (response(number, bytes(1000)),),
            (response(number, bytes(1000), flags=0, length=2000), frame(DATA | END, number, bytes(1000))),
            (frame(INTERIM, number, build_interim(103, b"")), frame(REFUSED, number, build_refused("x"))),
            (frame(DATA | END, number, bytes(1000)), window(number, 5)),
            (frame(TRAILERS | END, number, b"a: b\r\n"), frame(RESET, number, build_reset(""))),
        ][number % 5]
        end.peer.send(*late)
        assert not answer.told
    assert end.ended == ""
    assert end.link.streams == {}
    assert end.is_settled
    assert [each.kind for each in end.peer.frames if each.stream == 399][-1] == RESET


@pytest.mark.parametrize("length", [-1, None], ids=["ordinary", "not"])
def test_an_answer_that_comes_before_its_request_is_sent_stops_it_once(length: int | None) -> None:
    end = Calling()
    answer = end.call(Pieces(bytes(1 << 21)))  # twice what the peer takes
    end.peer.send(response(1, b"enough", length=length))
    assert answer.content == b"enough"
    kinds = [each.kind for each in end.peer.hear()]
    assert kinds.count(RESET) == 1
    assert kinds[-1] == RESET
    assert end.link.streams == {}


def test_a_body_that_fails_in_an_unforeseen_way_fails_its_call_and_is_told() -> None:
    class Broken(Pieces):
        async def read(self) -> bytes:
            raise ZeroDivisionError

    end = Calling()
    answer = end.call(Broken())
    assert answer.cause == "internal_error"
    assert [type(each["exception"]) for each in end.clock.failures] == [ZeroDivisionError]
    assert [each.kind for each in end.peer.hear()][-1] == RESET
    assert end.ended == ""
    assert end.link.streams == {}


def test_a_compressed_answer_is_what_was_compressed() -> None:
    end = Calling()
    answer = end.call()
    packed = bytes((SNAPPY.compressor_id,)) + SNAPPY.compress(bytes(5000))
    end.peer.send(response(1, packed, END | COMPRESSED, length=5000))
    assert answer.content == bytes(5000)
