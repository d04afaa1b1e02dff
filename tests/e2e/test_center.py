"""Proxies that find each other and their services by the center: while it works, fails, lies and forgets."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from fastproxy.admin.center.tokens import token_line
from tests.e2e.centers import CenterProcess, PlayedCenter
from tests.e2e.client import request_bytes
from tests.e2e.conftest import Maker
from tests.e2e.http_wire import chunked
from tests.e2e.nginx import Nginx
from tests.e2e.proxies import Pair, ProxyProcess, endpoint_of, reserved_port
from tests.e2e.services import answering, sized

AGE = "fastproxy_discovery_age_seconds"
CANT_BE_ASKED = "the center can't be asked; the last known endpoints are kept"
TOKEN = "in-proxy-token-0123456789"
FAKE = "someone-elses-token-0123"


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    """Ends what a test started, the last first."""
    with ExitStack() as stack:
        yield stack


def until(is_so: Callable[[], bool]) -> None:
    """Ask until it is so; the test's time limit bounds it."""
    while not is_so():
        pass


def is_ready(proxy: ProxyProcess) -> bool:
    """Whether it knows endpoints for everything."""
    return proxy.probe("/readyz").status == 200


def age_s(proxy: ProxyProcess) -> float:
    """How old what it knows is."""
    return proxy.metrics().total(AGE)


def wait_until_older(proxy: ProxyProcess) -> None:
    """Wait until nothing has been confirmed for a while."""
    before_s = age_s(proxy)
    until(lambda: age_s(proxy) > before_s + 0.3)


def wait_until_younger(ages_s: dict[ProxyProcess, float]) -> None:
    """Wait until each has been seen to know something younger than this."""
    while ages_s:
        ages_s = {proxy: than_s for proxy, than_s in ages_s.items() if age_s(proxy) >= than_s}


def start_by_center(stack: ExitStack, folder: Path, url: str, *, token: str = "") -> Pair:
    """Start a pair that knows of each other, and of the service `web`, what the center says."""
    at_center: dict[str, object] = {"url": url}
    registering = dict(at_center)
    if token:
        file = folder / "in.token"
        file.write_text(token + "\n")
        file.chmod(0o600)
        registering["token"] = {"file": str(file)}
    pair = Pair(
        folder,
        {"web": ["center"]},
        out={"center": at_center},
        inner={"center": registering},
        between=lambda _: "center",
    )
    stack.enter_context(pair)
    until(lambda: is_ready(pair.inner) and is_ready(pair.out))
    return pair


def token_file(folder: Path, *names: str) -> str:
    """Write the file for `--tokens`."""
    file = folder / "center.tokens"
    file.write_text("".join(token_line(name, TOKEN) + "\n" for name in names))
    file.chmod(0o600)
    return str(file)


def register(center: CenterProcess, path: str, *, token: str = "", ttl_s: float = 3600) -> int:
    """Register an endpoint for long; return the status."""
    headers = [f"Authorization: Bearer {token}"] if token else []
    return center.ask("PUT", path, json.dumps({"ttl_s": ttl_s}).encode(), *headers).status


# --- a center that works --------------------------------------------------------------------------------


def test_a_call_finds_its_way_by_the_center_alone(stack: ExitStack, tmp_path: Path, nginx: Nginx) -> None:
    center = stack.enter_context(CenterProcess(tmp_path, "--open"))
    host, _, port = nginx.endpoint.rpartition(":")
    form = f"name=web&ip={host}&port={port}".encode()
    content_type = "Content-Type: application/x-www-form-urlencoded"
    answer = center.ask("POST", "/api/register", form, content_type)  # as the original's services do
    assert (answer.status, answer.body) == (200, b"success\n")
    assert (
        center.ask("POST", "/api/address/get", b"name=web", content_type).body == f"{host}:{port}\n".encode()
    )
    with ExitStack() as proxies:
        pair = start_by_center(proxies, tmp_path, center.url)
        assert pair.fetch("GET", "/web/hello").body == b"hello from nginx"
        in_proxy = [endpoint_of(pair.inner.listen)]
        assert center.endpoints("receivers", "in") == in_proxy
        assert center.endpoints("receivers", "web") == in_proxy, "for compat, which knows no receivers' names"
        assert center.endpoints("services", "web") == [nginx.endpoint], "never in its service's place"
        for proxy in (pair.out, pair.inner):
            assert proxy.metrics().total("fastproxy_endpoints", service="web") == 1
            assert 0 <= age_s(proxy) < 31
        pair.inner.signal()
        center.wait_for_endpoints("receivers", "in", lambda endpoints: not endpoints)
    assert center.endpoints("receivers", "web") == []


def test_whoever_watches_learns_at_once(stack: ExitStack, tmp_path: Path) -> None:
    center = stack.enter_context(CenterProcess(tmp_path, "--open"))
    watcher, other = stack.enter_context(center.client()), stack.enter_context(center.client())
    version = json.loads(watcher.request("GET", "/v1/services/song", host="localhost").body)["version"]
    for client, wait_s in ((watcher, 60), (other, 1)):
        target = f"/v1/services/{'song' if client is watcher else 'chat'}?after={version}&wait_s={wait_s}"
        client.send(request_bytes("GET", target, host="localhost"))
    assert json.loads(other.answer().body) == {"name": "chat", "version": version, "endpoints": []}
    register(center, "/v1/services/song/endpoints/192.0.2.1:80")
    told = json.loads(watcher.answer().body)
    assert told["endpoints"] == [{"address": "192.0.2.1:80"}]
    assert told["version"] > version


def test_whoever_watches_is_answered_when_the_center_is_told_to_stop(tmp_path: Path) -> None:
    center = CenterProcess(tmp_path, "--open")
    with center.client() as watcher:
        version = json.loads(watcher.request("GET", "/v1/services/song", host="localhost").body)["version"]
        watcher.send(request_bytes("GET", f"/v1/services/song?after={version}&wait_s=60", host="localhost"))
        # The answer to this one proves that the center has read the one before.
        center.ask("GET", "/v1/services/song")
        center.stop()
        answer = watcher.answer()
        assert (answer.status, answer.get("connection")) == (200, "close")
        assert watcher.is_closed()


# --- a center that goes ---------------------------------------------------------------------------------


@pytest.mark.parametrize("keeps_its_store", [True, False], ids=["with its store", "without its store"])
def test_calls_go_on_while_the_center_is_down_and_after_its_return(
    stack: ExitStack, tmp_path: Path, nginx: Nginx, keeps_its_store: bool
) -> None:
    port = stack.enter_context(reserved_port())
    center = CenterProcess(tmp_path, "--open", port=port)
    register(center, f"/v1/services/web/endpoints/{nginx.endpoint}")
    pair = start_by_center(stack, tmp_path, center.url)
    proxies = (pair.out, pair.inner)
    before = json.loads(center.ask("GET", "/v1/services/web").body)
    center.wait_until_written(nginx.endpoint)
    center.kill()
    for proxy in proxies:
        proxy.log.wait_for(message=CANT_BE_ASKED)
        wait_until_older(proxy)
    assert pair.fetch("GET", "/web/hello").status == 200

    if not keeps_its_store:
        for file in tmp_path.glob("center.db*"):
            file.unlink()
    old_s = {proxy: age_s(proxy) for proxy in proxies}
    center = stack.enter_context(CenterProcess(tmp_path, "--open", port=port))
    if keeps_its_store:
        after = json.loads(center.ask("GET", "/v1/services/web").body)
        assert (after["endpoints"], after["version"] > before["version"]) == (before["endpoints"], True)
    else:
        assert center.endpoints("services", "web") == []
        pair.inner.log.wait_for(
            message="the center says something doubtful; the last known endpoints are kept for now"
        )
        assert pair.fetch("GET", "/web/hello").status == 200
        register(center, f"/v1/services/web/endpoints/{nginx.endpoint}")
    wait_until_younger(old_s)
    center.wait_for_endpoints("receivers", "in", bool)  # its heartbeat brings it back
    assert pair.fetch("GET", "/web/hello").body == b"hello from nginx"
    for proxy in proxies:
        assert is_ready(proxy)


def test_a_center_that_is_not_there_holds_up_neither_start_nor_stop(make: Maker, nginx: Nginx) -> None:
    with reserved_port() as port:
        url = f"http://127.0.0.1:{port}"
        pair = make.pair(
            {"web": [nginx.endpoint]}, out={"center": {"url": url}}, inner={"center": {"url": url}}
        )
        assert pair.fetch("GET", "/web/hello").status == 200
        pair.inner.log.wait_for(message="registering with the center fails; it is tried again and again")
        pair.inner.stop()
    assert pair.inner.log.find(message="stopped")


def test_a_center_that_hangs_holds_up_neither_start_nor_stop(
    make: Maker, played: PlayedCenter, nginx: Nginx
) -> None:
    played.say(mood="hanging")
    at_center = {"url": played.url, "advertise": "192.0.2.1:8033"}
    proxy = make.in_proxy({"web": ["center"], "other": [nginx.endpoint]}, {"center": at_center})
    assert proxy.probe("/readyz").status == 503
    proxy.stop()
    said = [line["message"] for line in proxy.log.lines]
    assert CANT_BE_ASKED not in said[: said.index("ready")], "the first answer is given 5 s, the start 1"
    assert proxy.log.find(message="the center hangs while this receiver goes; its lease will end")
    assert proxy.log.find(message="stopped")
    played.say()


# --- a center that plays false --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def played() -> Iterator[PlayedCenter]:
    """A center that a test plays."""
    with PlayedCenter() as played:
        yield played


@pytest.fixture(scope="module")
def pair(played: PlayedCenter, tmp_path_factory: pytest.TempPathFactory, nginx: Nginx) -> Iterator[Pair]:
    """A pair whose out proxy finds the in proxy by that center."""
    services = {"web": [nginx.endpoint]}
    center = {"center": {"url": played.url}}
    with Pair(tmp_path_factory.mktemp("pair"), services, out=center, between=lambda _: "center") as pair:
        played.say(endpoint_of(pair.inner.listen))
        until(lambda: is_ready(pair.out))
        yield pair


def test_a_center_that_lies_cuts_calls_off_and_no_stranger_reads_or_answers_them(
    make: Maker, played: PlayedCenter, pair: Pair
) -> None:
    stranger = make.service(answering(sized(b"forged")))
    honest = endpoint_of(pair.inner.listen)
    played.say(stranger.endpoint)
    secret = b"what only the service may read"
    headers = ["Authorization: Bearer secret-of-the-caller"]
    until(lambda: pair.fetch("POST", "/web/echo/private-path", secret, headers).status == 502)
    answer = pair.fetch("POST", "/web/echo/private-path", secret, headers)
    assert (answer.status, answer.cause) == (502, "response_unsealed")
    assert b"forged" not in answer.body
    heard = b"".join(
        repr((request.start, request.fields)).encode() + request.body for request in stranger.requests
    )
    assert len(stranger.requests) >= 2
    for word in (secret, b"secret-of-the-caller", b"private-path", b"echo"):
        assert word not in heard
    played.say(honest)
    until(lambda: pair.fetch("GET", "/web/hello").status == 200)


@pytest.mark.parametrize(
    ("mood", "reason"),
    [
        ("garbage", "the answer doesn't have the form of docs/center.md"),
        ("failing", "the center answers 500"),
        ("hanging", ""),
        ("forgetful", ""),
    ],
)
def test_a_center_that_fails_changes_nothing_but_the_age(
    played: PlayedCenter, pair: Pair, mood: str, reason: str
) -> None:
    played.say(mood=mood)
    if reason:
        pair.out.log.wait_for(message=CANT_BE_ASKED, reason=reason)
    if mood == "forgetful":
        pair.out.log.wait_for(
            message="the center says something doubtful; the last known endpoints are kept for now"
        )
    wait_until_older(pair.out)
    old_s = age_s(pair.out)
    assert pair.fetch("GET", "/web/hello").body == b"hello from nginx"
    assert is_ready(pair.out)
    played.say()
    wait_until_younger({pair.out: old_s})
    assert pair.fetch("GET", "/web/hello").status == 200


# --- whoever asks what they may not ---------------------------------------------------------------------


def test_a_fake_registration_is_refused(stack: ExitStack, tmp_path: Path, nginx: Nginx) -> None:
    center = stack.enter_context(CenterProcess(tmp_path, "--tokens", token_file(tmp_path, "in", "web")))
    register(center, f"/v1/services/web/endpoints/{nginx.endpoint}", token=TOKEN)
    pair = start_by_center(stack, tmp_path, center.url, token=TOKEN)
    for token, status in ((FAKE, 403), ("", 401)):
        for path in ("/v1/receivers/in", "/v1/receivers/web", "/v1/services/web"):
            before = center.endpoints(*path.split("/")[2:])
            assert register(center, f"{path}/endpoints/192.0.2.66:80", token=token) == status
            removal = [f"Authorization: Bearer {token}"] if token else []
            assert center.ask("DELETE", f"{path}/endpoints/{before[0]}", None, *removal).status == status
            assert center.endpoints(*path.split("/")[2:]) == before != []
    form = b"name=web&ip=192.0.2.66&port=80"
    assert center.ask("POST", "/api/register", form).status == 401
    assert pair.fetch("GET", "/web/hello").status == 200
    assert TOKEN not in json.dumps(center.log.lines + pair.inner.log.lines)


def test_an_in_proxy_with_a_wrong_token_says_so_and_serves_on(
    stack: ExitStack, tmp_path: Path, make: Maker, nginx: Nginx
) -> None:
    center = stack.enter_context(CenterProcess(tmp_path, "--tokens", token_file(tmp_path, "in")))
    file = tmp_path / "wrong.token"
    file.write_text(FAKE)
    file.chmod(0o600)
    at_center = {"url": center.url, "token": {"file": str(file)}, "advertise": "192.0.2.1:8033"}
    proxy = make.in_proxy({"web": [nginx.endpoint]}, {"center": at_center})
    line = proxy.log.wait_for(message="registering with the center fails; it is tried again and again")
    assert line["reason"] == "the center answers 403"
    assert FAKE not in json.dumps(proxy.log.lines)
    assert is_ready(proxy)
    assert center.endpoints("receivers", "in") == []


@pytest.fixture(scope="module")
def center(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CenterProcess]:
    """An open center."""
    with CenterProcess(tmp_path_factory.mktemp("center"), "--open") as center:
        yield center


REBOUND = "rebound.example"
PAGE = "Origin: http://localhost"


@pytest.mark.parametrize(
    ("request_bytes_", "status", "cause"),
    [
        (request_bytes("GET", "/v1/services", host=REBOUND), 421, "host_refused"),
        (request_bytes("GET", "/v1/services", host="127.0.0.1.rebound.example:80"), 421, "host_refused"),
        (request_bytes("GET", "/v1/services", host="", version="1.0"), 421, "host_refused"),
        (request_bytes("GET", f"http://{REBOUND}/v1/services", host=REBOUND), 421, "host_refused"),
        (request_bytes("GET", "/v1/services", None, [PAGE], "localhost"), 403, "from_a_browser"),
        (request_bytes("GET", "/v1/services", None, ["Origin: null"], "[::1]:80"), 403, "from_a_browser"),
        (request_bytes("PATCH", "/v1/services", host="localhost"), 405, "method_refused"),
        (request_bytes("GET", "/", host="localhost"), 404, "nothing_here"),
        (request_bytes("POST", "/api/register", b"x" * 4097, host="localhost"), 413, "too_large"),
        (request_bytes("GET", "/v1/services", host="a host"), 400, "malformed_request"),
        (b"GET /v1/services HTTP/1.1\r\n\r\n", 400, "malformed_request"),
        (request_bytes("GET", "/" + "x" * 4000, host="localhost"), 414, "target_too_long"),
    ],
)  # fmt: skip
def test_a_request_that_nobody_honest_sends(
    center: CenterProcess, request_bytes_: bytes, status: int, cause: str
) -> None:
    with center.client() as client:
        client.send(request_bytes_)
        answer = client.answer()
    assert (answer.status, answer.cause) == (status, cause)
    assert answer.get("cache-control") == "no-store"


@pytest.mark.parametrize(
    "framing",
    [["Content-Length: 100000000"], ["Transfer-Encoding: chunked"]],
    ids=["declared", "in chunks"],
)
def test_no_more_content_is_read_than_any_request_may_have(center: CenterProcess, framing: list[str]) -> None:
    piece = b"x" * 2048
    with center.client() as client:
        client.send(request_bytes("POST", "/api/register", None, framing, "localhost"))
        for _ in range(3):
            client.send(chunked(piece)[:-5] if "chunked" in framing[0] else piece)
        answer = client.answer()
        assert (answer.status, answer.cause, answer.get("connection")) == (413, "too_large", "close")
        assert client.is_closed()


def test_one_machine_takes_no_more_than_its_share(center: CenterProcess) -> None:
    names, batch = 6000, 500
    statuses: list[int] = []
    with center.client() as client:
        for first in range(0, names, batch):
            client.send(
                b"".join(
                    request_bytes("PUT", f"/v1/services/n{number}/endpoints/192.0.2.1:80", host="localhost")
                    for number in range(first, first + batch)
                )
            )
            statuses += [client.answer().status for _ in range(batch)]
    assert statuses == [200] * 2048 + [429] * (names - 2048)
    assert register(center, "/v1/services/n0/endpoints/192.0.2.1:80") == 200, "who is registered stays so"


def test_watchers_that_hang_up_give_their_places_free(stack: ExitStack, tmp_path: Path) -> None:
    center = stack.enter_context(CenterProcess(tmp_path, "--open"))
    version = json.loads(center.ask("GET", "/v1/services/song").body)["version"]
    watch = request_bytes("GET", f"/v1/services/song?after={version}&wait_s=60", host="localhost")
    for _ in range(3):  # 1024 may wait from one address
        with ExitStack() as watchers:
            for _ in range(400):
                watchers.enter_context(center.client()).send(watch)
    quick = center.ask("GET", f"/v1/services/song?after={version}&wait_s=1")
    assert quick.status == 200
