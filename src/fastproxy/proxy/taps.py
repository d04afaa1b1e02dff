"""Whether the exchanges of a worker are seen by taps, and what does that.

While nobody taps, nothing is seen and nothing is paid: the short ways know of no taps. While somebody does,
they step aside, by the limit that they look at in any case, since only the long way has whole heads.
What sees (`seen.Watch`) is loaded with the first tap.
"""

from __future__ import annotations

from typing import Protocol
from weakref import WeakSet

from fastproxy.model import Content, Exchange, FieldBlock, RequestHead, Response


class Watching(Protocol):
    """Sees exchanges from their beginning to their end."""

    def request(self, exchange: Exchange, head: RequestHead, rest: FieldBlock, content: Content) -> Content:
        """See a request; return the content that goes on in place of its own."""
        ...

    def answer(self, exchange: Exchange, response: Response) -> None:
        """See the answer that is about to leave; its content may become another."""
        ...

    def end(self, exchange: Exchange, now_s: float, now_unix_s: float, bytes_in: int, bytes_out: int) -> None:
        """See the end; arguments as for the access log."""
        ...


class Watchable(Protocol):
    """A proxy whose exchanges can be seen."""

    def be_watched(self, watch: Watching | None) -> None:
        """Have all exchanges go the long way and be seen; with None, none any more."""
        ...


class Taps:
    """The taps of a worker, as its proxies know them: with the config of now, and with former ones."""

    __slots__ = ("_covered", "_watch")

    def __init__(self) -> None:
        self._watch: Watching | None = None
        self._covered: WeakSet[Watchable] = WeakSet()

    def cover(self, proxy: Watchable) -> None:
        """Have the exchanges of one more proxy seen, for as long as it is there."""
        self._covered.add(proxy)
        if self._watch is not None:
            proxy.be_watched(self._watch)

    def change(self, watch: Watching | None) -> None:
        """Have exchanges seen from now on, or no more."""
        self._watch = watch
        for proxy in self._covered:
            proxy.be_watched(watch)
