"""The short way, whatever happens and in whatever order: each call gets its own answer once, nothing is left.

Callers ask, hang up, stop reading; services answer in every form, or not; connections break; time runs out;
the in proxy restarts; endpoints move and fail. Each request carries a token, and so does the answer to it.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from io import BytesIO
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fastproxy.model import Endpoint
from tests.e2e.http_wire import CutError, read_head, read_rest
from tests.net.kit import Wire
from tests.proxy.stage import DATE, OPEN_TO_ALL, Stage, answer, request

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"

ANSWERS: dict[str, Callable[[bytes], list[bytes]]] = {
    "ordinary": lambda token: [answer(token)],
    "without a date": lambda token: [answer(token, fields=b"")],
    "in pieces": lambda token: [(said := answer(token))[:30], said[30:-2], said[-2:]],
    "in chunks": lambda token: [OK + CHUNKED + b"4\r\n" + token, b"\r\n0\r\n\r\n"],
    "closing": lambda token: [answer(token, fields=DATE + b"Connection: close\r\n")],
    "after an early hint": lambda token: [b"HTTP/1.1 103 Early Hints\r\n\r\n" + answer(token)],
    "with no content": lambda _: [b"HTTP/1.1 204 No Content\r\n" + DATE + b"\r\n"],
    "an error": lambda token: [answer(token, b"500 Oh")],
    "twice": lambda token: [answer(token) * 2],
    "with something behind": lambda token: [answer(token), b"more"],
    "a bad chunk at once": lambda _: [OK + CHUNKED + b"Z\r\n"],
    "a bad chunk later": lambda token: [OK + CHUNKED, b"4\r\n" + token, b"Z\r\n"],
    "garbage": lambda _: [b"\x00\xff\r\n\r\n"],
    "half of it": lambda token: [answer(token)[:-2]],
    "only a head": lambda token: [answer(token)[:-4]],
}
ENDPOINTS = [Endpoint(f"192.0.2.{number}", 9) for number in range(3)]


class Caller:
    """A caller that never asks again before it has its answer. owed: whether it waits for one."""

    def __init__(self, stage: Stage) -> None:
        self.wire = stage.caller()
        self.owed = False
        self._token = b""
        self._heard = b""

    def ask(self, message: bytes) -> None:
        """Send a request that ends with a token of four bytes."""
        self.owed, self._token = True, message[-4:]
        self.wire.receive(message)

    def hear(self) -> None:
        """Take in what came; each answer that is ordinary carries the token of its own request."""
        self._heard += self.wire.take()
        stream = BytesIO(self._heard)
        with suppress(CutError):
            while (said := read_rest(stream, read_head(stream))).whole:
                self._heard = self._heard[stream.tell() :]
                assert self.owed, "an answer that nobody asked for"
                self.owed = False
                if said.start == "HTTP/1.1 200 OK":
                    assert said.body == self._token, "the answer to another request"
                stream = BytesIO(self._heard)


class Scene:
    """What can happen, a method for each; `which` picks one of several.

    callers: those that ask; one whose connection has ended makes place for another.
    """

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.callers = [Caller(stage) for _ in range(3)]
        self._number = 0

    def play(self, steps: list[tuple[str, int, str]]) -> None:
        """Let these steps happen, and look after each what callers hear."""
        for name, which, form in steps:
            if name == "answer":
                self.answer(which, form)
            else:
                getattr(self, name)(which)
            self.stage.end_connections()
            for caller in self.callers:
                caller.hear()

    def ask(self, which: int) -> None:
        caller = self.callers[which]
        if caller.wire.closing:
            caller = self.callers[which] = Caller(self.stage)
        if not caller.owed:
            self._number += 1
            caller.ask(request(b"POST" if which else b"PUT", b"%04d" % self._number))
            self.stage.carry()

    def answer(self, which: int, form: str) -> None:
        if asked := self.stage.asked:
            service = asked[which % len(asked)]
            self.stage.tell(service, *ANSWERS[form](service.written[-4:]))

    def lose_a_service(self, which: int) -> None:
        if asked := self.stage.asked:
            asked[which % len(asked)].lose()

    def lose_a_link(self, which: int) -> None:
        link = self.stage.links[which % len(self.stage.links)]
        link.lose()
        link.far.lose()

    def hang_up(self, which: int) -> None:
        self.callers[which].wire.lose()

    def read_no_more(self, which: int) -> None:
        self._pause(self.callers[which].wire)

    def hold_a_link_up(self, which: int) -> None:
        self._pause(self.stage.links[which % len(self.stage.links)].far)

    def _pause(self, wire: Wire) -> None:
        if not wire.lost and wire not in self._paused():
            wire.protocol.pause_writing()

    def _paused(self) -> list[Wire]:
        wires = [*(caller.wire for caller in self.callers), *(link.far for link in self.stage.links)]
        return [wire for wire in wires if wire.protocol._drained is not None]  # type: ignore[union-attr]

    def read_on(self, _: int) -> None:
        for wire in self._paused():
            if not wire.lost:
                wire.protocol.resume_writing()

    def wait(self, which: int) -> None:
        self.stage.clock.advance((1, 5, 20)[which])

    def move(self, which: int) -> None:
        self.stage.inner.parts.sources[0].endpoints = tuple(ENDPOINTS[: which + 1])

    def fail(self, which: int) -> None:
        self.stage.down ^= {ENDPOINTS[which]}

    def restart(self, _: int) -> None:
        self.stage.restart_inner()

    def drain(self, which: int) -> None:
        self.callers[which].wire.protocol.drain()  # type: ignore[union-attr]


ASK = st.tuples(st.just("ask"), st.integers(0, 2), st.just(""))
ANSWER = st.tuples(st.just("answer"), st.integers(0, 2), st.sampled_from(["ordinary", *ANSWERS]))
EVENT = st.tuples(
    st.sampled_from(
        ["lose_a_service", "lose_a_link", "hang_up", "read_no_more", "hold_a_link_up", "read_on", "wait",
         "move", "fail", "restart", "drain"]
    ),
    st.integers(0, 2),
    st.just(""),
)  # fmt: skip


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(steps=st.lists(st.one_of(ASK, ASK, ANSWER, ANSWER, EVENT), min_size=5, max_size=40))
def test_each_call_gets_its_own_answer_once(steps: list[tuple[str, int, str]], tmp_path: Path) -> None:
    stage = Stage(tmp_path, inner=OPEN_TO_ALL)
    with stage.playing():
        stage.warm_up(request(content=b"0000")).lose()
        stage.warm_up(request(b"PUT", b"0000")).lose()
        scene = Scene(stage)
        scene.play(steps)
        scene.read_on(0)
        stage.settle()
        for caller in scene.callers:
            caller.hear()
            assert not caller.owed or caller.wire.closing, "a call that was never answered"
            caller.wire.lose()
        stage.settle()
        stage.check_nothing_is_left()
