"""Who gets in, and what strangers can do to those who are in: handshakes of every kind, many and slow."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

import pytest

from fastproxy.bounds import OwnCounts
from fastproxy.errors import PEER_RATE_LIMITED, ProxyError
from fastproxy.net.link.receiver import ReceiverLink
from fastproxy.net.link.server import DoorLimits, LinkServer
from fastproxy.wire.identity import PrivateKey
from fastproxy.wire.link.frames import END, GOAWAY, KEY_REVOKED, PAD, PING, RESPONSE, frame
from fastproxy.wire.link.handshake import MAGIC, NO_PSK, Initiator
from tests.net.kit import Clock
from tests.net.link.ends import (
    CALLER,
    PEER_PARAMS,
    SETTINGS,
    Receiving,
    Service,
    SocketDouble,
    make_caller_link,
    make_server,
    request,
)
from tests.wire.link.parties import (
    CALLER_KEY,
    NAME,
    OTHER_RECEIVER_KEY,
    PSK,
    RECEIVER_KEY,
    STRANGER_KEY,
    ephemeral,
    flipped,
    frames_of,
    with_mac,
)


def initiator(
    number: int = 1,
    key: PrivateKey = CALLER_KEY,
    name: str = NAME,
    receiver: PrivateKey = RECEIVER_KEY,
    psk: bytes = NO_PSK,
) -> Initiator:
    """A handshake about to begin."""
    return Initiator(key, name, receiver.public_key, psk, PEER_PARAMS, ephemeral(number))


MESSAGE = initiator().message


class Hall:
    """A receiver with one good link, and a way for strangers to come."""

    def __init__(self, limits: DoorLimits | None = None) -> None:
        self.clock = Clock()
        self.server: LinkServer = make_server(self.clock, Service(), limits=limits)
        self.good = Receiving(server=self.server)

    def come(self, data: bytes = MAGIC, peer: str = "198.51.100.1") -> SocketDouble:
        """A stranger comes and says this."""
        wire = SocketDouble(asyncio.Protocol())
        self.server.take(wire, peer, data)
        return wire

    @property
    def failures(self) -> dict[str, int]:
        """Handshakes that failed, by cause."""
        return dict(self.server.counters.handshakes_failed)

    def check(self) -> None:
        """The good link is as good as before, and nothing is left of those that are gone."""
        number = self.good.link.last_stream + 1
        self.good.peer.send(request(number, b"hello"))
        assert [each.payload[-5:] for each in self.good.peer.hear()] == [b"hello"]
        assert self.server.links >= {self.good.link}
        assert self.server._half_open == len(self.server.links) - sum(
            link.born_s > 0 for link in self.server.links
        )
        assert self.clock.failures == []


STRANGERS: dict[str, tuple[bytes, str]] = {
    "another magic": (b"\xfbfp\x09" + MESSAGE[4:], "handshake"),
    "an impossible length": (MESSAGE[:4] + b"\xff\xff" + MESSAGE[6:], "handshake"),
    "a length too short": (MESSAGE[:4] + b"\0\x01" + MESSAGE[6:], "handshake"),
    "more behind it": (MESSAGE + b"a", "handshake"),
    "without the receiver's key": (initiator(receiver=OTHER_RECEIVER_KEY).message, "mac"),
    "changed": (flipped(MESSAGE, 200), "mac"),
    "changed and checked anew": (with_mac(flipped(MESSAGE, 200)), "handshake"),
    "another receiver's name": (initiator(name="other").message, "handshake"),
    "an unknown caller": (initiator(key=STRANGER_KEY).message, "unknown_caller"),
}


@pytest.mark.parametrize(("message", "cause"), STRANGERS.values(), ids=STRANGERS.keys())
def test_who_proves_nothing_is_cut_off_without_a_byte(message: bytes, cause: str) -> None:
    hall = Hall()
    wire = hall.come(message)
    assert wire.aborted
    assert wire.written == b""
    assert hall.failures == {cause: 1}
    assert hall.server.links == {hall.good.link}
    hall.check()


def test_another_pre_shared_key_is_found_by_the_first_record() -> None:
    hall = Hall()
    wire = hall.come(initiator(psk=PSK).message)
    link = cast(ReceiverLink, wire.protocol)
    assert not link.ready
    assert initiator_refuses(initiator(psk=PSK), wire.take())
    hall.check()


def initiator_refuses(handshake: Initiator, answer: bytes) -> bool:
    try:
        handshake.finish(answer)
    except Exception:
        return True
    return False


@pytest.mark.parametrize("length", range(1, len(MESSAGE), 11))
def test_a_handshake_that_stops_is_cut_off_in_time(length: int) -> None:
    hall = Hall()
    wire = hall.come(MESSAGE[:length])
    assert not wire.closing
    hall.clock.advance(SETTINGS.handshake_timeout_s + 0.1)
    assert wire.aborted
    assert hall.failures == {"timeout": 1}
    hall.check()


def test_a_handshake_in_single_bytes_is_one_too() -> None:
    hall = Hall()
    handshake = initiator(5)
    wire = hall.come(handshake.message[:1])
    wire.receive(*[handshake.message[at : at + 1] for at in range(1, len(MESSAGE))])
    finished = handshake.finish(wire.take())
    assert finished is not None
    wire.receive(finished[0].sealer.seal(frame(PAD, 0, b"")))
    assert cast(ReceiverLink, wire.protocol).ready
    assert cast(ReceiverLink, wire.protocol).caller == CALLER


def test_dripping_does_not_extend_the_time() -> None:
    hall = Hall()
    wire = hall.come(MESSAGE[:1])
    for at in range(1, len(MESSAGE) - 1):
        hall.clock.advance(0.1)
        wire.receive(MESSAGE[at : at + 1])
    assert wire.aborted
    assert hall.failures == {"timeout": 1}


def test_a_replayed_handshake_is_no_link_and_takes_no_callers_place() -> None:
    hall = Hall(DoorLimits(handshakes=20, links_per_caller=2))
    recorded = initiator(9)
    wires = [hall.come(recorded.message) for _ in range(10)]
    assert all(wire.written for wire in wires)
    assert hall.server.counters.opened == 1
    assert len([link for link in hall.server.links if link.ready]) == 1
    another = Receiving(server=hall.server, number=2)  # the caller itself still gets its second one
    assert another.link.ready
    wires[0].receive(b"\0\0\0\x20" + bytes(32))  # a record that was made for another link
    hall.clock.advance(SETTINGS.handshake_timeout_s + 1)
    assert all(wire.aborted for wire in wires)
    assert hall.failures == {"record": 1, "timeout": 9}
    hall.check()


def test_more_links_of_a_caller_than_allowed_are_ended_with_a_goodbye_that_gives_calls_back() -> None:
    hall = Hall(DoorLimits(links_per_caller=2))
    Receiving(server=hall.server, number=2)
    handshake = initiator(3)
    wire = hall.come(handshake.message)
    finished = handshake.finish(wire.take())
    assert finished is not None
    established, _ = finished
    wire.receive(established.sealer.seal(frame(PING, 0, bytes(8)) + request(1, b"a")))
    (goodbye,) = established.opener.feed(wire.take())
    assert goodbye[8:12] == bytes(4)  # the last stream that was taken: none
    assert hall.server.counters.ended == {"links": 1}
    assert hall.server._by_caller == OwnCounts({CALLER: 2})
    hall.check()


def test_links_that_end_make_room_for_others() -> None:
    hall = Hall(DoorLimits(links_per_caller=2))
    for number in range(2, 10):
        end = Receiving(server=hall.server, number=number)
        end.wire.lose()
    assert hall.server._by_caller == OwnCounts({CALLER: 1})
    hall.check()


# --- floods -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "source",
    [lambda number: "198.51.100.1", lambda number: f"198.51.100.{number % 250}", lambda number: f"{number}"],
    ids=["one source", "many", "ever others"],
)
@pytest.mark.parametrize(
    "data", [MAGIC[:1], MAGIC, MESSAGE[:-1], MESSAGE], ids=["a byte", "magic", "most", "all"]
)
def test_a_flood_of_handshakes_is_bounded_and_keeps_nobody_out(
    source: Callable[[int], str], data: bytes
) -> None:
    hall = Hall(DoorLimits(handshakes=50))
    for number in range(500):
        hall.come(data, source(number))
        assert len(hall.server.links) <= 51
        if number % 50 == 49:
            newcomer = Receiving(server=hall.server, number=number)
            newcomer.wire.lose()
            hall.check()
    assert 440 <= hall.failures["half_open"] <= 460
    hall.clock.advance(SETTINGS.handshake_timeout_s + 1)
    assert hall.server.links == {hall.good.link}
    assert hall.server._unproven == {}
    hall.check()


def test_a_flood_from_one_address_costs_others_nothing() -> None:
    hall = Hall(DoorLimits(handshakes=10))
    slow = hall.come(MAGIC, "192.0.2.99")
    for _ in range(100):
        hall.come(MAGIC, "198.51.100.1")
    assert not slow.closing


def test_curve_arithmetic_is_rationed_by_address() -> None:
    asked: list[str] = []

    def admit(peer: str) -> None:
        asked.append(peer)
        if len(asked) > 1:
            raise ProxyError(PEER_RATE_LIMITED)

    clock = Clock()
    server = make_server(clock, Service(), admit=admit)
    for message, peer in ((MESSAGE, "a"), (MESSAGE, "b"), (flipped(MESSAGE, 200), "c")):
        wire = SocketDouble(asyncio.Protocol())
        server.take(wire, peer, message)
    assert asked == ["a", "b"]  # who can't even make the check isn't counted: it costs no arithmetic
    assert server.counters.handshakes_failed == {"rate": 1, "mac": 1}


# --- draining and revoking ----------------------------------------------------------------------------------


def test_a_handshake_that_crosses_the_drain_is_told_to_go_elsewhere() -> None:
    hall = Hall()
    handshake = initiator(3)
    wire = hall.come(handshake.message)
    hall.server.drain()
    assert not wire.closing
    finished = handshake.finish(wire.take())
    assert finished is not None
    established, _ = finished
    wire.receive(established.sealer.seal(request(1, b"a")))  # it couldn't know: what it asked is answered
    hall.clock.advance(0)
    frames = [each for record in established.opener.feed(wire.take()) for each in frames_of(record)]
    assert [each.kind for each in frames if each.kind != PING] == [GOAWAY, RESPONSE | END]
    hall.clock.advance(SETTINGS.handshake_timeout_s)
    assert wire.closing
    assert hall.server.links == set()


def test_who_is_revoked_within_the_handshake_does_not_get_in() -> None:
    hall = Hall()
    handshake = initiator(3)
    wire = hall.come(handshake.message)
    finished = handshake.finish(wire.take())
    assert finished is not None
    assert hall.server.revoke(lambda link: False) == 2
    assert hall.good.peer.goodbye()[1] == KEY_REVOKED
    assert wire.closing
    wire.receive(finished[0].sealer.seal(request(1, b"a")))
    assert hall.server.links == set()
    assert cast(Service, hall.server.handler).requests == []


def test_strangers_are_not_revoked() -> None:
    hall = Hall()
    wire = hall.come(MAGIC)
    assert hall.server.revoke(lambda link: link is hall.good.link) == 0
    assert not wire.closing


# --- the caller's side of the door --------------------------------------------------------------------------


def test_a_caller_takes_its_answer_in_single_bytes() -> None:
    clock = Clock()
    link = make_caller_link(clock)
    wire = SocketDouble(link)
    far = SocketDouble(asyncio.Protocol())
    make_server(clock, Service()).take(far, "192.0.2.1", wire.take())
    answer = far.take()
    wire.receive(*[answer[at : at + 1] for at in range(len(answer))])
    assert link.ready


@pytest.mark.parametrize("bit", range(0, 8 * 67, 41))
def test_a_caller_ends_a_handshake_with_whoever_is_not_the_receiver(bit: int) -> None:
    clock = Clock()
    link = make_caller_link(clock)
    wire = SocketDouble(link)
    said = wire.take()
    far = SocketDouble(asyncio.Protocol())
    make_server(clock, Service()).take(far, "192.0.2.1", said)
    wire.receive(flipped(far.take(), bit))
    clock.advance(SETTINGS.handshake_timeout_s + 1)
    assert link.closed
    assert wire.aborted
    assert wire.written == b""  # not a byte more than the handshake
    assert sum(link.counters.handshakes_failed.values()) == 1
    assert not link.counters.ended


@pytest.mark.parametrize(
    ("error", "cause"), [(None, "closed"), (ConnectionResetError(), "lost"), (TimeoutError(), "timeout")]
)
def test_a_handshake_that_is_cut_off_is_counted(error: Exception | None, cause: str) -> None:
    link = make_caller_link(Clock())
    wire = SocketDouble(link)
    wire.lose(error)
    assert link.counters.handshakes_failed == {cause: 1}


def test_a_link_that_was_given_up_before_its_connection_came_says_nothing() -> None:
    link = make_caller_link(Clock())
    link.drain()
    wire = SocketDouble(link)
    assert wire.aborted
    assert wire.written == b""


def test_a_record_right_behind_the_answer_is_taken() -> None:
    clock = Clock()
    link = make_caller_link(clock)
    wire = SocketDouble(link)
    far = SocketDouble(asyncio.Protocol())
    server = make_server(clock, Service())
    server.take(far, "192.0.2.1", wire.take())
    receiver = cast(ReceiverLink, far.protocol)
    receiver.send(frame(PING, 0, b"12345678"))
    clock.advance(0)
    wire.receive(far.take())
    clock.advance(0)
    far.receive(wire.take())
    assert receiver.ready
    assert link.ready
