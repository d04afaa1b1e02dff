"""A request's head in two parts: the fields that decide something here, and the rest.

Callers put a trace id, a request id or a token into every request, so that hardly two heads are the same. But
nothing here looks at those fields: what is decided on a head depends on its first line and on few fields
(framing, hop by hop, the proxies' own). So the deciding part is judged, remembered and acted upon, and the
rest travels beside it as a block that only has to be well-formed.

Rules: parting is done before anything is judged, on any bytes at all, and never makes a bad head good: both
parts are cut where a line ends, so that where the deciding part is a good head, and the rest is `ORDINARY`,
the whole is a good head. A name counts as a deciding one in any case, and with
`_` for `-`, as programs in the manner of CGI read it.
Knows nothing of what the fields mean.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from functools import lru_cache

from fastproxy.model import NO_FIELDS

TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]++"
TEXT = rb"[\t -~\x80-\xff]*+"

ORDINARY = re.compile(rb"(?:" + TOKEN + rb": [!-~\x80-\xff]" + TEXT + rb"(?<![\t ])\r\n)*+\r\n")
"""A rest that goes on as it is: well-formed fields, each written `name: value`, and the empty line."""
_FIELD = re.compile(rb"(" + TOKEN + rb"):[\t ]*+(" + TEXT + rb")\r\n")


class Parting:
    """Parts heads.

    Args:
        names: of the deciding fields, in lower case.
    """

    __slots__ = ("_deciding",)

    def __init__(self, names: frozenset[bytes]) -> None:
        self._deciding = _deciding_lines(names)

    def part(self, head: bytes) -> tuple[bytes, bytes]:
        """Part a head, well-formed or not.

        Returns:
            The first line and the deciding fields, as a head of its own; and the rest: all other fields, and
            the empty line. A head that is not well-formed leaves one of the two so.
        """
        if not head.endswith(b"\r\n\r\n"):  # else an empty line further up could take the place of this one
            return head, b""
        pieces = self._deciding.split(head)  # what is no deciding line stands in between
        line, _, rest = b"".join(pieces[::2]).partition(b"\r\n")
        return b"".join((line, *pieces[1::2], b"\r\n\r\n")), rest

    def has_deciding(self, message: bytes, start: int, end: int) -> bool:
        """Whether a deciding field is among the lines `message[start:end]`, which follow a line end."""
        return self._deciding.search(message, start - 2, end) is not None


@lru_cache(16)
def _deciding_lines(names: frozenset[bytes]) -> re.Pattern[bytes]:
    """What finds the lines of deciding fields, each with the line end before it."""
    return re.compile(rb"(\r\n" + _any_of(sorted(names)) + rb":[^\r]*+)")


def _any_of(names: Collection[bytes]) -> bytes:
    """A pattern for any of these names: one letter after the other, which looks at each only once."""
    tails: dict[bytes, list[bytes]] = {}
    for name in names:
        tails.setdefault(name[:1].replace(b"_", b"-"), []).append(name[1:])
    ways = [_letter(letter) + _any_of(tail) if letter else b"" for letter, tail in tails.items()]
    return ways[0] if len(ways) == 1 else rb"(?:" + rb"|".join(ways) + rb")"


def _letter(letter: bytes) -> bytes:
    if letter == b"-":
        return b"[_-]"
    return b"[%b%b]" % (letter.upper(), letter) if letter.isalpha() else re.escape(letter)


def rewritten(rest: bytes, left_out: Collection[bytes] = ()) -> bytes:
    """Write a well-formed rest anew, each field as `name: value`, without the fields of some names.

    Args:
        left_out: lower-case names.
    """
    lines = []
    for name, value in _FIELD.findall(rest):
        if name.lower() not in left_out:
            lines.append(b"%b: %b\r\n" % (name, value.rstrip(b"\t ")))
    return b"".join((*lines, NO_FIELDS))
