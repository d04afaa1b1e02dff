"""W3C Trace Context (Level 2): the header fields `traceparent` and `tracestate`, read and written.

Pure: what stands in a request's head comes in, what is to stand in it goes out. What breaks a rule is as if
it weren't there: a broken `traceparent` takes `tracestate` with it, never the other way round.
Knows nothing of spans, of who samples, nor of what is done with an identifier.
Source: https://www.w3.org/TR/trace-context-2/
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from fastproxy.model import FieldBlock

SAMPLED = 1
RANDOM = 2
"""Flag of Level 2: the last 7 bytes of the trace id are random."""
KNOWN_FLAGS = SAMPLED | RANDOM
"""All others are reserved, and go on as 0."""
STATE_MEMBERS = 32
STATE_BYTES = 512
"""How much of a `tracestate` is passed on: what everybody has to take. It bounds what a caller can add
here."""
LARGE_MEMBER_BYTES = 128
"""Members beyond this are the first to go where there is too much."""

# Between two line ends, so that what is looked for begins with a byte that is quickly found.
_FIELD = re.compile(rb"\n(?i:trace(parent|state)): *([^\r]*)\r")
_PARENT = re.compile(rb"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.DOTALL)
_MEMBER = re.compile(rb"([a-z0-9][a-z0-9_*/@-]{0,255})=[ -+\--<>-~]{0,255}[!-+\--<>-~]")
_SPACE = b" \t"


class TraceContext(NamedTuple):
    """Where a request stands in a trace.

    trace_id, span_id: 32 and 16 lower-case hex digits, not all 0; the span is that of whoever sent the
    request.
    flags: `SAMPLED` and `RANDOM`. state: members of `tracestate` in order, b"" for none.
    """

    trace_id: str
    span_id: str
    flags: int
    state: bytes = b""

    @property
    def is_sampled(self) -> bool:
        """Whether whoever sent the request may have recorded it."""
        return bool(self.flags & SAMPLED)

    @property
    def lines(self) -> bytes:
        """The fields that say so, each with its line end."""
        parent = f"traceparent: 00-{self.trace_id}-{self.span_id}-{self.flags:02x}\r\n".encode()
        return parent + b"tracestate: %b\r\n" % self.state if self.state else parent


class Found(NamedTuple):
    """What a head says. parent: None where it says nothing of use; is_broken: though it tried to."""

    parent: TraceContext | None
    is_broken: bool = False


NOTHING = Found(None)


def find(fields: FieldBlock, *, reads_state: bool = True) -> Found:
    """Read what a request's fields say of a trace.

    Args:
        fields: well-formed lines `name: value`, each with its end.
        reads_state: whether `tracestate` is wanted as well, which takes the most time.
    """
    if b"trace" not in fields.lower():  # most have none, and a pattern would take ten times as long to say so
        return NOTHING
    lines = _FIELD.findall(b"\n" + fields)
    if not lines:
        return NOTHING
    parents = [value for kind, value in lines if kind.lower() == b"parent"]
    parent = parse_parent(parents[0]) if len(parents) == 1 else None  # of several, none can be believed
    if parent is None:
        return Found(None, is_broken=True)
    if not reads_state:
        return Found(parent)
    states = [value for kind, value in lines if kind.lower() == b"state"]
    return Found(parent._replace(state=parse_state(states)) if states else parent)


def trace_id_in(fields: FieldBlock) -> str:
    """Return the trace id that a request's fields name, "" when they name none. Arguments as for `find`."""
    parent = find(fields, reads_state=False).parent
    return "" if parent is None else parent.trace_id


def replaced(fields: FieldBlock, context: TraceContext) -> FieldBlock:
    """Return a request's fields with this context in the place of the one that they had."""
    return context.lines + _FIELD.sub(b"", b"\n" + fields)[1:]


def parse_parent(value: bytes) -> TraceContext | None:
    """Read a `traceparent`; None when it can't be used.

    Of a version to come, the part is read that it has in common with version 00, the only one there is.
    """
    match = _PARENT.fullmatch(value.strip(_SPACE))
    if match is None:
        return None
    version, trace_id, span_id, flags, more = match.groups()
    if version == b"ff" or (version == b"00" and more is not None):
        return None
    if not trace_id.strip(b"0") or not span_id.strip(b"0"):
        return None
    return TraceContext(trace_id.decode(), span_id.decode(), int(flags, 16) & KNOWN_FLAGS)


def parse_state(values: Sequence[bytes]) -> bytes:
    """Read the `tracestate` fields of a request; b"" when they can't be used.

    Empty members are left out, as they say nothing; of members with one key the first, and latest, counts.
    One member that breaks the grammar, or more than 32 of them, and nothing of it is passed on.

    Args:
        values: of the fields, in order.

    Returns:
        The members in order, at most `STATE_BYTES`.
    """
    members: dict[bytes, bytes] = {}
    written = [member for member in map(_stripped, b",".join(values).split(b",")) if member]
    if len(written) > STATE_MEMBERS:
        return b""
    for member in written:
        match = _MEMBER.fullmatch(member)
        if match is None:
            return b""
        members.setdefault(match[1], member)
    return b",".join(_fitting(list(members.values())))


def _stripped(member: bytes) -> bytes:
    return member.strip(_SPACE)


def _fitting(members: list[bytes]) -> list[bytes]:
    """Leave out whole members until the rest is short enough: large ones first, from the end."""
    excess_bytes = sum(map(len, members)) + len(members) - 1 - STATE_BYTES
    for least_bytes in (LARGE_MEMBER_BYTES + 1, 0):
        for index in range(len(members) - 1, -1, -1):
            if excess_bytes <= 0:
                return members
            if len(members[index]) >= least_bytes:
                excess_bytes -= len(members.pop(index)) + 1
    return members
