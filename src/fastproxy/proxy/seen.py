"""What taps see of exchanges: heads, first bytes of contents, and how each ended.

What may be a secret is left out here, in the worker, unless a tap was allowed to have it: by the names of
fields, wider than the rule for what is kept of heads (`net.http1.may_be_secret`), since people look at it.
All that is shown of one exchange is bounded: fields, and contents by what the taps ask for.
Nothing here can end an exchange.
"""

from __future__ import annotations

import logging
import re
from base64 import b64encode
from collections.abc import Callable, Iterable
from typing import NamedTuple, cast

import msgspec

from fastproxy.config.redacted import REDACTED
from fastproxy.model import Body, Content, Exchange, FieldBlock, Headers, RequestHead, Response, TimedExchange
from fastproxy.net.http1 import may_be_secret
from fastproxy.telemetry.tapped import Tapped, TappedContent, TappedHead, TapTerms

FIELDS_BYTES = 16_384
"""Of one head, names and values together, that are shown."""
PATH_BYTES = 2048
_ALSO_SECRET = re.compile(
    rb"key|session|sid\b|signature|credential|passwd|passphrase|jwt|otp\b|assertion|saml|bearer|dpop"
    rb"|^sec-websocket-protocol$",  # by which browsers hand tokens over, having no other field for it
    re.IGNORECASE,
)
"""Names of fields whose values people shouldn't see unasked, beside those that no head is kept with."""
_USER_INFO = re.compile(rb"//[^/?#\s]*@")
_QUERY = re.compile(rb"[?#].*", re.DOTALL)
"""Queries and fragments, of URLs in any field: keys of sessions and of resets are often there."""
_REDACTED = REDACTED.encode()
_LOG = logging.getLogger("fastproxy.tap")
_encode = msgspec.json.Encoder().encode


class Tap(NamedTuple):
    """One tap.

    terms: which exchanges it shows, and how. may_put: whether there is room for one more now; False counts it
    as dropped. put: takes one, as a line of JSON.
    """

    terms: TapTerms
    may_put: Callable[[], bool]
    put: Callable[[bytes], None]


class Start:
    """The first bytes of a content, and whether it had more."""

    __slots__ = ("data", "is_cut", "limit_bytes")

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self.data = b""
        self.is_cut = False

    def add(self, data: bytes) -> None:
        """See the next piece."""
        left = self.limit_bytes - len(self.data)
        self.data += data[:left]
        self.is_cut = self.is_cut or len(data) > left


class SeenBody:
    """A body on its way, whose first bytes are seen as they pass; see `model.Body`."""

    __slots__ = ("_body", "_start", "length", "started", "trailers")

    def __init__(self, body: Body, start: Start) -> None:
        self._body = body
        self._start = start
        self.length = body.length
        self.started = body.started
        self.trailers: Headers = []

    async def read(self) -> bytes:
        """Return the next piece; b"" at the end."""
        self.started = True
        data = await self._body.read()
        if data:
            self._start.add(data)
        else:
            self.trailers = self._body.trailers
        return data

    def close(self) -> None:
        """The rest is not wanted."""
        self._body.close()


class Seen:
    """What was seen of one exchange so far: its heads as they came."""

    __slots__ = ("answer", "answer_start", "request", "request_start")

    def __init__(self, fields: Iterable[bytes]) -> None:
        self.request = fields
        self.request_start: Start | None = None
        self.answer: bytes | None = None
        self.answer_start: Start | None = None


class Watch:
    """Sees the exchanges of a worker for its taps.

    Args:
        hop, role: of this proxy.
    """

    def __init__(self, hop: str, role: str) -> None:
        self._hop = hop
        self._role = role
        self._content_bytes = 0  # of the tap that wants most
        self._taps: tuple[Tap, ...] = ()

    @property
    def taps(self) -> tuple[Tap, ...]:
        """Those that it sees for."""
        return self._taps

    @taps.setter
    def taps(self, taps: tuple[Tap, ...]) -> None:
        self._taps = taps
        self._content_bytes = max((tap.terms.content_bytes for tap in taps), default=0)

    def request(self, exchange: Exchange, head: RequestHead, rest: FieldBlock, content: Content) -> Content:
        """See a request; see `Watching`."""
        host = b"host: %b\r\n" % head.host if head.host else b""
        control = (b"%b: %b\r\n" % field for field in head.control.items())
        exchange.seen = seen = Seen((host, head.fields, *control, rest))
        if not self._content_bytes or head.upgrade:  # what follows an upgrade is no content
            return content
        seen.request_start = Start(self._content_bytes)
        return _seen_by(seen.request_start, content)

    def answer(self, exchange: Exchange, response: Response) -> None:
        """See an answer; see `Watching`."""
        seen = cast("Seen | None", exchange.seen)
        if seen is None:
            return
        seen.answer = response.head.start
        if self._content_bytes and not response.head.switches:
            seen.answer_start = Start(self._content_bytes)
            response.content = _seen_by(seen.answer_start, response.content)

    def end(self, exchange: Exchange, now_s: float, now_unix_s: float, bytes_in: int, bytes_out: int) -> None:
        """Show an exchange to the taps that ask for it; see `Watching`."""
        seen, exchange.seen = cast("Seen | None", exchange.seen), None
        try:
            method = exchange.method.decode(errors="replace")
            for tap in self._taps:
                terms, wanted = tap.terms, tap.terms.wanted
                if (
                    wanted.has_names(exchange.caller, exchange.service, exchange.route)
                    and wanted.has_outcome(method, exchange.status, exchange.cause, exchange.trace_id)
                    and tap.may_put()
                ):
                    shown = self._shown(exchange, seen, terms, now_s, now_unix_s, bytes_in, bytes_out)
                    tap.put(_encode(shown) + b"\n")
        except Exception:  # whatever it is: the exchange has ended well
            _LOG.exception("an exchange can't be shown to a tap", extra={"exchange": exchange.id})

    def _shown(
        self,
        exchange: Exchange,
        seen: Seen | None,
        terms: TapTerms,
        now_s: float,
        now_unix_s: float,
        bytes_in: int,
        bytes_out: int,
    ) -> Tapped:
        request = answer = None
        if seen is not None:
            request = _head(b"".join(seen.request), seen.request_start, terms)
            if seen.answer is not None:
                answer = _head(seen.answer.partition(b"\r\n")[2], seen.answer_start, terms)
        duration_s = now_s - exchange.started
        return Tapped(
            exchange.id,
            exchange.trace_id,
            self._hop,
            self._role,
            now_unix_s - duration_s,
            duration_s,
            exchange.caller,
            exchange.service,
            exchange.route,
            exchange.method[:PATH_BYTES].decode(errors="replace"),
            exchange.path.partition(b"?")[0][:PATH_BYTES].decode(errors="replace"),
            exchange.status,
            exchange.cause,
            exchange.phase,
            str(exchange.endpoint) if exchange.endpoint else "",
            exchange.attempts,
            exchange.peer,
            _phases_s(exchange, now_s),
            bytes_in,
            bytes_out,
            request,
            answer,
        )


def _seen_by(start: Start, content: Content) -> Content:
    if type(content) is bytes:
        start.add(content)
        return content
    return SeenBody(cast(Body, content), start)


def _head(block: FieldBlock, start: Start | None, terms: TapTerms) -> TappedHead:
    """Return what a tap may have of a head.

    Args:
        block: its fields, a line each. start: of the content, as far as any tap wants it.
    """
    fields: list[tuple[str, str]] = []
    left = FIELDS_BYTES
    is_cut = False
    for line in block.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if not name:
            continue
        left -= len(line)
        if left < 0:
            is_cut = True
            break
        value = value.strip(b" \t") if terms.unredacted else _redacted(name, value.strip(b" \t"))
        fields.append((name.decode("latin-1"), value.decode("utf-8", "backslashreplace")))
    return TappedHead(fields, is_cut, _content(start, terms.content_bytes))


def _redacted(name: bytes, value: bytes) -> bytes:
    """Return what people may see unasked of a field's value."""
    if may_be_secret(name) or _ALSO_SECRET.search(name) is not None:
        return _REDACTED
    return _QUERY.sub(b"?" + _REDACTED, _USER_INFO.sub(b"//" + _REDACTED + b"@", value))


def _content(start: Start | None, limit_bytes: int) -> TappedContent | None:
    if start is None or not limit_bytes:
        return None
    data, is_cut = start.data[:limit_bytes], start.is_cut or len(start.data) > limit_bytes
    # A cut may go through a character, of four bytes at most.
    for end in range(len(data), max(-1, len(data) - 4 * is_cut), -1) if is_cut else (len(data),):
        try:
            text = data[:end].decode()
        except UnicodeDecodeError:
            continue
        if "\0" not in text:
            return TappedContent(text=text, is_cut=is_cut)
    return TappedContent(base64=b64encode(data).decode(), is_cut=is_cut)


def _phases_s(exchange: Exchange, now_s: float) -> dict[str, float]:
    if not isinstance(exchange, TimedExchange):
        return {}
    phases_s: dict[str, float] = {}
    entered = exchange.marks
    for (phase, entered_s), end_s in zip(entered, [*(at_s for _, at_s in entered[1:]), now_s], strict=True):
        phases_s[phase] = phases_s.get(phase, 0.0) + end_s - entered_s
    return phases_s
