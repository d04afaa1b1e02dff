"""The bounded table of a receiver's sessions, each with its keys and its replay window.

A session enters after its first valid envelope, so that inventing sessions costs a stranger work and
the receiver no memory. It leaves only when every envelope that it accepted has expired: to drop a window
earlier would let those envelopes in again. When a caller's key has its share of live sessions, a further
one is refused. Sessions lie in the order of their last use, so that expiring them needs no search.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fastproxy.errors import ENVELOPE_EXPIRED, SESSIONS_EXHAUSTED, ProxyError
from fastproxy.wire.identity import key_id
from fastproxy.wire.replay import CLOCK_SET_BACK, ReplayWindow

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastproxy.wire.ciphers import Aead
    from fastproxy.wire.shared_windows import SharedWindow


@dataclass(frozen=True, slots=True)
class CallerKey:
    """One public key of a caller.

    name: the caller's. public_key: 32 bytes. psk: the pre-shared key of the pair, if it has one.
    """

    name: str
    public_key: bytes
    psk: bytes | None = field(default=None, repr=False)
    key_id: bytes = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "key_id", key_id(self.public_key))


class Session:
    """What a receiver keeps of one session.

    caller: whose it is; replaced when the config is. revoked: refused, and kept only for its window.
    window: of the counters that it has accepted; it has one once it is in a table.
    last_use_ms, latest_expiry_ms: when it last accepted an envelope, and the latest expiry among them.
    """

    __slots__ = (
        "aead",
        "base_nonce",
        "caller",
        "last_use_ms",
        "latest_expiry_ms",
        "receiver_key_id",
        "response_aead",
        "revoked",
        "window",
    )

    def __init__(
        self,
        caller: CallerKey,
        receiver_key_id: bytes,
        aead: Aead,
        base_nonce: int,
        response_aead: Aead,
    ) -> None:
        self.caller = caller
        self.receiver_key_id = receiver_key_id
        self.aead = aead
        self.base_nonce = base_nonce
        self.response_aead = response_aead
        self.window: ReplayWindow | SharedWindow
        self.revoked = False
        self.last_use_ms = 0
        self.latest_expiry_ms = 0


def _note_nothing(session: Session, is_there: bool) -> None:
    pass


class SessionTable:
    """Live sessions by the header fields that identify them.

    live: sessions by the header fields that identify them, in the order of their last use.
    floor_ms: the latest expiry that any evicted session had accepted. A session that isn't in the table
        may have been one of those, and one that is may have come back since, so neither must be given an
        envelope that expires at or before this. It lies in the past, unless the clock was set back.
    note_use: told of each session, when it enters (True) and when it has left.
    """

    __slots__ = ("_counts", "_lifetime_ms", "_per_key", "_width", "floor_ms", "live", "note_use")

    def __init__(self, per_key: int, lifetime_ms: int, width: int) -> None:
        """Make an empty table.

        Args:
            per_key: most live sessions of one key of a caller.
            lifetime_ms: after this long without use, all that a session accepted has expired.
            width: of the replay windows.
        """
        self._per_key = per_key
        self._width = width
        self._lifetime_ms = lifetime_ms
        self.live: OrderedDict[bytes, Session] = OrderedDict()
        self._counts: dict[bytes, int] = {}
        self.floor_ms = -1
        self.note_use: Callable[[Session, bool], None] = _note_nothing

    def __len__(self) -> int:
        return len(self.live)

    def find(self, session_key: bytes) -> Session | None:
        """Return the session that these header fields identify, if it is known."""
        return self.live.get(session_key)

    def insert(self, session_key: bytes, session: Session, expiry_ms: int, now_ms: int) -> None:
        """Enter a session whose first envelope, with this expiry, was valid; from then on it has a window.

        Raises:
            ProxyError: SESSIONS_EXHAUSTED, its caller's key has its share of live ones; ENVELOPE_EXPIRED, by
                what was evicted just now that envelope may have been here before.
        """
        self.expire(now_ms)
        if expiry_ms <= self.floor_ms:
            raise ProxyError(ENVELOPE_EXPIRED, CLOCK_SET_BACK)
        owner = session.caller.key_id
        count = self._counts.get(owner, 0)
        if count >= self._per_key:
            raise ProxyError(SESSIONS_EXHAUSTED, numbers={"sessions_per_caller_limit": self._per_key})
        self._counts[owner] = count + 1
        session.window = ReplayWindow(self._width)
        self.live[session_key] = session
        self.note_use(session, True)

    def use(self, session_key: bytes, session: Session, expiry_ms: int, now_ms: int) -> None:
        """Note that the session is about to accept an envelope with this expiry."""
        session.latest_expiry_ms = max(session.latest_expiry_ms, expiry_ms)
        if now_ms != session.last_use_ms:  # under load many come within a millisecond
            session.last_use_ms = now_ms
            self.live.move_to_end(session_key)

    def expire(self, now_ms: int) -> None:
        """Evict what was idle for the greatest lifetime of an envelope; constant time per evicted session."""
        sessions = self.live
        while sessions:
            session_key, session = next(iter(sessions.items()))
            if now_ms - session.last_use_ms <= self._lifetime_ms:
                return
            del sessions[session_key]
            self.note_use(session, False)
            self.floor_ms = max(self.floor_ms, session.latest_expiry_ms)
            owner = session.caller.key_id
            self._counts[owner] -= 1
            if not self._counts[owner]:
                del self._counts[owner]

    def reassign(self, owner_of: Callable[[Session], CallerKey | None]) -> None:
        """Give every session its owner under a new config, or revoke it when it has none.

        A revoked session stays until it expires: if its key came back before that, dropping its window
        would let in again what it had accepted.

        Args:
            owner_of: returns the key, with the same public key, to which a session belongs now.
        """
        for session in self.live.values():
            owner = owner_of(session)
            session.revoked = owner is None
            if owner is not None:
                session.caller = owner


class WindowlessSessions:
    """Sessions that a valid tag has proven, of which nothing was accepted yet: it was for another epoch.

    A receiver that has restarted is sent what was sealed for the former one: very many envelopes, of few
    sessions. So each session costs its curve operations once. Replay protection knows nothing of those here:
    they have no window, and get one in a `SessionTable` with the first envelope that is accepted.

    Args:
        capacity: how many there are at most; then the one that has rested longest makes way.
        lifetime_ms: after this long without use one is forgotten, and its keys with it.
    """

    __slots__ = ("_capacity", "_lifetime_ms", "_sessions")

    def __init__(self, capacity: int, lifetime_ms: int) -> None:
        self._capacity = capacity
        self._lifetime_ms = lifetime_ms
        self._sessions: OrderedDict[bytes, Session] = OrderedDict()

    def __len__(self) -> int:
        return len(self._sessions)

    def find(self, session_key: bytes) -> Session | None:
        """Return the session that these header fields identify, if it is known."""
        return self._sessions.get(session_key)

    def keep(self, session_key: bytes, session: Session, now_ms: int) -> None:
        """Note that a session has proven itself."""
        session.last_use_ms = now_ms
        self._sessions[session_key] = session
        self._sessions.move_to_end(session_key)
        if len(self._sessions) > self._capacity:
            self._sessions.popitem(last=False)

    def forget(self, session_key: bytes) -> None:
        """Keep a session no more: it has a window now."""
        self._sessions.pop(session_key, None)

    def expire(self, now_ms: int) -> None:
        """Forget what has rested for too long; constant time per forgotten session."""
        while self._sessions:
            session_key, session = next(iter(self._sessions.items()))
            if abs(now_ms - session.last_use_ms) <= self._lifetime_ms:  # a clock may have been set back
                return
            del self._sessions[session_key]

    def reassign(self, owner_of: Callable[[Session], CallerKey | None]) -> None:
        """Give every session its owner under a new config; forget it when it has none.

        Args:
            owner_of: as for `SessionTable.reassign`.
        """
        for session_key, session in list(self._sessions.items()):
            owner = owner_of(session)
            if owner is None:
                del self._sessions[session_key]
            else:
                session.caller = owner
