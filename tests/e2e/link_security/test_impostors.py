"""Whoever poses as somebody else gets nowhere: at an in proxy as a caller, at an out proxy as a receiver.

An in proxy says nothing to whoever doesn't prove a caller's identity, the same nothing whatever was wrong; it
counts and logs what it was. An out proxy sends no byte of a request before the receiver has proven its own.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from fastproxy.wire.compat.sealing import CompatSender
from fastproxy.wire.identity import PrivateKey
from fastproxy.wire.link.handshake import NO_PSK, Initiator, Params, Responder, mac_bytes, mac_key
from fastproxy.wire.link.terms import message_1_bytes
from tests.e2e.client import fetch
from tests.e2e.link_security.hand_made import PARAMS, Ending, connected, ending_of, initiator, link, message_1
from tests.e2e.link_security.proxies import Parties, call, failures, instead_of, refusal_of, wait_for_failures
from tests.e2e.proxies import Config, ProxyProcess, key_of
from tests.e2e.services import Conversation, ScriptedService, answering, sized

MAC_BYTES = 16
MESSAGE_2_LENGTH = 65


@pytest.fixture(scope="module")
def service(shared_parties: Parties) -> ScriptedService:
    """The service behind everything here."""
    return shared_parties.service(answering(sized(b"secret of the service")))


@pytest.fixture(scope="module")
def receiver(shared_parties: Parties, service: ScriptedService) -> ProxyProcess:
    """An in proxy where `web` may call, and `guest` may not."""
    return shared_parties.in_proxy(
        {"api": service.endpoint}, {"privileges": [{"callers": ["web"], "services": ["api"]}]}
    )


# --- at the in proxy ---------------------------------------------------------------------------------------


class Forged(PrivateKey):
    """A key that claims to be another one's. Exchanges with the receiver come from `key`.

    Args:
        claimed: the public key that is shown. key: the private key that is really there.
    """

    def __init__(self, claimed: bytes, key: PrivateKey) -> None:
        super().__init__(bytes.fromhex(key.reveal()))
        self.public_key = claimed


class Stolen(Forged):
    """Made with the receiver's own private key: from it comes what the receiver and `claimed` share."""

    def exchange(self, public_key: bytes) -> bytes:
        return super().exchange(self.public_key)


def marred(message: bytes, position: int) -> bytes:
    """Flip a bit, and make the check at the end right again: it takes the receiver's public key alone."""
    changed = bytearray(message)
    changed[position] ^= 1
    checked = bytes(changed[:-MAC_BYTES])
    return checked + mac_bytes(mac_key(key_of("in").public_key), checked)


WRONG: dict[str, tuple[str, Callable[[], bytes]]] = {
    "a key that nobody here knows": ("unknown_caller", lambda: message_1(key=key_of("stranger"))),
    "another in proxy's own key": ("unknown_caller", lambda: message_1(key=key_of("in2"))),
    "a caller's name without its key": (
        "handshake", lambda: message_1(key=Forged(key_of("web").public_key, key_of("stranger")))),
    "meant for a receiver of another name": ("handshake", lambda: message_1(receiver_name="in2")),
    "meant for a receiver with another key": (
        "mac", lambda: message_1(receiver_key=key_of("in2").public_key)),
    "a bit of the ephemeral key flipped": ("handshake", lambda: marred(message_1(), 20)),
    "a bit of the caller's key flipped": ("handshake", lambda: marred(message_1(), 60)),
    "a bit of the params flipped": ("handshake", lambda: marred(message_1(), 100)),
    "a bit of the offered features flipped": ("handshake", lambda: marred(message_1(), 13)),
    "a bit of the check flipped": ("mac", lambda: message_1()[:-1] + bytes([message_1()[-1] ^ 1])),
    "something behind it": ("handshake", lambda: message_1() + b"x"),
}  # fmt: skip


@pytest.mark.parametrize("wrong", WRONG)
def test_who_proves_no_caller_gets_no_byte_and_is_counted(
    receiver: ProxyProcess, service: ScriptedService, wrong: str
) -> None:
    cause, make = WRONG[wrong]
    before, requests = failures(receiver, cause=cause), len(service.requests)
    with connected(receiver.listen) as sock:
        sock.sendall(make())
        assert ending_of(sock) == Ending(b"", was_reset=False)
    wait_for_failures(receiver, before + 1, cause=cause)
    assert failures(receiver, cause=cause) == before + 1
    assert len(refusal_of(receiver, cause, peer="127.0.0.1")) > 40
    assert len(service.requests) == requests
    with link(receiver.listen) as honest:
        assert honest.call().status == 200


def test_a_receiver_that_knows_what_another_was_told_cannot_pass_it_on(
    parties: Parties, receiver: ProxyProcess
) -> None:
    """In proxy B recorded how `web` made a link to it, and says the same to C."""
    other = parties.in_proxy({"api": "127.0.0.1:1"}, {"name": "in2", "private_key": {"file": "in2.key"}})
    said = message_1(receiver_name="in2", receiver_key=key_of("in2").public_key)
    with connected(other.listen) as sock:
        sock.sendall(said)
        assert sock.recv(1) != b""  # B takes it
    before = failures(receiver, cause="mac")
    with connected(receiver.listen) as sock:
        sock.sendall(said)
        assert ending_of(sock).said == b""
    wait_for_failures(receiver, before + 1, cause="mac")


def test_the_receivers_own_stolen_key_makes_no_caller(
    receiver: ProxyProcess, service: ScriptedService
) -> None:
    """Whoever has it can forge a first message, and not a single record after it."""
    requests, opened = len(service.requests), receiver.metrics().total("fastproxy_links_opened_total")
    stolen = Stolen(key_of("web").public_key, key_of("in"))
    forger = Initiator(stolen, "in", key_of("in").public_key, NO_PSK, PARAMS, PrivateKey(os.urandom(32)))
    before = failures(receiver)
    with connected(receiver.listen) as sock:
        sock.sendall(forger.message)
        assert len(sock.recv(512)) > 64  # it opened: the key is the right one
        sock.sendall((64).to_bytes(4, "big") + os.urandom(64))
        ending_of(sock)
    wait_for_failures(receiver, before + 1)
    assert receiver.metrics().total("fastproxy_links_opened_total") == opened
    assert len(service.requests) == requests


def test_a_caller_is_whose_key_it_is_whatever_its_messages_say(
    receiver: ProxyProcess, service: ScriptedService
) -> None:
    requests = len(service.requests)
    claims = "fastproxy-caller: web\r\nc_servicename: web\r\nforwarded: for=web\r\nvia: 1.1 web\r\n"
    with link(receiver.listen, key=key_of("guest")) as guest:
        assert guest.call(headers=claims)[:2] == (403, "no_privilege")
        assert guest.call("/api/web", headers=claims)[:2] == (403, "no_privilege")
    assert len(service.requests) == requests
    with link(receiver.listen) as web:
        assert web.call(headers=claims.replace("web", "guest")).status == 200
    assert service.last.all("fastproxy-caller") == ["web"]


def test_a_caller_with_a_key_cannot_be_claimed_over_compat(
    parties: Parties, service: ScriptedService
) -> None:
    """Not even where the in proxy takes callers of compat at their word."""
    legacy: Config = {"legacy": {"sign": [], "encrypt": []}}
    both = parties.in_proxy(
        {"api": service.endpoint},
        {
            "listen": {"accept": ["link", "compat"]},
            "compat": {"trust_claimed_caller": True, "callers": legacy},
            "privileges": [{"callers": ["web", "legacy"], "services": ["api"]}],
        },
    )
    message = CompatSender(None, None, None).seal(b"")
    requests = len(service.requests)
    with link(both.listen, key=key_of("guest")) as guest:
        assert guest.call(headers="c_servicename: web\r\n").status == 403
    claimed = fetch(both.listen, "POST", "/inProxy/api/", message, ["C_ServiceName: web"])
    assert (claimed.status, claimed.cause) == (401, "identity_unproven")
    assert len(service.requests) == requests
    assert fetch(both.listen, "POST", "/inProxy/api/", message, ["C_ServiceName: legacy"]).status == 200


def test_a_pre_shared_key_is_needed_at_both_ends(parties: Parties, service: ScriptedService) -> None:
    """Without it, or with another one, a link looks as if it came about, and never carries a record."""
    psk, other = os.urandom(32), os.urandom(32)
    literal = {"literal": psk.hex(), "insecure_literal": True}
    callers = {"web": {"public_keys": [key_of("web").public_key.hex()], "psk": literal}}
    receiver = parties.in_proxy({"api": service.endpoint}, {"callers": callers})
    for wrong in (NO_PSK, other):
        with connected(receiver.listen) as sock:
            handshake = initiator(psk=wrong)
            sock.sendall(handshake.message)
            answer = sock.recv(512)
            with pytest.raises(Exception, match="other keys"):
                handshake.finish(answer)
    with link(receiver.listen, psk=psk) as web:
        assert web.call().status == 200
    with link(receiver.listen, key=key_of("guest")) as guest:
        assert guest.call().status == 200
    named = {"receivers": {"in": {"psk": literal}}}
    assert call(parties.out_proxy(("api",), receiver, named)).status == 200
    without = parties.out_proxy(("api",), receiver)
    answer_without = call(without)
    assert (answer_without.status, answer_without.cause) == (502, "link_refused")
    assert failures(without, cause="handshake") == 1


# --- at the out proxy --------------------------------------------------------------------------------------


class Impostor(ScriptedService):
    """Listens where the receiver should, and answers first messages in its own way.

    heard: all that was said to it, by connection.

    Args:
        answer: makes the answer to a first message.
    """

    def __init__(self, answer: Callable[[bytes], bytes]) -> None:
        self.heard: list[bytes] = []
        self._answer = answer
        super().__init__(self._pose)

    def _pose(self, conversation: Conversation) -> None:
        message = b""
        while not (size_bytes := message_1_bytes(message, message[:4], 0)):
            data = conversation.stream.read1(512)  # type: ignore[attr-defined]
            if not data:
                return
            message += data
        assert len(message) == size_bytes
        conversation.send(self._answer(message))
        rest = b""
        try:
            while data := conversation.stream.read1(65536):  # type: ignore[attr-defined]
                rest += data
        except ConnectionError:
            pass
        self.heard.append(rest)


def answered_as(key: PrivateKey, name: str = "in") -> Callable[[bytes], bytes]:
    """Answer as a receiver with this key would, whatever key the message was meant for."""

    def answer(message: bytes) -> bytes:
        responder = Responder(name, [key], lambda _: NO_PSK, Params(1 << 20, 1 << 20, 100))
        try:
            return responder.answer(message, key, PrivateKey(os.urandom(32)))[0]
        except Exception:  # it can't even read it
            return MESSAGE_2_LENGTH.to_bytes(2, "big") + os.urandom(MESSAGE_2_LENGTH)

    return answer


POSES: dict[str, Callable[[bytes], bytes]] = {
    "with another caller's key": answered_as(key_of("guest")),
    "by sending back what was said": lambda message: message,
    "by sending back its noise": lambda message: (
        MESSAGE_2_LENGTH.to_bytes(2, "big") + message[14 : 14 + MESSAGE_2_LENGTH]
    ),
    "with nonsense": lambda message: MESSAGE_2_LENGTH.to_bytes(2, "big") + os.urandom(MESSAGE_2_LENGTH),
    "with an impossible length": lambda message: b"\xff\xff" + bytes(600),
    "as an HTTP server": lambda message: sized(b"balance: 100", "X-Signed: yes"),
}


@pytest.fixture(scope="module")
def impostors() -> Iterator[dict[str, Impostor]]:
    """One for each pose."""
    with ExitStack() as stack:
        yield {pose: stack.enter_context(Impostor(answer)) for pose, answer in POSES.items()}


@pytest.fixture(scope="module")
def out(shared_parties: Parties, impostors: dict[str, Impostor]) -> ProxyProcess:
    """An out proxy that finds an impostor behind each of its services."""
    endpoints = {f"pose{number}": impostor.endpoint for number, impostor in enumerate(impostors.values())}
    named = {"name": "in", "public_keys": [key_of("in").public_key.hex()]}
    return shared_parties.out_proxy(tuple(endpoints), "127.0.0.1:1", instead_of(named, endpoints))


@pytest.mark.parametrize("pose", POSES)
def test_who_poses_as_the_receiver_gets_nothing_of_the_request(
    out: ProxyProcess, impostors: dict[str, Impostor], pose: str
) -> None:
    before = failures(out, cause="handshake")
    answer = call(out, b"amount=100", target=f"/pose{list(POSES).index(pose)}/")
    assert (answer.status, answer.cause) == (502, "link_refused")
    assert b"balance" not in answer.body
    assert failures(out, cause="handshake") == before + 1
    impostors[pose].wait_for_connections(0)
    assert impostors[pose].heard
    assert set(impostors[pose].heard) == {b""}


def test_a_recorded_answer_of_the_receiver_makes_no_link(parties: Parties, receiver: ProxyProcess) -> None:
    with connected(receiver.listen) as sock:
        sock.sendall(message_1())
        recorded = sock.recv(512)
    with Impostor(lambda message: recorded) as impostor:
        out = parties.out_proxy(("api",), impostor.endpoint)
        assert call(out).cause == "link_refused"
        impostor.wait_for_connections(0)
        assert impostor.heard == [b""]


def test_a_receiver_without_this_caller_is_told_apart_from_one_that_is_gone(
    parties: Parties, receiver: ProxyProcess
) -> None:
    out = parties.out_proxy(("api",), receiver, {"private_key": {"file": "stranger.key"}})
    answer = call(out)
    assert (answer.status, answer.cause) == (502, "link_refused")
    assert failures(out) == 1
    assert "callers" in refusal_of(receiver, "unknown_caller")
    assert fetch(out.admin, "GET", "/healthz").status == 200
