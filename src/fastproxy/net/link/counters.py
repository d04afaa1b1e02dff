"""What the links of one proxy count; plain ints that somebody reads when metrics are scraped."""

from __future__ import annotations

from collections import Counter


class LinkCounters:
    """Counts of all links of one proxy, those that are gone among them.

    opened: handshakes that succeeded. streams: exchanges carried. ended: links by why they ended.
    handshakes_failed: by cause, a label of `LinkError` or of this package.
    rekeys: changes of a direction's key, both directions. stalls: times that content waited for credit.
    content_bytes, sent_bytes: content that went out, before compression; and all frames as they were sent.
    """

    __slots__ = (
        "content_bytes",
        "ended",
        "handshakes_failed",
        "opened",
        "rekeys",
        "sent_bytes",
        "stalls",
        "streams",
    )

    def __init__(self) -> None:
        self.opened = 0
        self.streams = 0
        self.ended: Counter[str] = Counter()
        self.handshakes_failed: Counter[str] = Counter()
        self.rekeys = 0
        self.stalls = 0
        self.content_bytes = 0
        self.sent_bytes = 0
