"""Starting, watching and stopping a proxy: what an operator sees of it."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import sys
import threading
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.e2e.client import Address, Client, fetch, request_bytes
from tests.e2e.conftest import Maker
from tests.e2e.nginx import Nginx
from tests.e2e.proxies import Pair, endpoint_of, in_config, key_of, out_config, write_key
from tests.e2e.services import Conversation, sized


@pytest.fixture(scope="module")
def pair(make_shared: Maker, nginx: Nginx) -> Pair:
    """A pair in front of nginx; nobody may call the service `secret`."""
    return make_shared.pair(
        {"web": [nginx.endpoint], "secret": [nginx.endpoint]},
        inner={"privileges": [{"callers": ["web"], "services": ["web"], "paths": ["/hello", "/not/**"]}]},
    )


# --- health and metrics ---------------------------------------------------------------------------------


def test_both_proxies_say_that_they_live_and_are_ready(pair: Pair) -> None:
    for proxy in (pair.out, pair.inner):
        assert [proxy.probe(path).status for path in ("/healthz", "/readyz", "/metrics")] == [200] * 3
        assert proxy.probe("/config").status == 404
        assert fetch(proxy.admin, "POST", "/healthz", b"").status == 405
        assert proxy.probe("/metrics").get("content-type").startswith("application/openmetrics-text")


def test_the_admin_pages_are_not_on_the_traffic_port(pair: Pair) -> None:
    for path in ("/healthz", "/readyz", "/metrics"):
        assert pair.fetch("GET", path).cause == "service_unknown"
        assert fetch(pair.inner.listen, "GET", path).cause == "not_an_envelope"


def test_exchanges_are_counted_by_caller_service_outcome_and_cause(pair: Pair) -> None:
    def count(**labels: str) -> list[float]:
        return [
            proxy.metrics().total("fastproxy_requests_total", caller="web", **labels)
            for proxy in (pair.out, pair.inner)
        ]

    fine, refused = count(service="web", outcome="2xx"), count(service="secret", outcome="4xx")
    before = [proxy.metrics() for proxy in (pair.out, pair.inner)]
    for _ in range(3):
        pair.fetch("GET", "/web/hello")
    pair.fetch("POST", "/secret/", b"12345")
    assert count(service="web", outcome="2xx") == [each + 3 for each in fine]
    assert count(service="secret", outcome="4xx") == [each + 1 for each in refused]
    for proxy, then in zip((pair.out, pair.inner), before, strict=True):
        now = proxy.metrics()
        for name, labels, growth in (
            ("fastproxy_refusals_total", {"cause": "no_privilege"}, 1),
            ("fastproxy_request_duration_seconds_count", {"service": "web"}, 3),
            ("fastproxy_request_duration_seconds_bucket", {"service": "web", "le": "+Inf"}, 3),
        ):
            assert now.total(name, **labels) - then.total(name, **labels) == growth, name
        assert now.total("fastproxy_process_resident_bytes") > 1e6
        assert now.total("fastproxy_endpoints") == 2
        assert now.total("fastproxy_in_flight") == 0
    now, then = pair.out.metrics(), before[0]
    for name, service, growth in (
        ("fastproxy_request_bytes_total", "secret", len("12345")),
        ("fastproxy_response_bytes_total", "web", 3 * len("hello from nginx")),
    ):
        assert now.total(name, service=service) - then.total(name, service=service) == growth, name


# --- logs and answers -----------------------------------------------------------------------------------


def test_one_exchange_has_one_id_everywhere(pair: Pair) -> None:
    answer = pair.fetch("GET", "/web/hello?token=secret")
    lines = [proxy.access.wait_for(id=answer.exchange) for proxy in (pair.out, pair.inner)]
    for line, hop, path in zip(lines, ("out", "in"), ("/web/hello", "/hello"), strict=True):
        wanted = {"hop": hop, "caller": "web", "service": "web", "method": "GET", "path": path, "status": 200}
        assert line.items() >= wanted.items()
        assert line["bytes_out"] >= len("hello from nginx")  # sealed, at the in proxy
        assert line["duration_ms"] > 0
        assert {"wait", "answer"} <= set(line["phases_ms"])
        assert sum(line["phases_ms"].values()) <= line["duration_ms"] + 0.1
        assert "secret" not in json.dumps(line), "a query may hold what nobody should read in a log"
    assert lines[1]["route"] == "/hello"


@pytest.mark.parametrize(
    ("target", "status", "cause", "hop", "error"),
    [
        ("/none/", 404, "service_unknown", "out", "destination_not_found"),
        ("/secret/", 403, "no_privilege", "in", "http_request_denied"),
    ],
)
def test_a_refusal_says_who_refused_in_which_phase_and_why(
    pair: Pair, target: str, status: int, cause: str, hop: str, error: str
) -> None:
    answer = pair.fetch("GET", target)
    problem = answer.problem
    assert (answer.status, problem["cause"], problem["hop"], problem["proxy"]) == (status, cause, hop, hop)
    assert problem["type"] == f"urn:fastproxy:error:{cause}"
    assert problem["title"]
    assert problem["advice"]
    assert problem["exchange"] == answer.exchange
    assert answer.get("proxy-status").startswith(f"{hop}; error={error}; details=")
    assert answer.get("cache-control") == "no-store"
    for proxy in (pair.out, pair.inner) if hop == "in" else (pair.out,):
        assert proxy.access.wait_for(id=answer.exchange)["cause"] == cause
    refuser = pair.inner if hop == "in" else pair.out
    line = refuser.log.wait_for(exchange=answer.exchange)
    assert (line["cause"], line["phase"]) == (cause, problem["phase"])


def test_the_services_own_errors_pass_as_they_are(pair: Pair) -> None:
    answer = pair.fetch("GET", "/web/not/there")
    assert (answer.status, answer.all("proxy-status")) == (404, [])
    assert answer.get("content-type") == "text/html"
    assert "cause" not in pair.inner.access.wait_for(id=answer.exchange)


@pytest.mark.parametrize(("access", "least", "most"), [("off", 0, 0), (0.5, 1, 199)])
def test_access_logs_can_be_off_or_sampled(
    make: Maker, nginx: Nginx, access: object, least: int, most: int
) -> None:
    setting = {"log": {"access": access}}
    pair = make.pair({"web": [nginx.endpoint]}, out=setting, inner=setting)
    with Client(pair.address) as client:
        for _ in range(200):
            assert client.request("GET", "/web/hello").status == 200
    for proxy in (pair.out, pair.inner):
        proxy.stop()
    written = [{line["id"] for line in proxy.access.lines} for proxy in (pair.out, pair.inner)]
    assert least <= len(written[0]) <= most
    assert written[0] == written[1], "both write about the same exchanges"


def test_no_log_ever_holds_a_key(pair: Pair) -> None:
    pair.fetch("GET", "/web/hello")
    said = json.dumps([proxy.log.lines + proxy.access.lines for proxy in (pair.out, pair.inner)])
    for name in ("web", "in"):
        assert key_of(name).reveal() not in said


# --- stopping -------------------------------------------------------------------------------------------


def test_what_is_in_flight_ends_well_when_the_proxies_are_told_to_stop(make: Maker) -> None:
    go_on = threading.Event()

    def script(conversation: Conversation) -> None:
        while True:
            request = conversation.request()
            if request.start.startswith("GET /stream"):
                conversation.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nbegun")
                assert go_on.wait(10)
                conversation.send(b"ended")
            else:
                assert go_on.wait(10)
                conversation.send(sized(b"finished"))

    service = make.service(script)
    grace = {"drain": {"grace_s": 8}}
    pair = make.pair({"api": [service.endpoint]}, out=grace, inner=grace)
    with ExitStack() as stack:
        idle = stack.enter_context(Client(pair.address))
        clients = [stack.enter_context(Client(pair.address)) for _ in range(10)]
        for number, client in enumerate(clients):
            client.send(request_bytes("GET", "/api/stream" if number % 2 else "/api/"))
        service.wait_for_requests(len(clients))
        for proxy in (pair.out, pair.inner):
            proxy.signal()
            proxy.log.wait_for(message="draining")
            readiness = proxy.probe("/readyz")
            assert (readiness.status, readiness.body) == (503, b"draining\n")
            assert proxy.probe("/healthz").status == 200
        assert idle.is_closed()
        for proxy in (pair.out, pair.inner):
            wait_until_refused(proxy.listen)
        go_on.set()
        answers = [client.answer() for client in clients]
        assert [answer.body for answer in answers] == [b"finished", b"begunended"] * 5
        assert all(answer.whole for answer in answers)
        assert {answer.get("connection") for answer in answers[::2]} == {"close"}
        assert [proxy.wait() for proxy in (pair.out, pair.inner)] == [0, 0]


def wait_until_refused(address: Address) -> None:
    """Connect until nobody listens any more."""
    with contextlib.suppress(ConnectionRefusedError, ConnectionResetError):
        while True:
            fetch(address, "GET", "/")


def test_what_does_not_end_within_the_grace_period_is_cut(make: Maker) -> None:
    over = threading.Event()

    def script(conversation: Conversation) -> None:
        conversation.request()
        over.wait(10)

    service = make.service(script)
    pair = make.pair({"api": [service.endpoint]}, out={"drain": {"grace_s": 0.1}})
    with Client(pair.address) as client:
        client.send(request_bytes("GET", "/api/"))
        service.wait_for_requests(1)
        pair.out.signal()
        assert client.is_closed()
        assert pair.out.wait() == 0
        assert pair.out.log.find(message="grace period over", cut=1)
    over.set()


# --- starting -------------------------------------------------------------------------------------------


def run_to_its_end(folder: Path, config: dict[str, object]) -> subprocess.CompletedProcess[str]:
    """Start a proxy that can't start."""
    file = folder / "config.yaml"
    file.write_text(json.dumps(config))
    command = [sys.executable, "-m", "fastproxy", "run", str(file)]
    return subprocess.run(command, capture_output=True, text=True, timeout=20)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with keys."""
    write_key(tmp_path, "web")
    write_key(tmp_path, "in")
    return tmp_path


def test_a_port_in_use_is_told_with_its_address(folder: Path) -> None:
    config = in_config({"api": ["127.0.0.1:1"]}, {"web": key_of("web")})
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = endpoint_of(taken.getsockname())
        ended = run_to_its_end(folder, config | {"listen": {"address": address}})
    assert ended.returncode == 1
    assert address in ended.stderr
    assert "another program listens there" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_key_file_that_others_can_read_is_refused(folder: Path) -> None:
    (folder / "web.key").chmod(0o640)
    ended = run_to_its_end(folder, out_config({"api": []}, key_of("in"), "127.0.0.1:1"))
    assert ended.returncode == 2
    assert "web.key" in ended.stderr
    assert key_of("web").reveal() not in ended.stderr


def test_what_lies_in_the_current_folder_is_not_run(folder: Path) -> None:
    (folder / "uvloop.py").write_text("raise SystemExit('planted')")
    command = [sys.executable, "-P", "-m", "fastproxy", "run", "missing.yaml"]
    done = subprocess.run(command, cwd=folder, capture_output=True, check=False)
    assert (done.returncode, b"planted" in done.stderr) == (2, False)


def test_mistakes_in_a_config_are_all_told_and_nothing_starts(folder: Path) -> None:
    config = in_config({"api": ["127.0.0.1:1"]}, {"web": key_of("web")})
    mistakes = {"timeout": 3, "enforce": "maybe", "limits": {"conections": 3}}
    ended = run_to_its_end(folder, config | mistakes)
    assert ended.returncode == 2
    for name in mistakes:
        assert name in ended.stderr
    assert "connections" in ended.stderr, "the nearest right name"


def test_an_outside_address_needs_to_be_asked_for(folder: Path) -> None:
    config = out_config({"api": []}, key_of("in"), "127.0.0.1:1") | {"listen": {"address": "0.0.0.0:0"}}
    assert run_to_its_end(folder, config).returncode == 2
