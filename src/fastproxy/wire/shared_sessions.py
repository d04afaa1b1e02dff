"""The sessions of a receiver that is several processes.

Each process knows the sessions that it was sent something of, with keys that it derives by itself; which
there are, how many a caller has, and what they have accepted is known to all (`shared_windows`).
"""

from __future__ import annotations

from fastproxy.wire.sessions import Session, SessionTable
from fastproxy.wire.shared_windows import SharedWindow, SharedWindows


class SharedSessions(SessionTable):
    """One process's sessions, whose windows are shared; see `SessionTable`.

    len: number of sessions in all processes.

    Args:
        windows: of all sessions.
        per_key: most live sessions of one key of a caller, in the whole proxy.
        lifetime_ms, skew_ms: after this long without use all that a session accepted has expired; by how
            much clocks may differ.
    """

    __slots__ = ("_skew_ms", "_windows")

    def __init__(self, windows: SharedWindows, per_key: int, lifetime_ms: int, skew_ms: int) -> None:
        super().__init__(per_key, lifetime_ms, windows.width)
        self._windows = windows
        self._skew_ms = skew_ms

    def __len__(self) -> int:
        return len(self._windows)

    def find(self, session_key: bytes) -> Session | None:
        """See `SessionTable`."""
        session = self.live.get(session_key)
        if session is not None and session.window.is_lost:
            del self.live[session_key]
            self.note_use(session, False)
            return None
        return session

    def insert(self, session_key: bytes, session: Session, expiry_ms: int, now_ms: int) -> None:
        """See `SessionTable`; the envelope may still turn out to have been here before."""
        at_ms = (now_ms, now_ms - self._skew_ms - 1)
        session.window = self._windows.enter(
            session_key, session.caller.key_id, self._per_key, expiry_ms, at_ms
        )
        # What was evicted later can't matter to a session that has its place by now.
        self.floor_ms = self._windows.floor_ms
        self.live[session_key] = session
        self.note_use(session, True)

    def use(self, session_key: bytes, session: Session, expiry_ms: int, now_ms: int) -> None:
        """See `SessionTable`."""
        super().use(session_key, session, expiry_ms, now_ms)
        window = session.window
        assert type(window) is SharedWindow  # `insert` has given it one
        window.latest_expiry_ms = session.latest_expiry_ms

    def expire(self, now_ms: int) -> None:
        """See `SessionTable`; what others still use stays in the shared memory."""
        sessions = self.live
        while sessions:
            session_key, session = next(iter(sessions.items()))
            if now_ms - session.last_use_ms <= self._lifetime_ms:
                break
            del sessions[session_key]
            self.note_use(session, False)
        self._windows.expire(now_ms - self._skew_ms - 1)
