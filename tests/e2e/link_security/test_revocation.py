"""Keys come and go while an in proxy runs: files of callers in its folder, and several keys of one name."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from fastproxy.wire.link.frames import KEY_REVOKED, PING, frame
from tests.e2e.link_security.hand_made import LinkAnswer, connected, ending_of, initiator, link, message_1
from tests.e2e.link_security.proxies import (
    Parties,
    call,
    failures,
    refusal_of,
    wait_for_failures,
)
from tests.e2e.proxies import Config, ProxyProcess, key_of
from tests.e2e.services import Conversation, ScriptedService, answering, sized


@pytest.fixture(scope="module")
def service(shared_parties: Parties) -> ScriptedService:
    """The service behind everything here."""
    return shared_parties.service(answering(sized(b"hello")))


class Folder:
    """A folder of callers. Each file is put there whole, as tools that distribute keys do it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "callers"
        self._folder.mkdir()

    def put(self, name: str, *keys: str) -> None:
        """Give a caller these keys, each named as in `key_of`, and no others."""
        self.write(name, "".join(key_of(key).public_key.hex() + "\n" for key in keys))

    def write(self, name: str, text: str) -> None:
        """Write the file of a caller."""
        new = self._folder / f"{name}.new"
        new.write_text(text)
        new.rename(self._folder / f"{name}.pub")

    def remove(self, name: str) -> None:
        """Take a caller out."""
        (self._folder / f"{name}.pub").unlink()


class Held(ScriptedService):
    """A service that answers nobody until it ends."""

    def __init__(self) -> None:
        self._end = threading.Event()
        super().__init__(self._hold)

    def close(self) -> None:
        self._end.set()
        super().close()

    def _hold(self, conversation: Conversation) -> None:
        conversation.request()
        self._end.wait()


@pytest.fixture(scope="module")
def held() -> Iterator[Held]:
    """A service that lets its callers wait."""
    with Held() as held:
        yield held


@pytest.fixture(scope="module")
def place(shared_parties: Parties) -> Path:
    """Where an in proxy with a folder of callers lives."""
    return shared_parties.folder()


@pytest.fixture(scope="module")
def folder(place: Path) -> Folder:
    """The folder of callers."""
    return Folder(place)


@pytest.fixture(scope="module")
def receiver(
    shared_parties: Parties, service: ScriptedService, held: Held, folder: Folder, place: Path
) -> ProxyProcess:
    """An in proxy that takes links and envelopes of `web`, and of whoever is in its folder."""
    changes: Config = {
        "callers_dir": "callers",
        "callers": {"guest": None},
        "listen": {"accept": ["link", "http"]},
    }
    return shared_parties.in_proxy({"api": service.endpoint, "held": held.endpoint}, changes, place)


@pytest.fixture
def callers(receiver: ProxyProcess, folder: Folder) -> Folder:
    """The folder, with `shop` and `desk` in it, who are let in."""
    for name in ("shop", "desk"):
        folder.put(name, name)
        assert let_in(receiver, name).status == 200
    return folder


def let_in(receiver: ProxyProcess, key: str) -> LinkAnswer:
    """Call by a link of this key, as soon as it is let in."""
    while True:
        try:
            with link(receiver.listen, key=key_of(key)) as caller:
                return caller.call()
        except ConnectionError:
            pass


def revoked(receiver: ProxyProcess) -> float:
    """How many links were cut so far, since their key is good no more."""
    return receiver.metrics().total("fastproxy_links_ended_total", cause="revoked")


def test_a_caller_whose_file_is_gone_is_cut_off_and_nobody_else(
    receiver: ProxyProcess, callers: Folder
) -> None:
    before = revoked(receiver)
    with (
        link(receiver.listen, key=key_of("shop")) as gone,
        link(receiver.listen, key=key_of("desk")) as other,
        link(receiver.listen) as fixed,
    ):
        for caller in (gone, other, fixed):
            assert caller.call().status == 200
        callers.remove("shop")
        assert gone.goodbye() == KEY_REVOKED
        receiver.log.wait_for(message="callers have changed", gone=["shop"])
        for caller in (other, fixed):
            assert caller.call().status == 200
    with connected(receiver.listen) as sock:
        sock.sendall(message_1(key=key_of("shop")))
        assert ending_of(sock).said == b""
    assert "callers_dir" in refusal_of(receiver, "unknown_caller")
    assert revoked(receiver) == before + 1


def test_a_caller_that_is_gone_is_gone_over_http_as_well(
    parties: Parties, receiver: ProxyProcess, callers: Folder, service: ScriptedService
) -> None:
    """Whoever has its key could otherwise go on by the other way that the same port takes."""
    callers.put("web2", "web2")
    out = parties.out_proxy(
        ("api",),
        receiver,
        {"defaults": {"transport": "http"}, "caller": "web2", "private_key": {"file": "web2.key"}},
    )
    while call(out).status != 200:
        pass
    callers.remove("web2")
    while (answer := call(out)).status == 200:
        pass
    assert answer.cause == "response_unsealed"
    requests = len(service.requests)
    assert call(out).status == 502
    assert len(service.requests) == requests


def test_a_call_of_a_caller_that_is_cut_off_is_502(
    parties: Parties, receiver: ProxyProcess, callers: Folder, held: Held
) -> None:
    mine: Config = {"caller": "shop", "private_key": {"file": "shop.key"}}
    out = parties.out_proxy(("api", "held"), receiver, mine, with_keys(parties, "shop"))
    answers = []
    caller = threading.Thread(target=lambda: answers.append(call(out, target="/held/")), daemon=True)
    caller.start()
    held.wait_for_requests(1)
    callers.remove("shop")
    caller.join(20)
    assert (answers[0].status, answers[0].cause) == (502, "connection_lost")
    assert call(out).cause == "link_refused"


def with_keys(parties: Parties, *names: str) -> Path:
    """Make a folder with more keys in it."""
    folder = parties.folder()
    for name in names:
        file = folder / f"{name}.key"
        file.write_text(key_of(name).reveal())
        file.chmod(0o600)
    return folder


def test_a_key_that_is_replaced_is_cut_off_and_the_new_one_let_in(
    receiver: ProxyProcess, callers: Folder
) -> None:
    with link(receiver.listen, key=key_of("shop")) as before:
        assert before.call().status == 200
        callers.put("shop", "shop", "shop2")  # while it is rotated, both are good
        assert let_in(receiver, "shop2").status == 200
        assert before.call().status == 200
        callers.put("shop", "shop2")
        assert before.goodbye() == KEY_REVOKED
    assert let_in(receiver, "shop2").status == 200


def test_a_file_that_turns_to_rubbish_cuts_its_caller_off(receiver: ProxyProcess, callers: Folder) -> None:
    with (
        link(receiver.listen, key=key_of("shop")) as shop,
        link(receiver.listen, key=key_of("desk")) as desk,
    ):
        assert (shop.call().status, desk.call().status) == (200, 200)
        callers.write("shop", "rubbish\n")
        assert shop.goodbye() == KEY_REVOKED
        line = receiver.log.wait_for(message="a caller of the folder is not known", level="warning")
        assert "shop.pub" in line["detail"]
        assert "rubbish" not in str(line)
        assert desk.call().status == 200
        callers.put("shop", "desk")  # nor does it become another one
        receiver.log.wait_for(
            message="a caller of the folder is not known", detail=detail_of_doubled(receiver)
        )
        assert desk.call().status == 200


def detail_of_doubled(receiver: ProxyProcess) -> str:
    """Wait for what is said of a file with another caller's key; return the words."""
    while True:
        for line in receiver.log.find(message="a caller of the folder is not known"):
            if "shop.pub" in line["detail"] and "desk" in line["detail"]:
                return str(line["detail"])


def test_a_new_file_lets_a_caller_in_with_the_privileges_of_all(
    receiver: ProxyProcess, callers: Folder, service: ScriptedService
) -> None:
    before = failures(receiver, cause="unknown_caller")
    with connected(receiver.listen) as sock:
        sock.sendall(message_1(key=key_of("newcomer")))
        assert ending_of(sock).said == b""
    wait_for_failures(receiver, before + 1, cause="unknown_caller")
    callers.put("newcomer", "newcomer")
    assert let_in(receiver, "newcomer").status == 200
    assert service.last.get("fastproxy-caller") == "newcomer"
    assert receiver.metrics().total("fastproxy_requests_total", caller="newcomer") == 1
    callers.remove("newcomer")


def test_a_link_that_is_being_made_while_its_key_goes_does_not_come_about(
    receiver: ProxyProcess, callers: Folder
) -> None:
    """Somebody with a stolen key could hold one ready, and be in for good."""
    callers.put("fleeting", "fleeting")
    assert let_in(receiver, "fleeting").status == 200
    opened = receiver.metrics().total("fastproxy_links_opened_total")
    handshake = initiator(key=key_of("fleeting"))
    with connected(receiver.listen) as sock:
        sock.sendall(handshake.message)
        finished = handshake.finish(sock.recv(512))
        assert finished is not None
        callers.remove("fleeting")
        receiver.log.wait_for(message="callers have changed", gone=["fleeting"])
        with contextlib.suppress(ConnectionError):
            sock.sendall(finished[0].sealer.seal(frame(PING, 0, bytes(8))))
        assert ending_of(sock).said == b""
    assert receiver.metrics().total("fastproxy_links_opened_total") == opened


# --- several keys of one name ------------------------------------------------------------------------------


def known_as(*names: str) -> list[str]:
    """Public keys as configs write them."""
    return [key_of(name).public_key.hex() for name in names]


def test_a_receiver_changes_its_key_without_a_gap(parties: Parties, service: ScriptedService) -> None:
    """First both keys at the in proxy, then the new one at the out proxies, then the old one goes."""
    both = [{"file": "in.key"}, {"file": "in2.key"}]
    receiver = parties.in_proxy({"api": service.endpoint}, {"private_key": None, "private_keys": both})
    for name in ("in", "in2"):
        with link(receiver.listen, receiver_key=key_of(name).public_key) as caller:
            assert caller.call().status == 200


def test_an_out_proxy_with_several_keys_finds_a_receiver_with_any(
    parties: Parties, service: ScriptedService
) -> None:
    receiver = parties.in_proxy({"api": service.endpoint})
    named = {"receivers": {"in": {"public_keys": known_as("in2", "guest", "in")}}}
    out = parties.out_proxy(("api",), receiver, named)
    assert call(out).status == 200
    assert failures(receiver, cause="mac") == 2


def test_a_caller_changes_its_key_without_a_gap(parties: Parties, service: ScriptedService) -> None:
    keys = {"callers": {"web": {"public_keys": known_as("web", "web2")}}}
    receiver = parties.in_proxy({"api": service.endpoint}, keys)
    for name in ("web", "web2"):
        with link(receiver.listen, key=key_of(name)) as caller:
            assert caller.call().status == 200
            assert service.last.get("fastproxy-caller") == "web"


def test_a_reload_cuts_the_links_that_were_proven_with_another_psk(
    parties: Parties, service: ScriptedService
) -> None:
    psks = [bytes([number]) * 32 for number in (1, 2)]
    first, second = (
        {"callers": {"web": {"psk": {"literal": psk.hex(), "insecure_literal": True}}}} for psk in psks
    )
    receiver = parties.in_proxy({"api": service.endpoint}, first)
    with (
        link(receiver.listen, psk=psks[0]) as gone,
        link(receiver.listen, key=key_of("guest")) as other,
    ):
        assert (gone.call().status, other.call().status) == (200, 200)
        assert receiver.reload(second)["how"] == "in place"
        assert gone.goodbye() == KEY_REVOKED
        assert other.call().status == 200
    with link(receiver.listen, psk=psks[1]) as again:
        assert again.call().status == 200


@pytest.mark.parametrize("is_later", [False, True], ids=["by that reload", "by a later one"])
def test_workers_that_a_reload_replaces_trust_nobody_who_is_taken_out_of_the_config(
    parties: Parties, service: ScriptedService, is_later: bool
) -> None:
    with Held() as held:
        services = {"api": service.endpoint, "held": held.endpoint}
        receiver = parties.in_proxy(services, {"workers": 1, "drain": {"grace_s": 300}})
        with link(receiver.listen) as gone, link(receiver.listen, key=key_of("guest")) as other:
            for caller in (gone, other):
                caller.request(service="held")
            held.wait_for_requests(2)
            if is_later:
                assert receiver.reload({"workers": 2})["how"] == "new workers"
                assert receiver.reload({"callers": {"web": None}})["how"] == "in place"
            else:
                assert receiver.reload({"workers": 2, "callers": {"web": None}})["how"] == "new workers"
            assert gone.goodbye() == KEY_REVOKED
            assert other.is_open()
        held.close()


def test_what_a_request_of_the_former_config_has_shown_opens_no_way_past_the_new_one(
    parties: Parties,
) -> None:
    nod = threading.Event()

    def script(conversation: Conversation) -> None:
        conversation.request()
        conversation.send(sized(b"hello"))
        conversation.request()
        assert nod.wait(20)
        conversation.send(sized(b"late"))
        answering(sized(b"hello"))(conversation)

    service = parties.service(script)
    receiver = parties.in_proxy({"api": service.endpoint}, {"workers": 1})
    with link(receiver.listen) as caller:
        assert caller.call().status == 200
        late = caller.request()  # the second of its kind, whose way others may take once it is through
        service.wait_for_requests(2)
        other = {"privileges": [{"callers": ["*"], "services": ["*"], "paths": ["/other"]}]}
        assert receiver.reload(other)["how"] == "in place"
        nod.set()
        assert caller.answer(late).status == 200
        assert [caller.call().status for _ in range(2)] == [403, 403]
    assert len(service.requests) == 2, "refused, and not sent either"
