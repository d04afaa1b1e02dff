"""Somebody sits between the proxies and changes, repeats, swaps, cuts or invents what passes.

Whatever they do, the service is not called with anything that its caller didn't send, the caller never gets
anything that the service didn't answer, and the next honest exchange works.
"""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from fastproxy.wire.envelope import NAME_AT, RESPONSE_HEADER_BYTES
from tests.e2e.client import Answer, Client, fetch, request_bytes
from tests.e2e.conftest import Maker
from tests.e2e.http_wire import Message, chunked
from tests.e2e.proxies import Config, Pair, ProxyProcess
from tests.e2e.relay import CONTENT_TYPE, TARGET, Change, Relay
from tests.e2e.services import Conversation, ScriptedService, sized

HEADER_BYTES = NAME_AT + 1 + len("in")
"""Of a request's envelope, up to the word of its first record."""
UNPROVEN = {"response_unsealed", "response_broken"}


def ledger(conversation: Conversation) -> None:
    """A service that must not be called with anything invented; big answers on demand, in chunks or sized."""
    while True:
        request = conversation.request()
        if request.start.startswith("GET /chunks"):
            pieces = [bytes([65 + number]) * 60_000 for number in range(8)]
            conversation.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked(*pieces))
        elif request.start.startswith("GET /sized"):
            conversation.send(sized(bytes(range(240)) * 2000))
        else:
            conversation.send(sized(b"balance: 100", "X-Signed: yes"))


@pytest.fixture(scope="module")
def service(make_shared: Maker) -> ScriptedService:
    """The service behind everything here."""
    return make_shared.service(ledger)


@pytest.fixture(scope="module")
def relay(make_shared: Maker) -> Relay:
    """Who sits between."""
    return make_shared.relay()


@pytest.fixture(scope="module")
def pair(make_shared: Maker, service: ScriptedService, relay: Relay) -> Pair:
    """A pair with the relay between, which has spoken once already."""
    pair = make_shared.pair(
        {"bank": [service.endpoint]},
        # So that the connections to the service end soon after each test, and all that they carried was read.
        inner={"limits": {"endpoint_idle_timeout_s": 0.1}},
        relay=relay,
    )
    assert ask(pair).status == 200
    return pair


def ask(pair: Pair) -> Answer:
    """An honest exchange."""
    return pair.fetch("POST", "/bank/account", b"amount=1", ["X-Token: secret"])


def flipped(position: int, bit: int) -> Change:
    """Flip one bit."""

    def change(content: bytes) -> bytes:
        byte = content[position] ^ 1 << bit
        return content[:position] + bytes([byte]) + content[position + 1 :]

    return change


def positions(size: int, header_bytes: int, seed: int) -> list[int]:
    """Every byte of the header and the first record's word and prefix, and a sample of the rest."""
    first = list(range(header_bytes + 12))
    return first + random.Random(seed).sample(range(len(first), size), 50) + [size - 1]


def assert_discarded(answer: Answer) -> None:
    """The answer tells of a failure, and nothing of what came."""
    assert answer.status in (502, 503), answer
    assert answer.cause in UNPROVEN, answer.problem
    assert b"balance" not in answer.body
    assert answer.all("x-signed") == []


# --- bits --------------------------------------------------------------------------------------------------


def test_an_eavesdropper_sees_nothing_of_the_content(pair: Pair, relay: Relay) -> None:
    assert ask(pair).body == b"balance: 100"
    seen = relay.requests[-1] + relay.responses[-1]
    for secret in (b"account", b"amount", b"secret", b"balance", b"bank", b"POST", b"200"):
        assert secret not in seen


def test_a_request_with_any_bit_flipped_never_reaches_the_service(
    pair: Pair, relay: Relay, service: ScriptedService
) -> None:
    before = len(service.requests)
    for position in positions(len(relay.requests[-1]), HEADER_BYTES, 1):
        with relay.changing(request=flipped(position, position % 8)):
            assert_discarded(ask(pair))
    assert len(service.requests) == before
    assert ask(pair).body == b"balance: 100"


def test_an_answer_with_any_bit_flipped_never_reaches_the_caller(pair: Pair, relay: Relay) -> None:
    for position in positions(len(relay.responses[-1]), RESPONSE_HEADER_BYTES, 2):
        with relay.changing(response=flipped(position, position % 8)):
            assert_discarded(ask(pair))
    assert ask(pair).body == b"balance: 100"


@pytest.mark.parametrize(
    "change",
    [lambda sealed: sealed[:-1], lambda sealed: sealed + b"\0", lambda sealed: sealed * 2, lambda _: b""],
    ids=["cut", "longer", "doubled", "empty"],
)  # fmt: skip
def test_messages_of_another_length_are_refused(
    pair: Pair, relay: Relay, service: ScriptedService, change: Change
) -> None:
    before = len(service.requests)
    with relay.changing(request=change):
        assert_discarded(ask(pair))
    assert len(service.requests) == before
    with relay.changing(response=change):
        assert_discarded(ask(pair))
    assert ask(pair).status == 200


# --- answers from elsewhere --------------------------------------------------------------------------------


def test_the_answer_to_another_request_is_refused(pair: Pair, relay: Relay) -> None:
    ask(pair)
    earlier = relay.responses[-1]
    with relay.changing(response=lambda _: earlier):
        answer = ask(pair)
        assert_discarded(answer)
        assert answer.cause == "response_broken"
    assert ask(pair).status == 200


def test_an_unsealed_200_from_between_is_discarded(pair: Pair, relay: Relay) -> None:
    with relay.changing(response=lambda _: b"balance: 1000000"):
        answer = ask(pair)
        assert_discarded(answer)
        assert (answer.status, answer.cause) == (502, "response_unsealed")
    assert ask(pair).status == 200


def test_a_request_sent_back_as_its_own_answer_is_refused(pair: Pair, relay: Relay) -> None:
    with relay.changing(response=lambda _: relay.requests[-1]):
        assert_discarded(ask(pair))


# --- replay ------------------------------------------------------------------------------------------------


def deliver(proxy: ProxyProcess, envelope: bytes) -> Answer:
    """Send a recorded envelope to an in proxy."""
    return fetch(proxy.listen, "POST", TARGET, envelope, [CONTENT_TYPE])


def test_a_replayed_envelope_is_refused(pair: Pair, relay: Relay, service: ScriptedService) -> None:
    ask(pair)
    before = len(service.requests)
    answer = deliver(pair.inner, relay.requests[-1])
    assert (answer.status, len(service.requests)) == (401, before)
    pair.inner.log.wait_for(cause="envelope_replayed")
    assert pair.inner.metrics().refusals("envelope_replayed") == 1


@pytest.mark.parametrize(
    "changes", [{"name": "other"}, {"private_key": {"file": "other.key"}}], ids=["other name", "other key"]
)
def test_an_envelope_for_one_receiver_is_no_use_at_another(
    pair: Pair, relay: Relay, service: ScriptedService, make: Maker, changes: Config
) -> None:
    ask(pair)
    before = len(service.requests)
    other = make.in_proxy({"bank": [service.endpoint]}, changes)
    answer = deliver(other, relay.requests[-1])
    assert (answer.status, answer.cause) == (401, "identity_unproven")
    assert len(service.requests) == before


def test_an_envelope_is_no_use_after_a_restart(make: Maker, service: ScriptedService) -> None:
    relay = make.relay()
    pair = make.pair({"bank": [service.endpoint]}, relay=relay)
    assert ask(pair).status == 200
    recorded = list(relay.requests)
    pair.restart_inner()
    before = len(service.requests)
    for envelope in recorded:
        answer = deliver(pair.inner, envelope)
        assert (answer.status, answer.get("content-type")) == (200, "application/vnd.fastproxy.v2")
        assert b"balance" not in answer.body
    assert len(service.requests) == before
    assert pair.inner.metrics().total("fastproxy_challenges_total") == len(recorded)
    assert pair.inner.metrics().total("fastproxy_sessions") == 0


# --- records -----------------------------------------------------------------------------------------------

Surgery = Callable[[list[bytes], list[bytes]], list[bytes]]
"""Given the records of a message and those of an earlier one, returns what is passed on."""

SURGERIES: dict[str, Surgery] = {
    "last one cut off": lambda records, _: records[:-1],
    "cut inside a record": lambda records, _: [*records[:3], records[3][:-5]],
    "all but the first cut off": lambda records, _: records[:1],
    "two swapped": lambda records, _: [*records[:2], records[3], records[2], *records[4:]],
    "one dropped": lambda records, _: records[:2] + records[3:],
    "one doubled": lambda records, _: records[:3] + records[2:],
    "one from an earlier message": lambda records, earlier: [*records[:2], earlier[2], *records[3:]],
    "end of an earlier message": lambda records, earlier: records[:3] + earlier[3:],
    "something behind the last": lambda records, _: [*records, records[-1]],
    "one made the last": lambda records, _: [*records[:2], bytes([records[2][0] | 0x80]) + records[2][1:]],
}


def taken_apart(message: bytes, header_bytes: int) -> list[bytes]:
    """The header with the first record, then the other records."""
    records, at = [], header_bytes
    while at < len(message):
        end = at + 4 + (int.from_bytes(message[at : at + 4], "big") & 0x7FFF_FFFF)
        records.append(message[at:end])
        at = end
    records[0] = message[:header_bytes] + records[0]
    return records


def operated(surgery: Surgery, earlier: bytes, header_bytes: int) -> Change:
    """Do a surgery on the records of whatever passes."""

    def change(content: bytes) -> bytes:
        records = taken_apart(content, header_bytes)
        assert len(records) > 4, "too small to be operated on"
        changed = b"".join(surgery(records, taken_apart(earlier, header_bytes)))
        assert changed != content
        return changed

    return change


def upload(pair: Pair, framing: str) -> Answer:
    """Send a body that takes many records."""
    content = [bytes([97 + number]) * 60_000 for number in range(8)]
    with Client(pair.address) as client:
        if framing == "sized":
            client.send(request_bytes("POST", "/bank/upload", b"".join(content)))
        else:
            client.send(request_bytes("POST", "/bank/upload", headers=["Transfer-Encoding: chunked"]))
            client.send(chunked(*content))
        return client.answer()


@pytest.mark.parametrize("framing", ["sized", "chunked"])
@pytest.mark.parametrize("surgery", SURGERIES.values(), ids=SURGERIES)
def test_a_request_whose_records_were_operated_on_never_looks_complete(
    pair: Pair, relay: Relay, service: ScriptedService, framing: str, surgery: Surgery
) -> None:
    assert upload(pair, framing).status == 200
    with relay.changing(request=operated(surgery, relay.requests[-1], HEADER_BYTES)):
        begun = len(service.requests)
        answer = upload(pair, framing)
    assert answer.status >= 400
    assert answer.cause in {"message_broken", *UNPROVEN}
    assert b"balance" not in answer.body
    service.wait_for_connections(0)
    arrived: list[Message] = service.requests[begun:]
    assert [message.whole for message in arrived] in ([], [False])
    assert ask(pair).status == 200


@pytest.mark.parametrize("framing", ["sized", "chunks"])
@pytest.mark.parametrize("surgery", SURGERIES.values(), ids=SURGERIES)
def test_an_answer_whose_records_were_operated_on_never_looks_complete(
    pair: Pair, relay: Relay, framing: str, surgery: Surgery
) -> None:
    honest = pair.fetch("GET", f"/bank/{framing}")
    assert honest.whole
    with relay.changing(response=operated(surgery, relay.responses[-1], RESPONSE_HEADER_BYTES)):
        answer = pair.fetch("GET", f"/bank/{framing}")
    if answer.status == 200:  # it had begun when the first bad record came
        assert not answer.whole
        assert honest.body.startswith(answer.body)
    else:
        assert_discarded(answer)
    assert ask(pair).status == 200
