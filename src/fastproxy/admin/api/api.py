"""A request's way through the table of operations: found, judged, answered.

Whatever is wrong with a request is told as a problem document (RFC 9457) in words that a person can act on.
Knows nothing of what is told, or where it comes from.
"""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import parse_qsl, unquote_to_bytes

import msgspec
from msgspec import Struct

from fastproxy.admin.access import CHANGING, READING, Asker
from fastproxy.admin.answers import AdminError, answer
from fastproxy.admin.api.operations import PREFIX, Asked, Operation, Source
from fastproxy.model import Body, Response

JSON, LINES = b"application/json", b"application/x-ndjson"
_NOBODY = Asker("", READING)
_NO = ("", "0", "false")
"""Values of a parameter that ask for nothing more."""
_FIELDS = b"cache-control: no-store\r\nx-content-type-options: nosniff\r\n"
_encode = msgspec.json.Encoder().encode


class Api:
    """Answers requests for what begins with `PREFIX`.

    said_limit_bytes: so much may come with a request.

    Args:
        operations: what can be asked for. source: knows the answers.
    """

    __slots__ = ("_operations", "_source")

    said_limit_bytes = 65_536

    def __init__(self, operations: Sequence[Operation], source: Source) -> None:
        self._operations = operations
        self._source = source

    def need(self, method: bytes, path: bytes, query: bytes = b"") -> str:
        """Return what whoever asks for this must be allowed: READING, where it changes nothing, and doesn't
        reveal more than that may."""
        given = dict(_parameters(query))
        for one, _ in self._find(path):
            reveals = any(given.get(name, "") not in _NO for name in one.reveals)
            if one.method.encode() == method and (one.changes or reveals):
                return CHANGING
        return READING

    async def answer(
        self, method: bytes, path: bytes, query: bytes, said: bytes, asker: Asker = _NOBODY
    ) -> Response:
        """Answer a request; what it asks for is done once this is called.

        Args:
            method, path, query: of the request. said: its content; no more of it is needed than shows that
                it is too long. asker: whose it is.

        Raises:
            AdminError: it asks for nothing that there is, or not as it should; or it can't be done.
        """
        found = self._find(path)
        if not found:
            raise AdminError(404, f"there is nothing of this name; {PREFIX}openapi.json tells what there is")
        operation, name = next(
            ((one, name) for one, name in found if one.method.encode() == method), (None, "")
        )
        if operation is None:
            methods = ", ".join(one.method for one, _ in found)
            raise AdminError(405, f"only {methods}", f"allow: {methods}\r\n".encode())
        if len(said) > self.said_limit_bytes:
            raise AdminError(413, f"more than {self.said_limit_bytes} bytes come with the request")
        asked = Asked(name, _query(operation, query), _said(operation, said), asker)
        told = await operation.tell(self._source, asked)
        if isinstance(told, Struct | dict):
            return answer(operation.status, JSON, _encode(told) + b"\n", _FIELDS)
        return _stream(told)

    def _find(self, path: bytes) -> list[tuple[Operation, str]]:
        """Return the operations at a path, each with what stands in the path for its parameter."""
        return [
            (operation, name)
            for operation in self._operations
            if (name := path_parameter(operation.path, path)) is not None
        ]


def path_parameter(pattern: str, path: bytes) -> str | None:
    """Match a path.

    Args:
        pattern: a path, whose last segment may be a parameter: `/api/v1/exchanges/{id}`.

    Returns:
        What stands for the parameter, "" where the pattern has none; None when the path doesn't match.
    """
    start, _, parameter = pattern.partition("{")
    if not parameter:
        return "" if path == start.encode() else None
    rest = path.removeprefix(start.encode())
    if rest == path or not rest or b"/" in rest:
        return None
    return unquote_to_bytes(rest).decode(errors="replace")


def _query(operation: Operation, query: bytes) -> Struct | None:
    """Judge a query.

    Raises:
        AdminError: it has what the operation doesn't know, or can't be read.
    """
    fields = _parameters(query)
    given = dict(fields)
    kind = operation.query
    if len(given) < len(fields):
        raise AdminError(400, "a query has each parameter once")
    if kind is None:
        if given:
            raise AdminError(400, "there are no parameters here")
        return None
    try:
        found: Struct = msgspec.convert(given, type=kind, strict=False)
    except msgspec.ValidationError as error:
        known = ", ".join(kind.__struct_encode_fields__)
        raise AdminError(400, f"the query has {known}: {error}") from error
    return found


def _parameters(query: bytes) -> list[tuple[str, str]]:
    return parse_qsl(query.decode("latin-1"), keep_blank_values=True, encoding="utf-8", errors="replace")


def _said(operation: Operation, said: bytes) -> Struct | None:
    """Judge what comes with a request.

    Raises:
        AdminError: there is none where it has to be, or another one.
    """
    kind = operation.said
    if kind is None:
        return None
    try:
        found: Struct = msgspec.json.decode(said, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise AdminError(400, f"what came with the request is no JSON that is known here: {error}") from error
    return found


def _stream(lines: Body) -> Response:
    """Return an answer that goes on for as long as there are lines, or somebody reads them."""
    response = answer(200, LINES, b"", _FIELDS)
    response.content = lines
    return response
