"""The center's refusals: what it says no to, in words that a person can act on.

A table of its own beside the error table: the center is no hop of an exchange, so its refusals carry neither
a phase nor a `Proxy-Status`, and no proxy ever counts them. `docs/center.md` has a line for each row.
Knows nothing of HTTP messages beyond a status and extra fields.
"""

from __future__ import annotations

from dataclasses import dataclass

Fields = tuple[tuple[bytes, bytes], ...]


@dataclass(frozen=True, slots=True)
class Refusal:
    """One row of the table.

    label: name in answers and docs; never changes its meaning.
    status: HTTP status of the answer. title: what happened. advice: what a person can do next.
    fields: header fields that belong to such an answer.
    """

    label: str
    status: int
    title: str
    advice: str
    fields: Fields = ()


class CenterError(Exception):
    """The center refuses a request.

    Args:
        refusal: the row of the table.
        detail: the particulars; never a token.
        fields: header fields for this answer alone.
    """

    def __init__(self, refusal: Refusal, detail: str = "", *, fields: Fields = ()) -> None:
        super().__init__(refusal.label, detail)
        self.refusal = refusal
        self.detail = detail
        self.fields = refusal.fields + fields


TABLE: dict[str, Refusal] = {}


_MAKE_ROOM = "Deregister what is gone, or raise the limit that the detail names."


def _row(
    label: str, status: int, title: str, advice: str, fields: Fields = (), *, retry_after_s: int = 0
) -> Refusal:
    if retry_after_s:
        fields += ((b"retry-after", b"%d" % retry_after_s),)
    return TABLE.setdefault(label, Refusal(label, status, title, advice, fields))


# A row reads best as a block.
# fmt: off
MALFORMED = _row(
    "malformed", 400,
    "The center can't make sense of the request",
    "Correct what the detail names; docs/center.md lists requests, names and addresses.",
)
NO_TOKEN = _row(
    "no_token", 401,
    "Registering needs a token",
    "Send `Authorization: Bearer TOKEN` with a token whose digest the center's `--tokens` has for this name.",
    ((b"www-authenticate", b'Bearer realm="fastproxy center"'),),
)
TOKEN_REFUSED = _row(
    "token_refused", 403,
    "This token may not register this name",
    "Compare the token's SHA-256 digest with those in the center's `--tokens`, under exactly this name.",
)
NOT_LOCAL = _row(
    "not_local", 403,
    "An open center takes registrations from its own machine only",
    "Start the center with `--tokens` instead of `--open`.",
)
HOST_REFUSED = _row(
    "host_refused", 421,
    "The Host header names something else than this center",
    "Reach the center by an IP address, or start it with `--name` and the name that it has.",
)
FROM_A_BROWSER = _row(
    "from_a_browser", 403,
    "Web pages have no business with the center",
    "Use a program that sends no Origin header.",
)
NOTHING_HERE = _row(
    "nothing_here", 404,
    "There is nothing at this path",
    "docs/center.md lists the paths of the center.",
)
METHOD_REFUSED = _row(
    "method_refused", 405,
    "This path doesn't know the method",
    "Use a method that the Allow header names.",
)
TOO_LARGE = _row(
    "too_large", 413,
    "The request's content is larger than any that the center takes",
    "Send the few fields that docs/center.md lists.",
)
QUOTA_USED_UP = _row(
    "quota_used_up", 429,
    "As much is registered with this token, or under this name, as may be",
    _MAKE_ROOM, retry_after_s=60,
)
TOO_MANY_WATCHERS = _row(
    "too_many_watchers", 503,
    "More watchers wait for changes than allowed",
    "Ask again later, or raise the limit that the detail names.", retry_after_s=5,
)
FULL = _row(
    "full", 507,
    "The center holds as many registrations as it may; whoever is registered stays so",
    _MAKE_ROOM, retry_after_s=60,
)
# fmt: on
