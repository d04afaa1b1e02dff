"""What taps see: no secret, nothing without bounds, and bodies pass as they are."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastproxy.model import Body, Exchange, Headers, RequestHead, Response, ResponseHead
from fastproxy.proxy.seen import FIELDS_BYTES, Start, Tap, Watch
from fastproxy.proxy.taps import Taps, Watching
from fastproxy.telemetry.tapped import TapTerms, TapWanted

SECRET = "s3cr3t"


class Taken:
    """A tap that takes all, or has no room."""

    def __init__(self, *, has_room: bool = True) -> None:
        self.lines: list[Any] = []
        self.has_room = has_room
        self.offered = 0

    def tap(self, **terms: Any) -> Tap:
        wanted = terms.pop("wanted", TapWanted())
        return Tap(TapTerms(wanted, **terms), self._may_put, lambda line: self.lines.append(json.loads(line)))

    def _may_put(self) -> bool:
        self.offered += 1
        return self.has_room


class Pieces:
    """A body in pieces, with a trailer."""

    length: int | None = None
    started = False

    def __init__(self, pieces: list[bytes]) -> None:
        self.trailers: Headers = []
        self._pieces = pieces

    async def read(self) -> bytes:
        if not self._pieces:
            self.trailers = [(b"x-sum", b"1")]
            return b""
        return self._pieces.pop(0)

    def close(self) -> None:
        self._pieces.clear()


def show(taken: Taken, fields: bytes, *, content: bytes = b"", **terms: Any) -> Any:
    """Have one exchange seen, with these fields in request and answer; return what is shown of it."""
    watch = Watch("out", "out")
    watch.taps = (taken.tap(**terms),)
    exchange = Exchange("x1", 1.0, "127.0.0.1", caller="web", method=b"GET", path=b"/a?t=" + SECRET.encode())
    watch.request(exchange, RequestHead(b"GET", b"/a", 1), fields + b"\r\n", content)
    watch.answer(exchange, Response(ResponseHead(200, b"HTTP/1.1 200 OK\r\n" + fields), content))
    exchange.status = 200
    watch.end(exchange, 3.5, 1000.0, 0, len(content))
    assert exchange.seen is None
    return taken.lines[-1] if taken.lines else None


@pytest.mark.parametrize(
    "name",
    [
        "Authorization", "proxy-authorization", "Cookie", "Set-Cookie", "X-Api-Key", "X_API_KEY", "sessionid",
        "X-Auth-User", "X-CSRF-Token", "X-Session", "X-Amz-Signature", "X-Client-Secret", "X-PASSWORD",
        "X-Passwd", "Idempotency-Key", "X-Amz-Credential", "X-JWT-Assertion", "connect.sid",
        "DPoP", "Sec-WebSocket-Protocol", "X-SAML-Response", "X-Bearer", "Client-Assertion",
    ],
)  # fmt: skip
def test_what_may_be_secret_by_its_name_is_not_shown_unless_a_tap_may_have_it(name: str) -> None:
    fields = f"{name}: {SECRET}\r\nx-colour: blue\r\n".encode()
    one = show(Taken(), fields)
    for head in (one["request"], one["answer"]):
        assert head["fields"] == [[name, "(redacted)"], ["x-colour", "blue"]]
    assert SECRET not in json.dumps(one)
    assert (one["path"], one["duration_s"], one["started_unix_s"]) == ("/a", 2.5, 997.5)
    assert show(Taken(), fields, unredacted=True)["request"]["fields"][0] == [name, SECRET]


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (f"https://app/reset?token={SECRET}", "https://app/reset?(redacted)"),
        (f"/cb#access_token={SECRET}", "/cb?(redacted)"),
        (f"?code={SECRET}", "?(redacted)"),
        (f"https://me:{SECRET}@app/a", "https://(redacted)@app/a"),
        (f"</a?x={SECRET}>; rel=next, </b?y={SECRET}>", "</a?(redacted)"),
        ("https://app/plain", "https://app/plain"),
    ],
)
def test_what_may_be_secret_in_urls_is_not_shown_in_any_field(value: str, shown: str) -> None:
    fields = f"referer: {value}\r\nx-original-url: {value}\r\n".encode()
    for head in (show(Taken(), fields)[part] for part in ("request", "answer")):
        assert head["fields"] == [["referer", shown], ["x-original-url", shown]]
    assert show(Taken(), fields, unredacted=True)["request"]["fields"][0] == ["referer", value]


@given(st.lists(st.tuples(st.integers(1, 200), st.integers(0, 9000)), max_size=60))
def test_however_long_heads_are_what_is_shown_of_them_is_bounded(sizes: list[tuple[int, int]]) -> None:
    fields = b"".join(b"%b: %b\r\n" % (b"n" * name, b"v" * value) for name, value in sizes)
    head = show(Taken(), fields)["request"]
    assert sum(len(name) + len(value) for name, value in head["fields"]) <= FIELDS_BYTES
    assert head.get("is_cut", False) == (len(head["fields"]) < len(sizes))


@given(st.lists(st.binary(min_size=1, max_size=40), max_size=6), st.integers(1, 60))
def test_a_body_passes_as_it_is_and_its_beginning_is_kept(pieces: list[bytes], limit_bytes: int) -> None:
    taken, whole = Taken(), b"".join(pieces)
    watch = Watch("in", "in")
    watch.taps = (taken.tap(content_bytes=limit_bytes),)
    exchange = Exchange("x1", 1.0, "127.0.0.1")
    body = watch.request(exchange, RequestHead(b"POST", b"/", 1), b"\r\n", Pieces(list(pieces)))
    assert not isinstance(body, bytes)
    assert asyncio.run(read(body)) == whole
    assert body.trailers == [(b"x-sum", b"1")]
    watch.end(exchange, 2.0, 2.0, len(whole), 0)
    content = taken.lines[0]["request"]["content"]
    shown = content.get("text", "").encode() or base64.b64decode(content.get("base64", ""))
    assert whole[:limit_bytes].startswith(shown)
    assert len(shown) > min(limit_bytes, len(whole)) - 4  # a character that is cut isn't shown
    assert content.get("is_cut", False) == (len(whole) > limit_bytes)


async def read(body: Body) -> bytes:
    pieces = []
    while piece := await body.read():
        pieces.append(piece)
    return b"".join(pieces)


def test_only_so_much_is_kept_of_a_content() -> None:
    start = Start(10)
    for _ in range(100):
        start.add(b"12345678")
    assert (start.data, start.is_cut) == (b"1234567812", True)


def test_what_does_not_fit_or_finds_no_room_is_not_even_encoded() -> None:
    other, full = Taken(), Taken(has_room=False)
    assert show(other, b"", wanted=TapWanted(caller="billing")) is None
    assert other.offered == 0
    assert show(full, b"") is None
    assert full.offered == 1


class Watched:
    """A proxy."""

    def __init__(self) -> None:
        self.watch: Watching | None = None

    def be_watched(self, watch: Watching | None) -> None:
        self.watch = watch


def test_proxies_that_come_later_are_watched_as_well_and_those_that_are_gone_are_not_kept() -> None:
    taps, watch, first = Taps(), Watch("out", "out"), Watched()
    taps.cover(first)
    assert first.watch is None
    taps.change(watch)
    second = Watched()
    taps.cover(second)
    assert first.watch is second.watch is watch
    del second
    taps.change(None)
    assert first.watch is None
