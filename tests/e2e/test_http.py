"""Plain HTTP/1.1 goes in at one end and comes out at the other as what it was."""

from __future__ import annotations

import http.client
import os
import subprocess
from pathlib import Path

import pytest

from tests.e2e.client import Client, request_bytes
from tests.e2e.conftest import Maker
from tests.e2e.http_wire import read_head
from tests.e2e.nginx import Nginx
from tests.e2e.proxies import Pair, endpoint_of
from tests.e2e.services import Conversation, Script, ScriptedService, answering, echo, sized

DATE = "Sun, 06 Nov 1994 08:49:37 GMT"
HINT = b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>\r\n\r\n"
COOKIES = ("Set-Cookie: a=1", "Set-Cookie: b=2", "X-Odd:   spaced  ", "Set-Cookie: a=3")
HOP_FIELDS = ("Connection: X-Private", "X-Private: 1", "Keep-Alive: timeout=9", "Proxy-Authenticate: Basic")


def until_close(conversation: Conversation) -> None:
    """Answers as servers did before there were lengths."""
    conversation.request()
    conversation.send(b"HTTP/1.0 200 OK\r\n\r\nuntil the end")


Services = dict[str, ScriptedService]


@pytest.fixture(scope="module")
def services(make_shared: Maker) -> Services:
    """Services by name; each has one thing to show."""
    scripts: dict[str, Script] = {
        "echo": echo,
        "old": until_close,
        "hints": answering(HINT + sized(b"final")),
        "cookies": answering(sized(b"", *COOKIES)),
        "hops": answering(sized(b"", *HOP_FIELDS, "X-Public: 1")),
        "dated": answering(sized(b"", f"Date: {DATE}")),
        "bare": answering(sized(b"", "Allow: GET, POST")),
        "kept": answering(sized(b"")),
        "fixed": answering(sized(b"")),
    }
    return {name: make_shared.service(script) for name, script in scripts.items()}


@pytest.fixture(scope="module")
def echo_service(services: Services) -> ScriptedService:
    """The service that sends back what it gets."""
    return services["echo"]


@pytest.fixture(scope="module")
def pair(make_shared: Maker, nginx: Nginx, services: Services) -> Pair:
    """A pair in front of all of them, and of nginx."""
    endpoints = {name: [service.endpoint] for name, service in services.items()}
    hosts = {"kept": {"host": "caller"}, "fixed": {"host": "shop.example"}}
    return make_shared.pair(
        endpoints | {"web": [nginx.endpoint]},
        out={"listen": {"default_service": "bare"}},
        inner={"services": hosts},
    )


# --- methods and statuses ---------------------------------------------------------------------------------


def test_a_get_reaches_nginx_and_its_answer_comes_back(pair: Pair) -> None:
    answer = pair.fetch("GET", "/web/hello")
    assert (answer.status, answer.body) == (200, b"hello from nginx")
    assert answer.get("content-type") == "text/plain"
    assert answer.get("server").startswith("nginx")


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND"])
def test_every_method_arrives_as_it_was_sent(pair: Pair, echo_service: ScriptedService, method: str) -> None:
    answer = pair.fetch(method, "/echo/thing", b"content")
    assert (answer.status, answer.body) == (200, b"content")
    assert echo_service.last.start == f"{method} /thing HTTP/1.1"


def test_head_has_the_length_of_get_and_no_content(pair: Pair) -> None:
    with Client(pair.address) as client:
        answer = client.request("HEAD", "/web/hello")
        assert (answer.status, answer.get("content-length")) == (200, "16")
        assert client.request("GET", "/web/hello").body == b"hello from nginx"


def test_options_star_reaches_the_default_service(pair: Pair, services: Services) -> None:
    answer = pair.fetch("OPTIONS", "*")
    assert (answer.status, answer.get("allow")) == (200, "GET, POST")
    assert services["bare"].last.start == "OPTIONS * HTTP/1.1"


@pytest.mark.parametrize("method", ["CONNECT", "TRACE"])
def test_methods_without_meaning_for_a_call_are_refused(
    pair: Pair, echo_service: ScriptedService, method: str
) -> None:
    before = len(echo_service.requests)
    answer = pair.fetch(method, "/echo/x" if method == "TRACE" else "echo:80")
    assert (answer.status in (400, 501), len(echo_service.requests)) == (True, before)


def test_204_has_no_content_and_the_connection_goes_on(pair: Pair) -> None:
    with Client(pair.address) as client:
        answer = client.request("GET", "/web/nothing")
        assert (answer.status, answer.all("content-length"), answer.all("transfer-encoding")) == (204, [], [])
        assert client.request("GET", "/web/hello").status == 200


def test_304_answers_a_conditional_request(pair: Pair, nginx: Nginx) -> None:
    (nginx.files / "page.txt").write_text("a page")
    with Client(pair.address) as client:
        first = client.request("GET", "/web/page.txt")
        again = client.request("GET", "/web/page.txt", headers=[f"If-None-Match: {first.get('etag')}"])
        assert (first.body, again.status, again.body) == (b"a page", 304, b"")
        assert client.request("GET", "/web/hello").status == 200


def test_statuses_other_than_200_and_their_fields_pass(pair: Pair) -> None:
    answer = pair.fetch("GET", "/web/moved")
    assert (answer.status, answer.get("location").endswith("/hello?to=b")) == (302, True)
    assert pair.fetch("GET", "/web/not-there").status == 404


def test_an_answer_that_ends_with_its_connection_arrives_whole(pair: Pair) -> None:
    with Client(pair.address) as client:
        for _ in range(2):
            answer = client.request("GET", "/old/")
            assert (answer.status, answer.body, answer.whole) == (200, b"until the end", True)


def test_interim_answers_of_the_service_end_at_the_in_proxy(pair: Pair) -> None:
    with Client(pair.address) as client:
        client.send(request_bytes("GET", "/hints/"))
        assert read_head(client.stream).start == "HTTP/1.1 200 OK"


# --- fields -----------------------------------------------------------------------------------------------


def test_repeated_fields_keep_their_order_both_ways(pair: Pair, services: Services) -> None:
    answer = pair.fetch("GET", "/cookies/", headers=["X-Tag: one", "Accept: a", "X-Tag: two", "x-tag: one"])
    assert answer.all("set-cookie") == ["a=1", "b=2", "a=3"]
    assert answer.get("x-odd") == "spaced"
    tags = [field for field in services["cookies"].last.fields if field[0].lower() == "x-tag"]
    assert tags == [("X-Tag", "one"), ("X-Tag", "two"), ("x-tag", "one")]


def test_fields_of_one_hop_are_dropped_both_ways(pair: Pair, services: Services) -> None:
    hop_fields = [
        "TE: trailers",
        "Upgrade: h2c",
        "Proxy-Connection: keep-alive",
        "Proxy-Authorization: Basic x",
    ]
    sent = ["Connection: close, X-Mine, TE", "X-Mine: 1", "X-Other: 1", "Keep-Alive: 5", *hop_fields]
    answer = pair.fetch("GET", "/hops/", headers=sent)
    got = services["hops"].last
    for name in ("x-mine", "keep-alive", "te", "upgrade", "proxy-connection", "proxy-authorization"):
        assert got.all(name) == [], name
    assert "close" not in got.all("connection")
    assert got.get("x-other") == "1"
    for name in ("x-private", "keep-alive", "proxy-authenticate"):
        assert answer.all(name) == [], name
    assert answer.get("x-public") == "1"


def test_via_and_forwarded_tell_of_both_hops(pair: Pair, echo_service: ScriptedService) -> None:
    before = ["Via: 1.0 edge", "X-Forwarded-For: 192.0.2.7", 'Forwarded: for="192.0.2.7";proto=https']
    answer = pair.fetch("GET", "/echo/", headers=before)
    got = echo_service.last
    assert got.get("via") == "1.0 edge, 1.1 out, 1.1 in"
    assert got.get("x-forwarded-for").split(", ")[:2] == ["192.0.2.7", "127.0.0.1"]
    assert got.get("forwarded").startswith('for="192.0.2.7";proto=https, for=127.0.0.1')
    assert ", ".join(answer.all("via")) == "1.1 in, 1.1 out"


def test_the_service_learns_the_proven_caller_and_the_exchange(
    pair: Pair, echo_service: ScriptedService
) -> None:
    """Whatever the caller itself writes into these fields is worth nothing."""
    claims = ["Fastproxy-Caller: admin", "Fastproxy-Exchange: 1"]
    answer = pair.fetch("GET", "/echo/", headers=claims)
    assert echo_service.last.get("fastproxy-caller") == "web"
    assert echo_service.last.get("fastproxy-exchange") == answer.exchange != "1"


def test_a_missing_date_is_added_and_a_present_one_kept(pair: Pair) -> None:
    assert pair.fetch("GET", "/dated/").get("date") == DATE
    assert pair.fetch("GET", "/bare/").get("date").endswith(" GMT")


@pytest.mark.parametrize("name", ["bare", "kept", "fixed"])
def test_host_is_the_endpoint_or_the_callers_or_a_fixed_one(
    pair: Pair, services: Services, name: str
) -> None:
    pair.fetch("GET", f"/{name}/")
    hosts = {"bare": services["bare"].endpoint, "kept": "proxy.test", "fixed": "shop.example"}
    assert services[name].last.get("host") == hosts[name]


# --- targets and services ----------------------------------------------------------------------------------


@pytest.mark.parametrize("query", ["?a=1&a=2", "?%2e%2e/=%zz", "?", "?q=a//b/../c&x=[]{}|^`", ""])
def test_queries_are_left_alone(pair: Pair, echo_service: ScriptedService, query: str) -> None:
    assert pair.fetch("GET", f"/echo/path{query}").status == 200
    assert echo_service.last.start == f"GET /path{query} HTTP/1.1"


@pytest.mark.parametrize(
    ("target", "path"), [("/echo", "/"), ("/echo/", "/"), ("/echo?x=1", "/?x=1"), ("/echo/a/b", "/a/b")]
)
def test_the_first_segment_names_the_service_and_is_taken_off(
    pair: Pair, echo_service: ScriptedService, target: str, path: str
) -> None:
    assert pair.fetch("GET", target).status == 200
    assert echo_service.last.start == f"GET {path} HTTP/1.1"


def test_http_proxy_style_names_the_service_by_host(pair: Pair) -> None:
    connection = http.client.HTTPConnection(endpoint_of(pair.address), timeout=10)
    connection.request("GET", "http://web/seen?a=b", headers={"Host": "web"})
    assert connection.getresponse().read().startswith(b"GET /seen?a=b ")
    connection.close()


def test_curl_works_with_http_proxy_alone(pair: Pair) -> None:
    environment = os.environ | {"http_proxy": f"http://{endpoint_of(pair.address)}", "no_proxy": ""}
    command = ["curl", "-sS", "--fail", "http://web/hello"]
    assert subprocess.check_output(command, env=environment, timeout=10) == b"hello from nginx"


def test_a_target_that_contradicts_host_is_refused(pair: Pair) -> None:
    answer = pair.fetch("GET", "http://echo/", headers=["X: 1"])  # Host says proxy.test
    assert (answer.status, answer.cause) == (400, "malformed_request")


def test_a_service_that_nobody_configured_goes_to_the_default_or_is_refused(
    pair: Pair, services: Services, make: Maker, nginx: Nginx
) -> None:
    assert pair.fetch("GET", "/unknown/x").status == 200
    assert services["bare"].last.start == "GET /unknown/x HTTP/1.1"
    strict = make.pair({"web": [nginx.endpoint]}, out={"listen": {"service_from": "host"}})
    with Client(strict.address) as client:
        assert client.request("GET", "/seen", host="WEB:8034").body.startswith(b"GET /seen ")
        answer = client.request("GET", "/web/seen", host="other")
        assert (answer.status, answer.cause, answer.problem["hop"]) == (404, "service_unknown", "out")


def test_a_fixed_service_gets_every_path(make: Maker, nginx: Nginx) -> None:
    pair = make.pair({"web": [nginx.endpoint]}, out={"listen": {"service_from": "fixed", "service": "web"}})
    assert pair.fetch("GET", "/seen/../seen").cause == "ambiguous_path"
    assert pair.fetch("GET", "/seen").body.startswith(b"GET /seen ")


def test_callers_are_named_by_a_header_that_is_not_passed_on(make: Maker) -> None:
    service = make.service(answering(sized(b"")))
    claim = {"header": "X-Caller", "names": {"web": {"private_key": {"file": "web.key"}}}}
    pair = make.pair({"api": [service.endpoint]}, out={"callers": claim, "caller": None, "private_key": None})
    assert pair.fetch("GET", "/api/", headers=["X-Caller: web"]).status == 200
    assert service.last.get("fastproxy-caller") == "web"
    assert service.last.all("x-caller") == []
    for wrong in (["X-Caller: admin"], [], ["X-Caller: web", "X-Caller: web"]):
        answer = pair.fetch("GET", "/api/", headers=wrong)
        assert (answer.status, answer.cause, answer.problem["phase"]) == (401, "caller_unknown", "identify")
    assert len(service.requests) == 1


@pytest.mark.parametrize("allowed", [True, False])
def test_a_unix_socket_admits_the_users_that_it_lists(
    make: Maker, nginx: Nginx, tmp_path: Path, allowed: bool
) -> None:
    path = tmp_path / "out.sock"
    uids = [os.getuid() if allowed else os.getuid() + 1]
    listen = {"address": f"unix:{path}", "allowed_uids": uids, "socket_mode": "0600"}
    between = {"listen": {"address": f"unix:{tmp_path}/in.sock"}}  # the proxies may meet at one, too
    pair = make.pair({"web": [nginx.endpoint]}, out={"listen": listen}, inner=between)
    assert path.stat().st_mode & 0o777 == 0o600
    answer = pair.fetch("GET", "/web/hello")
    if allowed:
        assert answer.body == b"hello from nginx"
    else:
        assert (answer.status, answer.cause) == (401, "peer_refused")
