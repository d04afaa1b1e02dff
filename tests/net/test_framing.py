"""Bodies: where they end, whatever the pieces they come in, and the stream that hands them to a reader."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastproxy.errors import CONNECTION_LOST, ProxyError
from fastproxy.model import Headers
from fastproxy.net.framing import BUFFER_BYTES, Chunked, IncomingBody, Sized, UntilClose
from tests.net.kit import Run, in_bytes

Played = tuple[bytes, bytes, Headers, str]


def play(framing: Chunked | Sized, pieces: list[bytes]) -> Played:
    """Feed until the body is done: content, what came after it, trailers, and the cause of a refusal."""
    content, pending = b"", list(pieces)
    try:
        while pending and not framing.done:
            part, rest = framing.feed(pending.pop(0))
            content += part
            assert not rest or framing.done
            if rest:
                pending.insert(0, rest)
    except ProxyError as error:
        return content, b"", [], error.cause.label
    return content, b"".join(pending), framing.trailers, "" if framing.done else "open"


CONTENTS = st.binary(max_size=40)
EXTENSIONS = st.sampled_from([b"", b";a", b";a=b", b';a="b c"', b";a=1;b=2"])
TRAILERS = st.lists(
    st.tuples(st.sampled_from([b"X-A", b"x-b"]), st.sampled_from([b"", b"1", b"a b"])), max_size=3
)


@given(
    st.lists(st.tuples(CONTENTS.filter(bool), EXTENSIONS), max_size=5),
    TRAILERS,
    st.binary(max_size=9),
    st.data(),
)
@settings(max_examples=120, deadline=None)
def test_a_chunked_body_ends_in_the_same_place_however_it_is_cut(
    chunks: list[tuple[bytes, bytes]], trailers: list[tuple[bytes, bytes]], after: bytes, data: st.DataObject
) -> None:
    message = b"".join(b"%x%b\r\n%b\r\n" % (len(chunk), extension, chunk) for chunk, extension in chunks)
    message += b"0\r\n" + b"".join(b"%b: %b\r\n" % field for field in trailers) + b"\r\n" + after
    expected = (b"".join(chunk for chunk, _ in chunks), after, trailers, "")
    cut = data.draw(st.integers(0, len(message)))
    assert play(Chunked(), [message]) == expected
    assert play(Chunked(), in_bytes(message)) == expected
    assert play(Chunked(), [message[:cut], message[cut:]]) == expected


SYNTAX = [b"\r\n", b"\n", b"\r", b";", b"=", b'"', b" ", b":"]
SHREDS = st.sampled_from([*SYNTAX, b"0", b"5", b"a", b"hello", b"X: 1"])


@given(st.lists(SHREDS, max_size=14).map(b"".join))
@settings(max_examples=300, deadline=None)
def test_whole_and_byte_by_byte_come_to_the_same_verdict(message: bytes) -> None:
    whole, single = play(Chunked(), [message]), play(Chunked(), in_bytes(message))
    if "malformed_request" not in (whole[3], single[3]):
        assert whole == single
    elif whole[3] != single[3]:  # a lone CR or LF may be told apart a byte earlier or later, never forgiven
        assert "" not in (whole[3], single[3])


@pytest.mark.parametrize(
    "message",
    [
        b"5\nhello\r\n0\r\n\r\n",
        b"5\r\nhello\n0\r\n\r\n",
        b"5\r\nhello!\r\n0\r\n\r\n",
        b"5\r\nhell\r\n0\r\n\r\n",
        b"5\r\nhello~~0\r\n\r\n",
        b"+5\r\nhello\r\n0\r\n\r\n",
        b"-5\r\nhello\r\n0\r\n\r\n",
        b"0x5\r\nhello\r\n0\r\n\r\n",
        b" 5\r\nhello\r\n0\r\n\r\n",
        b"5 \r\nhello\r\n0\r\n\r\n",
        b"5_0\r\nhello\r\n0\r\n\r\n",
        b"\r\nhello\r\n0\r\n\r\n",
        b"g\r\nhello\r\n0\r\n\r\n",
        b"1000000000000000\r\nhello",
        b"5;\r\nhello\r\n0\r\n\r\n",
        b"5;a\x00\r\nhello\r\n0\r\n\r\n",
        b"5;a=\nb\r\nhello\r\n0\r\n\r\n",
        b"5 ;a\r\nhello\r\n0\r\n\r\n",
        b"5;" + b"a" * 300 + b"\r\nhello\r\n0\r\n\r\n",
        b"0\r\nX: 1\n\r\n\r\n",
        b"0\r\n X: 1\r\n\r\n",
        b"0\r\nX : 1\r\n\r\n",
        b"0\r\nX\r\n\r\n",
        b"0\r\nX: \x00\r\n\r\n",
        b"0\r\nContent-Length: 5\r\n\r\n",
        b"0\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"0\r\nHost: a\r\n\r\n",
        b"0\r\nAuthorization: a\r\n\r\n",
    ],
    ids=repr,
)
@pytest.mark.parametrize("cut", [False, True], ids=["whole", "bytes"])
def test_a_broken_chunked_body(message: bytes, cut: bool) -> None:
    assert play(Chunked(), in_bytes(message) if cut else [message])[3] == "malformed_request"


def test_the_trailer_section_is_bounded() -> None:
    many = b"0\r\n" + b"X: 1\r\n" * 51 + b"\r\n"
    assert play(Chunked(), [many])[3] == "headers_too_large"
    for long in (b"0\r\nX: " + b"a" * 9000, b"0\r\n" + (b"X: " + b"a" * 1000 + b"\r\n") * 9 + b"\r\n"):
        assert play(Chunked(), [long])[3] == "headers_too_large"
        assert play(Chunked(), in_bytes(long))[3] == "headers_too_large"


def test_an_unfinished_chunk_holds_nothing_back() -> None:
    chunked = Chunked()
    assert chunked.feed(b"a\r\nhello")[0] == b"hello"
    assert chunked.feed(b"you")[0] == b"you"
    assert not chunked.eof()


@given(st.binary(max_size=30), st.integers(0, 30))
def test_a_sized_body_ends_in_the_same_place_however_it_is_cut(message: bytes, length: int) -> None:
    expected: Played = (message[:length], message[length:], [], "" if length <= len(message) else "open")
    assert play(Sized(length), [message]) == expected
    assert play(Sized(length), in_bytes(message)) == expected


def test_only_a_body_without_an_end_of_its_own_may_end_with_the_connection() -> None:
    framing = UntilClose()
    assert framing.feed(b"all") == (b"all", b"")
    assert framing.eof()
    assert not Sized(1).eof()


# --- the stream -------------------------------------------------------------------------------------------


class Source:
    """A connection's side of a body, noting what the body asks of it."""

    def __init__(self, limit_bytes: int | None = None) -> None:
        self.asked: list[str] = []
        self.body = IncomingBody(
            None,
            limit_bytes,
            lambda: self.asked.append("pause"),
            lambda: self.asked.append("resume"),
            lambda: self.asked.append("close"),
            lambda: self.asked.append("continue"),
        )


async def read_all(body: IncomingBody) -> bytes:
    content = b""
    while data := await body.read():
        content += data
    return content


def test_a_reader_gets_pieces_as_they_come_and_then_the_end() -> None:
    source = Source()
    run = Run(read_all(source.body))
    source.body.push(b"one")
    source.body.push(b"two")
    source.body.finish(b"three", [(b"X", b"1")])
    assert run.value() == b"onetwothree"
    assert source.body.trailers == [(b"X", b"1")]
    assert source.asked == ["continue"]  # once, and only because somebody reads


def test_nobody_is_asked_to_continue_for_what_is_here_already() -> None:
    source = Source()
    source.body.finish(b"here", [])
    assert Run(read_all(source.body)).value() == b"here"
    assert source.asked == []


def test_a_slow_reader_stops_the_sender_and_starts_it_again() -> None:
    source = Source()
    source.body.push(b"a" * BUFFER_BYTES)
    assert source.asked == []
    source.body.push(b"b")
    assert source.asked == ["pause"]
    assert len(Run(source.body.read()).value()) == BUFFER_BYTES + 1
    assert source.asked == ["pause", "resume"]


def test_a_broken_body_never_looks_complete() -> None:
    source = Source()
    run = Run(read_all(source.body))
    source.body.push(b"some")
    source.body.fail(ProxyError(CONNECTION_LOST))
    assert isinstance(run.error, ProxyError)
    with pytest.raises(ProxyError):
        Run(source.body.read()).value()


def test_a_body_over_its_limit_is_refused_in_any_pieces() -> None:
    for pieces in ([b"123456"], [b"123", b"456"]):
        for last in (b"", b"7"):
            source = Source(limit_bytes=5)
            for piece in pieces:
                source.body.push(piece)
            source.body.finish(last, [])
            run = Run(read_all(source.body))
            assert isinstance(run.error, ProxyError)
            assert run.error.cause.label == "body_too_large"
    source = Source(limit_bytes=5)
    source.body.finish(b"12345", [])
    assert Run(read_all(source.body)).value() == b"12345"


def test_closing_says_so_once_and_drops_what_comes_after() -> None:
    source = Source()
    source.body.push(b"some")
    source.body.close()
    source.body.close()
    source.body.push(b"a" * (BUFFER_BYTES + 1))
    assert source.asked == ["close"]


def test_a_complete_body_needs_no_closing() -> None:
    source = Source()
    source.body.finish(b"all", [])
    source.body.close()
    assert source.asked == []


def test_a_reader_that_is_cancelled_leaves_the_body_usable() -> None:
    source = Source()
    run = Run(source.body.read())
    run.drive.cancel()
    source.body.finish(b"late", [])
    assert Run(read_all(source.body)).value() == b"late"
