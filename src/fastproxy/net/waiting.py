"""What waits at a socket that the event loop doesn't look at.

For what is about to be closed: an end that overtakes what has already come would lose it. And for what isn't
read on: whoever is gone meanwhile waits for nothing any more.
"""

from __future__ import annotations

import select


def is_waiting(fd: int) -> bool:
    """Say whether a connection waits in the queue of a listening socket, or bytes (or an end) in that of a
    connection.
    """
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return bool(poll.poll(0))


def has_hung_up(fd: int) -> bool:
    """Say whether the other end of a connection has ended it, behind whatever of it wasn't read yet."""
    poll = select.poll()
    poll.register(fd, select.POLLRDHUP)  # POLLHUP and POLLERR are told in any case
    return bool(poll.poll(0))
