"""Links inside TLS: who a certificate stands for, what either end refuses, and strangers at the port."""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from cryptography import x509

from tests.certificates import DAY, NOW, write_files
from tests.e2e.link_security.hand_made import connected, ending_of, message_1
from tests.e2e.link_security.proxies import (
    Parties,
    call,
    failures,
    instead_of,
    refusal_of,
    wait_for_failures,
)
from tests.e2e.link_security.tls import (
    CA,
    GUEST_NAME,
    HANDSHAKES,
    IN_URI,
    NO_LINK,
    OTHER_CA,
    WEB_URI,
    Issued,
    TlsClient,
    TlsImpostor,
    in_changes,
    of_caller,
    out_changes,
    server_context,
    tls_receiver,
)
from tests.e2e.proxies import ProxyProcess
from tests.e2e.services import ScriptedService, answering, sized


@pytest.fixture(scope="module")
def service(shared_parties: Parties) -> ScriptedService:
    """The service behind everything here."""
    return shared_parties.service(answering(sized(b"hello")))


@pytest.fixture(scope="module")
def receiver(shared_parties: Parties, service: ScriptedService) -> ProxyProcess:
    """An in proxy."""
    return tls_receiver(shared_parties, service)


@pytest.fixture
def folder(parties: Parties) -> Path:
    """Where an out proxy lives."""
    return parties.folder()


# --- identities --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("issued", "caller", "receiver_id"),
    [
        (CA.issue([WEB_URI]), "web", IN_URI),
        (CA.issue(dns_names=[GUEST_NAME, "elsewhere.example"]), "guest", "in.shop.example"),
    ],
)
def test_a_call_goes_through_under_the_name_that_the_certificate_bears(
    parties: Parties,
    receiver: ProxyProcess,
    service: ScriptedService,
    folder: Path,
    issued: Issued,
    caller: str,
    receiver_id: str,
) -> None:
    out = parties.out_proxy(
        ("api",), receiver, out_changes(write_files(folder, "tls", issued, CA.pem), receiver_id), folder
    )
    for _ in range(3):
        assert call(out).status == 200
    assert service.last.get("fastproxy-caller") == caller


REFUSED: dict[str, tuple[str, Callable[[Path], TlsClient]]] = {
    "no certificate": ("tls", lambda folder: TlsClient(folder, None)),
    "of a CA that isn't trusted": (
        "tls", lambda folder: TlsClient(folder, of_caller(WEB_URI, authority=OTHER_CA))),
    "past its date": (
        "tls", lambda folder: TlsClient(folder, of_caller(WEB_URI, begins=NOW - 2 * DAY, ends=NOW - DAY))),
    "for servers only": (
        "tls", lambda folder: TlsClient(folder, of_caller(
            WEB_URI, purposes=[x509.oid.ExtendedKeyUsageOID.SERVER_AUTH]))),
    "an older TLS": (
        "tls", lambda folder: TlsClient(folder, of_caller(WEB_URI), version=ssl.TLSVersion.TLSv1_2)),
    "of nobody that is known": ("identity", lambda folder: TlsClient(folder, of_caller(WEB_URI + "/x"))),
    "its name in the subject alone": ("identity", lambda folder: TlsClient(folder, of_caller())),
    "of two that are known": (
        "identity", lambda folder: TlsClient(folder, of_caller(WEB_URI, dns_names=[GUEST_NAME]))),
    "no protocol": ("identity", lambda folder: TlsClient(folder, of_caller(WEB_URI), alpn=())),
    "another protocol": ("identity", lambda folder: TlsClient(folder, of_caller(WEB_URI), alpn=["h2"])),
}  # fmt: skip


@pytest.mark.parametrize("wrong", REFUSED)
def test_an_in_proxy_refuses_who_proves_no_caller(
    receiver: ProxyProcess, service: ScriptedService, folder: Path, wrong: str
) -> None:
    cause, make = REFUSED[wrong]
    before, requests = failures(receiver, cause=cause), len(service.requests)
    opened = receiver.metrics().total("fastproxy_links_opened_total")
    client = make(folder)
    with pytest.raises(NO_LINK):
        client.link(receiver.listen)
    wait_for_failures(receiver, before + 1, cause=cause)
    assert len(refusal_of(receiver, cause)) > 30
    assert receiver.metrics().total("fastproxy_links_opened_total") == opened
    assert len(service.requests) == requests


def test_an_in_proxy_takes_no_session_up_again(receiver: ProxyProcess, folder: Path) -> None:
    with TlsClient(folder, of_caller(WEB_URI)).link(receiver.listen) as web:
        assert web.call().status == 200
        assert isinstance(web.socket, ssl.SSLSocket)
        assert web.socket.session is None or not web.socket.session.has_ticket


POSES: dict[str, tuple[str, Callable[[Path], ssl.SSLContext]]] = {
    "of a CA that isn't trusted": ("tls", lambda folder: server_context(folder, OTHER_CA.issue([IN_URI]))),
    "past its date": (
        "tls", lambda folder: server_context(
            folder, CA.issue([IN_URI], begins=NOW - 2 * DAY, ends=NOW - DAY))),
    "an older TLS": (
        "tls", lambda folder: server_context(folder, CA.issue([IN_URI]), version=ssl.TLSVersion.TLSv1_2)),
    "another's certificate": ("identity", lambda folder: server_context(folder, CA.issue([WEB_URI]))),
    "the host's name and no other": (
        "identity", lambda folder: server_context(folder, CA.issue(dns_names=["localhost", "127.0.0.1"]))),
    "another protocol": ("identity", lambda folder: server_context(folder, CA.issue([IN_URI]), alpn="h2")),
}  # fmt: skip


@pytest.fixture(scope="module")
def impostors(shared_parties: Parties) -> Iterator[dict[str, TlsImpostor]]:
    """One for each pose."""
    with ExitStack() as stack:
        yield {
            pose: stack.enter_context(TlsImpostor(make(shared_parties.folder())))
            for pose, (_, make) in POSES.items()
        }


@pytest.fixture(scope="module")
def out(shared_parties: Parties, impostors: dict[str, TlsImpostor]) -> ProxyProcess:
    """An out proxy that finds an impostor behind each of its services."""
    folder = shared_parties.folder()
    files = write_files(folder, "tls", CA.issue([WEB_URI]), CA.pem)
    endpoints = {f"pose{number}": impostor.endpoint for number, impostor in enumerate(impostors.values())}
    changes = out_changes(files) | instead_of({"name": "in", "tls_id": IN_URI}, endpoints)
    return shared_parties.out_proxy(tuple(endpoints), "127.0.0.1:1", changes, folder)


@pytest.mark.parametrize("pose", POSES)
def test_an_out_proxy_says_nothing_to_who_proves_no_receiver(
    out: ProxyProcess, impostors: dict[str, TlsImpostor], pose: str
) -> None:
    cause = POSES[pose][0]
    before = failures(out, cause=cause)
    answer = call(out, b"amount=100", target=f"/pose{list(POSES).index(pose)}/")
    assert (answer.status, answer.cause) == (502, "link_refused")
    assert impostors[pose].heard_in_all() == b""
    assert failures(out, cause=cause) == before + 1


def test_what_an_in_proxy_refuses_is_told_at_the_out_proxy(
    parties: Parties, receiver: ProxyProcess, folder: Path
) -> None:
    files = write_files(folder, "tls", OTHER_CA.issue([WEB_URI]), CA.pem)
    out = parties.out_proxy(("api",), receiver, out_changes(files), folder)
    before = failures(receiver, cause="tls")
    answer = call(out)
    assert (answer.status, answer.cause) == (502, "link_refused")
    wait_for_failures(receiver, before + 1, cause="tls")
    assert failures(out) == 1
    assert "hung up" in answer.problem["detail"]  # TLS tells no more than that


# --- strangers ---------------------------------------------------------------------------------------------


def test_a_tls_port_takes_neither_plain_links_nor_plain_http(receiver: ProxyProcess) -> None:
    for said in (message_1(), b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", os.urandom(300), b""):
        before = failures(receiver)
        with connected(receiver.listen) as sock:
            sock.sendall(said)
            sock.shutdown(socket.SHUT_WR)
            ending_of(sock)
        wait_for_failures(receiver, before + 1)


@pytest.mark.parametrize("sources", [1, 50])
def test_hanging_tls_handshakes_keep_nobody_out(receiver: ProxyProcess, folder: Path, sources: int) -> None:
    client = TlsClient(folder, of_caller(WEB_URI))
    with client.link(receiver.listen) as established, ExitStack() as hanging:
        before = failures(receiver)
        for number in range(100):
            hanging.enter_context(connected(receiver.listen, f"127.0.1.{1 + number % sources}"))
        wait_for_failures(receiver, before + 100 - HANDSHAKES)
        assert established.call().status == 200
        with client.link(receiver.listen, source="127.0.0.9") as newcomer:
            assert newcomer.call().status == 200
        assert len(os.listdir(f"/proc/{receiver.worker}/fd")) < 100
        assert "link.handshakes" in refusal_of(receiver, "half_open")


def test_a_hanging_tls_handshake_is_given_up(receiver: ProxyProcess, folder: Path) -> None:
    """Before TLS, and behind it."""
    before = failures(receiver, cause="timeout")
    tls = TlsClient(folder, of_caller(WEB_URI)).context.wrap_socket(connected(receiver.listen))
    with tls, connected(receiver.listen) as sock:
        assert sock.recv(1) == b""
        assert tls.recv(1) == b""
    wait_for_failures(receiver, before + 2, cause="timeout")


def test_tls_handshakes_of_one_address_are_limited_there_alone(
    parties: Parties, service: ScriptedService, folder: Path
) -> None:
    files = write_files(folder, "tls", CA.issue([IN_URI]), CA.pem)
    changes = in_changes(files) | {"link": {"new_links_per_peer_per_s": 1}}
    receiver = parties.in_proxy({"api": service.endpoint}, changes, folder)
    client = TlsClient(folder, of_caller(WEB_URI))
    for _ in range(20):
        with connected(receiver.listen, "127.0.0.2") as sock:
            sock.shutdown(socket.SHUT_WR)
            with contextlib.suppress(ConnectionError):
                assert sock.recv(1) == b""
    assert failures(receiver, cause="rate") > 0
    with client.link(receiver.listen, source="127.0.0.3") as honest:
        assert honest.call().status == 200
