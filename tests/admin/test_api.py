"""The table of operations: what is found by it, what is refused, and that the document says the same."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest
from msgspec import Struct

from fastproxy.admin.access import CHANGING, READING
from fastproxy.admin.answers import AdminError
from fastproxy.admin.api.api import Api, path_parameter
from fastproxy.admin.api.model import ExchangeStory, FailuresKept, LogLevel
from fastproxy.admin.api.openapi import document
from fastproxy.admin.api.operations import OPERATIONS, Asked, Operation, Source
from fastproxy.model import Body, Headers, Response
from fastproxy.telemetry.failures import Failure, Wanted


class Known:
    """A source that knows one failure, and takes a log level."""

    def __init__(self) -> None:
        self.wanted = Wanted()
        self.level = LogLevel("info")

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"nobody asks for {name} here")

    async def failures(self, wanted: Wanted) -> FailuresKept:
        self.wanted = wanted
        found = Failure(exchange="x1", at_unix_s=1.0, phase="rate", cause="rate_limited", service="äöü <b>")
        return FailuresKept([found] if wanted.exchange in ("", "x1") else [], truncated=False)

    async def log_level(self) -> LogLevel:
        return self.level

    async def set_log_level(self, level: LogLevel) -> LogLevel:
        self.level = level
        return level


class Pieces:
    """A body of these pieces."""

    length: int | None = None
    started = False

    def __init__(self, *pieces: bytes) -> None:
        self.trailers: Headers = []
        self._pieces: Iterator[bytes] = iter(pieces)

    async def read(self) -> bytes:
        return next(self._pieces, b"")

    def close(self) -> None:
        pass


def ask(method: str, path: str, query: str = "", said: bytes = b"", source: Any = None) -> tuple[int, Any]:
    """Return the status and the document of the answer."""
    answered = respond(Api(OPERATIONS, source or Known()), method, path, query, said)
    if isinstance(answered, AdminError):
        return answered.status, answered.words
    assert isinstance(answered.content, bytes)
    return answered.head.status, json.loads(answered.content)


def respond(api: Api, method: str, path: str, query: str = "", said: bytes = b"") -> Response | AdminError:
    try:
        return asyncio.run(api.answer(method.encode(), path.encode(), query.encode(), said))
    except AdminError as error:
        return error


def test_what_is_asked_for_is_told_as_its_type_has_it() -> None:
    status, told = ask("GET", "/api/v1/failures", "cause=rate_limited&limit=7")
    assert status == 200
    (failure,) = told["failures"]
    assert (failure["exchange"], failure["from"], failure["service"]) == ("x1", "here", "äöü <b>")
    assert told["truncated"] is False


def test_a_query_reaches_the_source_and_is_judged_by_its_type() -> None:
    source = Known()
    assert ask("GET", "/api/v1/failures", "cause=a%26b&caller=w%20x&trace=t&limit=7", source=source)[0] == 200
    assert source.wanted == Wanted("", "a&b", "w x", "", "t", 7)
    for query in (
        "limit=0",
        "limit=1001",
        "limit=",
        "limit=1.5",
        "limit=seven",
        "other=1",
        "cause=a&cause=b",
    ):
        status, words = ask("GET", "/api/v1/failures", query)
        assert (status, "query" in words) == (400, True), query
    assert ask("GET", "/api/v1/log-level", "level=debug")[0] == 400


@pytest.mark.parametrize("exchange", ["x1", "%781"])
def test_a_parameter_in_the_path_is_decoded(exchange: str) -> None:
    status, told = ask("GET", f"/api/v1/exchanges/{exchange}")
    assert (status, told["exchange"]) == (200, "x1")
    assert [failure["exchange"] for failure in told["failures"]] == ["x1"]


def test_an_exchange_that_nobody_knows_is_told_what_that_means() -> None:
    status, words = ask("GET", "/api/v1/exchanges/other")
    assert status == 404
    assert "access log" in words


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/api/v1/", 404),
        ("GET", "/api/v1", 404),
        ("GET", "/api/v2/failures", 404),
        ("GET", "/api/v1/failures/", 404),
        ("GET", "/api/v1/exchanges/", 404),
        ("GET", "/api/v1/exchanges/a/b", 404),
        ("POST", "/api/v1/failures", 405),
        ("HEAD", "/api/v1/failures", 405),
        ("get", "/api/v1/failures", 405),
        ("DELETE", "/api/v1/log-level", 405),
    ],
)
def test_what_there_is_not_is_told_so(method: str, path: str, status: int) -> None:
    assert ask(method, path)[0] == status


def test_a_refused_method_names_those_that_there_are() -> None:
    error = respond(Api(OPERATIONS, Known()), "DELETE", "/api/v1/log-level")
    assert isinstance(error, AdminError)
    assert error.fields == b"allow: GET, PUT\r\n"


def test_what_comes_with_a_request_reaches_the_source() -> None:
    source = Known()
    said = b'{"level":"debug"}'
    assert ask("PUT", "/api/v1/log-level", said=said, source=source) == (200, {"level": "debug"})
    assert source.level == LogLevel("debug")


@pytest.mark.parametrize(
    "said", [b"", b"{}", b'{"level":"loud"}', b'{"level":7}', b"[", b"\xff", b"null", b'{"level":null}']
)
def test_what_it_can_not_be_is_refused_and_changes_nothing(said: bytes) -> None:
    source = Known()
    assert ask("PUT", "/api/v1/log-level", said=said, source=source)[0] == 400
    assert source.level == LogLevel("info")


@pytest.mark.parametrize(("more_bytes", "status"), [(0, 200), (1, 413)])
def test_more_than_anybody_has_to_say_is_refused(more_bytes: int, status: int) -> None:
    said = b'{"level":"debug"}'.ljust(Api.said_limit_bytes + more_bytes)
    assert ask("PUT", "/api/v1/log-level", said=said)[0] == status


def test_reading_is_what_changes_nothing() -> None:
    api = Api(OPERATIONS, Known())
    assert api.need(b"GET", b"/api/v1/failures") == READING
    assert api.need(b"DELETE", b"/api/v1/failures") == READING
    assert api.need(b"GET", b"/api/v1/exchanges/x") == READING
    assert api.need(b"GET", b"/api/v1/unknown") == READING
    assert api.need(b"PUT", b"/api/v1/log-level") == CHANGING
    assert api.need(b"POST", b"/api/v1/drain") == CHANGING
    assert {one.name for one in OPERATIONS if one.changes} == {
        "setLogLevel", "previewReload", "reload", "drain",
    }  # fmt: skip


class Line(Struct):
    """One line."""

    number: int


BODY = Pieces(b'{"number":1}\n', b'{"number":2}\n')


async def stream(source: Source, asked: Asked) -> Body:
    return BODY


def test_lines_are_passed_on_as_they_come() -> None:
    lines = Operation("GET", "/api/v1/tap", "tap", "Lines", Line, stream, is_stream=True)
    answered = respond(Api([lines], Known()), "GET", "/api/v1/tap")
    assert isinstance(answered, Response)
    assert answered.content is BODY
    assert b"content-type: application/x-ndjson\r\n" in answered.head.start
    content = document([lines])["paths"]["/api/v1/tap"]["get"]["responses"]["200"]["content"]
    assert list(content) == ["application/x-ndjson"]


@pytest.mark.parametrize(
    ("pattern", "path", "found"),
    [
        ("/a/b", b"/a/b", ""),
        ("/a/b", b"/a/bc", None),
        ("/a/{id}", b"/a/1", "1"),
        ("/a/{id}", b"/a/%2F", "/"),
        ("/a/{id}", b"/a/%ff", "\ufffd"),
        ("/a/{id}", b"/a/", None),
        ("/a/{id}", b"/a/1/2", None),
        ("/a/{id}", b"/b/1", None),
    ],
)
def test_patterns(pattern: str, path: bytes, found: str | None) -> None:
    assert path_parameter(pattern, path) == found


def test_the_document_has_every_operation_with_its_types() -> None:
    told = document(OPERATIONS)
    assert told["openapi"].startswith("3.1.")
    described = {(method.upper(), path) for path, methods in told["paths"].items() for method in methods}
    assert described == {(one.method, one.path) for one in OPERATIONS}
    names = [one["operationId"] for methods in told["paths"].values() for one in methods.values()]
    assert len(set(names)) == len(names)
    parameters = told["paths"]["/api/v1/failures"]["get"]["parameters"]
    limit = next(one for one in parameters if one["name"] == "limit")
    assert (limit["in"], limit["schema"]["maximum"], limit["schema"]["default"]) == ("query", 1000, 50)
    (parameter,) = told["paths"]["/api/v1/exchanges/{id}"]["get"]["parameters"]
    assert (parameter["name"], parameter["in"], parameter["required"]) == ("id", "path", True)
    failure = told["components"]["schemas"]["Failure"]["properties"]
    assert {"exchange", "cause", "numbers", "from"} <= failure.keys()
    assert ExchangeStory.__name__ in told["components"]["schemas"]
    for reference in references(told):
        assert reference.removeprefix("#/components/schemas/") in told["components"]["schemas"]


def references(told: Any) -> Iterator[str]:
    if isinstance(told, dict):
        if isinstance(told.get("$ref"), str):
            yield told["$ref"]
        for part in told.values():
            yield from references(part)
    elif isinstance(told, list):
        for part in told:
            yield from references(part)
