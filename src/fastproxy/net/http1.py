"""HTTP/1.1 heads: strict parsing and serialising. Pure: bytes in, values out.

A head is judged as a whole, in two steps. httptools (llhttp) parses it; a second check behind it, one
regular expression over the exact bytes, refuses what llhttp lets through or can't know: bare line feeds,
folded lines, control characters, odd spacing, limits, the Host rules and every doubt about framing.
Whoever reads the same bytes after us must not be able to come to another conclusion (RFC 9112, section 11.2):
what can be read in two ways is refused, and what goes on is serialised anew from the parsed form.

Bodies are the business of `framing.py`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeVar

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser, HttpResponseParser

from fastproxy.errors import (
    BODY_TOO_LARGE,
    CODING_UNSUPPORTED,
    EXPECTATION_UNKNOWN,
    HEADERS_TOO_LARGE,
    MALFORMED_REQUEST,
    METHOD_UNSUPPORTED,
    RESPONSE_MALFORMED,
    RESPONSE_TOO_LARGE,
    TARGET_TOO_LONG,
    TOO_MANY_HEADERS,
    VERSION_UNSUPPORTED,
    ProxyError,
    beyond,
)
from fastproxy.model import FieldBlock, Headers, RequestHead, ResponseHead
from fastproxy.net.parting import ORDINARY, TEXT, TOKEN, Parting, rewritten
from fastproxy.net.upgrade import protocols, upgrade_lines

_FIELDS = rb"(?:" + TOKEN + rb":" + TEXT + rb"\r\n)*+\r\n"
_REQUEST = re.compile(TOKEN + rb" [!-~]++ HTTP/1\.[01]\r\n" + _FIELDS)
_RESPONSE = re.compile(rb"HTTP/1\.[01] [1-9][0-9][0-9](?: " + TEXT + rb")?\r\n" + _FIELDS)
_REQUEST_LINE = re.compile(TOKEN + rb" [!-~]++ HTTP/1\.[01]")
_REQUEST_LINE_BEGINNING = re.compile(rb"\r|(?:" + TOKEN + rb"(?: [!-~]*+(?: [HTP/0-9.]*+\r?)?)?)?")
_STATUS_LINE = re.compile(rb"HTTP/1\.[01] [1-9][0-9][0-9](?: " + TEXT + rb")?")
_FIELD = re.compile(TOKEN + rb":" + TEXT)
TRAILER = re.compile(
    rb"(" + TOKEN + rb"):[\t ]*+((?:[!-~\x80-\xff]++(?:[\t ]++(?=[!-~\x80-\xff]))?+)*+)[\t ]*+"
)
_VERSION = re.compile(rb"HTTP/[0-9]\.[0-9]\Z")
_HOST = re.compile(rb"(?:[A-Za-z0-9._~\-]++|\[[0-9A-Fa-f:.]++\])(?::[0-9]{1,5})?")
_ABSOLUTE = re.compile(rb"[Hh][Tt][Tt][Pp]://([^/?#]++)([/?][^#]*+)?")
_LENGTH = re.compile(rb"0|[1-9][0-9]{0,17}")
_LENGTH_LINE = re.compile(rb"\r\ncontent-length: ?(0|[1-9][0-9]{0,17})(?=\r\n)", re.IGNORECASE)
SIZED = b"content-length:\r\n\r\n"
"""What the kind of a head that declares a length ends with; nothing that is well-formed ends so."""
# Surplus space around a value that decides on framing is legal and never sent by anything honest.
_ODD_FRAMING = re.compile(
    rb"\r\n(?:content-length|transfer-encoding):(?! ?[!-~](?:[ -~]*[!-~])?\r\n)", re.IGNORECASE
)

HOP_BY_HOP = frozenset(
    (
        b"connection",
        b"keep-alive",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"upgrade",
        b"http2-settings",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"transfer-encoding",
        b"content-length",
        b"host",
        b"expect",
    )
)
"""Fields that end at this hop, or that each hop writes itself (RFC 9110, section 7.6.1)."""

FORBIDDEN_TRAILERS = HOP_BY_HOP | frozenset(
    (
        b"authorization",
        b"content-encoding",
        b"content-range",
        b"content-type",
        b"cookie",
        b"set-cookie",
        b"cache-control",
        b"max-forwards",
        b"range",
        b"age",
        b"date",
        b"expires",
        b"location",
        b"vary",
    )
)
"""Fields that would change the meaning of the message after it was judged (RFC 9110, section 6.5.1)."""


@dataclass(frozen=True, slots=True)
class HeadLimits:
    """Bounds on the header section; they protect memory and time before anything is known of the peer.

    header_bytes: the whole header section, first line included. header_count: number of fields.
    target_bytes: the request target. body_bytes: the content of a request, None for no limit; a request that
        declares more is refused by its head.
    """

    header_bytes: int = 32768
    header_count: int = 100
    target_bytes: int = 8192
    body_bytes: int | None = None

    def allow_body(self, length: int) -> bool:
        """Whether so many bytes of content are within the limit."""
        return self.body_bytes is None or length <= self.body_bytes


class _Fields:
    """What httptools calls back with, collected."""

    __slots__ = ("fields", "reason", "target")

    def __init__(self) -> None:
        self.fields: Headers = []
        self.target = b""
        self.reason = b""

    def on_url(self, target: bytes) -> None:
        self.target = target

    def on_status(self, reason: bytes) -> None:
        self.reason = reason

    def on_header(self, name: bytes, value: bytes) -> None:
        self.fields.append((name, value.rstrip(b" \t")))  # llhttp takes off the space in front only


def _malformed(detail: str) -> ProxyError:
    return ProxyError(MALFORMED_REQUEST, detail)


def _bad_response(detail: str) -> ProxyError:
    return ProxyError(RESPONSE_MALFORMED, detail)


_Head = TypeVar("_Head")


class KnownHeads(dict[bytes, _Head]):
    """Heads by their bytes; one that isn't known yet is judged, and remembered unless it may hold a secret.

    Judging is a pure function, and a peer mostly says the same again: a head that was judged before costs
    0.1 µs instead of 7.

    Args:
        judge: takes a head apart; what it raises goes on.
    """

    __slots__ = ("_judge",)

    def __init__(self, judge: Callable[[bytes], _Head]) -> None:
        super().__init__()
        self._judge = judge

    def __missing__(self, head: bytes) -> _Head:
        judged = self._judge(head)
        if may_remember(head):
            if len(self) >= _REMEMBERED_HEADS:
                self.clear()
            self[head] = judged
        return judged


class HeadParser:
    """Parses heads under given limits.

    requests: judged deciding parts of requests' heads, by their bytes (`parting`).
    responses: judged heads of answers. Both for whoever meets the same ones again and again.

    Args:
        limits: bounds on the header section.
        control: lower-case names of the fields that this proxy consumes itself.
        sealed: the heads come sealed, so that records frame the body, and nothing in the head may.
    """

    __slots__ = ("_control", "_kinds", "_sealed", "_special", "limits", "parting", "requests", "responses")

    def __init__(
        self, limits: HeadLimits, control: frozenset[bytes] = frozenset(), *, sealed: bool = False
    ) -> None:
        self.limits = limits
        self._sealed = sealed
        self._control = control
        self.requests: dict[bytes, RequestHead] = {}
        self._kinds: dict[bytes, RequestHead] = {}  # those that declare a length
        self.responses = KnownHeads(self.response)
        self._special = HOP_BY_HOP | control | {b"content-type"}
        self.parting = Parting(self._special)

    def request(self, head: bytes) -> tuple[RequestHead, FieldBlock]:
        """Judge and take apart a request's head.

        Args:
            head: from the first byte of the request line to the end of the empty line, inclusive.

        Returns:
            What the deciding part says, shared by all heads that have the same; and the rest: the fields that
            go on beside it, serialised anew, and the empty line.

        Raises:
            ProxyError: malformed, too large, or not supported; the detail names the rule (RFC 9112).
        """
        if len(head) > self.limits.header_bytes:  # what comes sealed was bounded by nobody before
            raise oversized_head(head, self.limits)
        deciding, rest = self.parting.part(head)
        known = self.requests.get(deciding) or self._of_another_length(deciding)
        if (
            known is not None
            and not known.left_out
            and ORDINARY.fullmatch(rest) is not None
            and rest.count(b"\n") + known.field_count <= self.limits.header_count + 1
        ):
            return known, rest
        return self._judge(head, deciding, rest, known)

    def _of_another_length(self, deciding: bytes) -> RequestHead | None:
        """What a deciding part says that differs from a known one in the length only, within the limit."""
        kind, length = part_length(deciding)
        known = self._kinds.get(kind)
        if known is None or length is None or not self.limits.allow_body(length):
            return None
        return known.of_length(length, length_line(length))

    def _judge(
        self, head: bytes, deciding: bytes, rest: bytes, known: RequestHead | None
    ) -> tuple[RequestHead, FieldBlock]:
        """Judge a head that is new, or out of the ordinary."""
        if _REQUEST.fullmatch(head) is None:
            raise _diagnose_request(head, self.limits)
        field_count = head.count(b"\n") - 2
        if known is None:
            known = self._judge_deciding(deciding, field_count)
            if may_remember(deciding):
                if len(self.requests) >= _REMEMBERED_HEADS:
                    self.forget_requests()
                self.requests[deciding] = known
                if known.length is not None:
                    self._kinds[known.kind] = known
        else:
            self._check_count(field_count)
        return known, rewritten(rest, known.left_out)

    def forget_requests(self) -> None:
        """Judge each head anew from now on."""
        self.requests.clear()
        self._kinds.clear()

    def _check_count(self, field_count: int) -> None:
        if field_count > self.limits.header_count:
            raise ProxyError(
                TOO_MANY_HEADERS,
                f"{field_count} header fields, {self.limits.header_count} allowed",
                numbers={"limit": self.limits.header_count, "fields": field_count},
            )

    def _judge_deciding(self, head: bytes, field_count: int) -> RequestHead:
        """Judge the deciding part of a head that has so many fields; it is well-formed.

        The rest can't change what comes of it: none of its fields means anything to the parser.
        """
        collected = _Fields()
        parser = HttpRequestParser(collected)
        try:
            parser.feed_data(head)
        except HttpParserUpgrade:
            pass  # a signal and no error: CONNECT or Upgrade; both are judged below
        except HttpParserError as error:
            raise _malformed(f"the header section is refused by the parser: {error}") from error
        self._check_count(field_count)
        result = RequestHead(parser.get_method(), collected.target, head[head.index(b"\r\n") - 1] - 48)
        result.kind, result.field_count = part_length(head)[0], len(collected.fields)
        self._sort_request(result, collected.fields, head)
        self._judge_target(result)
        self._judge_framing(result)
        result.is_plain = (
            result.minor == 1 and result.keep_alive and result.method != b"HEAD" and not result.upgrade
        )
        return result

    def _sort_request(self, result: RequestHead, fields: Headers, head: bytes) -> None:
        """Part the end-to-end ones of the deciding fields from those that end here, and judge the latter."""
        special = self._special
        headers: Headers = []
        seen: dict[bytes, bytes] = {}
        for field in fields:
            name = field[0].lower()
            if name not in special:
                continue  # it only looks like one (`parting`): nobody behind us shall take it for one
            if name in seen:
                if name in _ONCE:
                    raise _malformed(f"the field {name.decode()} stands there more than once")
                seen[name] += b", " + field[1]
                if name == b"content-type":
                    headers.append(field)
            else:
                seen[name] = field[1]
                if name == b"content-type":
                    headers.append(field)
        host = seen.get(b"host")
        if host is not None:
            if _HOST.fullmatch(host) is None:
                raise _malformed("the Host field is not a host with an optional port")
            result.host = host
        elif result.minor:
            raise _malformed("HTTP/1.1 requires a Host field")
        length, coding = seen.get(b"content-length"), seen.get(b"transfer-encoding")
        if length is not None or coding is not None:
            if _ODD_FRAMING.search(head) is not None:
                raise _malformed("odd space around Content-Length or Transfer-Encoding")
            result.length, result.chunked = _framing(length, coding, result.minor, _malformed)
        connection = seen.get(b"connection")
        if connection is not None:
            result.keep_alive, is_upgrade, result.left_out = _connection(connection, result.minor)
            headers = [field for field in headers if field[0].lower() not in result.left_out]
            if is_upgrade and result.minor:
                result.upgrade = protocols(seen.get(b"upgrade", b""))
        if b"trailer" in seen and self._may_have_trailers(result):
            headers.append((b"trailer", seen[b"trailer"]))
        result.fields = write_fields(headers)
        expect = seen.get(b"expect")
        if expect is not None:
            if expect.lower() != b"100-continue":
                raise ProxyError(EXPECTATION_UNKNOWN, "only 100-continue can be expected")
            result.expects_continue = result.minor == 1
        if not self._control.isdisjoint(seen):
            result.control = {name: value for name, value in seen.items() if name in self._control}

    def _judge_framing(self, result: RequestHead) -> None:
        length = result.length
        if self._sealed:
            if result.chunked:
                raise ProxyError(CODING_UNSUPPORTED, "a sealed request frames its body by records")
            if result.absolute or result.expects_continue:
                raise _malformed("a sealed request has a path as its target and expects nothing")
        if result.upgrade:
            if result.chunked or length:
                raise _malformed("a request that asks for another protocol has a body")
            # Without a body there is nothing to expect a 100 for (RFC 9110, section 10.1.1).
            length, result.length, result.expects_continue = None, None, False
            result.content_bytes = -1
        if length is not None:
            if not self.limits.allow_body(length):
                limit = self.limits.body_bytes or 0
                raise ProxyError(
                    BODY_TOO_LARGE,
                    f"{length} bytes, {limit} allowed",
                    numbers={"limit_bytes": limit, "bytes": length},
                )
            result.content_bytes = length
            result.framing = length_line(length)
        elif result.chunked:
            result.content_bytes = -1

    def _may_have_trailers(self, head: RequestHead | ResponseHead) -> bool:
        """Whether the body is one that trailer fields can follow; an announcement goes on with such."""
        return head.length is None if self._sealed else head.chunked

    def _judge_target(self, result: RequestHead) -> None:
        target, limits = result.target, self.limits
        if len(target) > limits.target_bytes:
            raise ProxyError(
                TARGET_TOO_LONG,
                f"{len(target)} bytes, {limits.target_bytes} allowed",
                numbers={"limit_bytes": limits.target_bytes, "bytes": len(target)},
            )
        if result.method in _UNSUPPORTED_METHODS:
            raise ProxyError(METHOD_UNSUPPORTED, f"{result.method.decode()} is not forwarded")
        if target[0] == 0x2F:  # origin form, RFC 9112 section 3.2.1
            if b"#" in target:
                raise _malformed("a fragment does not belong in a request target")
            return
        if target == b"*":
            if result.method != b"OPTIONS":
                raise _malformed("the target * goes with OPTIONS only")
            return
        absolute = _ABSOLUTE.fullmatch(target)
        if absolute is None or _HOST.fullmatch(absolute[1]) is None:
            raise _malformed("the request target is neither a path nor an http URL")
        if result.host and absolute[1].lower() != result.host.lower():
            raise _malformed("Host and the authority of the target differ")
        path = absolute[2] or b"/"
        result.host = absolute[1]
        result.absolute = True
        result.target = path if path[0] == 0x2F else b"/" + path

    def response(self, head: bytes) -> ResponseHead:
        """Judge and take apart a response's head, as strictly as a request's.

        Raises:
            ProxyError: RESPONSE_MALFORMED or RESPONSE_TOO_LARGE; the detail names the rule.
        """
        result = self.interim(head)
        if self._sealed and result.chunked:
            raise _bad_response("a sealed answer frames its body by records")
        return result

    def interim(self, head: bytes) -> ResponseHead:
        """Judge a head that may be one of an interim answer, sealed or not; otherwise as `response`."""
        if len(head) > self.limits.header_bytes:
            raise response_overflow(self.limits)
        if _RESPONSE.fullmatch(head) is None:
            raise _diagnose_response(head)
        collected = _Fields()
        parser = HttpResponseParser(collected)
        try:
            parser.feed_data(head)
        except HttpParserUpgrade:
            pass  # a signal and no error: 101, which is judged by whoever asked
        except HttpParserError as error:
            raise _bad_response(f"the header section is refused by the parser: {error}") from error
        fields = collected.fields
        if len(fields) > self.limits.header_count:
            raise ProxyError(
                RESPONSE_TOO_LARGE,
                f"{len(fields)} header fields",
                numbers={"limit": self.limits.header_count, "fields": len(fields)},
            )
        result = ResponseHead(parser.get_status_code(), minor=head[7] - 48, has_date=False)
        headers: Headers = []
        length = coding = connection = upgrade = trailer = None
        for field in fields:
            name = field[0].lower()
            if name not in _RESPONSE_SPECIAL:
                headers.append(field)
            elif name == b"content-length":
                if length is not None:
                    raise _bad_response("more than one Content-Length field")
                length = field[1]
            elif name == b"transfer-encoding":
                coding = field[1] if coding is None else coding + b", " + field[1]
            elif name == b"connection":
                connection = field[1] if connection is None else connection + b", " + field[1]
            elif name == b"upgrade":
                upgrade = field[1] if upgrade is None else upgrade + b", " + field[1]
            elif name == b"trailer":
                trailer = field[1] if trailer is None else trailer + b", " + field[1]
            elif name == b"date":
                result.has_date = True
                headers.append(field)
        if length is not None or coding is not None:
            if _ODD_FRAMING.search(head) is not None:
                raise _bad_response("odd space around Content-Length or Transfer-Encoding")
            result.length, result.chunked = _framing(length, coding, result.minor, _bad_response)
        is_upgrade = False
        if connection is not None:
            result.keep_alive, is_upgrade, left_out = _connection(connection, result.minor)
            headers = [field for field in headers if field[0].lower() not in left_out]
        if trailer is not None and self._may_have_trailers(result):
            headers.append((b"trailer", trailer))
        if result.status == 101:
            result.upgrade = protocols(upgrade) if is_upgrade and upgrade and result.minor else b""
            if not result.upgrade or result.length is not None or result.chunked:
                raise _bad_response("a 101 that names no protocol, or has a body")
        if result.status < 200:
            result.content_bytes = -1  # whatever its fields say (RFC 9112, section 6.3)
        elif not result.bodiless:
            result.content_bytes = -1 if result.length is None else result.length
        start = b"HTTP/1.1 %d %b\r\n%b" % (result.status, collected.reason, write_fields(headers))
        result.start = start + upgrade_lines(result)
        return result


_REMEMBERED_HEADS = 96
_REMEMBERED_BYTES = 1024
"""Bounds on what is remembered. What decides in a request's head, 1 KiB at most, takes up to 4 KiB, and up to
3 KiB more for each of the 4 plans that a proxy keeps with it (`PLANS_PER_HEAD`): 1.5 MiB in all. An answer's
head takes up to 3 KiB: 0.3 MiB. A proxy has one parser whose heads get plans, and two beside it: 2 MiB,
however many services it has."""

_SECRET_NAME = rb"(?:auth|cookie|token|secret|password|api-?key)"
_CREDENTIAL = re.compile(rb"\r\n[^:\r]*" + _SECRET_NAME + rb"[^:\r]*:", re.IGNORECASE)
_has_secret_name = re.compile(_SECRET_NAME, re.IGNORECASE).search


def may_be_secret(name: bytes) -> bool:
    """Whether a field is a secret by its name."""
    return _has_secret_name(name) is not None


def may_remember(head: bytes) -> bool:
    """Whether a head may be kept for the next time: it is short, and no field is a secret by its name."""
    return len(head) <= _REMEMBERED_BYTES and _CREDENTIAL.search(head) is None


class Repeats:
    """Notices heads that come again as they are, so that the next time they are found at a glance.

    Until then nothing of them is kept but a hash.
    """

    __slots__ = ("_last", "_secret")

    def __init__(self) -> None:
        self._last = self._secret = 0

    def again(self, head: bytes) -> bool:
        """Whether this is the head that came last time as well, and may be kept."""
        mark = hash(head)
        if mark != self._last:
            self._last = mark
            return False
        if mark == self._secret:
            return False
        if may_remember(head):
            return True
        self._secret = mark
        return False


_OPTIONS = frozenset((b"close", b"keep-alive", b"upgrade", b"te", b""))
"""What Connection may say that names no field, or one that ends here in any case."""
_ONCE = frozenset((b"host", b"content-length", b"transfer-encoding", b"content-type", b"expect"))
_UNSUPPORTED_METHODS = frozenset((b"CONNECT", b"TRACE"))
_RESPONSE_SPECIAL = HOP_BY_HOP - {b"host", b"expect"} | {b"date"}


def part_length(deciding: bytes) -> tuple[bytes, int | None]:
    """Part the deciding bytes of a head from the length that they declare.

    Returns:
        The kind: the bytes without the line of the length, for which `SIZED` stands at the end; and the
        length. Or the bytes as they are, and None, if there is none.
    """
    line = _LENGTH_LINE.search(deciding)
    if line is None:
        return deciding, None
    return b"".join((deciding[: line.start()], deciding[line.end() : -2], SIZED)), int(line[1])


def _framing(length: bytes | None, coding: bytes | None, minor: int, error: Any) -> tuple[int | None, bool]:
    """Decide how the body is delimited (RFC 9112, section 6.3); every doubt is an error."""
    if coding is None:
        assert length is not None
        if _LENGTH.fullmatch(length) is None:
            raise error("Content-Length is not a plain decimal number")
        return int(length), False
    if length is not None:
        raise error("Content-Length and Transfer-Encoding together")
    if minor == 0:
        raise error("Transfer-Encoding in HTTP/1.0")
    if coding.lower() == b"chunked":
        return None, True
    codings = [each.strip().lower() for each in coding.split(b",")]
    if b"chunked" in codings or b"" in codings or error is _bad_response:
        raise error("Transfer-Encoding is something other than chunked alone")
    raise ProxyError(CODING_UNSUPPORTED, "only the transfer coding chunked is supported")


def _connection(value: bytes, minor: int) -> tuple[bool, bool, frozenset[bytes]]:
    """Read Connection: whether it persists, whether Upgrade counts, and the fields that end here by it."""
    tokens = frozenset(token.strip().lower() for token in value.split(b","))
    keep_alive = b"close" not in tokens and (minor == 1 or b"keep-alive" in tokens)
    return keep_alive, b"upgrade" in tokens, tokens - _OPTIONS


def _diagnose_request(head: bytes, limits: HeadLimits) -> ProxyError:
    """Name the rule that a refused head breaks. Not on the hot path."""
    line, *fields = head[:-4].split(b"\r\n")
    if _REQUEST_LINE.fullmatch(line) is None:
        parts = line.split(b" ")
        if len(parts) == 3 and parts[2][:7] not in (b"HTTP/1.",) and _VERSION.match(parts[2]):
            return ProxyError(VERSION_UNSUPPORTED, "only HTTP/1.1 and 1.0 are spoken here")
        if len(parts) == 3 and _VERSION.match(parts[2]) and parts[2] > b"HTTP/1.1":
            return ProxyError(VERSION_UNSUPPORTED, "only HTTP/1.1 and 1.0 are spoken here")
        return _malformed("the request line is not `method target HTTP/1.1`")
    return _diagnose_fields(fields, _malformed)


def _diagnose_response(head: bytes) -> ProxyError:
    line, *fields = head[:-4].split(b"\r\n")
    if _STATUS_LINE.fullmatch(line) is None:
        return _bad_response("the status line is not `HTTP/1.1 status reason`")
    return _diagnose_fields(fields, _bad_response)


def _diagnose_fields(fields: list[bytes], error: Any) -> ProxyError:
    for number, field in enumerate(fields, 1):
        if _FIELD.fullmatch(field) is not None:
            continue
        if field[:1] in (b" ", b"\t"):
            rule = "is folded onto the line before it"
        elif b"\n" in field or b"\r" in field:
            rule = "holds a bare CR or LF"
        elif b":" not in field:
            rule = "has no colon"
        elif re.match(TOKEN + rb":", field):
            rule = "has a control character in its value"
        else:
            rule = "has a name that is not a token"
        return error(f"header line {number} {rule}")  # type: ignore[no-any-return]
    return error("the header section is not well-formed")  # type: ignore[no-any-return]


def hopeless_head(buffered: bytes, limits: HeadLimits) -> ProxyError | None:
    """The error for the beginning of a header section that no further byte can make good, else None.

    Only its first line is looked at: garbage and other protocols are told apart by it, and waiting for the
    rest of them would hold a connection for nothing.
    """
    end = buffered.find(b"\r\n")
    if end >= 0:
        known = _REQUEST_LINE.fullmatch(buffered, 0, end)
    else:
        known = _REQUEST_LINE_BEGINNING.fullmatch(buffered)
    return None if known is not None else _diagnose_request(buffered + b"\r\n\r\n", limits)


def oversized_head(buffered: bytes, limits: HeadLimits) -> ProxyError:
    """The error for a header section that outgrew `limits.header_bytes` before it ended."""
    line, end, rest = buffered.partition(b"\r\n")
    parts = line.split(b" ")
    if len(parts[0]) > _METHOD_BYTES:
        return _malformed("the request line does not begin with a method")
    if len(parts) > 1 and len(parts[1]) > limits.target_bytes:
        return beyond(TARGET_TOO_LONG, limits.target_bytes)
    if rest.count(b"\r\n") > limits.header_count:
        return ProxyError(
            TOO_MANY_HEADERS,
            f"more than {limits.header_count} header fields",
            numbers={"limit": limits.header_count},
        )
    return ProxyError(
        HEADERS_TOO_LARGE,
        f"more than {limits.header_bytes} bytes" + ("" if end else " in one line"),
        numbers={"limit_bytes": limits.header_bytes},
    )


_METHOD_BYTES = 64


def write_fields(headers: Headers) -> bytes:
    """Serialise header fields, each with its line end."""
    return b"".join([b"%b: %b\r\n" % field for field in headers])


@lru_cache(1024)
def length_line(length: int) -> bytes:
    """Return the line of a Content-Length field."""
    return b"content-length: %d\r\n" % length


@lru_cache(1024)
def end_of_head(length: int) -> bytes:
    """Return the last lines of a head whose message has so many bytes of content."""
    return length_line(length) + b"\r\n"


def response_overflow(limits: HeadLimits) -> ProxyError:
    """The error for a response whose header section outgrew its limit."""
    return beyond(RESPONSE_TOO_LARGE, limits.header_bytes)


REASONS: dict[int, bytes] = {
    200: b"OK",
    400: b"Bad Request",
    401: b"Unauthorized",
    403: b"Forbidden",
    404: b"Not Found",
    408: b"Request Timeout",
    413: b"Content Too Large",
    414: b"URI Too Long",
    417: b"Expectation Failed",
    429: b"Too Many Requests",
    431: b"Request Header Fields Too Large",
    500: b"Internal Server Error",
    501: b"Not Implemented",
    502: b"Bad Gateway",
    503: b"Service Unavailable",
    504: b"Gateway Timeout",
    505: b"HTTP Version Not Supported",
}
"""Reason phrases of the statuses that the proxies themselves answer with."""
