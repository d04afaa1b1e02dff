"""Where workers hand connections on to each other: one inbox for each place, from which its worker takes.

An inbox is a pair of sockets, made here and inherited by all workers. As with the listening sockets, it stays
when a worker ends: what lies in it waits for the next one at its place. The kernel bounds how much that is
(`net.unix.max_dgram_qlen`); who finds an inbox full keeps the connection.
Knows nothing of workers.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable, Sequence


class Inboxes:
    """The inboxes of all places.

    Args:
        made: by a former program, as `descriptors` of its inboxes.
    """

    def __init__(self, made: Iterable[tuple[int, int]] = ()) -> None:
        self._pairs = [
            (socket.socket(fileno=giving), socket.socket(fileno=taking)) for giving, taking in made
        ]

    def open(self, count: int) -> None:
        """See that there are inboxes for so many workers; one alone needs none."""
        while len(self._pairs) < count and count > 1:
            pair = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
            for sock in pair:
                sock.setblocking(False)
            self._pairs.append(pair)

    def share(self, index: int, count: int) -> Sequence[socket.socket]:
        """Return the ends from which one of so many workers takes."""
        return [taking for _, taking in self._pairs[index::count]]

    @property
    def descriptors(self) -> tuple[tuple[int, int], ...]:
        """Of both ends of each, by place."""
        return tuple((giving.fileno(), taking.fileno()) for giving, taking in self._pairs)

    @property
    def giving(self) -> Sequence[socket.socket]:
        """The ends into which all workers put, by place."""
        return [giving for giving, _ in self._pairs]
