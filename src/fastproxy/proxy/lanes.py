"""The lanes of requests with one head: to each endpoint of their next hop one, made when its turn comes.

A service may have a thousand endpoints and a proxy know hundreds of heads, so that lanes for all of both are
neither made beforehand nor all kept. To make one costs little beside the long way; the room for them is
bounded for all of a proxy together.
Knows nothing of what a lane does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar
from weakref import ref

from fastproxy.model import Endpoint
from fastproxy.policy.balance import Balancer
from fastproxy.proxy.transport import Lane

LANES = 4096
"""Lanes that a proxy keeps at most: those of four heads to a thousand endpoints. A lane takes up to 3 KiB,
most of it the bytes of heads (`net.http1` remembers none that is longer than 1 KiB): 12 MiB in all."""

LaneT = TypeVar("LaneT", bound=Lane)


class LaneRoom:
    """Bounds the lanes that a proxy keeps: of too many the oldest goes, to be made again when needed.

    Args:
        limit: how many are kept.
    """

    __slots__ = ("_kept", "_limit")

    def __init__(self, limit: int = LANES) -> None:
        self._limit = limit
        # Where each lane stands, the oldest first: who forgets a head has its lanes gone at once. By that
        # place, so that one that is made anew again and again takes the room of one.
        self._kept: dict[tuple[int, Endpoint], ref[_Made[Any]]] = {}

    def keep(self, made: _Made[Any], endpoint: Endpoint) -> None:
        """Note a lane that was made."""
        kept, place = self._kept, (id(made), endpoint)
        kept.pop(place, None)
        if len(kept) >= self._limit:
            oldest = next(iter(kept))
            lanes = kept.pop(oldest)()
            if lanes is not None:
                lanes.pop(oldest[1], None)
        kept[place] = ref(made)


class Lanes(Generic[LaneT]):
    """The lanes of requests with one head.

    in_turn: without end, the lane to the endpoint whose turn it is; None when there is none to be had now.

    Args:
        endpoints: to which they lead. balancer: says whose turn it is.
        make: makes the lane to an endpoint; returns None when there is none now.
        room: bounds how many are kept.
    """

    __slots__ = ("_balancer", "_made", "in_turn")

    def __init__(
        self,
        endpoints: tuple[Endpoint, ...],
        balancer: Balancer,
        make: Callable[[Endpoint], LaneT | None],
        room: LaneRoom,
    ) -> None:
        self._balancer = balancer
        self._made = made = _Made(balancer, make, room)
        # A look-up that finds its lane runs no bytecode: this is on the way of every request.
        self.in_turn: Iterator[LaneT | None] = map(made.__getitem__, balancer.turns(endpoints))

    def leave(self, lane: LaneT) -> None:
        """Note that a lane whose turn it was couldn't be taken.

        The long way gets its turn. What it was made for may have changed, so that it is made anew next time.
        """
        self._made.pop(lane.endpoint, None)
        self._balancer.give_back(lane.endpoint)


class _Made(dict[Endpoint, LaneT | None]):
    """Lanes by endpoint. One that is missing is made; when it can't be, the long way gets its turn."""

    __slots__ = ("__weakref__", "_balancer", "_make", "_room")

    def __init__(self, balancer: Balancer, make: Callable[[Endpoint], LaneT | None], room: LaneRoom) -> None:
        super().__init__()
        self._balancer = balancer
        self._make = make
        self._room = room

    def __missing__(self, endpoint: Endpoint) -> LaneT | None:
        lane = self._make(endpoint)
        if lane is None:
            self._balancer.give_back(endpoint)
        else:
            self[endpoint] = lane
            self._room.keep(self, endpoint)
        return lane
