"""Locks for tests within one process, which hold their users to the rules."""

from __future__ import annotations


class HeldLocks:
    """Notes who has what: a lock that is taken twice, or given back without being had, would harm others.

    held: the numbers of those that are had now.
    """

    def __init__(self) -> None:
        self.held: set[int] = set()

    def acquire(self, number: int) -> None:
        """See `bounds.Locks`."""
        assert number not in self.held
        self.held.add(number)

    def release(self, number: int) -> None:
        """See `bounds.Locks`."""
        self.held.remove(number)
