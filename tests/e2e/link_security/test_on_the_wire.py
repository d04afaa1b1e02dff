"""Somebody sits on the path between the proxies: listens, changes, cuts, repeats, swaps and sends back.

Whatever they do to a record, the link ends and the cause is counted; calls that were at the service are lost
with it (502), nothing is done twice there, the next call goes well over a new link, and the link of another
caller notices nothing.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence

import pytest

from tests.e2e.client import Answer, fetch
from tests.e2e.link_security.hand_made import Ending, connected, ending_of, link
from tests.e2e.link_security.proxies import Parties, call, failures, wait_for_ends, wait_for_failures
from tests.e2e.link_security.wire import Change, Passage, Wire, unchanged
from tests.e2e.proxies import ProxyProcess, key_of
from tests.e2e.services import Conversation, ScriptedService, sized

ENDED = "fastproxy_links_ended_total"
PAD_TO_BYTES = 512
RECORD_OVERHEAD_BYTES = 4 + 16
"""The length word and the tag."""


class Desk(ScriptedService):
    """A service that answers at once, but for `/hold`: that it answers when it is let go."""

    def __init__(self) -> None:
        self._let_go = threading.Event()
        super().__init__(self._play_desk)

    def let_go(self) -> None:
        """Answer what is held, and hold nothing any more until `hold`."""
        self._let_go.set()

    def hold(self) -> None:
        """Hold what comes from now on."""
        self._let_go.clear()

    def close(self) -> None:
        self.let_go()
        super().close()

    def _play_desk(self, conversation: Conversation) -> None:
        while True:
            request = conversation.request()
            if "/hold" in request.start:
                self._let_go.wait()
            conversation.send(sized(b"balance: 100", "X-Signed: yes"))


@pytest.fixture(scope="module")
def desk() -> Iterator[Desk]:
    """The service behind everything here."""
    with Desk() as desk:
        yield desk


@pytest.fixture(scope="module")
def receiver(shared_parties: Parties, desk: Desk) -> ProxyProcess:
    """The in proxy."""
    return shared_parties.in_proxy({"api": desk.endpoint, "padded": desk.endpoint},
                                   {"services": {"padded": {"pad_to_bytes": PAD_TO_BYTES}}})  # fmt: skip


@pytest.fixture(scope="module")
def out(shared_parties: Parties, receiver: ProxyProcess, shared_wire: Wire) -> ProxyProcess:
    """An out proxy whose path to the in proxy is the wire. An earlier link of its own was cut there."""
    endpoint = shared_wire.lead_to(receiver.listen)
    out = shared_parties.out_proxy(
        ("api", "padded"),
        endpoint,
        {"services": {"padded": {"pad_to_bytes": PAD_TO_BYTES}}, "link": {"wait_s": 5}},
    )
    for _ in range(10):
        assert call(out).status == 200
    shared_wire.passages[0].cut()
    wait_for_ends(out, 1)
    return out


class Caller(threading.Thread):
    """A call that is under way."""

    def __init__(self, proxy: ProxyProcess, target: str) -> None:
        super().__init__(daemon=True)
        self._proxy = proxy
        self._target = target
        self._answer: Answer | None = None
        self.start()

    def run(self) -> None:
        self._answer = fetch(self._proxy.listen, "POST", self._target, b"amount=1")

    def answer(self) -> Answer:
        """Wait for the answer."""
        self.join(20)
        assert self._answer is not None
        return self._answer


# --- who listens -------------------------------------------------------------------------------------------


def test_an_eavesdropper_sees_nothing_of_heads_and_bodies(
    out: ProxyProcess, shared_wire: Wire, desk: Desk
) -> None:
    headers = ["X-Token: hunter2"]
    assert fetch(out.listen, "POST", "/api/account?id=4711", b"amount=1" * 100, headers).status == 200
    assert desk.last.get("x-token") == "hunter2"
    seen = shared_wire.passages[-1].seen
    assert len(seen) > 1000
    for secret in (b"account", b"4711", b"amount", b"hunter2", b"balance", b"X-Signed", b"x-signed", b"POST",
                   b"200", b"api", b"web", b"HTTP"):  # fmt: skip
        assert secret not in seen


def test_padded_calls_show_no_lengths(out: ProxyProcess, shared_wire: Wire) -> None:
    assert call(out, target="/padded/").status == 200  # there is a link
    passage = shared_wire.passages[-1]
    said, answered = len(passage.said), len(passage.answered)
    for size_bytes in (1, 40, 300, 700, 5000):
        assert call(out, b"x" * size_bytes, target=f"/padded/{size_bytes}").status == 200
    lengths = [
        len(record) - RECORD_OVERHEAD_BYTES for record in passage.said[said:] + passage.answered[answered:]
    ]
    assert len(lengths) >= 10
    # What opens and ends no stream, as a ping, isn't padded, and tells nothing.
    assert [length for length in lengths if length % PAD_TO_BYTES and length > 24] == []


# --- who replays -------------------------------------------------------------------------------------------


def test_a_replayed_handshake_with_its_records_calls_nothing(
    out: ProxyProcess, receiver: ProxyProcess, shared_wire: Wire, desk: Desk
) -> None:
    assert call(out).status == 200
    recorded = shared_wire.passages[-1].said
    assert len(recorded) >= 3
    requests, before = len(desk.requests), failures(receiver, cause="record")
    opened = receiver.metrics().total("fastproxy_links_opened_total")
    with connected(receiver.listen) as sock:
        sock.sendall(recorded[0])
        assert len(sock.recv(512)) > 64  # it is answered, under other keys
        sock.sendall(b"".join(recorded[1:]))
        assert ending_of(sock).said == b""
    wait_for_failures(receiver, before + 1, cause="record")
    with connected(receiver.listen) as sock:  # and all at once
        sock.sendall(b"".join(recorded))
        assert ending_of(sock) == Ending(b"", was_reset=False)
    assert receiver.metrics().total("fastproxy_links_opened_total") == opened
    assert len(desk.requests) == requests
    assert call(out).status == 200


def test_replayed_handshakes_take_no_place_of_the_callers_links(
    parties: Parties, wire: Wire, desk: Desk
) -> None:
    receiver = parties.in_proxy({"api": desk.endpoint}, {"link": {"links_per_caller": 1}})
    out = parties.out_proxy(("api",), wire.lead_to(receiver.listen))
    assert call(out).status == 200
    recorded = wire.passages[-1].said[0]
    wire.passages[-1].cut()
    wait_for_ends(receiver, 1)
    replayed = [connected(receiver.listen) for _ in range(3)]
    for sock in replayed:
        sock.sendall(recorded)
        assert len(sock.recv(512)) > 64
    assert call(out).status == 200
    for sock in replayed:
        sock.close()


# --- who changes -------------------------------------------------------------------------------------------


class Once:
    """Does something to the next record of its direction, and then nothing any more.

    Args:
        change: what it does.
    """

    def __init__(self, change: Change) -> None:
        self._change = change
        self._done = False

    def __call__(self, passage: Passage, number: int, message: bytes) -> Iterable[bytes]:
        if self._done or number == 0:
            return (message,)
        self._done = True
        return self._change(passage, number, message)


def flipped(position: int) -> Change:
    """Flip a bit."""

    def change(passage: Passage, number: int, message: bytes) -> Iterable[bytes]:
        changed = bytearray(message)
        changed[position] ^= 4
        return (bytes(changed),)

    return change


def cut_short(passage: Passage, number: int, message: bytes) -> Iterable[bytes]:
    """Pass half of it on, and end the connection."""
    yield message[: len(message) // 2]
    passage.cut()


def dropped(passage: Passage, number: int, message: bytes) -> Iterable[bytes]:
    """Pass nothing of it on: what follows must not open."""
    return ()


def doubled(passage: Passage, number: int, message: bytes) -> Iterable[bytes]:
    """Pass it on twice."""
    return (message, message)


def lengthened(passage: Passage, number: int, message: bytes) -> Iterable[bytes]:
    """Announce more than comes."""
    return (b"\xff\xff\xff\xff" + message[4:],)


class Swapped:
    """Passes a message on behind the one that follows it."""

    def __init__(self) -> None:
        self._first = b""

    def __call__(self, passage: Passage, number: int, message: bytes) -> Iterable[bytes]:
        if number == 0:
            return (message,)
        if not self._first:
            self._first = message
            return ()
        return (message, self._first)


def back_to_the_receiver(passage: Passage, number: int, message: bytes) -> Iterable[bytes]:
    """Send an answer back to where it came from, too."""
    passage.to_receiver(message)
    return (message,)


def back_to_the_caller(passage: Passage, number: int, message: bytes) -> Iterable[bytes]:
    """Send what was said back to where it came from, too."""
    passage.to_caller(message)
    return (message,)


def from_another_link(wire: Wire) -> Change:
    """Pass on what an earlier link carried at this place."""

    def change(passage: Passage, number: int, message: bytes) -> Iterable[bytes]:
        return (wire.passages[0].said[number],)

    return change


SAID: dict[str, Callable[[Wire], Change]] = {
    "a bit of the length flipped": lambda wire: Once(flipped(1)),
    "a bit of the content flipped": lambda wire: Once(flipped(10)),
    "a bit of the tag flipped": lambda wire: Once(flipped(-1)),
    "a length beyond all bounds": lambda wire: Once(lengthened),
    "dropped": lambda wire: Once(dropped),
    "doubled": lambda wire: Once(doubled),
    "swapped": lambda wire: Swapped(),
    "from another link": lambda wire: Once(from_another_link(wire)),
}
"""What is done to records of the caller's side, each a cause to end the link at the receiver's."""

ANSWERED: dict[str, Callable[[Wire], Change]] = {
    name: SAID[name]
    for name in ("a bit of the length flipped", "a bit of the content flipped", "a bit of the tag flipped",
                 "a length beyond all bounds", "dropped", "doubled", "swapped")
}  # fmt: skip
"""What is done to records of the receiver's side."""


class Scene:
    """A call is held at the service on each of two links: one on the wire, another caller's beside it."""

    def __init__(self, out: ProxyProcess, receiver: ProxyProcess, wire: Wire, desk: Desk) -> None:
        desk.hold()
        assert call(out).status == 200
        self.out, self.receiver, self.wire, self.desk = out, receiver, wire, desk
        before = len(desk.requests)
        self.beside = link(receiver.listen, key=key_of("guest"))
        self._stream = self.beside.request("/hold")
        self.held = Caller(out, "/api/hold")
        desk.wait_for_requests(before + 2)
        self.before = len(desk.requests)
        self._callers: list[Caller] = []

    def go_on_until(self, proxies: Sequence[ProxyProcess], **labels: str) -> None:
        """Call again and again until a link has ended at these proxies; one whose record is lost waits."""
        ended = [proxy.metrics().total(ENDED, **labels) for proxy in proxies]
        while any(
            proxy.metrics().total(ENDED, **labels) == before
            for proxy, before in zip(proxies, ended, strict=True)
        ):
            self._callers.append(Caller(self.out, f"/api/next/{len(self._callers)}"))

    def end(self) -> None:
        """See what has become of everybody."""
        for caller in self._callers:
            answer = caller.answer()
            # What was never taken, as the in proxy has said before it went, is refused with 503.
            assert answer.status in (200, 502, 503), answer
        done = Counter(request.start for request in self.desk.requests[self.before :])
        assert not done or max(done.values()) == 1  # nothing was done twice
        lost = self.held.answer()
        assert (lost.status, lost.cause) == (502, "connection_lost")
        assert b"balance" not in lost.body
        self.desk.let_go()
        assert self.beside.answer(self._stream).status == 200
        self.beside.socket.close()
        assert call(self.out).body == b"balance: 100"


@pytest.mark.parametrize("change", SAID)
def test_what_is_done_to_what_a_caller_says_ends_the_link(
    out: ProxyProcess, receiver: ProxyProcess, shared_wire: Wire, desk: Desk, change: str
) -> None:
    scene = Scene(out, receiver, shared_wire, desk)
    with shared_wire.changing(said=SAID[change](shared_wire)):
        scene.go_on_until([receiver], cause="record")
    scene.end()


@pytest.mark.parametrize("change", ANSWERED)
def test_what_is_done_to_what_a_receiver_answers_ends_the_link(
    out: ProxyProcess, receiver: ProxyProcess, shared_wire: Wire, desk: Desk, change: str
) -> None:
    scene = Scene(out, receiver, shared_wire, desk)
    with shared_wire.changing(answered=ANSWERED[change](shared_wire)):
        scene.go_on_until([out], cause="record")
    scene.end()


def test_records_that_are_sent_back_end_the_link(
    out: ProxyProcess, receiver: ProxyProcess, shared_wire: Wire, desk: Desk
) -> None:
    for changes, who in (
        ({"said": Once(back_to_the_caller)}, out),
        ({"answered": Once(back_to_the_receiver)}, receiver),
    ):
        scene = Scene(out, receiver, shared_wire, desk)
        with shared_wire.changing(**changes):
            scene.go_on_until([who], cause="record")
        scene.end()


@pytest.mark.parametrize("direction", ["said", "answered"])
def test_a_record_that_is_cut_ends_the_link(
    out: ProxyProcess, receiver: ProxyProcess, shared_wire: Wire, desk: Desk, direction: str
) -> None:
    scene = Scene(out, receiver, shared_wire, desk)
    with shared_wire.changing(**{direction: Once(cut_short)}):
        scene.go_on_until([out, receiver])
    scene.end()


@pytest.mark.parametrize("direction", ["said", "answered"])
def test_a_handshake_that_is_changed_makes_no_link(
    parties: Parties, receiver: ProxyProcess, wire: Wire, desk: Desk, direction: str
) -> None:
    quick = {"link": {"handshake_timeout_s": 0.5}}  # for what announces more than comes
    out = parties.out_proxy(("api",), wire.lead_to(receiver.listen), quick)
    requests = len(desk.requests)
    for count, position in enumerate((1, 14, -20, -1), 1):
        with wire.changing(**{direction: in_the_handshake(flipped(position))}):
            while failures(out) < count:  # a pause follows each, in which none is tried
                answer = call(out, method="GET")
                assert answer.cause in ("link_refused", "connect_refused"), answer
        assert len(desk.requests) == requests
    while call(out).status != 200:
        pass


def in_the_handshake(change: Change) -> Change:
    """Do something to the messages of handshakes alone."""

    def change_first(passage: Passage, number: int, message: bytes) -> Iterable[bytes]:
        return unchanged(passage, number, message) if number else change(passage, number, message)

    return change_first
