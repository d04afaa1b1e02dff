"""Envelopes that no out proxy sends: from strangers, in great numbers, or authentic with foul content."""

from __future__ import annotations

import gzip
import os
import re
from collections.abc import Iterator

import cramjam
import pytest

from fastproxy.wire.ciphers import CHACHA20_POLY1305
from fastproxy.wire.compressors import COMPRESSORS, Compressor
from fastproxy.wire.records import Packing
from tests.e2e.client import Client, fetch, request_bytes
from tests.e2e.conftest import Maker
from tests.e2e.crafted import Sender
from tests.e2e.proxies import ProxyProcess, key_of
from tests.e2e.relay import CONTENT_TYPE, TARGET
from tests.e2e.services import Conversation, ScriptedService, answering, echo, sized

GOOD_HEAD = b"POST /api HTTP/1.1\r\nhost: x\r\n\r\n"
MIB = 1 << 20
FLOOD = 10_000
"""As many sessions would take a MiB if 105 bytes were kept of each: the fields that name one take 144 in a
dict, a whole one 6,000."""
STATUS = re.compile(rb"HTTP/1\.1 ([0-9]{3}) ")


@pytest.fixture(scope="module")
def service(make_shared: Maker) -> ScriptedService:
    """The service that must not be called with anything foul."""
    return make_shared.service(answering(sized(b"served")))


@pytest.fixture(scope="module")
def proxy(make_shared: Maker, service: ScriptedService) -> ProxyProcess:
    """An in proxy alone; the tests are its out proxies."""
    limits = {"new_sessions_per_peer_per_s": 100_000, "body_bytes": 1_000_000}
    return make_shared.in_proxy({"api": [service.endpoint]}, {"limits": limits})


@pytest.fixture(scope="module")
def sender(proxy: ProxyProcess) -> Sender:
    """A known caller."""
    sender = Sender(proxy)
    sender.learn_epoch()
    assert sender.ask(GOOD_HEAD, b"content").content == b"served"
    return sender


@pytest.fixture
def uncalled(service: ScriptedService, sender: Sender) -> Iterator[None]:
    """The service isn't called during the test, and works after it."""
    before = len(service.requests)
    yield
    assert len(service.requests) == before
    assert sender.ask(GOOD_HEAD, b"content").content == b"served"


# --- authentic, but foul ----------------------------------------------------------------------------------


@pytest.mark.usefixtures("uncalled")
@pytest.mark.parametrize(
    ("head", "cause"),
    [
        (b"GET / HTTP/1.1\r\nhost: x\r\nx: a\nx-evil: 1\r\n\r\n", "malformed_request"),
        (b"GET / HTTP/1.1\r\nhost: x\r\nx: a\rb\r\n\r\n", "malformed_request"),
        (b"GET / HTTP/1.1\r\nhost: x\r\n folded\r\n\r\n", "malformed_request"),
        (b"GET / HTTP/1.1\r\nhost: x\r\nx : a\r\n\r\n", "malformed_request"),
        (b"GET / HTTP/1.1\r\nhost: x\r\n\r\nGET /evil HTTP/1.1\r\nhost: x\r\n\r\n", "malformed_request"),
        (b"GET /a b HTTP/1.1\r\nhost: x\r\n\r\n", "malformed_request"),
        (b"GET / HTTP/1.1\r\n\r\n", "malformed_request"),
        (b"GET / HTTP/1.1\r\nhost: x\r\nhost: y\r\n\r\n", "malformed_request"),
        (b"GET / HTTP/1.1\r\nhost: x", "malformed_request"),
        (b"", "malformed_request"),
        (b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n", "coding_unsupported"),
        (
            b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\ncontent-length: 7\r\n\r\n",
            "malformed_request",
        ),
        (
            b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 7\r\ncontent-length: 8\r\n\r\n",
            "malformed_request",
        ),
        (b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: +7\r\n\r\n", "malformed_request"),
        (b"GET http://other/ HTTP/1.1\r\nhost: other\r\n\r\n", "malformed_request"),
        (b"GET / HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\n\r\n", "malformed_request"),
        (b"CONNECT other:443 HTTP/1.1\r\nhost: other:443\r\n\r\n", "method_unsupported"),
        (b"GET / HTTP/2.0\r\nhost: x\r\n\r\n", "version_unsupported"),
        (b"GET /%2e%2e/x HTTP/1.1\r\nhost: x\r\n\r\n", "ambiguous_path"),
        (b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nhost: x\r\n\r\n", "target_too_long"),
        (b"GET / HTTP/1.1\r\nhost: x\r\n" + b"a: b\r\n" * 101 + b"\r\n", "too_many_headers"),
        (b"GET / HTTP/1.1\r\nhost: x\r\nx: " + b"a" * 40_000 + b"\r\n\r\n", "headers_too_large"),
    ],
)
def test_a_sealed_head_is_judged_as_strictly_as_one_in_the_clear(
    sender: Sender, head: bytes, cause: str
) -> None:
    answer = sender.ask(head, b"content")
    assert answer.cause == cause
    assert answer.status >= 400


@pytest.mark.usefixtures("uncalled")
@pytest.mark.parametrize("pieces", [(b"123",), (b"12345678",)])
def test_a_length_that_lies_about_a_small_body_is_refused(sender: Sender, pieces: tuple[bytes, ...]) -> None:
    head = b"POST /api HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\n"
    assert sender.ask(head, *pieces).cause == "message_broken"


@pytest.mark.parametrize("pieces", [(b"", b"123"), (b"", b"123", b"4567"), (b"1", b"2345", b"6")])
def test_a_length_that_lies_about_a_streamed_body_breaks_it(
    sender: Sender, service: ScriptedService, pieces: tuple[bytes, ...]
) -> None:
    """The service may have seen the head by then, but never a complete message."""
    before = len(service.requests)
    head = b"POST /api HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\n"
    assert sender.ask(head, *pieces).cause == "message_broken"
    service.wait_for_connections(0)
    assert [request.whole for request in service.requests[before:]] in ([], [False])


@pytest.mark.usefixtures("uncalled")
def test_a_service_that_is_not_there_is_refused(sender: Sender) -> None:
    assert sender.ask(GOOD_HEAD, service="other").cause == "service_unknown"


@pytest.mark.usefixtures("uncalled")
def test_a_body_over_the_limit_is_refused(sender: Sender) -> None:
    head = b"POST /api HTTP/1.1\r\nhost: x\r\ncontent-length: 1000001\r\n\r\n"
    assert sender.ask(head, b"x").cause == "body_too_large"


@pytest.mark.usefixtures("uncalled")
@pytest.mark.parametrize("expires_in_ms", [-40_000, 100_000])
def test_an_expiry_that_passed_or_lies_too_far_ahead_is_refused(sender: Sender, expires_in_ms: int) -> None:
    assert sender.ask(GOOD_HEAD, expires_in_ms=expires_in_ms).cause == "envelope_expired"


# --- compression ------------------------------------------------------------------------------------------


def forged(compressor_id: int, compressed: bytes) -> Packing:
    """Packs any data as these bytes, under this id."""
    return Packing(Compressor(compressor_id, "forged", lambda _: compressed, lambda data, _: data), 0)


BOMB = bytes(100 * MIB)
BOMBS = {
    "unknown": (77, b"content"),
    "snappy that declares 4 GiB": (1, b"\xff\xff\xff\xff\x0f" + b"\0" * 50),
    "snappy": (1, bytes(cramjam.snappy.compress_raw(BOMB))[:60_000]),
    "gzip": (2, gzip.compress(BOMB)[:60_000]),
    "gzip of one byte too many": (2, gzip.compress(BOMB[:65_537])),
    "lz4 that declares 4 GiB": (3, b"\xff\xff\xff\xff" + b"\0" * 50),
    "zstd": (4, bytes(cramjam.zstd.compress(BOMB))),
    "no zstd": (4, b"garbage"),
}


@pytest.mark.usefixtures("uncalled")
@pytest.mark.parametrize(("compressor_id", "compressed"), BOMBS.values(), ids=BOMBS)
def test_what_does_not_decompress_within_its_bound_is_refused(
    sender: Sender, proxy: ProxyProcess, compressor_id: int, compressed: bytes
) -> None:
    before = proxy.begin_peak()
    for _ in range(5):
        answer = sender.ask(GOOD_HEAD, b"x" * 65_536, packing=forged(compressor_id, compressed))
        assert answer.cause == "compression_broken"
    assert proxy.memory_bytes("VmHWM") - before < 4 * MIB


def test_every_compressor_and_padding_works_both_ways(make: Maker) -> None:
    content = b"compress me, " * 20_000
    service = make.service(echo)
    settings = {
        name: {"compress": name, "compress_min_bytes": 0, "pad_to_bytes": 256 * (index % 2)}
        for index, name in enumerate(each.name for each in COMPRESSORS.values())
    }
    relay = make.relay()
    pair = make.pair(
        {name: [service.endpoint] for name in settings},
        out={"services": settings},
        inner={"services": settings},
        relay=relay,
    )
    for name in settings:
        for size in (100, 60_000, 200_000):
            assert pair.fetch("POST", f"/{name}/", content[:size]).body == content[:size]
        assert len(relay.requests[-1]) < 100_000, name
        assert len(relay.responses[-1]) < 100_000, name


def echo_at_once(conversation: Conversation) -> None:
    """Sends back each content in one piece with its head."""
    while True:
        conversation.send(sized(conversation.request().body))


def test_padding_hides_lengths(make: Maker) -> None:
    service = make.service(echo_at_once)
    relay = make.relay()
    padded = {"services": {"api": {"pad_to_bytes": 1024}}}
    pair = make.pair({"api": [service.endpoint]}, out=padded, inner=padded, relay=relay)
    sizes = set()
    for size in (1, 10, 100, 300):
        assert pair.fetch("POST", "/api/", b"x" * size).body == b"x" * size
        sizes.add((len(relay.requests[-1]), len(relay.responses[-1])))
    assert len(sizes) == 1


# --- strangers --------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("uncalled")
@pytest.mark.parametrize(
    "stranger",
    [{"key": key_of("stranger")}, {"receiver_key": key_of("other")}, {"name": "im"}, {"psk": b"p" * 32}],
    ids=["unknown key", "other receiver", "other name", "psk that isn't agreed on"],
)
def test_strangers_of_all_kinds_get_one_answer(
    proxy: ProxyProcess, sender: Sender, stranger: dict[str, object]
) -> None:
    unknown = Sender(proxy, **stranger)  # type: ignore[arg-type]
    message, _ = unknown.session.seal_single(sender.epoch, 2**50, b"\0" * 50, b"")
    answer = unknown.deliver(message)
    assert (answer.status, answer.cause) == (401, "identity_unproven")
    reference = Sender(proxy, key=key_of("another stranger"))
    message, _ = reference.session.seal_single(sender.epoch, 2**50, b"\0" * 50, b"")
    expected = reference.deliver(message).problem
    assert answer.problem | {"exchange": ""} == expected | {"exchange": ""}


def test_a_pair_with_a_psk_works_and_needs_it(make: Maker, service: ScriptedService) -> None:
    psk = {"literal": "7a" * 32, "insecure_literal": True}
    web = {"public_keys": [key_of("web").public_key.hex()], "psk": psk}
    pair = make.pair(
        {"api": [service.endpoint]}, inner={"callers": {"web": web}}, out={"receivers": {"in": {"psk": psk}}}
    )
    assert pair.fetch("GET", "/api/").status == 200
    for wrong in (None, b"7b" * 16):
        sender = Sender(pair.inner, psk=wrong)
        message, _ = sender.session.seal_single(bytes(16), 2**50, b"\0" * 50, b"")
        assert sender.deliver(message).cause == "identity_unproven"


def test_a_stranger_at_the_callers_side_gets_502_and_its_log_says_why(
    make: Maker, service: ScriptedService
) -> None:
    pair = make.pair(
        {"api": [service.endpoint]},
        inner={"callers": {"web": {"public_keys": [key_of("somebody else").public_key.hex()]}}},
    )
    before = len(service.requests)
    answer = pair.fetch("GET", "/api/")
    assert (answer.status, answer.cause) == (502, "response_unsealed")
    pair.inner.log.wait_for(cause="identity_unproven")
    assert len(service.requests) == before


@pytest.mark.usefixtures("uncalled")
@pytest.mark.parametrize("cipher", [b"\x00\x00", b"\x00\x01", b"\xff\xff"])
def test_unknown_ciphers_are_refused(sender: Sender, cipher: bytes) -> None:
    message, _ = sender.session.seal_single(sender.epoch, 2**50, b"\0" * 50, b"")
    assert sender.deliver(message[:6] + cipher + message[8:]).cause == "envelope_malformed"


def test_the_other_cipher_works(proxy: ProxyProcess, service: ScriptedService, make: Maker) -> None:
    sender = Sender(proxy, cipher=CHACHA20_POLY1305)
    sender.learn_epoch()
    assert sender.ask(GOOD_HEAD).content == b"served"
    cipher = {"defaults": {"cipher": "chacha20-poly1305"}}
    assert make.pair({"api": [service.endpoint]}, out=cipher).fetch("GET", "/api/").body == b"served"


@pytest.mark.usefixtures("uncalled")
@pytest.mark.parametrize(
    ("method", "target", "body", "cause"),
    [
        ("GET", "/api/hello", None, "not_an_envelope"),
        ("GET", TARGET, None, "not_an_envelope"),
        ("POST", "/", b"FPV2", "not_an_envelope"),
        ("POST", TARGET, b"", "envelope_malformed"),
        ("POST", TARGET, b"garbage" * 100, "envelope_malformed"),
        ("POST", TARGET, b"FPV2\x01\x00", "envelope_malformed"),
        ("POST", TARGET, b"FPV2\x01\x01" + bytes(200), "envelope_malformed"),
    ],
)
def test_what_is_no_envelope_is_refused(
    proxy: ProxyProcess, method: str, target: str, body: bytes | None, cause: str
) -> None:
    assert fetch(proxy.listen, method, target, body).cause == cause


# --- great numbers ----------------------------------------------------------------------------------------


def test_one_caller_has_a_bounded_number_of_sessions(make: Maker, service: ScriptedService) -> None:
    limits = {"limits": {"new_sessions_per_peer_per_s": 100_000, "sessions_per_caller": 40}}
    proxy = make.in_proxy({"api": [service.endpoint]}, limits)
    sender = Sender(proxy)
    sender.learn_epoch()
    causes = [sender.ask(GOOD_HEAD).cause]
    for _ in range(49):
        newcomer = Sender(proxy)
        newcomer.epoch = sender.epoch
        causes.append(newcomer.ask(GOOD_HEAD).cause)
    assert causes == [""] * 40 + ["sessions_exhausted"] * 10
    assert proxy.metrics().total("fastproxy_sessions") == 40
    assert sender.ask(GOOD_HEAD).content == b"served", "a live session never makes way"


def invented(sender: Sender, count: int) -> Iterator[bytes]:
    """Envelopes with ephemeral keys out of thin air, under the name of a known caller."""
    message, _ = sender.session.seal_single(sender.epoch, 2**50, b"\0" * 50, b"")
    head = request_bytes("POST", TARGET, headers=[CONTENT_TYPE, f"Content-Length: {len(message)}"])
    for _ in range(count):
        yield head + message[:24] + os.urandom(32) + message[56:]


def flood(proxy: ProxyProcess, sender: Sender, count: int, source: str) -> set[bytes]:
    """Send invented envelopes from another address, a hundred at a time; return the statuses they earned."""
    statuses: set[bytes] = set()
    with Client(proxy.listen, source=source) as client:
        for _ in range(count // 100):
            client.send(b"".join(invented(sender, 100)))
            received = b""
            while len(found := STATUS.findall(received)) < 100:
                data = client.socket.recv(1 << 20)
                assert data, "cut off"
                received += data
            statuses.update(found)
    return statuses


@pytest.mark.timeout(300)
def test_a_flood_of_invented_sessions_leaves_nothing_behind(make: Maker, service: ScriptedService) -> None:
    pair = make.pair({"api": [service.endpoint]}, inner={"log": {"access": "off"}})
    sender = Sender(pair.inner)
    assert pair.fetch("GET", "/api/").status == 200
    flood(pair.inner, sender, 1000, "127.0.0.2")
    before = pair.inner.begin_peak()
    assert flood(pair.inner, sender, FLOOD, "127.0.0.2") == {b"401", b"429"}
    assert pair.inner.memory_bytes("VmHWM") - before < MIB
    metrics = pair.inner.metrics()
    assert metrics.total("fastproxy_sessions") == 1
    assert metrics.refusals("peer_rate_limited") > FLOOD * 0.9
    assert pair.fetch("GET", "/api/").status == 200


def test_curve_arithmetic_for_invented_sessions_leaves_nothing_behind(
    proxy: ProxyProcess, sender: Sender
) -> None:
    """Even where no rate holds them back."""
    flood(proxy, sender, 500, "127.0.0.3")
    sessions = proxy.metrics().total("fastproxy_sessions")
    before = proxy.begin_peak()
    assert flood(proxy, sender, 2000, "127.0.0.3") == {b"401"}
    assert proxy.memory_bytes("VmHWM") - before < 4 * MIB
    assert proxy.metrics().total("fastproxy_sessions") == sessions
    assert sender.ask(GOOD_HEAD).content == b"served"
