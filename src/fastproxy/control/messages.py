"""What a supervisor and its workers say to each other: topics, and what each carries as MessagePack."""

from __future__ import annotations

from typing import TypeVar

import msgspec
from msgspec import Struct

from fastproxy.telemetry.failures import Wanted

BEGIN = "begin"
"""To a worker, first of all: carry exchanges (`Begin`)."""
READY = "ready"
"""Of a worker: it takes connections."""
FAILED = "failed"
"""Of a worker: it can't begin, and ends (UTF-8 words: what, where and what to do)."""
DRAIN = "drain"
"""To a worker: end what is under way, then end yourself (`Drain`)."""
CHANGE = "change"
"""Asked of a worker: go on with another config (`handover.content`); answered once it does."""
NARROW = "narrow"
"""Asked of a worker that drains, or is about to: trust nobody any more whom another config doesn't trust
(`handover.content`); answered once it doesn't."""
METRICS = "metrics"
"""Asked of a worker: all that it counts (`telemetry.state.State`). Told by it when it ends."""
FAILURES = "failures"
"""Told by a worker when it ends: what it has kept of failures (`telemetry.failures`), a list of records."""
SHARE = "share"
"""Asked of a worker: its share of what the admin API tells (`Share`); what comes is up to the part."""
LEVEL = "level"
"""Asked of a worker: log from this level on (its name), until a config says another; answered when done."""
STATUS = "status"
"""Asked of a worker: how it is (`Status`)."""
TAP = "tap"
"""Asked of a worker: the next lines of a tap (`TapAsk`), which the first question begins; `TapShare`."""
TAP_END = "tap end"
"""To a worker: end a tap (`TapAsk.number`)."""
PROFILE = "profile"
"""Asked of a worker: a profile of it (`Take`). It answers when the time is over, or when it is told to end:
with what it has seen (`telemetry.profiling.profile.Profile`), with nothing where that went into a file."""


ALONE = "alone"
"""To a worker: no other process of this proxy takes connections."""
ACCOMPANIED = "accompanied"
"""To a worker: others do, or will soon; as is the case until it is told otherwise."""


class Begin(Struct, frozen=True):
    """What a worker is to do.

    slot: of the board. place: among the workers of its config, of which there are so many. snapshot, board,
    ledger: memory with the config, and those of the board and the ledger. listeners: sockets to take
    connections from. inboxes: ends from which it takes connections that others hand on; giving: ends into
    which it puts those for others, by place. All but the numbers are descriptors that it has inherited.
    is_first: whether it does what one worker does for all, such as registering at the center.
    """

    slot: int
    place: int
    snapshot: int
    board: int
    ledger: int
    workers: int
    listeners: tuple[int, ...]
    inboxes: tuple[int, ...]
    giving: tuple[int, ...]
    is_first: bool


class Drain(Struct, frozen=True):
    """How a worker is to end. is_last: nobody takes connections from its sockets after it."""

    is_last: bool


class Status(Struct, frozen=True):
    """How a worker is. not_ready: why it should get no traffic, "" when it may."""

    not_ready: str


class Take(Struct, frozen=True):
    """What a worker is to take a profile of.

    kind: cpu, wall, block or memory. seconds: for how long. file: where a recording of memory goes, and
    limit_bytes: how large it may grow; "" and 0 for all others.
    """

    kind: str
    seconds: float
    file: str = ""
    limit_bytes: int = 0


class Share(Struct, frozen=True):
    """What of a worker is asked for.

    part: of what the admin API tells (`app.shares`). wanted: of failures, which.
    """

    part: str
    wanted: Wanted = Wanted()


class TapAsk(Struct, frozen=True):
    """Which tap is asked for lines.

    number: of the tap. terms: what it shows (`telemetry.tapped.TapTerms`, encoded as well).
    most_bytes: how much there is room for; with 0 the answer comes at once.
    """

    number: int
    terms: bytes
    most_bytes: int


class TapShare(Struct, frozen=True):
    """What a tap has seen in one worker: lines of JSON. dropped: exchanges that there was no room for."""

    lines: list[bytes]
    dropped: int


_Content = TypeVar("_Content")


def encode(content: object) -> bytes:
    """Return what is to be said as bytes."""
    return msgspec.msgpack.encode(content)


def decode(content: bytes, kind: type[_Content]) -> _Content:
    """Return what was said."""
    return msgspec.msgpack.decode(content, type=kind)
