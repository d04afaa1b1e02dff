"""What ends a link, or keeps it from being made."""

from __future__ import annotations

from fastproxy.errors import NO_NUMBERS, Numbers


class LinkError(Exception):
    """The peer didn't keep to the protocol, isn't who it should be, or someone changed what it sent.

    A link on which this was raised is of no more use: nothing that comes after can be trusted.

    Args:
        label: the kind of failure, for metrics and logs. Of this package: mac, handshake, unknown_caller and
            version (before a link is established), record, frame and window (after that).
        detail: the particulars in words; never a secret, never the peer's raw bytes.
        numbers: what decided it, as of a `ProxyError`.
    """

    def __init__(self, label: str, detail: str = "", numbers: Numbers = NO_NUMBERS) -> None:
        super().__init__(label, detail)
        self.label = label
        self.detail = detail
        self.numbers = numbers
