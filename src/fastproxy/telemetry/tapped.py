"""What a tap shows of an exchange, and which exchanges it asks for.

Lines of JSON, as they leave the admin address: made in the worker that had the exchange, passed on unread.
Knows nothing of how an exchange is seen, or how a line gets to who reads it.
"""

from __future__ import annotations

from msgspec import Struct

ANY_CAUSE = "*"
"""In place of a cause: whatever it is, so that all exchanges are shown that didn't go well."""


class TapWanted(Struct, frozen=True, omit_defaults=True):
    """Which exchanges are asked for; "" leaves a field open.

    method: in capitals. status: a number, its hundred as in 5xx, or 0 for no answer.
    cause: a label of the error table, caller_gone, or ANY_CAUSE. trace: a trace id.
    """

    caller: str = ""
    service: str = ""
    route: str = ""
    method: str = ""
    status: str = ""
    cause: str = ""
    trace: str = ""

    def has_names(self, caller: str, service: str, route: str) -> bool:
        """Whether exchanges of a caller on a route of a service may be among them."""
        return self.caller in ("", caller) and self.service in ("", service) and self.route in ("", route)

    def has_outcome(self, method: str, status: int, cause: str, trace_id: str) -> bool:
        """Whether exchanges that end in this way may be among them."""
        return (
            self.method in ("", method)
            and self.status in ("", str(status), f"{status // 100}xx")
            and (self.cause in ("", cause) or (self.cause == ANY_CAUSE and bool(cause)))
            and self.trace in ("", trace_id)
        )


class TapTerms(Struct, frozen=True):
    """How a tap is to show what it shows.

    wanted: as above. content_bytes: of each content, how much. unredacted: secret fields as well.
    """

    wanted: TapWanted
    content_bytes: int = 0
    unredacted: bool = False


class TappedContent(Struct, frozen=True, omit_defaults=True):
    """The first bytes of a content: as text, or in base64 where they are none. is_cut: more came."""

    text: str = ""
    base64: str = ""
    is_cut: bool = False


class TappedHead(Struct, frozen=True, omit_defaults=True):
    """The head of a request or an answer, with what was asked for of its content.

    fields: name and value of each, in order; `(redacted)` stands for what may be secret. Those that only
    concern one connection are not among them. is_cut: there are more of them, or longer ones.
    """

    fields: list[tuple[str, str]]
    is_cut: bool = False
    content: TappedContent | None = None


class Tapped(Struct, frozen=True):
    """One exchange, when it has ended.

    exchange: its id, the same at both proxies. trace_id: "" where it is in none. hop, role: the proxy that
    shows it. path: without its query. status: 0 where there was no answer. phases_s: how long it was in each.
    bytes_in, bytes_out: content of request and answer. request, answer: null where nothing was seen of them,
    as of what never was a request, or had begun before the tap.
    """

    exchange: str
    trace_id: str
    hop: str
    role: str
    started_unix_s: float
    duration_s: float
    caller: str
    service: str
    route: str
    method: str
    path: str
    status: int
    cause: str
    phase: str
    endpoint: str
    attempts: int
    peer: str
    phases_s: dict[str, float]
    bytes_in: int
    bytes_out: int
    request: TappedHead | None
    answer: TappedHead | None


class TapLine(Struct, frozen=True, omit_defaults=True):
    """What else may stand in a line: how many exchanges are missing since the last such line."""

    dropped: int
