"""Certificates and CAs that change, or end, while links stand on them."""

from __future__ import annotations

import datetime
import ssl
import threading
from pathlib import Path

import pytest
from cryptography import x509

from fastproxy.wire.link.frames import KEY_REVOKED
from tests.certificates import Authority, write_files
from tests.e2e.link_security.proxies import (
    Parties,
    call,
    failures,
    wait_for_ends,
)
from tests.e2e.link_security.tls import (
    CA,
    GUEST_NAME,
    IN_URI,
    NO_LINK,
    OTHER_CA,
    WEB_URI,
    TlsClient,
    in_changes,
    of_caller,
    out_changes,
    replace,
    tls_receiver,
)
from tests.e2e.proxies import Config, ProxyProcess
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


def test_renewed_certificates_are_used_without_a_restart_or_a_failed_call(
    parties: Parties, service: ScriptedService
) -> None:
    in_folder, out_folder = parties.folder(), parties.folder()
    in_files = write_files(in_folder, "tls", CA.issue([IN_URI]), CA.pem)
    out_files = write_files(out_folder, "tls", CA.issue([WEB_URI]), CA.pem)
    receiver = parties.in_proxy({"api": service.endpoint}, in_changes(in_files), in_folder)
    out = parties.out_proxy(("api",), receiver, out_changes(out_files), out_folder)
    statuses: list[int] = []
    stop = threading.Event()

    def go_on() -> None:
        while not stop.is_set():
            statuses.append(call(out).status)

    caller = threading.Thread(target=go_on, daemon=True)
    caller.start()
    renewed = CA.issue([IN_URI])
    replace(in_files, renewed)
    replace(out_files, CA.issue([WEB_URI]))
    for proxy in (receiver, out):
        proxy.log.wait_for(message="certificates were read again", level="info")
    client = TlsClient(out_folder, of_caller(WEB_URI))
    client.context.verify_mode = ssl.CERT_REQUIRED
    client.context.load_verify_locations(cadata=CA.pem.decode())
    with client.link(receiver.listen) as link:
        assert isinstance(link.socket, ssl.SSLSocket)
        shown = link.socket.getpeercert(binary_form=True)
        assert shown is not None
        assert x509.load_der_x509_certificate(shown) == renewed[1]
        assert link.call().status == 200
    stop.set()
    caller.join(20)
    assert set(statuses) == {200}
    assert receiver.metrics().total("fastproxy_links_ended_total", cause="revoked") == 0


def test_files_that_cannot_be_used_change_nothing(
    parties: Parties, service: ScriptedService, folder: Path
) -> None:
    files = write_files(folder, "tls", CA.issue([IN_URI]), CA.pem)
    receiver = parties.in_proxy({"api": service.endpoint}, in_changes(files), folder)
    files.certificate.write_text("rubbish")
    receiver.log.wait_for(message="the certificates stay as they were", level="warning")
    with TlsClient(folder, of_caller(WEB_URI)).link(receiver.listen) as web:
        assert web.call().status == 200
    replace(files, CA.issue([IN_URI]))
    receiver.log.wait_for(message="certificates were read again")


def test_a_ca_that_is_removed_cuts_the_links_under_it_and_no_others(
    parties: Parties, service: ScriptedService, folder: Path
) -> None:
    second = Authority("a second CA")
    files = write_files(folder, "tls", CA.issue([IN_URI]), CA.pem + second.pem)
    receiver = parties.in_proxy({"api": service.endpoint}, in_changes(files), folder)
    old = TlsClient(folder, of_caller(WEB_URI))
    new = TlsClient(folder, of_caller(dns_names=[GUEST_NAME], authority=second))
    with old.link(receiver.listen) as gone, new.link(receiver.listen) as other:
        assert (gone.call().status, other.call().status) == (200, 200)
        replace(files, authorities=second.pem)
        assert gone.goodbye() == KEY_REVOKED
        assert other.call().status == 200
    with pytest.raises(NO_LINK):
        old.link(receiver.listen)
    assert receiver.metrics().total("fastproxy_links_ended_total", cause="revoked") == 1


def test_an_out_proxy_cuts_its_link_when_the_receivers_ca_is_removed(
    parties: Parties, receiver: ProxyProcess, folder: Path
) -> None:
    files = write_files(folder, "tls", CA.issue([WEB_URI]), CA.pem + OTHER_CA.pem)
    out = parties.out_proxy(("api",), receiver, out_changes(files), folder)
    assert call(out).status == 200
    replace(files, authorities=OTHER_CA.pem)
    wait_for_ends(out, 1, cause="revoked")
    assert call(out).cause == "link_refused"
    assert failures(out, cause="tls") == 1


def test_a_certificate_that_ends_takes_its_link_with_it(receiver: ProxyProcess, folder: Path) -> None:
    ends = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=4)
    client = TlsClient(folder, of_caller(WEB_URI, ends=ends))
    with client.link(receiver.listen) as link:
        assert link.call().status == 200
        assert link.goodbye() == KEY_REVOKED
    assert datetime.datetime.now(datetime.UTC) > ends.replace(microsecond=0)
    with pytest.raises(NO_LINK):
        client.link(receiver.listen)


@pytest.mark.parametrize("web", [None, {"tls_id": "spiffe://shop.example/other"}], ids=["removed", "renamed"])
def test_a_reload_cuts_the_links_of_who_is_no_caller_by_its_certificate_any_more(
    parties: Parties, service: ScriptedService, folder: Path, web: Config | None
) -> None:
    files = write_files(folder, "tls", CA.issue([IN_URI]), CA.pem)
    receiver = parties.in_proxy({"api": service.endpoint}, in_changes(files), folder)
    guest = TlsClient(parties.folder(), of_caller(dns_names=[GUEST_NAME]))
    with (
        TlsClient(folder, of_caller(WEB_URI)).link(receiver.listen) as gone,
        guest.link(receiver.listen) as other,
    ):
        assert (gone.call().status, other.call().status) == (200, 200)
        assert receiver.reload({"callers": {"web": web}})["how"] == "in place"
        assert gone.goodbye() == KEY_REVOKED
        assert other.call().status == 200
