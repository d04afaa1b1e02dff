"""How many connections one of several workers may have before another one takes them.

The kernel spreads connections by hash: evenly where there are very many, by chance where there are few. So a
worker that has more than its share hands what comes next on to the one that has the fewest.
Knows nothing of processes, sockets or how a connection gets from one to another.
"""

from __future__ import annotations

from collections.abc import Sequence

LINKS_SLACK = 1.0
"""Of links no more than the share, rounded up: one carries as much as hundreds of connections, for hours."""
CONNECTIONS_SLACK = 1.2
"""Of connections some more. Those that carry one request each come and go by the hundreds a second, and
handing one on costs about as much as the request: of 64 on two workers chance alone leaves one with 1.2 times
its share once in ten times."""


def share(total: int, workers: int, slack: float) -> int:
    """Return how many of `total` connections one of so many workers may have: its share, rounded up, or
    `slack` times that.
    """
    return max(-(-total // workers), int(total * slack / workers))


def taker(own: int, others: Sequence[int], slack: float, chance: float) -> int | None:
    """Say who takes a connection that has come.

    Args:
        own: connections that this worker has already. others: that each of the others has.
        slack: as for `share`.
        chance: a random number between 0 and 1. It decides among those that have the same number: several
            workers that get connections at a time would all choose the first one.

    Returns:
        Which of the others; None when this worker does.
    """
    if not others or own < share(own + sum(others) + 1, len(others) + 1, slack):
        return None
    fewest = min(others)
    if fewest >= own:
        return None
    those = [index for index, number in enumerate(others) if number == fewest]
    return those[int(chance * len(those))]
