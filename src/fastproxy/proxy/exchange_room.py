"""How many exchanges a proxy has under way, how many it may have, and whether they are watched.

Both proxies are one of these. Their short ways look at `in_flight` and `in_flight_limit` alone.
"""

from __future__ import annotations

from fastproxy.bounds import Room
from fastproxy.errors import OVERLOADED, ProxyError
from fastproxy.proxy.recorder import Recorder
from fastproxy.proxy.taps import Watching


class ExchangeRoom:
    """The exchanges of one proxy, by number.

    in_flight: exchanges at this time, those on the short way among them.
    in_flight_limit: how many there may be before the long way has to ask for more.

    Args:
        room: bound on exchanges at a time. recorder: notes every exchange.
    """

    def __init__(self, room: Room, recorder: Recorder) -> None:
        self._room = room
        self._recorder = recorder
        self._begin = recorder.exchange_type
        self._tracer = recorder.tracer
        self.in_flight = 0
        self._watch: Watching | None = None
        self._share = self.in_flight_limit = room.begin()

    def _ask_for_room(self) -> None:
        """There are more exchanges than this process may have of itself: see whether there may be more.

        Raises:
            ProxyError: OVERLOADED, there may not.
        """
        if self.in_flight > self._share:
            self._have(self._room.raised(self.in_flight))
        if self.in_flight > self._share:
            raise ProxyError(
                OVERLOADED,
                f"{self._room.total} allowed",
                retry_after_s=1,
                numbers={"in_flight_limit": self._room.total},
            )

    def trim(self) -> None:
        """Give back what isn't needed of the limit on exchanges."""
        self._have(self._room.trimmed(self.in_flight))

    def _have(self, share: int) -> None:
        """Have such a share of the limit; while exchanges are watched, the short ways find none of it."""
        self._share = share
        self.in_flight_limit = share if self._watch is None else 0

    def be_watched(self, watch: Watching | None) -> None:
        """Have all exchanges go the long way and be seen; see `Watchable`."""
        self._watch = watch
        self._recorder.be_watched(watch)
        self._begin = self._recorder.exchange_type
        self._have(self._share)
