"""Profiles of running proxies: what they show, who gets them, and that nothing goes on after them."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from operator import le
from pathlib import Path

import pytest

from fastproxy.telemetry.profiling.profile import Profile
from tests.e2e.client import Client, request_bytes
from tests.e2e.conftest import Maker
from tests.e2e.link.profiled import TIMEOUT_S, Calls, ask, profile_of
from tests.e2e.nginx import Nginx
from tests.e2e.proxies import Pair, ProxyProcess, in_config, key_of, merged, write_key
from tests.e2e.services import Conversation
from tests.e2e.worker_processes import workers_of
from tests.telemetry.profiling.seen import of_worker, values_of, workers_in

TOKEN = "0123456789abcdef-token"
BEARER = f"Authorization: Bearer {TOKEN}"
CPU = "/debug/pprof/profile"
WALL = "/debug/fgprof"
KINDS = (CPU, WALL, "/debug/pprof/block", "/debug/pprof/heap", "/debug/pprof/allocs")
WORKERS = {"worker 0", "worker 1"}
MAIN = "(thread MainThread)"
TWO_OPEN = {"workers": 2, "admin": {"open": ["profiles"]}}


@pytest.fixture(scope="module")
def pair(make_shared: Maker, nginx: Nginx, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    """An out proxy with a token, and an in proxy that is open to its machine; two workers each."""
    file = tmp_path_factory.mktemp("token") / "admin.token"
    file.write_text(TOKEN + "\n")
    file.chmod(0o600)
    return make_shared.pair(
        {"web": [nginx.endpoint]},
        out={"workers": 2, "admin": {"token": {"file": str(file)}}},
        inner=TWO_OPEN,
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
                assert profile.duration_ns >= 0.99e9  # a timer may be early by a part of a millisecond
                assert all(frame.file for frame in profile.frames if not frame.function.startswith("("))
                wanted[name] = [f for f in wanted[name] if not values_of(profile, f)[1]]


def test_a_profile_is_of_all_workers_and_says_which_is_which(pair: Pair) -> None:
    """Connections fall to workers by chance: further ones until all have had some."""
    wanted = set(WORKERS)
    while wanted:
        with ExitStack() as stack:
            for _ in range(4):
                stack.enter_context(Calls(pair.address, "/web/hello"))
            profile = profile_of(ask(pair.out.admin, f"{CPU}?seconds=0.5", BEARER))
        assert workers_in(profile) <= WORKERS
        assert profile.comments == []
        busy = "fastproxy.net.connection.Connection.data_received"
        wanted -= {worker for worker in wanted if values_of(of_worker(profile, worker), busy)[1]}


class Slow:
    """A service that answers when the test lets it."""

    def __init__(self) -> None:
        self.asked = threading.Event()
        self.go_on = threading.Event()

    def __call__(self, conversation: Conversation) -> None:
        conversation.request()
        self.asked.set()
        self.go_on.wait(TIMEOUT_S)


def test_the_wall_clock_shows_exchanges_that_wait(make: Maker) -> None:
    slow = Slow()
    service = make.service(slow)
    waiting = make.pair({"slow": [service.endpoint]}, out=TWO_OPEN)
    with Client(waiting.address) as client:
        client.send(request_bytes("GET", "/slow/"))
        assert slow.asked.wait(TIMEOUT_S)
        profile = profile_of(ask(waiting.out.admin, f"{WALL}?seconds=0.5"))
        slow.go_on.set()
    waits = {worker: values_of(of_worker(profile, worker), "(exchange, wait)")[1] for worker in WORKERS}
    in_main_ns = values_of(of_worker(profile, max(waits, key=lambda worker: waits[worker])), MAIN)[1]
    assert sorted(waits.values()) == [0, pytest.approx(in_main_ns, rel=0.1)]


def test_memory_profiles_show_what_calls_allocate(pair: Pair) -> None:
    with Calls(pair.address, "/web/hello"):
        for kind, shown in (("allocs", "alloc_space"), ("heap", "inuse_space")):
            profile = profile_of(ask(pair.out.admin, f"/debug/pprof/{kind}?seconds=0.5", BEARER))
            assert profile.types[profile.shown].what == shown
            assert workers_in(profile) == WORKERS
            assert sorted(comment.partition(":")[0] for comment in profile.comments) == sorted(WORKERS)
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


# --- what becomes of workers meanwhile ----------------------------------------------------------------------


def begin(proxy: ProxyProcess, target: str) -> Client:
    """Ask for a profile, which is being taken when this returns."""
    client = Client(proxy.admin, TIMEOUT_S)
    client.send(request_bytes("GET", target, host="127.0.0.1"))
    wait_for(lambda: ask(proxy.admin, f"{target.partition('?')[0]}?seconds=0.01").status == 409)
    return client


def take_next(proxy: ProxyProcess, target: str) -> Profile:
    """Take a profile, after the one that nobody waits for any more."""
    while (answer := ask(proxy.admin, target)).status == 409:
        pass  # the proxy has yet to see that
    return profile_of(answer)


@pytest.fixture
def unlucky(tmp_path: Path, nginx: Nginx) -> Iterator[ProxyProcess]:
    """A proxy whose workers may be killed, so that it has errors to log."""
    write_key(tmp_path, "in")
    config = merged(in_config({"web": [nginx.endpoint]}, {"web": key_of("web")}), TWO_OPEN)
    proxy = ProxyProcess(tmp_path, config).ready()
    yield proxy
    proxy.signal()
    assert proxy.wait() == 0


@pytest.mark.parametrize("path", [WALL, "/debug/pprof/heap"])
def test_a_worker_that_ends_is_missing_and_the_others_are_shown(unlucky: ProxyProcess, path: str) -> None:
    with begin(unlucky, f"{path}?seconds=3") as client:
        os.kill(workers_of(unlucky.pid)[0], signal.SIGKILL)
        profile = profile_of(client.answer())
    (shown,) = workers_in(profile)
    (missing,) = WORKERS - {shown}
    assert f"{missing} is missing: the process is gone" in profile.comments


def test_without_a_worker_left_there_is_no_profile_and_later_there_is(unlucky: ProxyProcess) -> None:
    with begin(unlucky, f"{WALL}?seconds=60") as client:
        for worker in workers_of(unlucky.pid):
            os.kill(worker, signal.SIGKILL)
        answer = client.answer()
    assert (answer.status, b"every worker has ended" in answer.body) == (503, True)
    while (answer := ask(unlucky.admin, f"{WALL}?seconds=0.1")).status == 503:
        pass  # others take their places
    profile_of(answer)


@pytest.mark.parametrize("path", [WALL, "/debug/pprof/heap"])
def test_hanging_up_stops_all_workers(make: Maker, nginx: Nginx, path: str) -> None:
    """One that had not stopped would have no time for the next one for minutes."""
    proxy = make.in_proxy({"web": [nginx.endpoint]}, TWO_OPEN)
    begin(proxy, f"{path}?seconds=60").close()
    assert "is missing" not in str(take_next(proxy, f"{path}?seconds=0.5").comments)


def test_workers_that_are_told_to_end_say_what_they_have_seen(make: Maker) -> None:
    slow = Slow()
    service = make.service(slow)
    proxy = make.pair(
        {"slow": [service.endpoint]}, out=merged(TWO_OPEN, {"drain": {"grace_s": TIMEOUT_S}})
    ).out
    with Client(proxy.listen) as caller, begin(proxy, f"{WALL}?seconds=60") as client:
        caller.send(request_bytes("GET", "/slow/"))
        assert slow.asked.wait(TIMEOUT_S)
        proxy.signal()
        profile = profile_of(client.answer())  # while the caller still waits
        slow.go_on.set()
    assert [comment.partition(" after ")[0] for comment in profile.comments] == [
        "worker 0: it was told to end", "worker 1: it was told to end",
    ]  # fmt: skip


# --- what is left -------------------------------------------------------------------------------------------


def children_of(pid: int) -> list[int]:
    return sorted(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))


def held_by(pids: list[int]) -> list[int]:
    """How many threads processes have, and how many descriptors."""
    return [len(os.listdir(f"/proc/{pid}/{what}")) for pid in pids for what in ("task", "fd")]


def wait_for(is_so: object) -> None:
    end_s = time.monotonic() + TIMEOUT_S
    while not is_so():  # type: ignore[operator]
        assert time.monotonic() < end_s


def modules_of(pids: list[int]) -> str:
    return "".join(Path(f"/proc/{pid}/maps").read_text() for pid in pids)


def test_nothing_is_left_of_profiles_but_what_memory_needs(make: Maker, nginx: Nginx) -> None:
    proxy = make.in_proxy({"web": [nginx.endpoint]}, TWO_OPEN)
    workers = workers_of(proxy.pid)
    assert len(workers) == 2
    for path in KINDS[:3]:
        profile_of(ask(proxy.admin, f"{path}?seconds=0.05"))
    for library in ("google", "memray"):  # formats are made elsewhere
        assert library not in modules_of([proxy.pid, *workers])
    profile_of(ask(proxy.admin, f"{KINDS[3]}?seconds=0.05"))
    held = held_by([proxy.pid, *workers])
    for path in KINDS:
        take_next(proxy, f"{path}?seconds=0.05")
        begin(proxy, f"{path}?seconds=60").close()  # one that isn't waited for
    for library in ("google", "memray"):
        assert library not in modules_of([proxy.pid])
    wait_for(lambda: children_of(proxy.pid) == sorted(workers))
    wait_for(lambda: all(map(le, held_by([proxy.pid, *workers]), held)))
    assert not list(Path("/tmp").glob(f"fastproxy-memory-{proxy.pid}-*"))


def test_a_proxy_drains_while_profiles_are_taken(make: Maker, nginx: Nginx) -> None:
    """The maker checks that it exits with 0 and logged no error."""
    proxy = make.in_proxy({"web": [nginx.endpoint]}, TWO_OPEN)
    clients = [begin(proxy, f"{path}?seconds=60") for path in KINDS[:4]]
    proxy.signal()
    for client in clients:
        with client, suppress(ConnectionError):
            assert client.stream.read1().startswith(b"HTTP/1.1 200 ") or client.is_closed()
