"""Privileges, rates and deadlines, as a caller and a service meet them."""

from __future__ import annotations

import time
from typing import Any

import pytest

from tests.e2e.client import Client, request_bytes
from tests.e2e.conftest import Maker
from tests.e2e.proxies import Pair
from tests.e2e.services import Conversation, Script, ScriptedService, answering, echo, sized

Services = dict[str, ScriptedService]

SLOW_S = 0.5
"""Timeout of the services that don't answer in time; enough for them to begin on a busy machine."""


def silent(conversation: Conversation) -> None:
    """Takes requests and never answers."""
    while True:
        conversation.request()


def half(conversation: Conversation) -> None:
    """Begins a sized answer and never ends it."""
    conversation.request()
    conversation.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
    conversation.until_gone()


def privilege(service: str, **rest: Any) -> dict[str, Any]:
    """A privilege of the caller on one service."""
    return {"callers": ["web"], "services": [service], **rest}


@pytest.fixture(scope="module")
def services(make_shared: Maker) -> Services:
    """Services by name."""
    scripts: dict[str, Script] = {
        "api": answering(sized(b"served")),
        "limited": answering(sized(b"served")),
        "secret": answering(sized(b"served")),
        "silent": silent,
        "mute": silent,
        "half": half,
        "echo": echo,
    }
    return {name: make_shared.service(script) for name, script in scripts.items()}


@pytest.fixture(scope="module")
def pair(make_shared: Maker, services: Services) -> Pair:
    """A pair with privileges, rates and short timeouts."""
    slow = {name: {"timeout_s": SLOW_S} for name in ("silent", "half", "echo")}
    return make_shared.pair(
        {name: [service.endpoint] for name, service in services.items()},
        out={"services": slow},
        inner={
            "privileges": [
                privilege("api", methods=["GET"], paths=["/public/**", "/items/*", "/exact"]),
                privilege("limited", rate={"per_s": 0.1, "burst": 3}),
                privilege("silent"),
                privilege("mute"),
                privilege("half"),
                privilege("echo", paths=["/open/**"], allow_ambiguous_paths=True),
                privilege("echo"),
            ]
        },
    )


# --- privileges --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path", "passes"),
    [
        ("GET", "/public/a/b", True),
        ("GET", "/items/7", True),
        ("GET", "/exact", True),
        ("POST", "/public/a/b", False),
        ("GET", "/items/7/parts", False),
        ("GET", "/exact/", False),
        ("GET", "/PUBLIC/a", False),
        ("GET", "/", False),
    ],
)
def test_what_no_privilege_allows_is_refused(
    pair: Pair, services: Services, method: str, path: str, passes: bool
) -> None:
    before = len(services["api"].requests)
    answer = pair.fetch(method, f"/api{path}")
    assert len(services["api"].requests) == before + passes
    if passes:
        assert answer.body == b"served"
    else:
        assert (answer.status, answer.cause, answer.problem["phase"]) == (403, "no_privilege", "privilege")


def test_a_service_without_any_privilege_is_refused(pair: Pair, services: Services) -> None:
    assert pair.fetch("GET", "/secret/").cause == "no_privilege"
    assert services["secret"].requests == []


@pytest.mark.parametrize(
    "path",
    [
        "/public/%2e%2e/admin",
        "/public/../admin",
        "/public/.%2E/admin",
        "/public//admin",
        "/public/a%2Fb",
        "/public/a%5cb",
        "/public/a\\b",
        "/public/a%00",
        "/public/..;/admin",
    ],
)
def test_paths_of_two_readings_are_refused(pair: Pair, services: Services, path: str) -> None:
    before = len(services["api"].requests)
    answer = pair.fetch("GET", f"/api{path}")
    assert (answer.status, answer.cause, answer.problem["hop"]) == (400, "ambiguous_path", "in")
    assert len(services["api"].requests) == before


def test_the_service_gets_the_path_that_was_judged(pair: Pair, services: Services) -> None:
    assert pair.fetch("GET", "/api/%70ublic/%7euser%c3%a4?q=%70/../").status == 200
    assert services["api"].last.start == "GET /public/~user%C3%A4?q=%70/../ HTTP/1.1"


def test_a_route_may_allow_paths_of_two_readings(pair: Pair, services: Services) -> None:
    assert pair.fetch("GET", "/echo/open/a%2Fb//c").status == 200
    assert services["echo"].last.start == "GET /open/a%2Fb//c HTTP/1.1"
    assert pair.fetch("GET", "/echo/shut/a%2Fb").cause == "ambiguous_path"


# --- rates -------------------------------------------------------------------------------------------------


def test_who_is_over_the_rate_is_told_when_to_come_back(pair: Pair, services: Services) -> None:
    answers = [pair.fetch("GET", "/limited/") for _ in range(5)]
    assert [answer.status for answer in answers] == [200, 200, 200, 429, 429]
    assert answers[-1].cause == "rate_limited"
    assert 1 <= int(answers[-1].get("retry-after")) <= 10
    assert len(services["limited"].requests) == 3
    assert (
        pair.inner.metrics().total(
            "fastproxy_refusals_total", cause="rate_limited", caller="web", service="limited"
        )
        == len(answers) - 3
    )


def test_report_lets_pass_and_counts(make: Maker, services: Services) -> None:
    inner = {"enforce": "report", "privileges": [privilege("api", paths=["/x"], rate={"per_s": 0.1})]}
    pair = make.pair({"api": [services["api"].endpoint]}, inner=inner)
    paths = ["/x", "/x", "/y"]
    assert [pair.fetch("GET", f"/api{path}").status for path in paths] == [200, 200, 200]
    metrics = pair.inner.metrics()
    for cause in ("rate_limited", "no_privilege"):
        assert metrics.total("fastproxy_would_refuse_total", cause=cause) == 1
        assert metrics.refusals(cause) == 0
        pair.inner.log.wait_for(message="would refuse, once refusals are enforced", cause=cause)
    assert pair.fetch("GET", "/api/x/%2e%2e/y").cause == "ambiguous_path", "no policy, but a broken request"


# --- deadlines ---------------------------------------------------------------------------------------------


def test_a_service_that_is_silent_is_given_up(pair: Pair, services: Services) -> None:
    begun = time.monotonic()
    answer = pair.fetch("GET", "/silent/")
    assert (answer.status, answer.cause) == (504, "deadline_exceeded")
    assert time.monotonic() - begun > SLOW_S * 0.9
    services["silent"].wait_for_connections(0)


def test_a_caller_may_ask_for_less_time(pair: Pair) -> None:
    """Than the 15 s that the service would have, and the 10 that this caller waits for an answer."""
    answer = pair.fetch("GET", "/mute/", headers=["fastproxy-timeout-ms: 400"])
    assert (answer.status, answer.cause) == (504, "deadline_exceeded")
    assert "phase wait" in answer.problem["detail"]


@pytest.mark.parametrize("field", ["request_dead_time: 1000000000", "fastproxy-timeout-ms: 0"])
def test_what_is_past_its_deadline_is_not_sent(pair: Pair, services: Services, field: str) -> None:
    before = len(services["api"].requests)
    answer = pair.fetch("GET", "/api/exact", headers=[field])
    assert (answer.status, answer.cause, answer.problem["hop"]) == (504, "deadline_exceeded", "out")
    assert len(services["api"].requests) == before


@pytest.mark.parametrize(
    "field",
    ["request_dead_time: soon", "request_dead_time: -1", "fastproxy-timeout-ms: 1e3", "request_dead_time:"],
)
def test_a_deadline_that_is_no_number_is_refused(pair: Pair, field: str) -> None:
    answer = pair.fetch("GET", "/api/exact", headers=[field])
    assert (answer.status, answer.cause) == (400, "malformed_request")


def test_an_absolute_deadline_travels_on(pair: Pair, services: Services) -> None:
    dead_time = int(time.time()) + 11
    assert pair.fetch("GET", "/api/exact", headers=[f"request_dead_time: {dead_time}"]).status == 200
    got = services["api"].last
    assert got.get("request_dead_time") == str(dead_time)
    assert 5000 < int(got.get("fastproxy-timeout-ms")) <= 11_000


def test_the_service_learns_how_much_time_is_left(pair: Pair, services: Services) -> None:
    pair.fetch("GET", "/api/exact", headers=["fastproxy-timeout-ms: 7000"])
    assert 1000 < int(services["api"].last.get("fastproxy-timeout-ms")) <= 7000
    pair.fetch("GET", "/api/exact")
    assert 9000 < int(services["api"].last.get("fastproxy-timeout-ms")) <= 15_000


def test_a_deadline_inside_the_answer_breaks_it_off(pair: Pair, services: Services) -> None:
    """Too late for another status: the caller must see that the content is not whole."""
    with Client(pair.address) as client:
        answer = client.request("GET", "/half/")
        assert (answer.status, answer.body, answer.whole) == (200, b"half", False)
    services["half"].wait_for_connections(0)
    causes = {hop.access.wait_for(service="half")["cause"] for hop in (pair.out, pair.inner)}
    assert "deadline_exceeded" in causes, "whichever of the two was first"


def test_a_deadline_inside_a_slow_upload_ends_it(pair: Pair, services: Services) -> None:
    with Client(pair.address) as client:
        client.send(request_bytes("POST", "/echo/", headers=["Content-Length: 100"]) + b"half")
        answer = client.answer()  # the echo service had begun to answer
        assert (answer.status, answer.body, answer.whole) == (200, b"half", False)
    services["echo"].wait_for_connections(0)


def test_a_refusal_of_head_has_the_length_of_its_document_and_no_content(pair: Pair) -> None:
    with Client(pair.out.listen) as client:
        refused = client.request("GET", "/secret/x")
        answer = client.request("HEAD", "/secret/x")
        assert (refused.status, answer.status) == (403, 403)
        assert answer.body == b""
        (length,) = answer.all("content-length")
        assert abs(int(length) - len(refused.body)) <= 1, "their exchange ids may differ by a digit"
        assert client.request("HEAD", "/secret/x").status == 403, "the connection is still in order"
