"""The short way is taken by ordinary calls, and by no others; and nobody can tell it from the long one."""

from __future__ import annotations

import re
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.net.kit import Wire
from tests.proxy.stage import DATE, OPEN_TO_ALL, Stage, answer, request
from tests.proxy.twice import ASKED, LONG_ONLY, perform, perform_twice

# --- which calls take it ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "message",
    [
        ASKED,
        request(b"GET", None),
        request(b"PUT", b""),
        request(b"DELETE", None, b"/a?b=c", b"Accept: */*\r\n"),
        request(b"POST", b"x" * 65_536),
        request(b"POST", b"x", fields=b"Expect: 100-continue\r\n"),
        request(b"POST", b"x", fields=b"Authorization: Basic c2VjcmV0\r\nCookie: a=b\r\n"),
        request(b"POST", b"x", fields=b"X: " + b"x" * 20_000 + b"\r\n"),
    ],
    ids=lambda message: message[:24].decode(),
)
def test_an_ordinary_call_begins_no_coroutine(message: bytes, tmp_path: Path) -> None:
    stage = Stage(tmp_path, inner=OPEN_TO_ALL)
    with stage.playing():
        caller = stage.warm_up(message)
        for _ in range(3):
            asked, said = stage.call(caller, message, answer(b"fine"))
            assert asked.startswith(message[:4])
            assert said.endswith(b"\r\n\r\nfine")
        assert stage.long_ways == {"out": 0, "in": 0}
        other = stage.caller("192.0.2.99")  # what is decided on one peer says nothing of another
        stage.call(other, message)
        assert stage.long_ways["out"] == 1
        stage.check_nothing_is_left()


@pytest.mark.parametrize(
    ("message", "long_in"),
    [
        (request(b"HEAD", None), 1),
        (request(b"HEAD", b""), 1),
        (ASKED.replace(b"HTTP/1.1", b"HTTP/1.0"), 0),
        (request(content=b"what", fields=b"Connection: close\r\n"), 0),
        (request(content=b"what", fields=b"Fastproxy-Timeout-Ms: 900\r\n"), 0),
        (request(content=b"what", fields=b"Request_Dead_Time: 99999999999\r\n"), 1),
        (request(content=b"what", fields=b"Proxy-Authorization: Basic c2VjcmV0\r\n"), 0),
        (request(content=b"what", target=b"/" + b"a" * 1100), 1),
        (request(content=None, fields=b"Transfer-Encoding: chunked\r\n") + b"1\r\nx\r\n0\r\n\r\n", 1),
        (request(content=b"x" * 65_537), 1),
    ],
    ids=lambda value: value[-40:].decode() if isinstance(value, bytes) else str(value),
)
def test_any_other_goes_the_long_way(message: bytes, long_in: int, tmp_path: Path) -> None:
    stage = Stage(tmp_path, inner=OPEN_TO_ALL)
    head_only = b"HTTP/1.1 200 OK\r\n" + DATE + b"Content-Length: 4\r\n\r\n"
    reply = head_only if message.startswith(b"HEAD") else answer(b"fine")
    with stage.playing():
        for _ in range(4):  # each on a connection of its own: some of them end it
            before = dict(stage.long_ways)
            caller = stage.caller()
            _, said = stage.call(caller, message, reply)
            assert said.startswith(b"HTTP/1."), said
        assert stage.long_ways["out"] - before["out"] == 1
        assert stage.long_ways["in"] - before["in"] == long_in
        assert len(stage.services) == 1, "a connection was lost on the way"
        stage.settle(caller)
        stage.check_nothing_is_left()


# --- the same bytes ---------------------------------------------------------------------------------------

TOKENS = st.sampled_from(["Accept", "X-A", "x-b", "Content-Type", "Via", "X-Forwarded-For", "Keep-Alive"])
FIELDS = st.lists(
    st.tuples(TOKENS, st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=12)),
    max_size=4,
    unique_by=lambda field: field[0],
)
CONTENT = st.one_of(st.binary(max_size=40), st.sampled_from([1000, 65_535, 65_536, 65_537]).map(bytes))


def block(fields: list[tuple[str, str]]) -> bytes:
    return "".join(f"{name}: {value}\r\n" for name, value in fields).encode()


@settings(max_examples=40, deadline=None)
@given(
    method=st.sampled_from([b"GET", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS", b"HEAD", b"PROPFIND"]),
    content=st.one_of(st.none(), CONTENT),
    fields=FIELDS,
    status=st.sampled_from(
        [b"200 OK", b"201 ", b"204 No Content", b"304 Not Modified", b"404 No", b"599 Oh"]
    ),
    reply=CONTENT,
    reply_fields=FIELDS,
    is_dated=st.booleans(),
)
def test_callers_and_services_get_the_same_bytes(
    method: bytes, content: bytes | None, fields: list[tuple[str, str]], status: bytes, reply: bytes,
    reply_fields: list[tuple[str, str]], is_dated: bool,
) -> None:  # fmt: skip
    message = request(method, content, b"/a/b?c", block(fields))
    bodiless = method == b"HEAD" or status[:3] in (b"204", b"304")
    said = answer(b"" if bodiless else reply, status, (DATE if is_dated else b"") + block(reply_fields))

    def play(stage: Stage, caller: Wire) -> list[bytes]:
        return [part for _ in range(2) for part in stage.call(caller, message, said)]

    with TemporaryDirectory() as folder:
        short, _ = perform(Path(folder), play, message, {}, {})
        long, _ = perform(Path(folder), play, message, LONG_ONLY, LONG_ONLY)
        assert short == long
        assert short[1]


# --- the same outcome -------------------------------------------------------------------------------------


def served(stage: Stage, caller: Wire, *pieces: bytes) -> list[bytes]:
    """Carry a call through, the service answering in these pieces, and one more after it."""
    service = stage.ask(caller, ASKED)
    assert service is not None
    seen = [stage.tell(service, *pieces), caller.take()]
    stage.end_connections()
    stage.carry()
    return [*seen, caller.take(), *(stage.call(caller, ASKED) if not caller.closing else ())]


OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize("over", ["http", "compat"])
@pytest.mark.parametrize(
    "pieces",
    [
        (answer(b"fine", fields=b""),),
        (answer(b"fine")[:20], answer(b"fine")[20:]),
        (answer(b"fine")[:-2], b"ne"),
        (CHUNKED + b"4\r\nfine\r\n0\r\n\r\n",),
        (CHUNKED, b"4\r\nfine\r\n", b"0\r\nA: b\r\n\r\n"),
        (CHUNKED + b"Z\r\n",),
        (CHUNKED, b"4\r\nfine\r\nZ\r\n"),
        (answer(b"fine", fields=DATE + b"Connection: close\r\n"),),
        (b"HTTP/1.1 100 Continue\r\n\r\n", answer(b"fine")),
        (b"HTTP/1.1 103 Early\r\n\r\n" + answer(b"fine"),),
        (b"HTTP/1.1 101 Switching\r\n\r\n",),
        (b"HTTP/1.1 204 No Content\r\n" + DATE + b"\r\n",),
        (answer(b"fine") + answer(b"again"),),
        (answer(b"fine"), answer(b"again")),
        (answer(b"x" * 70_000),),
        (b"\x00\r\n\r\n",),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nfine",),
    ],
    ids=lambda pieces: repr(pieces[0][9:40]),
)
def test_whatever_a_service_answers(pieces: tuple[bytes, ...], over: str) -> None:
    seen = perform_twice(lambda stage, caller: served(stage, caller, *pieces), over=over)
    assert seen[1] or seen[2]


@pytest.mark.parametrize("over", ["http", "compat"])
def test_a_body_that_ends_with_the_connection(over: str) -> None:
    def play(stage: Stage, caller: Wire) -> list[bytes]:
        service = stage.ask(caller, ASKED)
        assert service is not None
        stage.tell(service, OK + b"\r\nfine")
        service.end()
        stage.carry()
        return [caller.take()]

    assert b"fine" in perform_twice(play, over=over)[0]


@pytest.mark.parametrize("method", [b"POST", b"PUT"])
@pytest.mark.parametrize("what", ["service", "link"])
@pytest.mark.parametrize("over", ["http", "compat"])
def test_a_connection_is_lost(method: bytes, what: str, over: str) -> None:
    asked = request(method, b"what")

    def play(stage: Stage, caller: Wire) -> list[bytes]:
        service = stage.ask(caller, asked)
        assert service is not None
        if what == "service":
            service.lose()
        else:
            stage.links[-1].far.lose()
            stage.links[-1].lose()
        stage.end_connections()
        stage.carry()
        again = stage.asked
        seen = [stage.tell(again[-1], answer(b"second")) if again else b""]
        return [*seen, caller.take(), *stage.call(caller, asked)]

    seen = perform_twice(play, asked, over=over)
    assert seen[1].startswith(b"HTTP/1.1 200" if method == b"PUT" else b"HTTP/1.1 502")


@pytest.mark.parametrize("over", ["http", "compat"])
def test_a_caller_hangs_up(over: str) -> None:
    def play(stage: Stage, caller: Wire) -> list[bytes]:
        service = stage.ask(caller, ASKED)
        assert service is not None
        caller.lose()
        for _ in range(2):
            stage.end_connections()
            stage.carry()
        assert service.lost, "nobody waits for this answer"
        return []

    perform_twice(play, over=over)


@pytest.mark.parametrize("over", ["http", "compat"])
def test_time_runs_out_and_the_connection_serves_on(over: str) -> None:
    def play(stage: Stage, caller: Wire) -> list[bytes]:
        assert stage.ask(caller, ASKED)
        stage.clock.advance(16)
        stage.carry()
        stage.end_connections()
        seen = [caller.take()]
        return [*seen, *stage.call(caller, ASKED)]

    seen = perform_twice(play, over=over)
    assert seen[0].startswith(b"HTTP/1.1 504")
    assert seen[2].startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("over", ["http", "compat"])
def test_time_runs_out_for_a_caller_that_does_not_read(over: str) -> None:
    """What it is told must not be cut off by the same deadline once more."""

    def play(stage: Stage, caller: Wire) -> list[bytes]:
        assert stage.ask(caller, ASKED)
        caller.protocol.pause_writing()
        stage.clock.advance(16)
        stage.clock.advance(1)
        assert not caller.closing
        caller.protocol.resume_writing()
        stage.carry()
        stage.end_connections()
        return [caller.take(), *stage.call(caller, ASKED)]

    assert perform_twice(play, over=over)[0].startswith(b"HTTP/1.1 504")


def test_a_caller_that_never_reads_is_cut_off_in_time(tmp_path: Path) -> None:
    stage = Stage(tmp_path, inner=OPEN_TO_ALL)
    with stage.playing():
        caller = stage.warm_up()
        service = stage.ask(caller, ASKED)
        assert service is not None
        service.receive(answer(b"fine"))
        stage.end_turn()
        stage.links[-1].far.written, sealed = b"", stage.links[-1].far.written
        write = caller.write

        def write_into_a_full_buffer(data: bytes) -> None:
            write(data)
            caller.protocol.pause_writing()

        with mock.patch.object(caller, "write", write_into_a_full_buffer):
            stage.links[-1].receive(sealed)
            stage.end_turn()
        assert stage.long_ways["out"] == 0
        stage.clock.advance(29)
        assert not caller.aborted
        stage.clock.advance(2)
        assert caller.aborted, "it had its time to read"


@pytest.mark.parametrize("slow", ["caller", "out proxy"])
def test_whoever_asks_reads_slowly(slow: str) -> None:
    def play(stage: Stage, caller: Wire) -> list[bytes]:
        service = stage.ask(caller, ASKED)
        assert service is not None
        reader = caller.protocol if slow == "caller" else stage.links[-1].far.protocol
        reader.pause_writing()
        stage.tell(service, answer(b"fine"))
        caller.receive(ASKED)  # has to wait until the answer before it is read
        stage.carry()
        assert not stage.asked
        reader.resume_writing()
        stage.carry()
        return [caller.take(), stage.tell(stage.asked[-1], answer(b"more")), caller.take()]

    assert perform_twice(play)[2].endswith(b"more")


@pytest.mark.parametrize("over", ["http", "compat"])
def test_requests_in_a_row_are_answered_in_order(over: str) -> None:
    def play(stage: Stage, caller: Wire) -> list[bytes]:
        seen = []
        caller.receive(ASKED, ASKED[:30], ASKED[30:] + ASKED)
        for said in (b"first", b"second", b"third"):
            stage.carry()
            seen.append(stage.tell(stage.asked[-1], answer(said)))
        stage.carry()
        return [*seen, caller.take()]

    seen = perform_twice(play, over=over)
    assert re.findall(rb"first|second|third", seen[3]) == [b"first", b"second", b"third"]


@pytest.mark.parametrize("over", ["http", "compat"])
def test_a_proxy_that_drains_closes_after_the_answer(over: str) -> None:
    def play(stage: Stage, caller: Wire) -> list[bytes]:
        service = stage.ask(caller, ASKED)
        assert service is not None
        stage.outer.server.drain()
        stage.inner.server.drain()
        return [stage.tell(service, answer(b"fine")), caller.take()]

    seen = perform_twice(play, over=over)
    assert b"\r\nconnection: close\r\n" in seen[1]
    assert seen[2], "the caller's connection is closed"
