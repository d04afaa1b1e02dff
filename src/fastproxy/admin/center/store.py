"""What the center remembers over its own restart: one SQLite file, held by one center at a time.

It keeps what is registered, and counts the center's lives: versions of a life begin above all of the lives
before (`LIFE_VERSIONS` apart), so that a crash can't take one back, however much of it was unwritten. The
count is on the disk before the first version is told; registrations may trail by a moment (WAL,
synchronous=NORMAL), for they come again with the next heartbeat.
A file that is damaged, of another program or of a newer version is refused at the start, never repaired or
overwritten in silence.
All calls block; whoever has an event loop makes them in a thread, one at a time.
"""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Mapping, Sequence
from math import inf

from fastproxy.admin.center.names import Key, canonical_address, key_of
from fastproxy.admin.center.registry import Registered

LIFE_VERSIONS = 1 << 32
"""Versions that each life has for itself; two million lives stay within the 53 bits of any JSON reader."""

_APPLICATION_ID = 0x66707263
_SCHEMA_VERSION = 1
_SCHEMA = """
CREATE TABLE lives (number INTEGER NOT NULL);
INSERT INTO lives VALUES (0);
CREATE TABLE registrations (
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    address TEXT NOT NULL,
    ttl_s REAL,  -- NULL: until withdrawn
    owner TEXT NOT NULL,
    UNIQUE (kind, name, address)
);
"""
_LOCK_TIMEOUT_S = 1.0
_DAMAGED = "it is damaged"
_EMPTY_START = (
    "move it away and start again: the center then begins empty, and what runs registers again with its next "
    "heartbeat; or put a backup in its place"
)


class StoreError(Exception):
    """The file can't be used; the message says which, why, and what to do."""

    def __init__(self, path: str, reason: str, advice: str) -> None:
        super().__init__(f"{path}: {reason}; {advice}")


class Store:
    """The open file.

    Args:
        path: of the SQLite file; made, readable for its owner only, when it isn't there.

    Raises:
        StoreError: it can't be used.

    restored: what was registered at the end of the last life, the first to register first.
    first_version: above all versions of earlier lives.
    """

    __slots__ = ("_connection", "_path", "first_version", "restored")

    def __init__(self, path: str) -> None:
        self._path = path
        _claim(path)
        self._connection = sqlite3.connect(
            path, timeout=_LOCK_TIMEOUT_S, isolation_level=None, check_same_thread=False
        )
        try:
            self.first_version = self._begin_life()
            self.restored = self._read()
        except sqlite3.Error as error:
            self._connection.close()
            raise self._explain(error) from error
        except StoreError:
            self._connection.close()
            raise

    def write(self, batch: Mapping[Key, Sequence[Registered]], *, replaces_all: bool = False) -> None:
        """Write what is registered now, in one transaction.

        Args:
            batch: all registrations of each key in it; of a key that has none left, an empty sequence.
            replaces_all: whether what is registered under other keys is gone.

        Raises:
            StoreError: it couldn't be written; the file holds what it held before.
        """
        connection = self._connection
        rows = [
            (*one.key, one.address, None if one.ttl_s == inf else one.ttl_s, one.owner)
            for registered in batch.values()
            for one in registered
        ]
        try:
            connection.execute("BEGIN IMMEDIATE")
            try:
                if replaces_all:
                    connection.execute("DELETE FROM registrations")
                else:
                    connection.executemany(
                        "DELETE FROM registrations WHERE kind = ? AND name = ?", list(batch)
                    )
                connection.executemany("INSERT INTO registrations VALUES (?, ?, ?, ?, ?)", rows)
                connection.execute("COMMIT")
            except sqlite3.Error:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
        except sqlite3.Error as error:
            raise self._explain(error) from error

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()

    def _begin_life(self) -> int:
        connection = self._connection
        # Held as long as the center lives: a second center on the same file would undo what this one writes.
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        application_id, schema_version, tables = (
            self._one("PRAGMA application_id"),
            self._one("PRAGMA user_version"),
            self._one("SELECT count(*) FROM sqlite_master"),
        )
        is_new = (application_id, schema_version, tables) == (0, 0, 0)
        if not is_new and application_id != _APPLICATION_ID:
            raise StoreError(self._path, "it belongs to another program", "name another file")
        if not is_new and schema_version != _SCHEMA_VERSION:
            raise StoreError(
                self._path,
                f"it has schema {schema_version}, and this version of fastproxy knows {_SCHEMA_VERSION}",
                f"run the version that wrote it, or {_EMPTY_START}",
            )
        if self._one("PRAGMA quick_check(1)") != "ok":
            raise StoreError(self._path, _DAMAGED, _EMPTY_START)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")  # the count of lives must not be lost to a power cut
        connection.execute("BEGIN IMMEDIATE")
        if is_new:
            for statement in _SCHEMA.split(";"):
                connection.execute(statement)
            connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {_SCHEMA_VERSION}")
        lives = self._one("SELECT number FROM lives")
        if not isinstance(lives, int) or lives < 0:
            raise StoreError(self._path, _DAMAGED, _EMPTY_START)
        connection.execute("UPDATE lives SET number = ?", (lives + 1,))
        connection.execute("COMMIT")
        connection.execute("PRAGMA synchronous = NORMAL")
        return (lives + 1) * LIFE_VERSIONS

    def _read(self) -> tuple[Registered, ...]:
        rows = self._connection.execute(
            "SELECT kind, name, address, ttl_s, owner FROM registrations ORDER BY rowid"
        )
        try:
            return tuple(
                Registered(
                    key_of(kind, name),
                    canonical_address(address),
                    inf if ttl_s is None else float(ttl_s),
                    str(owner),
                )
                for kind, name, address, ttl_s, owner in rows
            )
        except (ValueError, TypeError) as error:  # another hand has written this
            raise StoreError(self._path, f"{_DAMAGED}: {error}", _EMPTY_START) from error

    def _one(self, query: str) -> object:
        row = self._connection.execute(query).fetchone()
        return row[0] if row else None

    def _explain(self, error: sqlite3.Error) -> StoreError:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # the low byte is the primary result code
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            return StoreError(self._path, "another center has it open", "stop that one, or name another file")
        # SQLITE_ERROR: a table isn't there, or not as this program makes it.
        if code in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_ERROR):
            return StoreError(self._path, f"{_DAMAGED}: {error}", _EMPTY_START)
        return StoreError(self._path, f"it can't be used: {error}", "check disk, folder and owner")


def _claim(path: str) -> None:
    """Make the file if it isn't there, and refuse one that others can write: they could cut calls off.

    SQLite would make it with the umask's permissions; its log beside it gets the permissions of the file.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK, 0o600)
    except OSError as error:
        raise StoreError(path, f"it can't be opened: {error.strerror}", "check folder and owner") from error
    mode = os.fstat(descriptor).st_mode
    os.close(descriptor)
    if not stat.S_ISREG(mode):
        raise StoreError(path, "it is not a regular file", "name another file")
    if mode & 0o022:
        raise StoreError(path, "it can be written by others than its owner", f"chmod go-w {path}")
