"""Certificates are renewed, by another CA in the end, while calls go over links: none fails."""

from __future__ import annotations

from tests.certificates import Authority, write_files
from tests.e2e.keys.scene import Load
from tests.e2e.link_security.conftest import parties  # noqa: F401 - a fixture
from tests.e2e.link_security.proxies import Parties, wait_for_total
from tests.e2e.link_security.tls import IN_URI, WEB_URI, in_changes, out_changes, replace
from tests.e2e.proxies import ProxyProcess, merged
from tests.e2e.services import answering, sized

WORKERS = {"workers": 2}


class Renewal:
    """Sees the files of a proxy change.

    Args:
        proxy: whose they are.
    """

    def __init__(self, proxy: ProxyProcess) -> None:
        self._proxy = proxy
        self._times = 0

    def wait(self) -> None:
        """Wait until both workers have read what was changed."""
        self._times += 1
        self._proxy.log.wait_for_lines(2 * self._times, message="certificates were read again")


def test_a_change_of_ca_in_steps_costs_no_call(parties: Parties) -> None:  # noqa: F811
    first, second = Authority("the first CA"), Authority("the second CA")
    service = parties.service(answering(sized(b"hello")))
    in_folder, out_folder = parties.folder(), parties.folder()
    in_files = write_files(in_folder, "tls", first.issue([IN_URI]), first.pem)
    out_files = write_files(out_folder, "tls", first.issue([WEB_URI]), first.pem)
    inner = parties.in_proxy({"api": service.endpoint}, merged(in_changes(in_files), WORKERS), in_folder)
    out = parties.out_proxy(("api",), inner, merged(out_changes(out_files), WORKERS), out_folder)
    inside, outside = Renewal(inner), Renewal(out)

    def opened() -> float:
        return inner.metrics().total("fastproxy_links_opened_total")

    load = Load(lambda: out, paths=("/api/",))
    with load.running():
        wait_for_total(inner, "fastproxy_links_opened_total", 2)  # one of each worker
        for files, renewal in ((in_files, inside), (out_files, outside)):
            replace(files, authorities=first.pem + second.pem)
            renewal.wait()
        for files, renewal, uri in ((in_files, inside, IN_URI), (out_files, outside, WEB_URI)):
            before = opened()
            replace(files, second.issue([uri]))
            renewal.wait()
            wait_for_total(inner, "fastproxy_links_opened_total", before + 2)
        for files, renewal in ((in_files, inside), (out_files, outside)):
            replace(files, authorities=second.pem)
            renewal.wait()
        load.go_on()
    for proxy in (inner, out):
        assert proxy.metrics().total("fastproxy_links_ended_total", cause="revoked") == 0
