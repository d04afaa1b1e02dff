"""Taps of running proxies: what they show and to whom, what they cost, and how they end."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.client import Client
from tests.e2e.conftest import Maker
from tests.e2e.proxies import LineFeed, Pair, ProxyProcess, endpoint_of, memory_bytes
from tests.e2e.services import Conversation, answering, sized
from tests.e2e.taps import TapClient
from tests.e2e.test_short_way import FINE, calls, logged, short_ones
from tests.e2e.workers import worker_pids

TOKEN, READER = "the-token-of-the-owner", "the-token-that-only-reads"
CLIENTS = 300
"""More than the admin address takes connections."""
MEMORY_BYTES = 40 * 2**20
"""Of 16 taps 1 MiB each in the supervisor, half of that in a worker, and what they lie in."""
ANSWER = sized(b"fine \xe2\x82\xac", "Content-Type: text/plain", "Set-Cookie: id=s3cr3t")
ASKING = ("Authorization: Bearer s3cr3t", "X-Session-Id: s3cr3t", "Idempotency-Key: s3cr3t", "X-Colour: blue")


@pytest.fixture
def admin(tmp_path: Path) -> dict[str, Any]:
    """Settings of an admin address that asks for tokens."""
    for name, text in (("token", TOKEN), ("reader", READER)):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o600)
    return {"admin": {"token": {"file": f"{tmp_path}/token"}, "reader_token": {"file": f"{tmp_path}/reader"}}}


def fields_of(head: dict[str, Any]) -> dict[str, str]:
    return {name.lower(): value for name, value in head["fields"]}


@pytest.mark.parametrize("transport", ["link", "http"])
def test_both_proxies_show_an_exchange_without_its_secrets(
    make: Maker, admin: dict[str, Any], transport: str
) -> None:
    service = make.service(answering(ANSWER))
    pair = make.pair(
        {"api": [service.endpoint]}, out=admin | {"defaults": {"transport": transport}}, inner=admin
    )
    with Client(pair.address) as client:
        calls_before = [client.request("POST", "/api/x?t=s3cr3t", b"what", ASKING) for _ in range(5)]
        with TapClient(pair.out, READER) as at_out, TapClient(pair.inner, READER, status="2xx") as at_in:
            made = client.request("POST", "/api/x?t=s3cr3t", b"what", ASKING)
            shown = [at_out.next(), at_in.next()]
    assert {one.status for one in (*calls_before, made)} == {200}
    assert [(one["hop"], one["role"], one["exchange"]) for one in shown] == [
        ("out", "out", made.exchange),
        ("in", "in", made.exchange),
    ]
    for one, path in zip(shown, ("/api/x", "/x"), strict=True):
        assert (one["caller"], one["service"], one["method"], one["path"]) == ("web", "api", "POST", path)
        assert (one["status"], one["cause"], one["attempts"]) == (200, "", 1)
        assert one["endpoint"]
        assert 0 <= sum(one["phases_s"].values()) <= one["duration_s"]
        assert "wait" in one["phases_s"]
        asked, told = fields_of(one["request"]), fields_of(one["answer"])
        for name in ("authorization", "x-session-id", "idempotency-key"):
            assert asked[name] == "(redacted)"
        assert (asked["x-colour"], told["set-cookie"]) == ("blue", "(redacted)")
        assert told["content-type"] == "text/plain"
        assert "s3cr3t" not in str(one)
        assert "content" not in one["request"]
    assert shown[1]["route"] == "/**"


def test_secrets_and_contents_are_for_who_may_change_and_all_is_logged(
    make: Maker, admin: dict[str, Any]
) -> None:
    pair = make.pair({"api": [make.service(answering(ANSWER)).endpoint]}, out=admin)
    for wanted in ({"unredacted": "true"}, {"content": 5}):
        with TapClient(pair.out, READER, **wanted) as client:
            assert client.status == 403
            assert "only reads" in client.problem["detail"]
    assert not pair.out.log.find(message="tap begins")
    with TapClient(pair.out, TOKEN, unredacted="true", content=7, caller="web") as client:
        pair.fetch("POST", "/api/x", b"\xff\x00bytes and more", ASKING)
        one = client.next()
    assert fields_of(one["request"])["authorization"] == "Bearer s3cr3t"
    assert fields_of(one["answer"])["set-cookie"] == "id=s3cr3t"
    assert one["request"]["content"] == {"base64": "/wBieXRlcw==", "is_cut": True}
    assert one["answer"]["content"] == {"text": "fine ", "is_cut": True}  # no half character
    begins, ends = (pair.out.log.wait_for(message=f"tap {how}") for how in ("begins", "ends"))
    for line in (begins, ends):
        assert (line["peer"], line["access"], line["level"]) == ("127.0.0.1", "changing", "warning")
        assert (line["redacted"], line["content_bytes"], line["filter"]) == (False, 7, {"caller": "web"})
    assert (ends["shown"], ends["dropped"]) == (1, 0)


def test_bodies_that_come_in_pieces_pass_whole_and_their_beginning_is_shown(
    make: Maker, admin: dict[str, Any]
) -> None:
    pair = make.pair({"api": [make.service(echo).endpoint]}, out=admin, inner=admin)
    content = b"0123456789" * 100_000
    with (
        TapClient(pair.out, TOKEN, content=16) as at_out,
        TapClient(pair.inner, TOKEN, content=16) as at_in,
    ):
        assert pair.fetch("POST", "/api/x", content).body == content
        for one in (at_out.next(), at_in.next()):
            for head in (one["request"], one["answer"]):
                assert head["content"] == {"text": "0123456789012345", "is_cut": True}
            assert min(one["bytes_in"], one["bytes_out"]) >= len(content)


def echo(conversation: Conversation) -> None:
    while True:
        conversation.send(sized(conversation.request().body))


def test_only_what_fits_the_filter_is_shown(make: Maker, admin: dict[str, Any]) -> None:
    pair = make.pair(
        {"api": [make.service(answering(ANSWER)).endpoint], "gone": ["127.0.0.1:1"]}, out=admin, inner=admin
    )
    with ExitStack() as stack:

        def tap(proxy: ProxyProcess, **wanted: Any) -> TapClient:
            return stack.enter_context(TapClient(proxy, READER, **wanted))

        by_status, by_cause = tap(pair.out, status="5xx"), tap(pair.inner, cause="connect_refused")
        by_any, by_service = tap(pair.inner, cause="*"), tap(pair.out, service="gone", method="get")
        unread = tap(pair.out, status="400")
        assert pair.fetch("GET", "/api/x").status == 200
        failed = pair.fetch("GET", "/gone/x")
        for one in (each.next() for each in (by_status, by_cause, by_any, by_service)):
            assert (one["exchange"], one["status"], one["service"]) == (failed.exchange, 503, "gone")
            assert one["cause"] == "connect_refused"
            assert fields_of(one["answer"])["content-type"] == "application/problem+json"
        with Client(pair.address) as client:
            client.send(b"GET / HTTP/1.1\r\nbad line\r\n\r\n")
            assert client.answer().status == 400
        one = unread.next()
        assert (one["cause"], one["request"], one["answer"]) == ("malformed_request", None, None)


@pytest.mark.parametrize("transport", ["link", "http"])
def test_calls_leave_the_short_way_for_a_tap_and_take_it_again_afterwards(
    make: Maker, admin: dict[str, Any], transport: str
) -> None:
    count = 20
    pair = make.pair(
        {"web": [make.service(answering(FINE)).endpoint]},  # whose head is known after the first time
        out=admin | {"defaults": {"transport": transport}},
        inner=admin,
    )
    proxies = (pair.out, pair.inner)
    with Client(pair.address) as client:
        calls(client, count)
        for proxy in proxies:
            assert short_ones(logged(proxy, count)) > count / 2
        with TapClient(pair.out, READER) as at_out, TapClient(pair.inner, READER) as at_in:
            calls(client, count)
            for tap in (at_out, at_in):
                assert len({tap.next()["exchange"] for _ in range(count)}) == count
            for proxy in proxies:
                assert short_ones(logged(proxy, 2 * count)[count:]) == 0
        for proxy in proxies:
            proxy.log.wait_for(message="tap ends")
        for tries in range(50):  # workers hear of the end when that was logged already
            calls(client, count)
            lines = [logged(proxy, (3 + tries) * count)[-count:] for proxy in proxies]
            if all(short_ones(each) == count for each in lines):
                return
    raise AssertionError("they go the long way for good")


def test_a_tap_outlives_workers_and_configs(make: Maker, admin: dict[str, Any]) -> None:
    pair = make.pair(
        {"api": [make.service(answering(ANSWER)).endpoint]}, out=admin | {"workers": 2, "watch": False}
    )
    with TapClient(pair.out, READER) as tap:
        pair.fetch("GET", "/api/x")
        assert tap.next()["status"] == 200
        assert pair.out.reload({"log": {"level": "debug"}})["how"] == "in place"
        pair.fetch("GET", "/api/x")
        assert tap.next()["status"] == 200
        for pid in worker_pids(pair.out):
            os.kill(pid, signal.SIGKILL)
        is_tapped(pair, tap)
        assert pair.out.reload({"limits": {"header_bytes": 16_384}, "workers": 1})["how"] == "new workers"
        is_tapped(pair, tap)
    # Workers that were killed say so at level error.
    pair.out.log.lines[:] = [line for line in pair.out.log.lines if line.get("level") != "error"]


def is_tapped(pair: Pair, tap: TapClient) -> None:
    """Call until the new workers have heard of the tap; the test's time limit bounds it."""
    seen: list[Any] = []
    made: set[str] = set()
    while not seen:
        pair.out.wait_for_gauge("fastproxy_workers", 0, state="starting")
        made.add(pair.fetch("GET", "/api/x").exchange)
        one = tap.poll()
        seen += [one] if one and one["exchange"] in made else []


def test_clients_that_never_read_lose_lines_and_hold_up_nobody(make: Maker, admin: dict[str, Any]) -> None:
    long = "X-Long: " + "x" * 8000
    service = make.service(answering(sized(b"fine", "X-Long: " + "y" * 8000)))
    pair = make.pair({"api": [service.endpoint]}, out=admin | {"log": {"access": "off"}})
    before = [memory_bytes(pid, "VmRSS") for pid in processes(pair.out)]
    with ExitStack() as stack:
        clients = [
            stack.enter_context(TapClient(pair.out, READER, receive_bytes=4096)) for _ in range(CLIENTS)
        ]
        taps, refused = clients[:16], clients[16:]  # as many as `admin.taps` says
        assert {each.status for each in taps} == {200}
        assert {each.status for each in refused} == {503}
        assert "admin.taps" in refused[0].problem["detail"]
        with Client(pair.address) as client:
            answers = [client.request("GET", "/api/x", None, [long]) for _ in range(400)]
        assert {answer.status for answer in answers} == {200}
        after = [memory_bytes(pid, "VmRSS") for pid in processes(pair.out)]
        assert all(now - then < MEMORY_BYTES for now, then in zip(after, before, strict=True))
        line = taps[0].next()
        while "dropped" not in line:  # it is told once it reads
            line = taps[0].next()
        assert line["dropped"] > 0
        counted = pair.out.metrics()
        assert counted.total("fastproxy_taps") == 16
        assert counted.total("fastproxy_tap_lines_total", told="dropped") >= line["dropped"]
        assert counted.total("fastproxy_tap_lines_total", told="shown") > 0
        refused[0].close()
        for each in taps:
            each.close()
        pair.out.log.wait_for_lines(16, message="tap ends")
        assert pair.out.metrics().total("fastproxy_taps") == 0
        with TapClient(pair.out, READER) as again:  # there is room again, for connections and for taps
            made = pair.fetch("GET", "/api/x")
            assert again.next()["exchange"] == made.exchange


def test_the_command_shows_lines_and_says_at_its_end_what_it_showed(make: Maker, tmp_path: Path) -> None:
    pair = make.pair(
        {"api": [make.service(answering(ANSWER)).endpoint]},
        out={"admin": {"address": f"unix:{tmp_path}/sock"}},
    )
    command = [sys.executable, "-m", "fastproxy", "tap", "--at", str(pair.out.file), "--content", "9"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        shown = LineFeed(process.stdout)
        try:
            pair.out.log.wait_for(message="tap begins")
            made: set[str] = set()
            # The log says so before workers have heard of it, and of what began before no head is seen.
            while not (whole := [line for line in shown.find(status=200) if line["answer"] is not None]):
                made.add(pair.fetch("GET", "/api/x", None, ASKING).exchange)
            assert whole[0]["exchange"] in made
            assert whole[0]["answer"]["content"] == {"text": "fine \u20ac"}
            process.send_signal(signal.SIGINT)
            words = process.stderr.read()
            process.wait(20)
        finally:
            process.kill()
            shown.close()
    assert process.returncode == 0
    assert re.fullmatch(rb"[1-9]\d* exchanges? in \d+ s\n", words)
    pair.out.log.wait_for(message="tap ends", peer="unix", access="changing")


def test_the_command_says_why_a_proxy_can_not_be_tapped(make: Maker, admin: dict[str, Any]) -> None:
    pair = make.pair({"api": ["127.0.0.1:1"]}, out=admin)
    at = endpoint_of(pair.out.admin)
    command = [sys.executable, "-m", "fastproxy", "tap", "--at", at, "--status", "0xx", "--token-file"]
    run = subprocess.run([*command, admin["admin"]["token"]["file"]], capture_output=True, text=True)
    assert (run.returncode, run.stdout) == (1, "")
    assert "says 400: the query has caller, service" in run.stderr


def processes(proxy: ProxyProcess) -> list[int]:
    return [proxy.pid, *worker_pids(proxy)]
