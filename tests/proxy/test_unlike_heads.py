"""Calls whose heads are all different take the short way, and each carries its own fields and no other's."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from fastproxy.net.http1 import may_remember
from tests.micro.played_pair import PlayedPair
from tests.net.kit import Wire
from tests.proxy.stage import COMPAT_IN, COMPAT_OUT, OPEN_TO_ALL, Config, Stage, answer, request

TRANSPORTS: dict[str, tuple[Config, Config]] = {
    "http": ({}, OPEN_TO_ALL),
    "compat": (COMPAT_OUT, {**OPEN_TO_ALL, **COMPAT_IN}),
}


def own_fields(number: int) -> bytes:
    """Fields that no other request has; some lengths differ, and some don't."""
    return b"traceparent: 00-%032x-01\r\nAuthorization: Bearer token-%d\r\nCookie: id=%b\r\nX-Kind: a\r\n" % (
        number, number, b"c" * (number % 3),
    )  # fmt: skip


def asked_with(number: int, content: bytes = b"what") -> bytes:
    return request(content=content, fields=own_fields(number))


def service_saw(asked: bytes, number: int, content: bytes = b"what") -> bool:
    """Whether these are the fields of this request, as they were sent, and only these, and its content."""
    ending = b"\r\ncontent-length: %d\r\n%b\r\n%b" % (len(content), own_fields(number), content)
    return asked.endswith(ending) and asked.count(b"Authorization") == 1


@pytest.mark.parametrize("over", TRANSPORTS)
def test_heads_that_decide_the_same_begin_no_coroutine(over: str, tmp_path: Path) -> None:
    out, inner = TRANSPORTS[over]
    stage = Stage(tmp_path, out=out, inner=inner)
    with stage.playing():
        caller = stage.warm_up(asked_with(0))
        for number in range(1, 9):
            asked, said = stage.call(caller, asked_with(number, b"x" * number), answer(b"%04d" % number))
            assert service_saw(asked, number, b"x" * number)
            assert said.endswith(b"\r\n\r\n%04d" % number)
        assert stage.long_ways["out"] == 0
        assert stage.long_ways["in"] == (8 if over == "compat" else 0)  # which has the long way only
        stage.check_nothing_is_left()


@pytest.mark.parametrize("over", TRANSPORTS)
def test_calls_at_a_time_that_differ_in_their_credential_only(over: str, tmp_path: Path) -> None:
    out, inner = TRANSPORTS[over]
    stage = Stage(tmp_path, out=out, inner=inner)
    with stage.playing():
        callers = [stage.warm_up(asked_with(number)) for number in (3, 6, 9)]
        for caller, number in zip(callers, (6, 9, 3), strict=True):
            caller.receive(asked_with(number))
        stage.carry()
        seen = {}
        for service in list(stage.asked):
            asked = service.written
            (number,) = (number for number in (3, 6, 9) if service_saw(asked, number))
            stage.tell(service, answer(b"for %d" % number))
            seen[number] = asked
        assert sorted(seen) == [3, 6, 9]
        for caller, number in zip(callers, (6, 9, 3), strict=True):
            assert caller.take().endswith(b"for %d" % number)
        stage.check_nothing_is_left()


@pytest.mark.parametrize(
    "hidden",
    [
        b"X: a\rb",
        b"X: a\nHost: evil",
        b"X: a\0b",
        b" folded",
        b"X : a",
        b"Content-Length: 5",
        b"Host: evil",
        b"Transfer-Encoding: chunked",
        b"Expect: 200-ok",
    ],
    ids=repr,
)
def test_what_is_malformed_is_refused_on_the_short_way_too(hidden: bytes, tmp_path: Path) -> None:
    stage = Stage(tmp_path, inner=OPEN_TO_ALL)
    with stage.playing():
        caller = stage.warm_up(asked_with(0))
        bad = asked_with(1).replace(b"Cookie", hidden + b"\r\nCookie")
        assert stage.ask(caller, bad) is None
        said = caller.take()
        assert said.startswith((b"HTTP/1.1 400", b"HTTP/1.1 417"))
        assert b"\r\nconnection: close\r\n" in said


@pytest.mark.parametrize(
    "line",
    [
        b"FASTPROXY-CALLER: admin",
        b"fastproxy_caller: admin",
        b"Keep-Alive: 5",
        b"TE: gzip",
        b"Content_Length: 9",
    ],
    ids=repr,
)
def test_what_only_a_proxy_may_write_does_not_go_on(line: bytes, tmp_path: Path) -> None:
    stage = Stage(tmp_path, inner=OPEN_TO_ALL)
    with stage.playing():
        caller = stage.warm_up(asked_with(0))
        for number in (1, 2, 3, 4):
            asked, _ = stage.call(caller, asked_with(number).replace(b"Cookie", line + b"\r\nCookie"))
            assert service_saw(asked, number)
            assert line not in asked
            assert b"admin" not in asked


def test_a_body_over_the_limit_is_refused_however_many_were_within_it(tmp_path: Path) -> None:
    stage = Stage(tmp_path, inner={**OPEN_TO_ALL, "limits": {"body_bytes": 100}})
    with stage.playing():
        caller = stage.warm_up(asked_with(0))
        for size_bytes in (99, 100):
            asked, _ = stage.call(caller, asked_with(1, b"x" * size_bytes))
            assert asked.endswith(b"x" * size_bytes)
        assert stage.long_ways == {"out": 0, "in": 0}
        assert stage.ask(caller, asked_with(1, b"x" * 101)) is None
        assert b"body_too_large" in caller.take()
        stage.check_nothing_is_left()


def test_fields_that_connection_names_end_here_each_time(tmp_path: Path) -> None:
    stage = Stage(tmp_path, inner=OPEN_TO_ALL)
    with stage.playing():
        caller = stage.warm_up(asked_with(0))
        for number in (1, 2, 3, 4):
            named = asked_with(number).replace(b"X-Kind", b"Connection: X-Own, cookie\r\nx-own: 1\r\nX-Kind")
            asked, _ = stage.call(caller, named)
            assert b"x-own" not in asked
            assert b"Cookie" not in asked
            assert b"Authorization: Bearer token-%d\r\nX-Kind: a\r\n\r\nwhat" % number in asked


def test_kinds_that_begin_alike_are_told_apart(tmp_path: Path) -> None:
    """One has all deciding fields of the other, and one more behind them."""
    stage = Stage(tmp_path, inner=OPEN_TO_ALL)
    kinds = [request(b"DELETE", None, fields=own_fields(5)), request(b"DELETE", b"", fields=own_fields(5))]
    with stage.playing():
        caller = stage.warm_up(kinds[0])
        for _ in range(3):
            stage.call(caller, kinds[1])
        stage.long_ways.update({"out": 0, "in": 0})
        for number in range(6):
            asked, _ = stage.call(caller, kinds[number % 2].replace(b"token-5", b"token-%d" % number))
            assert (b"content-length: 0" in asked) is (number % 2 == 1)
        assert stage.long_ways == {"out": 0, "in": 0}


@pytest.mark.parametrize("fields", [own_fields(0), b"X-Kind: a\r\n"])
def test_nothing_of_a_credential_is_kept_by_a_connection(fields: bytes, tmp_path: Path) -> None:
    """The same head again and again is found at a glance, unless it holds a secret."""
    stage = Stage(tmp_path, inner=OPEN_TO_ALL)
    with stage.playing():
        caller: Wire = stage.warm_up(request(content=b"what", fields=fields))
        for _ in range(4):
            stage.call(caller, request(content=b"what", fields=fields))
        at_a_glance = caller.protocol._usual  # type: ignore[union-attr]
        (known,) = stage.inner.server.handler.flow.known.values()  # type: ignore[attr-defined]
        if may_remember(b"\r\n" + fields):
            assert fields in at_a_glance
            assert fields in known.whole
        else:
            assert at_a_glance == known.whole == b""


@pytest.mark.parametrize("calls", [1, 25])
def test_over_a_link_each_call_carries_its_own(calls: int) -> None:
    numbers: Iterator[int] = iter(range(10_000))
    sent: list[int] = []

    def next_request() -> bytes:
        sent.append(next(numbers))
        return asked_with(sent[-1]).replace(b" /search_service/a ", b" /search_service/api/service ")

    pair = PlayedPair("link", calls, request=next_request)
    try:
        for _ in range(3):
            sent.clear()
            pair.read()
            pair.ask()
            pair.reach_service()
            asked = b"".join(service.written for service in pair._services)
            assert all(asked.count(own_fields(number)) == 1 for number in sent)
            assert asked.count(b"Authorization") == calls
            pair.answer()
            pair.reach_callers()
    finally:
        pair.close()
