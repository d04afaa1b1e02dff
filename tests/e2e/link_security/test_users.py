"""Users that may connect to a Unix socket no more: those who are there already are cut off as well."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.certificates import write_files
from tests.e2e.client import Client, request_bytes
from tests.e2e.link_security.proxies import Parties, call, refusal_of, wait_for_ends
from tests.e2e.link_security.tls import CA, IN_URI, WEB_URI, in_changes, out_changes
from tests.e2e.proxies import Config, ProxyProcess, merged
from tests.e2e.services import Conversation, ScriptedService, answering, sized

ME, SOMEBODY_ELSE = os.getuid(), os.getuid() + 1


def may_connect(*uids: int) -> Config:
    """The users that a listener takes connections from."""
    return {"listen": {"allowed_uids": list(uids)}}


@pytest.fixture
def service(parties: Parties) -> ScriptedService:
    """Answers at once."""
    return parties.service(answering(sized(b"hello")))


@pytest.fixture
def waiting(parties: Parties) -> Iterator[ScriptedService]:
    """A service that answers when the test is over."""
    over = threading.Event()

    def wait(conversation: Conversation) -> None:
        conversation.request()
        over.wait()

    yield parties.service(wait)
    over.set()


@pytest.mark.parametrize("workers", [1, 2], ids=["in place", "by new workers"])
@pytest.mark.parametrize("before", [(), (ME,), (ME, SOMEBODY_ELSE)], ids=["all", "it", "both"])
def test_a_caller_is_cut_off_whose_user_may_connect_no_more(
    parties: Parties, service: ScriptedService, waiting: ScriptedService, tmp_path: Path,
    before: tuple[int, ...], workers: int,
) -> None:  # fmt: skip
    inner = parties.in_proxy({"api": service.endpoint, "slow": waiting.endpoint})
    listen = merged({"listen": {"address": f"unix:{tmp_path}/out"}}, may_connect(*before))
    out = parties.out_proxy(("api", "slow"), inner, listen)
    with Client(out.listen) as idle, Client(out.listen) as busy:
        assert idle.request("GET", "/api/").status == 200
        busy.send(request_bytes("POST", "/slow/", b"x"))
        waiting.wait_for_requests(1)
        out.reload(may_connect(*before, SOMEBODY_ELSE) if before else {"limits": {"idle_timeout_s": 70}})
        assert idle.request("GET", "/api/").status == 200, "more users cut nobody off"
        out.reload(may_connect(SOMEBODY_ELSE) | {"workers": workers})
        assert idle.is_closed()
        assert busy.is_closed()
    assert call(out).cause == "peer_refused"


def served_over_tls(parties: Parties, services: dict[str, str], path: Path) -> tuple[ProxyProcess, Config]:
    """Start an in proxy with links inside TLS at a Unix socket; return it, and its out proxy's settings."""
    folder = parties.folder()
    in_files = write_files(folder, "in", CA.issue([IN_URI]), CA.pem)
    changes = merged(in_changes(in_files), {"listen": {"address": f"unix:{path}"}})
    out_files = write_files(folder, "out", CA.issue([WEB_URI]), CA.pem)
    return parties.in_proxy(services, changes), out_changes(out_files)


@pytest.mark.parametrize("is_inside_tls", [False, True], ids=["noise", "tls"])
def test_a_link_is_cut_whose_user_may_connect_no_more(
    parties: Parties, service: ScriptedService, tmp_path: Path, is_inside_tls: bool
) -> None:
    services = {"api": service.endpoint}
    if is_inside_tls:
        inner, changes = served_over_tls(parties, services, tmp_path / "in")
    else:
        inner = parties.in_proxy(services, {"listen": {"address": f"unix:{tmp_path}/in"}})
        changes = {}
    out = parties.out_proxy(("api",), inner, changes)
    assert call(out).status == 200
    inner.reload(may_connect(ME, SOMEBODY_ELSE))
    assert call(out).status == 200
    assert inner.metrics().total("fastproxy_links_ended_total") == 0
    inner.reload(may_connect(SOMEBODY_ELSE))
    wait_for_ends(inner, 1, cause="revoked")
    assert call(out).status in (502, 503)
    if is_inside_tls:
        assert "listen.allowed_uids" in refusal_of(inner, "user")
    inner.reload(may_connect(ME))
    assert call(out).status == 200
