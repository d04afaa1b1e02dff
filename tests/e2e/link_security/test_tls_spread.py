"""Links inside TLS are spread over the workers as others are: handed on before TLS begins.

What callers say to an out proxy is plain, whatever it proves itself by.
"""

from __future__ import annotations

from contextlib import ExitStack

from tests.certificates import write_files
from tests.e2e.client import Client
from tests.e2e.link_security.proxies import Parties
from tests.e2e.link_security.tls import (
    CA,
    IN_URI,
    WEB_URI,
    TlsClient,
    in_changes,
    of_caller,
    out_changes,
    tls_receiver,
)
from tests.e2e.proxies import merged
from tests.e2e.services import answering, sized
from tests.e2e.workers import spread

WORKERS = 4
LINKS = 8
CONNECTIONS = 40


def test_a_handful_of_links_inside_tls_is_spread_evenly(parties: Parties) -> None:
    service, folder = parties.service(answering(sized(b"hello"))), parties.folder()
    files = write_files(folder, "tls", CA.issue([IN_URI], []), CA.pem)
    changes = merged(in_changes(files), {"workers": WORKERS, "link": {"handshake_timeout_s": 20}})
    receiver = parties.in_proxy({"api": service.endpoint}, changes, folder)
    client = TlsClient(folder, of_caller(WEB_URI))
    with ExitStack() as stack:
        links = [stack.enter_context(client.link(receiver.listen, source="127.0.0.9")) for _ in range(LINKS)]
        assert {link.call().status for link in links} == {200}
        assert spread(receiver, "fastproxy_worker_links") == [LINKS // WORKERS] * WORKERS
        while len(receiver.access.find(peer="127.0.0.9")) < LINKS:
            pass


def test_connections_of_callers_are_handed_on_at_an_out_proxy_with_a_certificate(parties: Parties) -> None:
    service, folder = parties.service(answering(sized(b"hello"))), parties.folder()
    receiver = tls_receiver(parties, service)
    files = write_files(folder, "tls", CA.issue([WEB_URI]), CA.pem)
    out = parties.out_proxy(("api",), receiver, merged(out_changes(files), {"workers": WORKERS}), folder)
    with ExitStack() as stack:
        clients = [stack.enter_context(Client(out.listen)) for _ in range(CONNECTIONS)]
        assert {client.request("POST", "/api/", b"x").status for client in clients} == {200}
        assert out.metrics().total("fastproxy_connections_handed_on_total") > 0
