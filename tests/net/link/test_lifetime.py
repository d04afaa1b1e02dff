"""How links live and end: signs of life, idleness, age, new keys, goodbyes; and nothing is left of them."""

from __future__ import annotations

from typing import cast

import pytest
from msgspec.structs import replace

from fastproxy.net.drive import Waiter
from fastproxy.net.link import link as link_module
from fastproxy.net.link.received_stream import ReceivedStream
from fastproxy.net.link.receiver import Sealed
from fastproxy.wire.link.errors import LinkError
from fastproxy.wire.link.frames import (
    ACK,
    DATA,
    DRAINING,
    END,
    GOAWAY,
    IDLE,
    KEY_REVOKED,
    PING,
    PROTOCOL_ERROR,
    REFUSED,
    REKEY,
    REPLACED,
    RESET,
    build_goaway,
    build_refused,
    build_reset,
    frame,
)
from fastproxy.wire.link.records import REKEY_RECORDS, Sealer
from tests.net.kit import Run
from tests.net.link.ends import (
    SETTINGS,
    Answer,
    Calling,
    Pair,
    Pieces,
    Receiving,
    answered,
    body_of,
    request,
    response,
)

INTERVAL_S = SETTINGS.ping_interval_s


async def wait_for_ever(stream: ReceivedStream, request: Sealed) -> None:
    """A service that doesn't answer."""
    if not request.is_whole:
        body_of(stream)
    await Waiter()


def make(kind: str, settings: link_module.LinkSettings = SETTINGS) -> Calling | Receiving:
    """An end of a link."""
    end = Calling(settings) if kind == "caller" else Receiving(settings)
    if isinstance(end, Receiving):
        end.service.answer = wait_for_ever
    end.peer.hear()
    return end


BOTH = pytest.mark.parametrize("kind", ["caller", "receiver"])


# --- signs of life ------------------------------------------------------------------------------------------


@BOTH
def test_a_silent_peer_is_asked_and_then_given_up(kind: str) -> None:
    end = make(kind)
    end.clock.advance(INTERVAL_S + 1)
    assert PING in [each.kind for each in end.peer.hear()]
    end.clock.advance(INTERVAL_S - 2)
    assert not end.link.closed
    end.clock.advance(INTERVAL_S)
    assert end.ended == "silent"


@BOTH
def test_a_peer_that_answers_is_kept(kind: str) -> None:
    end = make(kind)
    for _ in range(12):
        end.clock.advance(INTERVAL_S)
        for each in end.peer.hear():
            if each.kind == PING:
                end.peer.send(frame(PING | ACK, 0, each.payload))
    assert not end.ended


@BOTH
def test_a_ping_is_answered_with_its_own_bytes(kind: str) -> None:
    end = make(kind)
    end.peer.send(frame(PING, 0, b"12345678"))
    assert [(each.kind, each.payload) for each in end.peer.hear()] == [(PING | ACK, b"12345678")]


@BOTH
def test_what_is_under_way_ends_with_a_peer_that_is_gone(kind: str) -> None:
    end = make(kind)
    if isinstance(end, Calling):
        answers = [end.call(), end.call_short(), end.call(Pieces(bytes(1 << 23)))]
    else:
        answers = []
        end.peer.send(request(1), request(2, flags=0))
    end.clock.advance(4 * INTERVAL_S)
    assert end.ended == "silent"
    assert all(answer.cause == "connection_lost" for answer in answers)
    if isinstance(end, Receiving):
        assert len(end.service.errors) == 2


@BOTH
def test_a_link_that_nobody_uses_is_closed_with_a_goodbye(kind: str) -> None:
    end = make(kind, replace(SETTINGS, idle_timeout_s=20))
    heard = keep_alive(end, 40)
    assert end.ended == "idle"
    assert (GOAWAY, IDLE) in heard


@BOTH
def test_short_calls_between_two_looks_are_a_use(kind: str) -> None:
    end = make(kind, replace(SETTINGS, idle_timeout_s=20))
    for number in range(1, 40):
        if isinstance(end, Calling):
            answer = end.call_short()
            end.peer.send(response(number))
            assert answer.told
        else:
            end.peer.send(request(number), frame(RESET, number, build_reset("")))
        assert not end.link.streams
        keep_alive(end, 3)
    assert not end.ended


@BOTH
def test_a_link_with_a_long_call_is_in_use(kind: str) -> None:
    end = make(kind, replace(SETTINGS, idle_timeout_s=20))
    if isinstance(end, Calling):
        end.call()
    else:
        end.peer.send(request(1))
    keep_alive(end, 100)
    assert not end.ended


def keep_alive(end: Calling | Receiving, seconds: float) -> list[tuple[int, int]]:
    """Answer pings for so long; return the goodbyes that came, by kind and reason."""
    heard = []
    for _ in range(int(seconds)):
        end.clock.advance(1)
        for each in end.peer.hear():
            if each.kind == PING:
                end.peer.send(frame(PING | ACK, 0, each.payload))
            elif each.kind == GOAWAY:
                heard.append((GOAWAY, each.payload[-1]))
    return heard


# --- new keys -----------------------------------------------------------------------------------------------


@BOTH
def test_a_direction_changes_its_key_by_age_when_it_next_sends(kind: str) -> None:
    end = make(kind, replace(SETTINGS, rekey_s=30))
    keep_alive(end, 29)
    assert end.counters.rekeys == 0
    keep_alive(end, 60)
    end.peer.send(frame(PING, 0, b"12345678"))
    end.peer.hear()
    assert 2 <= end.counters.rekeys <= 3
    assert [each.kind for each in end.peer.frames].count(REKEY) == end.counters.rekeys
    assert not end.ended


@BOTH
def test_a_direction_changes_its_key_by_count(kind: str) -> None:
    end = make(kind)
    sealer, sealed = cast(Sealer, end.link._sealer), end.link._sealer.records
    sealer.records, sealer._before = REKEY_RECORDS - 1, sealed - (REKEY_RECORDS - 1)  # the count goes on
    for _ in range(3):
        end.peer.send(frame(PING, 0, b"12345678"))
        end.peer.hear()
    assert end.counters.rekeys == 1
    assert [each.kind for each in end.peer.frames].count(PING | ACK) == 3
    assert end.link._sealer.records == 1


@BOTH
def test_a_peer_may_change_its_key_at_any_time(kind: str) -> None:
    end = make(kind)
    for _ in range(3):
        end.peer.send(frame(PING, 0, b"12345678"), frame(REKEY, 0, b""))
        end.peer.sealer.rekey()
    end.peer.send(frame(PING, 0, b"12345678"))
    assert len(end.peer.hear()) == 4
    assert end.counters.rekeys == 3


@BOTH
def test_a_peer_that_changes_its_key_without_a_word_is_cut_off(kind: str) -> None:
    end = make(kind)
    end.peer.sealer.rekey()
    end.peer.send(frame(PING, 0, b"12345678"))
    assert end.ended == "record"


# --- goodbyes -----------------------------------------------------------------------------------------------


def test_a_goodbye_gives_the_streams_above_it_back_and_lets_the_others_end() -> None:
    end = Calling()
    answers = [end.call(), end.call_short(), end.call(Pieces(bytes(1 << 23))), end.call_short()]
    end.peer.send(frame(GOAWAY, 0, build_goaway(2, DRAINING)))
    assert [answer.cause for answer in answers] == ["", "", "stream_refused", "stream_refused"]
    assert all(not answer.error.sent for answer in answers[2:])  # type: ignore[union-attr]
    assert not end.link.ready
    end.peer.send(response(1, b"first"))
    assert not end.link.closed
    end.peer.send(response(2, b"second"))
    assert [answer.content for answer in answers[:2]] == [b"first", b"second"]
    assert end.ended == "drained"


def test_a_goodbye_without_a_stream_ends_the_link_at_once() -> None:
    for end in (Calling(), Receiving()):
        end.peer.send(frame(GOAWAY, 0, build_goaway(0, DRAINING)))
        assert end.ended == "drained"


def test_a_second_goodbye_may_take_more_back() -> None:
    end = Calling()
    answers = [end.call() for _ in range(3)]
    end.peer.send(frame(GOAWAY, 0, build_goaway(2**32 - 1, DRAINING)))
    assert [answer.told for answer in answers] == [False, False, False]
    end.peer.send(frame(GOAWAY, 0, build_goaway(1, PROTOCOL_ERROR)))
    assert [answer.told for answer in answers] == [False, True, True]


def test_one_call_that_is_given_back_may_end_others() -> None:
    end = Calling()

    class Ending(Answer):
        def fail(self, error: BaseException) -> None:
            super().fail(error)
            other.cancel()

    end.open(first := Ending())
    other = end.open(second := Answer())
    end.peer.send(frame(GOAWAY, 0, build_goaway(0, DRAINING)))
    assert first.cause == "stream_refused"
    assert not second.told
    assert end.ended == "drained"


def test_a_refused_stream_can_be_sent_elsewhere() -> None:
    end = Calling()
    answers = [end.call(), end.call_short(), end.call(Pieces(bytes(1 << 23)))]
    for number in (1, 2, 3):
        end.peer.send(frame(REFUSED, number, build_refused("overloaded")))
    assert [answer.cause for answer in answers] == ["stream_refused"] * 3
    assert all(not answer.error.sent for answer in answers)  # type: ignore[union-attr]
    assert end.link.streams == {}
    assert not end.link._turns


def test_a_stream_that_the_receiver_breaks_off_was_perhaps_acted_on() -> None:
    end = Calling()
    answer, short = end.call(), end.call_short()
    begun = end.call()
    end.peer.send(response(3, b"a", flags=0, length=None))
    reading = [Run(begun.body.read()), Run(begun.body.read())]
    for number in (1, 2, 3):
        end.peer.send(frame(RESET, number, build_reset("internal_error")))
    assert [answer.cause, short.cause] == ["connection_lost"] * 2
    assert answer.error.sent  # type: ignore[union-attr]
    assert reading[0].value() == b"a"
    with pytest.raises(Exception, match="internal_error"):
        reading[1].value()
    assert end.link.streams == {}


def test_a_receiver_that_drains_takes_no_more_and_ends_with_its_last_stream() -> None:
    end = Receiving()
    end.service.answer = wait_for_ever
    end.peer.send(request(1))
    end.link.drain()
    assert end.peer.goodbye() == (1, DRAINING)
    end.peer.send(request(2), request(3, b"abc", flags=0), frame(DATA | END, 3, b"d"))  # they crossed
    assert len(end.service.requests) == 1
    assert end.peer.hear() == []
    assert end.is_settled
    end.peer.send(frame(RESET, 1, build_reset("")))
    assert end.ended == "drained"


def test_a_caller_that_drains_ends_with_its_last_stream() -> None:
    end = Calling()
    answer = end.call_short()
    end.link.drain(REPLACED)
    assert end.peer.goodbye() == (2**32 - 1, REPLACED)
    assert not end.link.ready
    end.peer.send(response(1, b"a"))
    assert answer.content == b"a"
    assert end.ended == "drained"


@BOTH
def test_a_revoked_link_says_so_and_is_cut(kind: str) -> None:
    end = make(kind)
    answers = [end.call()] if isinstance(end, Calling) else []
    end.link.close(KEY_REVOKED, "revoked")
    assert end.peer.goodbye()[1] == KEY_REVOKED
    assert end.ended == "revoked"
    assert not end.wire.aborted
    end.clock.advance(1.5)
    assert end.wire.aborted  # also when the peer doesn't read
    assert all(answer.cause == "connection_lost" for answer in answers)


@BOTH
def test_an_old_link_makes_way(kind: str) -> None:
    replaced: list[object] = []
    end = make(kind, replace(SETTINGS, max_age_s=100))
    if isinstance(end, Calling):
        end.link._on_goodbye = replaced.append
        answer = end.call()
    else:
        end.peer.send(request(1))
    goodbyes = keep_alive(end, 99)
    assert not goodbyes
    assert not replaced
    goodbyes = keep_alive(end, INTERVAL_S)
    assert not end.ended
    if isinstance(end, Calling):
        assert replaced  # whoever keeps the links makes another first
        assert end.link.ready
        end.peer.send(response(1))
        assert answer.told
    else:
        assert set(goodbyes) == {(GOAWAY, DRAINING)}
        assert len(end.link.streams) == 1


# --- what is left -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["lost", "closed", "broken", "aborted"])
@BOTH
def test_nothing_is_left_of_a_link_that_ended(kind: str, how: str) -> None:
    end = make(kind)
    answers: list[Answer] = []
    if isinstance(end, Calling):
        answers = [end.call(Pieces(bytes(1 << 23))), end.call(), end.call_short()]
        end.peer.send(response(2, b"a", flags=0, length=None))
    else:
        end.peer.send(request(1, flags=0), request(2))
    if how == "lost":
        end.wire.lose(ConnectionResetError())
    elif how == "closed":
        end.wire.end()
    elif how == "broken":
        end.peer.send(frame(0, 0, b""))
        end.wire.lose()
    else:
        end.link.abort()
        end.wire.lose()
    assert end.link.closed
    assert end.link.streams == {}
    assert not end.link._turns
    assert all(answer.told for answer in answers)
    assert sum(end.counters.ended.values()) == 1
    end.clock.advance(2)
    assert end.clock.idle  # no timer
    assert end.clock.failures == []
    if isinstance(end, Receiving):
        assert end.server.links == set()
        assert not end.server._by_caller


@BOTH
def test_what_is_said_to_a_link_that_ended_is_not_heard(kind: str) -> None:
    end = make(kind)
    late = end.peer.sealer.seal(frame(PING, 0, bytes(8)))
    end.link.abort()
    end.wire.written = b""
    end.link.data_received(late)
    end.link.pause_writing()
    end.link.resume_writing()
    end.link.fail(LinkError("frame", "late"))
    end.link.drain()
    end.link.close(DRAINING, "late")
    end.clock.advance(0)
    assert end.wire.written == b""
    assert end.counters.ended == {"aborted": 1}


def test_a_body_of_a_link_that_ended_raises_and_content_is_not_sent() -> None:
    end = Calling()
    answer = end.call()
    end.peer.send(response(1, b"a", flags=0, length=None))
    body = answer.body
    end.wire.lose(ConnectionResetError())
    with pytest.raises(Exception, match="the link ended"):
        Run(body.read()).value()
    body.close()
    end.link.credit = 0
    waiting = Run(end.link.turn())
    assert waiting.done  # nobody would ever give it one
    assert Run(end.link.until_read()).done
    end.clock.advance(2)
    assert end.clock.idle


def test_both_ends_change_keys_again_and_again_under_load() -> None:
    pair = Pair(replace(SETTINGS, rekey_s=1))
    for number in range(200):
        pair.clock.advance(0.2)
        answer = pair.call(b"%d" % number)
        pair.settle()
        assert answer.content == b"%d" % number
    assert pair.caller.counters.rekeys >= 8
    assert pair.server.counters.rekeys >= 8
    assert not pair.caller.closed


def test_an_answer_that_ends_its_own_stream_early_is_told_so() -> None:
    """The receiver refuses by the head while content still comes: the caller stops, and both forget it."""

    async def answer(stream: ReceivedStream, request: Sealed) -> None:
        await answered(stream, b"no")

    pair = Pair()
    pair.service.answer = answer
    told = pair.call(Pieces(bytes(1 << 22)))
    pair.settle()
    assert told.content == b"no"
    assert not pair.caller.streams
    assert not pair.receiver.streams
