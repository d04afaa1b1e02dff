"""Whether something waits at a socket that the event loop hasn't taken yet.

For what is about to be closed: an end that overtakes what has already come would lose it.
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
