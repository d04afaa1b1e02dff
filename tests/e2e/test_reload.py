"""A config that changes while calls keep coming: what changes for whom, and that nothing is lost."""

from __future__ import annotations

import resource
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.e2e.client import Address, Client, request_bytes
from tests.e2e.conftest import Maker
from tests.e2e.http_wire import read_head
from tests.e2e.proxies import Config, endpoint_of, key_of, reserved_port, write_key
from tests.e2e.services import Conversation, ScriptedService, answering, sized

TWO: Config = {"workers": 2}
REFUSED = "the new config is refused; the former one serves on"
IN_PLACE, NEW_WORKERS = "in place", "new workers"


class Load:
    """Callers that never pause: each makes one POST after the other on a kept connection.

    failures: what went wrong. calls: how many were answered.

    Args:
        address: where they call. count: of callers.
    """

    def __init__(self, address: Address, count: int = 4) -> None:
        self.failures: list[str] = []
        self.calls = 0
        self._address = address
        self._stop = threading.Event()
        self._counted = threading.Condition()
        self._threads = [threading.Thread(target=self._call) for _ in range(count)]

    def _call(self) -> None:
        client: Client | None = None
        while not self._stop.is_set():
            try:
                client = client or Client(self._address)
                answer = client.request("POST", "/api/x", b"content")
                if (answer.status, answer.body) != (200, b"served"):
                    self.failures.append(f"{answer.status} {answer.body[:300]!r}")
                if answer.get("connection") == "close":
                    client.close()
                    client = None
            except (OSError, EOFError, ValueError) as error:
                self.failures.append(repr(error))
                if client is not None:
                    client.close()
                client = None
            with self._counted:
                self.calls += 1
                self._counted.notify_all()
        if client is not None:
            client.close()

    def wait_for_more(self, count: int) -> None:
        """Wait until so many more calls are through."""
        with self._counted:
            least = self.calls + count
            assert self._counted.wait_for(lambda: self.calls >= least, 20)

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(20)
        assert not self.failures, self.failures[:5]


@pytest.fixture(scope="module")
def service(make_shared: Maker) -> ScriptedService:
    """Answers at once."""
    return make_shared.service(answering(sized(b"served")))


@contextmanager
def waiting_service(make: Maker, nod: threading.Event) -> Iterator[ScriptedService]:
    """A service that answers at a nod."""

    def script(conversation: Conversation) -> None:
        while True:
            conversation.request()
            assert nod.wait(20)
            conversation.send(sized(b"late"))

    yield make.service(script)
    nod.set()


def connect_for_ever(address: Address) -> None:
    """Connect again and again; the test's time limit bounds it."""
    while True:
        Client(address).close()


def granted(*paths: str) -> Config:
    """Privileges for these paths alone."""
    return {"privileges": [{"callers": ["*"], "services": ["*"], "paths": list(paths)}]}


def test_a_reload_takes_effect_on_open_connections_and_loses_nothing(
    make: Maker, service: ScriptedService
) -> None:
    pair = make.pair({"api": [service.endpoint]}, out=TWO, inner=TWO)
    with Client(pair.address) as client, Load(pair.address) as load:
        for _ in range(4):
            assert client.request("GET", "/api/secret").status == 200
        opened = pair.inner.metrics().total("fastproxy_connections_accepted_total")
        assert pair.inner.reload(granted("/x"))["how"] == IN_PLACE
        for _ in range(4):
            assert client.request("GET", "/api/secret").status == 403
        load.wait_for_more(50)
        pair.inner.reload(granted("/**"))
        for _ in range(4):
            assert client.request("GET", "/api/secret").status == 200
        for number in range(6):
            pair.inner.reload(granted("/**", f"/{number}"))
            pair.out.reload({"defaults": {"timeout_s": 10 + number}})
        load.wait_for_more(50)
        calls = load.calls
        counted = pair.inner.metrics()
        assert counted.total("fastproxy_connections_accepted_total") <= opened + 2, "none connects anew"
        assert counted.total("fastproxy_reloads_total", outcome="done") == 8
        assert counted.total("fastproxy_requests_total", outcome="2xx") >= calls


def test_what_is_under_way_ends_with_the_config_that_it_began_with(make: Maker) -> None:
    nod = threading.Event()
    with waiting_service(make, nod) as slow:
        pair = make.pair({"api": [slow.endpoint]})
        with Client(pair.address) as client:
            client.send(request_bytes("POST", "/api/", b"x"))
            slow.wait_for_requests(1)
            pair.inner.reload({"services": {"api": None, "other": {"endpoints": [slow.endpoint]}}})
            pair.out.reload({"services": {"api": None, "other": {}}})
            assert pair.fetch("GET", "/api/").status == 404, "nobody else gets there any more"
            nod.set()
            assert client.answer().body == b"late"
            assert client.request("GET", "/other/").body == b"late"


def test_a_caller_who_is_known_no_more_is_refused_at_once(make: Maker, service: ScriptedService) -> None:
    pair = make.pair({"api": [service.endpoint]}, inner=TWO)
    with Client(pair.address) as client:
        for _ in range(4):
            assert client.request("GET", "/api/").status == 200
        stranger = {"public_keys": [key_of("other").public_key.hex()]}
        pair.inner.reload({"callers": {"web": None, "other": stranger}})
        assert client.request("GET", "/api/").status in (502, 503)
        pair.inner.reload({"callers": {"web": {"public_keys": [pair.caller_key.public_key.hex()]}}})
        while client.request("GET", "/api/").status != 200:  # the out proxy asks again after a while
            pass


def test_rates_go_on_over_a_reload(make: Maker, service: ScriptedService) -> None:
    def limited(*more: str) -> Config:
        rate = {"per_s": 0.001, "burst": 2}
        paths = ["/**", *more]
        return {"privileges": [{"callers": ["*"], "services": ["*"], "paths": paths, "rate": rate}]}

    pair = make.pair({"api": [service.endpoint]}, inner=limited() | {"workers": 1})
    assert [pair.fetch("GET", "/api/").status for _ in range(3)] == [200, 200, 429]
    pair.inner.reload(limited("/more"))
    assert pair.fetch("GET", "/api/").status == 429


def test_other_keys_are_used_from_then_on(make: Maker, service: ScriptedService) -> None:
    pair = make.pair({"api": [service.endpoint]}, out=TWO, inner=TWO)
    old, new = (key.public_key.hex() for key in (pair.caller_key, key_of("web-2")))
    with Load(pair.address) as load:
        pair.inner.reload({"callers": {"web": {"public_keys": [old, new]}}})
        write_key(pair.folder, "web-2")
        pair.out.reload({"private_key": {"file": "web-2.key"}})
        load.wait_for_more(50)
        pair.inner.reload({"callers": {"web": {"public_keys": [new]}}})
        load.wait_for_more(50)


def test_what_takes_new_workers_loses_nothing_either(make: Maker, service: ScriptedService) -> None:
    grace: Config = {"drain": {"grace_s": 20}}
    pair = make.pair({"api": [service.endpoint]}, out=grace | {"workers": 2}, inner=grace | {"workers": 2})
    with Load(pair.address) as load:
        for count in (1, 2):
            assert pair.inner.reload({"workers": count})["how"] == NEW_WORKERS
            assert pair.out.reload({"workers": count})["how"] == NEW_WORKERS
            load.wait_for_more(50)
        assert pair.inner.metrics().total("fastproxy_workers", state="ready") == 2


def test_another_address_is_listened_at_before_the_former_one_is_left(
    make: Maker, service: ScriptedService
) -> None:
    pair = make.pair({"api": [service.endpoint]})
    with reserved_port() as port:
        pair.out.reload({"listen": {"address": f"127.0.0.1:{port}"}})
        with Client(("127.0.0.1", port)) as client:
            assert client.request("GET", "/api/").status == 200
        with pytest.raises(ConnectionRefusedError):  # in the end: the test's time limit bounds it
            connect_for_ever(pair.address)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"services": {"api": {"timeout": 3}}}, "timeout_s"),
        ({"private_key": {"file": "none.key"}}, "none.key"),
        ({"privileges": [{"callers": ["*"], "services": ["*"], "paths": ["/a//b"]}]}, "/a//b"),
    ],
)
def test_a_config_that_is_wrong_is_refused_with_its_reasons(
    make: Maker, service: ScriptedService, changes: Config, words: str
) -> None:
    pair = make.pair({"api": [service.endpoint]})
    with Client(pair.address) as client:
        assert client.request("GET", "/api/").status == 200
        line = pair.inner.reload(changes, message=REFUSED)
        assert words in " ".join(line["problems"])
        assert client.request("GET", "/api/").status == 200
        assert pair.inner.metrics().total("fastproxy_reloads_total", outcome="refused") == 1
    pair.inner.log.lines.remove(line)  # no mistake of its own


def test_an_address_that_is_taken_is_refused(make: Maker, service: ScriptedService) -> None:
    pair = make.pair({"api": [service.endpoint]})
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = endpoint_of(other.getsockname())
        for changes in ({"listen": {"address": taken}}, {"admin": {"address": taken}}):
            line = pair.inner.reload(changes, message=REFUSED)
            assert "another program listens there" in line["problems"][0]
            pair.inner.log.lines.remove(line)
            assert pair.fetch("GET", "/api/").status == 200
            pair.inner.reload(
                {"listen": {"address": endpoint_of(pair.inner.listen)}, "admin": {"address": "127.0.0.1:0"}}
            )


def test_health_and_metrics_move(make: Maker, service: ScriptedService, tmp_path: Path) -> None:
    pair = make.pair({"api": [service.endpoint]})
    path = str(tmp_path / "admin.sock")
    pair.inner.reload({"admin": {"address": f"unix:{path}"}})
    pair.inner.admin = path
    assert pair.inner.probe("/readyz").status == 200


def test_reloads_in_the_middle_of_each_other_end_with_the_last_config(
    make: Maker, service: ScriptedService
) -> None:
    pair = make.pair({"api": [service.endpoint]}, inner=TWO)
    with Load(pair.address):
        pair.inner.reload(granted("/x"))
        in_place = len(pair.inner.log.find(message="reloaded", how=IN_PLACE))
        for _ in range(10):
            pair.inner.reload_unseen()
        pair.inner.write(granted("/x", "/y"))
        pair.inner.reload_unseen()
        pair.inner.log.wait_for_more(in_place, message="reloaded", how=IN_PLACE)  # not one that saw the old
        assert pair.fetch("GET", "/api/y").status == 200
        assert pair.fetch("GET", "/api/z").status == 403


def test_a_long_answer_outlives_reloads(make: Maker) -> None:
    nods = threading.Semaphore(0)

    def script(conversation: Conversation) -> None:
        conversation.request()
        conversation.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for number in range(3):
            assert nods.acquire(timeout=20)
            conversation.send(b"1\r\n%d\r\n" % number)
        conversation.send(b"0\r\n\r\n")

    pair = make.pair({"api": [make.service(script).endpoint]})
    with Client(pair.address) as client:
        client.send(request_bytes("GET", "/api/"))
        assert read_head(client.stream).start == "HTTP/1.1 200 OK"
        for number in range(3):
            pair.inner.reload(granted("/**", f"/{number}"))
            pair.out.reload({"defaults": {"timeout_s": 20 + number}})
            nods.release()
        content = client.stream.read(len(b"1\r\n0\r\n1\r\n1\r\n1\r\n2\r\n0\r\n\r\n"))
        assert content == b"1\r\n0\r\n1\r\n1\r\n1\r\n2\r\n0\r\n\r\n"


def test_a_file_that_is_watched_is_read_when_it_changes(make: Maker, service: ScriptedService) -> None:
    pair = make.pair({"api": [service.endpoint]}, inner={"watch": True})
    assert pair.fetch("GET", "/api/secret").status == 200
    pair.inner.write(granted("/x"))
    pair.inner.log.wait_for(message="reloaded")
    assert pair.fetch("GET", "/api/secret").status == 403
    pair.inner.write({"privileges": [{"callers": ["*"], "services": ["*"], "path": "/x"}]})
    pair.inner.log.lines.remove(pair.inner.log.wait_for(message=REFUSED))
    assert pair.fetch("GET", "/api/x").status == 200


def test_workers_that_cannot_begin_leave_the_former_ones_at_work(
    make: Maker, service: ScriptedService
) -> None:
    pair = make.pair({"api": [service.endpoint]}, inner={"workers": 1})
    before = resource.prlimit(pair.inner.pid, resource.RLIMIT_NOFILE)
    with Load(pair.address) as load:
        resource.prlimit(pair.inner.pid, resource.RLIMIT_NOFILE, (16, before[1]))  # fewer than it needs
        line = pair.inner.reload({"workers": 6}, message=REFUSED)
        assert "Too many open files" in line["problems"][0]
        pair.inner.log.lines.remove(line)
        load.wait_for_more(50)
        resource.prlimit(pair.inner.pid, resource.RLIMIT_NOFILE, before)
        assert pair.inner.reload({"workers": 2})["how"] == NEW_WORKERS
        load.wait_for_more(50)
