"""Links inside TLS are spread over the workers as others are: handed on before TLS begins."""

from __future__ import annotations

from contextlib import ExitStack

from tests.certificates import write_files
from tests.e2e.link_security.proxies import Parties
from tests.e2e.link_security.tls import CA, IN_URI, WEB_URI, TlsClient, in_changes, of_caller
from tests.e2e.proxies import merged
from tests.e2e.services import answering, sized
from tests.e2e.workers import spread

WORKERS = 4
LINKS = 8


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
