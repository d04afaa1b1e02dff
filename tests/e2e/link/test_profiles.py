"""Profiles of running proxies: what they show, who gets them, and that nothing goes on after them."""

from __future__ import annotations

import os
import threading
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.e2e.client import Client, request_bytes
from tests.e2e.conftest import Maker
from tests.e2e.link.profiled import TIMEOUT_S, Calls, ask, profile_of
from tests.e2e.nginx import Nginx
from tests.e2e.proxies import Pair, ProxyProcess
from tests.telemetry.profiling.seen import values_of

TOKEN = "0123456789abcdef-token"
BEARER = f"Authorization: Bearer {TOKEN}"
CPU = "/debug/pprof/profile"
KINDS = (CPU, "/debug/fgprof", "/debug/pprof/block", "/debug/pprof/heap", "/debug/pprof/allocs")


@pytest.fixture(scope="module")
def pair(make_shared: Maker, nginx: Nginx, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    """An out proxy with a token, and an in proxy that is open to its machine."""
    file = tmp_path_factory.mktemp("token") / "admin.token"
    file.write_text(TOKEN + "\n")
    file.chmod(0o600)
    return make_shared.pair(
        {"web": [nginx.endpoint]},
        out={"admin": {"token": {"file": str(file)}}},
        inner={"admin": {"open": ["profiles"]}},
    )


# --- what they show -----------------------------------------------------------------------------------------


def test_cpu_profiles_of_both_proxies_show_the_way_of_a_call(pair: Pair) -> None:
    """How much of the processor a proxy gets is the machine's to say: further profiles until all is seen."""
    wanted = {
        "out": ["net.connection.Connection.data_received", "net.link.link.Link.data_received"],
        "inner": ["net.link.link.Link.data_received", "net.client.ClientConnection.data_received"],
    }
    with ExitStack() as stack:
        for _ in range(4):
            stack.enter_context(Calls(pair.address, "/web/hello"))
        while any(wanted.values()):
            for name in (name for name, functions in wanted.items() if functions):
                admin = pair.out.admin if name == "out" else pair.inner.admin
                profile = profile_of(ask(admin, f"{CPU}?seconds=1", BEARER))
                assert profile.duration_ns >= 1e9
                assert all(frame.file for frame in profile.frames if not frame.function.startswith("("))
                wanted[name] = [f for f in wanted[name] if not values_of(profile, f)[1]]


def test_the_wall_clock_shows_exchanges_that_wait(make: Maker, pair: Pair) -> None:
    asked = threading.Event()
    go_on = threading.Event()

    def slow(conversation: object) -> None:
        conversation.request()  # type: ignore[attr-defined]
        asked.set()
        go_on.wait(TIMEOUT_S)

    service = make.service(slow)
    waiting = make.pair({"slow": [service.endpoint]}, out={"admin": {"open": ["profiles"]}})
    with Client(waiting.address) as client:
        client.send(request_bytes("GET", "/slow/"))
        assert asked.wait(TIMEOUT_S)
        profile = profile_of(ask(waiting.out.admin, "/debug/fgprof?seconds=0.5"))
        go_on.set()
    in_main_ns = values_of(profile, "(thread MainThread)")[1]
    assert values_of(profile, "(exchange, wait)")[1] == pytest.approx(in_main_ns, rel=0.1)


def test_memory_profiles_show_what_calls_allocate(pair: Pair) -> None:
    with Calls(pair.address, "/web/hello"):
        for kind, shown in (("allocs", "alloc_space"), ("heap", "inuse_space")):
            profile = profile_of(ask(pair.out.admin, f"/debug/pprof/{kind}?seconds=0.5", BEARER))
            assert profile.types[profile.shown].what == shown
            assert values_of(profile, "fastproxy.net.connection.Connection.data_received")[1] > 0


def test_a_flame_graph_is_a_page(pair: Pair) -> None:
    answer = ask(pair.inner.admin, f"{CPU}?seconds=0.1&format=flamegraph")
    assert answer.get("content-type") == "text/html; charset=utf-8"
    assert answer.body.startswith(b"<!doctype html>")
    assert b'"cpu"' in answer.body


def test_the_index_names_every_profile(pair: Pair) -> None:
    for path in ("/debug/pprof/", "/debug/pprof"):
        page = ask(pair.inner.admin, path).body.decode()
        assert all(f'href="{kind}"' in page for kind in KINDS)


# --- who gets them ------------------------------------------------------------------------------------------


def test_the_token_is_needed_where_there_is_one(pair: Pair) -> None:
    for headers in ((), ("Authorization: Bearer wrong",)):
        answer = ask(pair.out.admin, CPU, *headers)
        assert answer.status == 401
        assert [line.split()[0] for line in answer.all("www-authenticate")] == ["Basic", "Bearer"]
        assert TOKEN.encode() not in answer.body
    assert ask(pair.out.admin, "/debug/pprof/", BEARER).status == 200
    assert not any(TOKEN in str(line) for line in pair.out.log.lines + pair.out.access.lines)


def test_pages_of_other_origins_and_rebound_names_get_nothing(pair: Pair) -> None:
    assert ask(pair.inner.admin, CPU, "Origin: http://evil.example").status == 403
    with Client(pair.inner.admin) as client:
        assert client.request("GET", CPU, host="evil.example").status == 403


def test_health_and_metrics_need_nothing(pair: Pair) -> None:
    for proxy in (pair.out, pair.inner):
        assert [proxy.probe(path).status for path in ("/healthz", "/readyz", "/metrics")] == [200] * 3


def test_profiles_are_closed_by_default_and_the_answer_says_how_to_open_them(
    make: Maker, nginx: Nginx
) -> None:
    proxy = make.in_proxy({"web": [nginx.endpoint]}, {})
    for path in (*KINDS, "/debug/pprof/", "/debug/vars"):
        answer = ask(proxy.admin, path)
        assert answer.status == 403
        assert b"admin.token" in answer.body
        assert answer.get("x-go-pprof") == "1"  # go tool pprof shows the words then


def test_a_unix_socket_is_its_users_alone(make: Maker, nginx: Nginx, tmp_path: Path) -> None:
    path = str(tmp_path / "admin.sock")
    proxy = make.in_proxy({"web": [nginx.endpoint]}, {"admin": {"address": f"unix:{path}"}})
    assert os.stat(path).st_mode & 0o777 == 0o600
    profile_of(ask(proxy.admin, f"{CPU}?seconds=0.1"))
    assert ask(proxy.admin, CPU, "Origin: http://evil.example").status == 403


def test_profiles_are_not_on_the_traffic_port(pair: Pair) -> None:
    assert pair.fetch("GET", CPU).cause == "service_unknown"
    assert ask(pair.inner.listen, CPU).cause == "not_an_envelope"


# --- bad requests -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "query",
    [
        "seconds=0", "seconds=-1", "seconds=301", "seconds=1e999", "seconds=nan", "seconds=x", "seconds=",
        "seconds=1&seconds=1", "second=1", "format=svg", "debug=1", "%ff=1", "&".join(["debug=0"] * 900),
    ],
)  # fmt: skip
def test_bad_parameters_are_refused_at_once(pair: Pair, query: str) -> None:
    answer = ask(pair.inner.admin, f"{CPU}?{query}")
    assert answer.status == 400
    assert answer.body


def test_other_methods_and_paths_are_refused(pair: Pair) -> None:
    assert ask(pair.inner.admin, CPU, method="DELETE").status == 405
    assert ask(pair.inner.admin, CPU, method="HEAD").status == 405
    for path in ("/debug/pprof/goroutine", "/debug/pprof/%70rofile", "/debug/"):
        assert ask(pair.inner.admin, path).status == 404
    assert ask(pair.inner.admin, "/debug/pprof/heap?seconds=61").status == 400


def test_one_of_a_kind_at_a_time(pair: Pair) -> None:
    """The first one runs for longer than the test; hanging up ends it, and the next one may come."""
    host = f"127.0.0.1:{pair.inner.admin[1]}"
    first = Client(pair.inner.admin, TIMEOUT_S)
    first.send(request_bytes("GET", f"{CPU}?seconds=300", host=host))
    while (answer := ask(pair.inner.admin, f"{CPU}?seconds=0.01")).status == 200:
        pass  # it was there before the first one
    assert answer.status == 409
    assert 0 < int(answer.get("retry-after")) <= 300
    assert b"already" in answer.body
    profile_of(ask(pair.inner.admin, "/debug/fgprof?seconds=0.05"))  # of another kind
    first.close()
    wait_for(lambda: ask(pair.inner.admin, f"{CPU}?seconds=0.01").status == 200)


# --- what is left -------------------------------------------------------------------------------------------


def threads_of(proxy: ProxyProcess) -> int:
    return len(os.listdir(f"/proc/{proxy.pid}/task"))


def children_of(proxy: ProxyProcess) -> str:
    return "".join((task / "children").read_text() for task in Path(f"/proc/{proxy.pid}/task").iterdir())


def wait_for(is_so: object) -> None:
    end_s = time.monotonic() + TIMEOUT_S
    while not is_so():  # type: ignore[operator]
        assert time.monotonic() < end_s


def modules_of(proxy: ProxyProcess) -> str:
    return Path(f"/proc/{proxy.pid}/maps").read_text()


def test_nothing_is_left_of_profiles_but_what_memory_needs(make: Maker, nginx: Nginx) -> None:
    proxy = make.in_proxy({"web": [nginx.endpoint]}, {"admin": {"open": ["profiles"]}})
    threads = threads_of(proxy)
    for path in KINDS[:3]:
        profile_of(ask(proxy.admin, f"{path}?seconds=0.05"))
    for library in ("google", "memray"):  # formats are made elsewhere
        assert library not in modules_of(proxy)
    profile_of(ask(proxy.admin, f"{KINDS[3]}?seconds=0.05"))
    with Client(proxy.admin, TIMEOUT_S) as client:  # one that isn't waited for
        client.send(request_bytes("GET", f"{KINDS[4]}?seconds=60", host="127.0.0.1"))
        wait_for(lambda: ask(proxy.admin, f"{KINDS[3]}?seconds=0.01").status == 409)
    wait_for(lambda: ask(proxy.admin, f"{KINDS[3]}?seconds=0.01").status == 200)
    assert threads_of(proxy) == threads
    wait_for(lambda: children_of(proxy) == "")
    assert not list(Path("/tmp").glob(f"fastproxy-memory-{proxy.pid}-*"))


def test_a_proxy_drains_while_profiles_are_taken(make: Maker, nginx: Nginx) -> None:
    """The maker checks that it exits with 0 and logged no error."""
    proxy = make.in_proxy({"web": [nginx.endpoint]}, {"admin": {"open": ["profiles"]}})
    clients = []
    for path in KINDS[:4]:
        client = Client(proxy.admin, TIMEOUT_S)
        clients.append(client)
        client.send(request_bytes("GET", f"{path}?seconds=60", host="127.0.0.1"))
        wait_for(lambda path=path: ask(proxy.admin, f"{path}?seconds=0.01").status == 409)
    proxy.signal()
    assert [client.is_closed() for client in clients] == [True] * 4
    for client in clients:
        client.close()
