"""What all workers of a proxy count together: rates, limits, and the replay windows of envelopes with the
epoch that goes with these, in memory that all of them share.

The supervisor makes it, and it is kept over the death and replacement of workers and over reloads, for as
long as its sizes fit the config; a new one has a new epoch. Nothing in it can be left in disorder by a
process that is killed; what a worker has of a limit stands apart from what others have, and is the
supervisor's to clear when the worker has ended.
It lies in anonymous memory that is taken page by page as it is used, whatever the sizes.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Callable
from typing import Literal, get_args

import msgspec
from msgspec import Struct

from fastproxy.bounds import Part
from fastproxy.config.schema import InConfig
from fastproxy.config.snapshot import Snapshot
from fastproxy.control.board import SLOTS
from fastproxy.control.counts import SharedCounts
from fastproxy.control.locks import FileLocks
from fastproxy.control.rooms import SharedRoom
from fastproxy.errors import Cause
from fastproxy.policy.places import SECRET_BYTES
from fastproxy.policy.shared_rates import SharedRateLimiter
from fastproxy.wire.replay import DEFAULT_WIDTH
from fastproxy.wire.shared_windows import SharedWindows

RateKind = Literal["rates", "new_sessions", "new_links"]
"""Whose rates there are: callers' on their routes; addresses' that begin sessions, and links."""
RoomKind = Literal["connections", "in_flight"]
"""What there is a limit for."""
CountKind = Literal["peers", "callers"]
"""What is counted by whose it is: connections by address, links by caller."""

_PAGE_BYTES = 4096
_HEADER_BYTES = _PAGE_BYTES
_EPOCH_BYTES = 16
_SIZES_AT = 64
_ROW_BYTES = 8 * SLOTS
_COUNTED = 1 << 20
"""Pairs of a worker and an address that has connections there, or a caller that has links: each takes a
descriptor at least, of which there are fewer."""


class Sizes(Struct, frozen=True):
    """How much a ledger has room for. rates: keys of each kind of rates. sessions: of envelopes."""

    rates: int
    sessions: int


def sizes_of(snapshot: Snapshot) -> Sizes:
    """Return what the ledger of a proxy with this config has to have room for."""
    config = snapshot.config
    if isinstance(config, InConfig):
        return Sizes(config.limits.rate_states, config.limits.sessions)
    return Sizes(0, 0)


class Ledger:
    """The memory and its parts.

    fd: of the memory, for workers to inherit. sizes: as above. epoch: of the envelopes that are taken.
    locks: all of its locks.

    Args:
        fd: what `make` returned, here or in the process that this one inherits it from. It stays open: with
            it the locks would go.
    """

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.locks = FileLocks(fd)
        self._memory = memoryview(mmap.mmap(fd, 0))
        self._secret = bytes(self._memory[:SECRET_BYTES])
        self.epoch = bytes(self._memory[SECRET_BYTES : SECRET_BYTES + _EPOCH_BYTES])
        sizes = bytes(self._memory[_SIZES_AT:_HEADER_BYTES]).rstrip(b"\0")
        self.sizes = msgspec.json.decode(sizes, type=Sizes)
        self._parts = {
            name: Part(self._memory[start : start + size_bytes], self._secret, self.locks, start)
            for name, start, size_bytes in _layout(self.sizes)
        }

    def rates(self, kind: RateKind, cause: Cause) -> SharedRateLimiter:
        """Return what holds keys of a kind to their rates; see `SharedRateLimiter`."""
        return SharedRateLimiter(self._parts[kind], self.sizes.rates, cause)

    def room(
        self, kind: RoomKind, total: int, worker: int, workers: int, elsewhere: Callable[[], int]
    ) -> SharedRoom:
        """Return a worker's side of a limit; see `SharedRoom`."""
        lock = self._parts[kind].first_lock
        return SharedRoom(total, elsewhere, self._shares(kind), worker, workers, self.locks, lock)

    def counts(self, kind: CountKind, worker: int) -> SharedCounts:
        """Return a worker's side of counts; see `SharedCounts`."""
        return SharedCounts(self._parts[kind], _COUNTED, worker)

    def windows(self) -> SharedWindows:
        """Return the replay windows of all sessions."""
        return SharedWindows(self._parts["windows"], self.sizes.sessions, DEFAULT_WIDTH)

    def forget(self, worker: int) -> None:
        """Give back what a worker had that has ended. Waits for nobody."""
        for limit in get_args(RoomKind):
            self._shares(limit)[worker] = 0
        for kind in get_args(CountKind):
            self.counts(kind, worker).forget(worker)

    def close(self) -> None:
        """Have it no more: no worker of this proxy needs it."""
        os.close(self.fd)

    def _shares(self, kind: RoomKind) -> memoryview[int]:
        return self._parts[kind].memory.cast("Q")


def _layout(sizes: Sizes) -> list[tuple[str, int, int]]:
    """Return the parts by name: where each begins, and how long it is. Each has pages of its own."""
    lengths = dict.fromkeys(get_args(RoomKind), _ROW_BYTES)
    lengths |= dict.fromkeys(get_args(RateKind), SharedRateLimiter.size_bytes(sizes.rates))
    lengths |= dict.fromkeys(get_args(CountKind), SharedCounts.size_bytes(_COUNTED))
    lengths["windows"] = SharedWindows.size_bytes(sizes.sessions, DEFAULT_WIDTH)
    layout, at = [], _HEADER_BYTES
    for name, length in lengths.items():
        layout.append((name, at, length))
        at += -(-length // _PAGE_BYTES) * _PAGE_BYTES
    return layout


def make(sizes: Sizes) -> int:
    """Return a descriptor of an empty ledger with a new epoch, which no program inherits unasked."""
    fd = os.memfd_create("fastproxy-ledger", os.MFD_CLOEXEC)
    _, last, length = _layout(sizes)[-1]
    os.ftruncate(fd, last + length)
    os.pwrite(fd, os.urandom(SECRET_BYTES + _EPOCH_BYTES), 0)
    os.pwrite(fd, msgspec.json.encode(sizes), _SIZES_AT)
    return fd


def ledger_for(snapshot: Snapshot, former: Ledger | None = None) -> Ledger:
    """Return the ledger for workers with this config: the former one, as long as it has the right sizes."""
    sizes = sizes_of(snapshot)
    if former is not None and former.sizes == sizes:
        return former
    fd = make(sizes)
    try:
        return Ledger(fd)
    except BaseException:
        os.close(fd)
        raise
