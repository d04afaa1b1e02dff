"""Content on its way: windows, turns, and that no credit is ever lost, however streams end."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from fastproxy.errors import DEADLINE_EXCEEDED, NO_PRIVILEGE, ProxyError
from fastproxy.model import Content, Exchange, Response
from fastproxy.net.drive import Waiter
from fastproxy.net.link.call_stream import CallStream
from fastproxy.net.link.link import BULK_BYTES, Link
from fastproxy.net.link.received_stream import ReceivedStream
from fastproxy.net.link.receiver import Sealed
from fastproxy.wire.compressors import SNAPPY
from fastproxy.wire.link.frames import (
    COMPRESSED,
    DATA,
    END,
    HEADER_BYTES,
    INTERIM,
    MAX_DATA_BYTES,
    PAD,
    RESET,
    RESPONSE,
    TRAILERS,
    build_interim,
    build_reset,
    frame,
)
from fastproxy.wire.link.handshake import Params
from fastproxy.wire.records import Packing
from tests.net.kit import Run
from tests.net.link.ends import (
    LINK_WINDOW_BYTES,
    MAX_STREAMS,
    PEER_PARAMS,
    STREAM_WINDOW_BYTES,
    TRAILERS_OF_CALLERS,
    Answer,
    Calling,
    Pair,
    Pieces,
    Receiving,
    answered,
    body_of,
    echo,
    open_call,
    request,
    response,
    window,
)
from tests.wire.link.parties import Frame, frames_of

MIB = 1 << 20


def is_whole(link: Link) -> bool:
    """Whether all credit that this end gave is with the other, or owed to it."""
    return link._room_bytes + link._owed_bytes == LINK_WINDOW_BYTES


def balanced(pair: Pair) -> bool:
    """Whether the credit that one end has is what the other one grants, both ways, and nothing is held."""
    caller, receiver = pair.caller, pair.receiver
    return (
        is_whole(caller)
        and is_whole(receiver)
        and caller.credit == receiver._room_bytes
        and receiver.credit == caller._room_bytes
        and not caller.streams
        and not receiver.streams
    )


def read_all(pair: Pair, answer: Answer) -> bytes:
    """The content of an answer, read to its end."""
    assert answer.response is not None, answer.error
    if type(answer.response.content) is bytes:
        return answer.response.content
    content = b""
    while True:
        reading = Run(answer.body.read())
        pair.settle()
        data = reading.value()
        if not data:
            return content
        content += data


# --- both ends ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size_bytes", [0, 1, MAX_DATA_BYTES, MAX_DATA_BYTES + 1, LINK_WINDOW_BYTES + 1, MIB])
def test_content_of_any_size_goes_both_ways(size_bytes: int) -> None:
    pair = Pair()
    content = random.Random(size_bytes).randbytes(size_bytes)
    answer = pair.call(content)
    pair.settle()
    assert read_all(pair, answer) == content
    assert balanced(pair)


def test_an_answer_begins_while_the_request_still_comes() -> None:
    async def answer_each(stream: ReceivedStream, request: Sealed) -> None:
        body = body_of(stream)

        class Echo(Pieces):
            async def read(self) -> bytes:
                return await body.read()

        await answered(stream, Echo())

    pair = Pair()
    pair.service.answer = answer_each
    more: list[Waiter[bytes]] = [Waiter() for _ in range(4)]

    class Slowly(Pieces):
        def __init__(self) -> None:
            super().__init__()
            self._at = -1

        async def read(self) -> bytes:
            self._at += 1
            return await more[self._at]

    answer = pair.call(Slowly())
    pair.settle()
    for number in range(3):
        piece = b"%d" % number
        more[number].set(piece)
        pair.settle()
        reading = Run(answer.body.read())
        pair.settle()
        assert reading.value() == piece
    more[3].set(b"")
    pair.settle()
    reading = Run(answer.body.read())
    pair.settle()
    assert reading.value() == b""
    assert balanced(pair)


def test_no_credit_is_lost_however_streams_end() -> None:
    """Thousands of streams that are cancelled, refused, broken, or simply answered, at any point."""
    chance = random.Random(4)

    async def any_answer(stream: ReceivedStream, request: Sealed) -> None:
        how = chance.randrange(7)
        if how == 0:
            raise ProxyError(NO_PRIVILEGE)
        if how == 1:
            await Waiter()
        body = None if request.is_whole else body_of(stream, chance.choice([None, None, 100_000]))
        if how == 2 and body is not None:
            await body.read()
            raise ProxyError(NO_PRIVILEGE)
        if how == 3 and body is not None:
            body.close()
        if how in (4, 5) and body is not None:
            while await body.read():
                pass
        await answered(stream, chance.choice(contents)())

    pair = Pair()
    pair.service.answer = any_answer
    contents: tuple[Callable[[], Content], ...] = (
        lambda: b"",
        lambda: bytes(300),
        lambda: bytes(100_000),
        lambda: Pieces(bytes(70_000), bytes(70_000)),
    )
    running: list[tuple[Answer, CallStream]] = []
    for _ in range(1000):
        pair.clock.advance(0.01)
        answer = Answer()
        stream = open_call(pair.caller, answer, chance.choice(contents)())
        running.append((answer, stream))
        if chance.random() < 0.7:
            pair.settle(chance.choice([100, 10_000, 1 << 18]))
        if len(running) > 5:
            answer, stream = running.pop(chance.randrange(len(running)))
            if answer.response is not None and type(answer.response.content) is not bytes:
                if chance.random() < 0.5:
                    Run(answer.body.read())
                answer.body.close()
            elif not answer.told:
                stream.cancel()
    for answer, stream in running:
        if answer.response is not None and type(answer.response.content) is not bytes:
            answer.body.close()
        elif not answer.told:
            stream.cancel()
    pair.settle()
    assert not pair.caller.closed
    assert not pair.receiver.closed
    assert not pair.clock.failures
    assert balanced(pair)
    assert not pair.caller._turns
    assert not pair.receiver._turns


def test_small_calls_go_on_beside_one_that_is_stalled_and_one_that_is_huge() -> None:
    async def answer(stream: ReceivedStream, request: Sealed) -> None:
        if request.is_whole:
            await echo(stream, request)
        elif len(pair.service.requests) == 1:  # the stalled one: its content is never read
            body_of(stream)
            await Waiter()
        else:
            body = body_of(stream)
            while await body.read():
                pass
            await answered(stream)

    pair = Pair()
    pair.service.answer = answer
    stalled = pair.call(bytes(MIB))
    pair.settle()
    huge = pair.call(bytes(32 * MIB))
    for _ in range(100):
        small = pair.call(b"small")
        sent_bytes = pair.settle_once()
        assert sent_bytes <= BULK_BYTES + MAX_DATA_BYTES + 4096  # the huge one's share of a turn, and ours
        assert small.content == b"small"  # within the turn in which it was asked
        assert not huge.told
    pair.settle()
    assert huge.told
    assert not stalled.told


@pytest.mark.parametrize("is_answer", [False, True])
def test_small_calls_go_on_however_many_contents_nobody_reads(is_answer: bool) -> None:
    """Else as many of them as fill the link's window would hold up all others until their deadlines."""
    large = bytes(2 * MIB)

    async def answer(stream: ReceivedStream, request: Sealed) -> None:
        if request.is_whole and request.data == b"small":
            await echo(stream, request)
        elif is_answer:
            await answered(stream, large)
        else:
            body_of(stream)
            await Waiter()

    pair = Pair()
    pair.service.answer = answer
    stalled = [pair.call(b"large" if is_answer else large) for _ in range(MAX_STREAMS - 1)]
    pair.settle()
    assert pair.receiver.has_room(1) is not is_answer
    assert pair.caller.has_room(1) is is_answer, "more of them than the link takes"
    for _ in range(200):
        small = pair.call(b"small")
        pair.settle()
        assert small.content == b"small"
    assert not any(call.told for call in stalled) or is_answer


def test_bodies_take_turns_piece_by_piece() -> None:
    end = Calling()
    for _ in range(3):
        end.call(Pieces(bytes(4 * (MAX_DATA_BYTES - HEADER_BYTES))))
    streams = [each.stream for each in end.peer.hear() if each.kind == DATA]
    assert streams == [1, 1, 1, 2, 3, 1, 2, 3, 2, 3, 2, 3]  # two each turn; the first one began alone


def test_a_body_is_read_when_its_turn_has_come() -> None:
    """What is read before lies about, 128 KiB for each body on its way, and is copied cold."""
    end = Calling()
    huge = Pieces(bytes(16 * MAX_DATA_BYTES))
    end.call(huge)
    waiting = [Pieces(bytes(1000)) for _ in range(3)]
    for body in waiting:
        end.call(body)
    assert not any(body.started for body in waiting)
    assert content_bytes(end.peer.hear()) == {1: 16 * MAX_DATA_BYTES, 2: 1000, 3: 1000, 4: 1000}


def test_the_end_of_content_needs_no_credit() -> None:
    end = Calling(peer_params=Params(MIB, 200_000, 0))  # a quarter of it isn't for content in pieces
    for size_bytes in (140_000, 50_000, 0):
        end.call(Pieces(bytes(size_bytes)) if size_bytes else Pieces())
    frames = [each for each in end.peer.hear() if each.kind & ~END == DATA]
    assert content_bytes(frames) == {1: 140_000, 2: 10_000, 3: 0}
    assert {each.stream for each in frames if each.kind & END} == {1, 3}  # the second waits for credit


# --- a receiver's end and a caller made by hand -------------------------------------------------------------


def test_an_answer_stays_within_the_windows_that_the_caller_grants() -> None:
    end = Receiving(peer_params=Params(70_000, 133_332, 0))  # of which three quarters are for large contents

    async def answer(stream: ReceivedStream, request: Sealed) -> None:
        await answered(stream, bytes(90_000))

    end.service.answer = answer
    end.peer.send(request(1), request(2))
    assert content_bytes(end.peer.hear()) == {1: 70_000, 2: 29_999}  # all that the link takes of them
    end.peer.send(window(0, 1_000_000))
    assert content_bytes(end.peer.hear()) == {2: 40_001}  # all that each stream takes
    end.peer.send(window(1, 20_000))
    end.peer.send(window(2, 19_999))
    assert content_bytes(end.peer.hear()) == {1: 20_000, 2: 19_999}
    end.peer.send(window(2, 1))
    assert [each.kind for each in end.peer.hear()] == [DATA | END]
    assert not end.link.streams
    assert end.counters.stalls > 0


def content_bytes(frames: list[Frame]) -> dict[int, int]:
    """How much content came, by stream."""
    sizes: dict[int, int] = {}
    for each in frames:
        if each.kind & 0xF0 == DATA:
            sizes[each.stream] = sizes.get(each.stream, 0) + len(each.payload)
    return sizes


def test_credit_that_comes_before_the_answer_counts() -> None:
    end = Receiving(peer_params=Params(65_536, MIB, 0))
    go: Waiter[None] = Waiter()

    async def answer(stream: ReceivedStream, request: Sealed) -> None:
        await go
        await answered(stream, bytes(100_000))

    end.service.answer = answer
    end.peer.send(request(1))
    end.peer.send(window(1, 50_000))
    go.set(None)
    assert content_bytes(end.peer.hear()) == {1: 100_000}


@pytest.mark.parametrize("is_refused", [True, False], ids=["refused by its head", "more than allowed"])
def test_content_that_nobody_wants_gives_its_credit_back(is_refused: bool) -> None:
    async def answer(stream: ReceivedStream, request: Sealed) -> None:
        if not is_refused:
            await body_of(stream, limit_bytes=10).read()
        raise ProxyError(NO_PRIVILEGE)

    end = Receiving()
    end.service.answer = answer
    for number in range(1, 20):
        end.peer.send(request(number, bytes(40_000), flags=0))
        end.peer.send(frame(DATA, number, bytes(20_000)), frame(DATA | END, number, b"late"))
    assert [each.kind for each in end.peer.hear() if each.stream and each.kind == RESET] == [RESET] * 19
    assert end.is_settled
    assert not end.ended


def test_content_that_came_and_was_not_read_gives_its_credit_back() -> None:
    async def answer(stream: ReceivedStream, request: Sealed) -> None:
        body_of(stream)
        await Waiter()

    end = Receiving()
    end.service.answer = answer
    for number in range(1, 20):
        end.peer.send(request(number, flags=0), frame(DATA | END, number, bytes(60_000)))
        end.peer.send(frame(RESET, number, build_reset("")))
    assert end.is_settled
    assert not end.link.streams


@pytest.mark.parametrize(
    ("declared", "pieces", "is_good"),
    [
        (6, [b"abc", b"def"], True),
        (6, [b"abc", b"de"], False),
        (6, [b"abc", b"defg"], False),
        (0, [], True),
        (0, [b"a"], False),
        (3, [b"abc", b""], True),
    ],
)
def test_content_of_another_length_than_declared_never_looks_complete(
    declared: int, pieces: list[bytes], is_good: bool
) -> None:
    read: list[bytes] = []

    async def answer(stream: ReceivedStream, request: Sealed) -> None:
        body = body_of(stream, declared)
        while data := await body.read():
            read.append(data)
        await answered(stream, b"complete")

    end = Receiving()
    end.service.answer = answer
    end.peer.send(request(1, flags=0))
    for piece in pieces:
        if piece:
            end.peer.send(frame(DATA, 1, piece))
            assert sum(map(len, read)) < declared or not declared  # the last byte is held until the end
    end.peer.send(frame(DATA | END, 1, b""))
    kinds = {each.kind for each in end.peer.hear()}
    assert (RESPONSE | END in kinds) is is_good
    if is_good:
        assert b"".join(read) == b"".join(pieces)
    else:
        assert [error.cause.label for error in end.service.errors] == ["message_broken"]  # type: ignore[attr-defined]
    assert end.is_settled


def test_trailers_come_behind_the_content_and_are_judged() -> None:
    seen: list[list[tuple[bytes, bytes]]] = []

    async def answer(stream: ReceivedStream, request: Sealed) -> None:
        body = stream.incoming(None, None, lambda name: name == b"x-mine", TRAILERS_OF_CALLERS)
        while await body.read():
            pass
        seen.append(body.trailers)
        await answered(stream)

    end = Receiving()
    end.service.answer = answer
    end.peer.send(request(1, b"abc", flags=0), frame(TRAILERS | END, 1, b"a: b\r\nx-mine: c\r\n"))
    end.peer.send(request(2, b"abc", flags=0), frame(TRAILERS | END, 2, b"content-length: 3\r\n"))
    assert seen == [[(b"a", b"b")]]
    assert len(end.service.errors) == 1
    assert not end.ended


MANY = b"".join(b"x-%d: y\r\n" % number for number in range(101))
LARGE = b"x: %b\r\n" % bytes(ord("y") for _ in range(32_768))


@pytest.mark.parametrize("trailers", [MANY, LARGE])
def test_trailers_of_a_request_are_bounded_as_its_head_is(trailers: bytes) -> None:
    end = Receiving()
    end.peer.send(request(1, b"abc", flags=0), frame(TRAILERS | END, 1, trailers))
    assert [error.cause.label for error in end.service.errors] == ["headers_too_large"]  # type: ignore[attr-defined]
    end.peer.send(request(2, b"abc", flags=0), frame(TRAILERS | END, 2, MANY.partition(b"\r\n")[2]))
    assert len(end.service.errors) == 1, "100 are not too many"
    assert not end.ended


@pytest.mark.parametrize("trailers", [MANY, LARGE])
def test_trailers_of_an_answer_are_bounded_as_its_head_is(trailers: bytes) -> None:
    end = Calling()
    answer = end.call()
    end.peer.send(response(1, b"abc", flags=0, length=None), frame(TRAILERS | END, 1, trailers))
    with pytest.raises(ProxyError) as refused:
        Run(answer.body.read()).value()
    assert refused.value.cause.label == "response_too_large"
    assert end.peer.hear()[-1].kind == RESET
    assert not end.ended
    assert end.is_settled


def test_content_is_asked_for_when_somebody_reads_it() -> None:
    go: Waiter[None] = Waiter()

    async def answer(stream: ReceivedStream, request: Sealed) -> None:
        body = body_of(stream)
        await go
        assert await body.read() == b"abc"
        assert await body.read() == b""
        await answered(stream)

    end = Receiving()
    end.service.answer = answer
    end.peer.send(request(1, flags=4))
    assert end.peer.hear() == []
    go.set(None)
    assert end.peer.hear() == [Frame(INTERIM, 1, build_interim(100, b""))]
    end.peer.send(frame(DATA | END, 1, b"abc"))
    assert [each.kind for each in end.peer.hear()] == [RESPONSE | END]


# --- a peer that doesn't read -------------------------------------------------------------------------------


def test_answers_to_a_caller_that_reads_nothing_are_not_piled_up() -> None:
    end = Receiving()
    end.link.pause_writing()
    written = len(end.wire.written)
    numbers = iter(range(1, 10_000))
    for _ in range(8):
        end.peer.send(request(next(numbers), bytes(1000)))
    for _ in range(300):
        end.peer.send(request(next(numbers), bytes(1000)))  # more than it takes at a time
    assert len(end.link.streams) == 8
    assert len(end.wire.written) - written < 300 * 64  # refusals, and credit: no answer
    end.link.resume_writing()
    answers = [each.stream for each in end.peer.hear() if each.kind == RESPONSE | END]
    assert answers == list(range(1, 9))
    assert not end.ended


def test_a_caller_that_reads_nothing_is_cut_off() -> None:
    end = Receiving()
    end.peer.send(request(1, b"a"))
    end.link.pause_writing()
    end.clock.advance(29)
    assert not end.link.closed
    end.clock.advance(10)
    assert end.ended == "unread"
    assert end.wire.aborted  # what waits to be written is not waited for


def test_an_answer_that_finds_no_credit_is_given_up_in_the_end() -> None:
    """A caller that gives no credit can't keep what answers it for ever."""

    async def answer(stream: ReceivedStream, request: Sealed) -> None:
        exchange = Exchange("1", end.clock.now, "192.0.2.1")
        exchange.deadline = end.clock.now + 1
        stream.set_deadline(exchange)
        with pytest.raises(ProxyError, match=DEADLINE_EXCEEDED.label):
            await Waiter()
        await answered(stream, b"too late")

    end = Receiving(peer_params=PEER_PARAMS._replace(link_window_bytes=0))
    end.service.answer = answer
    end.peer.send(request(1))
    end.clock.advance(2)
    assert len(end.link.streams) == 1
    assert not end.service.errors
    for _ in range(8):  # it lives, but gives no credit
        end.clock.advance(5)
        end.peer.send(frame(PAD, 0, b""))
    assert end.link.streams == {}
    assert not end.ended
    assert [each.kind for each in end.peer.hear() if each.stream] == [RESPONSE, RESET]


# --- packing ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pad_to_bytes", [16, 1000, 16_384])
def test_records_are_filled_up_to_a_multiple(pad_to_bytes: int) -> None:
    end = Calling()
    packing = Packing(None, 0, pad_to_bytes)
    for size_bytes in (0, 1, 1000, MAX_DATA_BYTES, 3 * MAX_DATA_BYTES):
        end.peer.records.clear()
        end.call(bytes(size_bytes), packing=packing)
        end.peer.hear()
        assert end.peer.records
        assert {len(record) % pad_to_bytes for record in end.peer.records} == {0}


def test_a_rekey_ends_its_record_also_where_that_is_padded() -> None:
    end = Calling()
    end.link._is_rekey_due = True
    end.peer.records.clear()
    end.call(b"a", packing=Packing(None, 0, 512))
    end.peer.hear()
    (record,) = end.peer.records
    assert len(record) == 512
    assert [each.kind for each in frames_of(record)][-1] == 0xB0


def test_content_is_compressed_where_that_makes_it_shorter() -> None:
    chance = random.Random(1)
    end = Calling()
    packing = Packing(SNAPPY, 100, 1)
    sizes = {}
    for content in (bytes(10_000), bytes(99), chance.randbytes(10_000)):
        end.call(content, packing=packing)
        (sent,) = end.peer.hear()
        sizes[len(sent.payload)] = sent.kind & COMPRESSED
    small, as_it_is, odd = sorted(sizes)
    assert (sizes[small], sizes[as_it_is], sizes[odd]) == (0, COMPRESSED, 0)
    credit = PEER_PARAMS.link_window_bytes - end.link.credit
    assert credit == 20_099  # credit counts what the other end holds


def test_content_waits_until_the_receiver_asks_for_it() -> None:
    end = Calling()
    answer = end.call(Pieces(b"abc"), expects_continue=True)
    assert [each.kind for each in end.peer.hear()] == [0x14]
    end.peer.send(frame(INTERIM, 1, build_interim(100, b"")))
    assert [each.kind for each in end.peer.hear()] == [DATA, DATA | END]
    assert answer.interims == []  # it is this proxy's own edge that asks its caller
    end.peer.send(response(1))
    assert isinstance(answer.response, Response)


def test_content_that_nobody_asked_for_is_never_sent() -> None:
    end = Calling()
    answer = end.call(content := Pieces(b"secret"), expects_continue=True)
    end.peer.send(response(1, b"no"))
    assert answer.content == b"no"
    assert content.closed
    assert not content.started
    assert all(b"secret" not in each.payload for each in end.peer.hear())


def test_a_large_head_without_content_is_a_whole_message() -> None:
    """Heads this large go in a frame of their own, and need their end all the same."""
    end = Calling()
    meta = bytes(50_000)
    answer = Answer()
    end.link.open(answer, meta, b"", Packing(), is_head=False, expects_continue=False, upgrade=b"")
    assert [each.kind for each in end.peer.hear()] == [0x10, DATA | END]


def test_content_at_a_stream_of_a_closed_window_waits_and_gives_way_to_others() -> None:
    end = Calling(peer_params=Params(STREAM_WINDOW_BYTES, MIB, 8))
    end.call(bytes(MIB))
    assert content_bytes(end.peer.hear()) == {1: STREAM_WINDOW_BYTES}
    end.call(bytes(STREAM_WINDOW_BYTES + 1))
    assert content_bytes(end.peer.hear()) == {2: STREAM_WINDOW_BYTES}
    end.peer.send(window(1, 1000))
    assert content_bytes(end.peer.hear()) == {1: 1000}
