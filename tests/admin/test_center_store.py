"""The center's file, with real SQLite: what outlives a crash, and what is refused at the start."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from math import inf
from pathlib import Path

import pytest

from fastproxy.admin.center.names import Key
from fastproxy.admin.center.registry import Registered
from fastproxy.admin.center.store import LIFE_VERSIONS, Store, StoreError

SONG = Key("services", "song")
CHAT = Key("receivers", "chat")


def at(number: int, key: Key = SONG, ttl_s: float = 15.0) -> Registered:
    return Registered(key, f"192.0.2.{number}:80", ttl_s, "token:song")


def reopened(path: Path) -> tuple[Registered, ...]:
    store = Store(str(path))
    store.close()
    return store.restored


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "center.db"


def test_what_was_written_is_there_again(path: Path) -> None:
    store = Store(str(path))
    assert store.restored == ()
    store.write({SONG: (at(2), at(1, ttl_s=inf)), CHAT: (at(3, CHAT),)})
    store.write({SONG: (at(2), at(1, ttl_s=inf)), CHAT: ()})
    store.close()
    assert reopened(path) == (at(2), at(1, ttl_s=inf))
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
def test_a_file_that_others_can_write_is_refused(path: Path, mode: int) -> None:
    """What they register there would be served as if a token had stood behind it."""
    Store(str(path)).close()
    path.chmod(mode)
    with pytest.raises(StoreError, match=r"can be written by others.*chmod go-w"):
        Store(str(path))


def test_what_is_no_file_is_refused_in_words(path: Path) -> None:
    os.mkfifo(path, 0o600)
    with pytest.raises(StoreError, match="not a regular file"):
        Store(str(path))
    with pytest.raises(StoreError, match="can't be opened"):
        Store(str(path.parent))


def test_everything_can_be_replaced(path: Path) -> None:
    store = Store(str(path))
    store.write({SONG: (at(1),)})
    store.write({CHAT: (at(3, CHAT),)}, replaces_all=True)
    store.close()
    assert reopened(path) == (at(3, CHAT),)


def test_versions_of_a_life_lie_above_those_of_the_last(path: Path) -> None:
    firsts = []
    for _ in range(3):
        store = Store(str(path))
        firsts.append(store.first_version)
        store.close()
    assert firsts == [LIFE_VERSIONS, 2 * LIFE_VERSIONS, 3 * LIFE_VERSIONS]


def test_a_killed_center_left_everything_that_it_had_written(path: Path) -> None:
    script = (
        "import os, signal, sys\n"
        "from tests.admin.test_center_store import SONG, Store, at\n"
        "store = Store(sys.argv[1])\n"
        "store.write({SONG: (at(1), at(2))})\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    killed = subprocess.run([sys.executable, "-c", script, str(path)], cwd=Path(__file__).parents[2])
    assert killed.returncode == -signal.SIGKILL
    store = Store(str(path))
    store.close()
    assert store.restored == (at(1), at(2))
    assert store.first_version == 2 * LIFE_VERSIONS


def test_a_batch_that_fails_leaves_what_was(path: Path) -> None:
    store = Store(str(path))
    store.write({SONG: (at(1),)})
    with pytest.raises(StoreError, match="can't be used"):
        store.write({SONG: (at(2), at(2))})
    store.write({CHAT: (at(3, CHAT),)})
    store.close()
    assert reopened(path) == (at(1), at(3, CHAT))


def test_a_file_serves_one_center_at_a_time(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fastproxy.admin.center.store._LOCK_TIMEOUT_S", 0.01)
    first = Store(str(path))
    with pytest.raises(StoreError, match="another center has it open"):
        Store(str(path))
    first.write({SONG: (at(1),)})
    first.close()
    assert reopened(path) == (at(1),)


def written(path: Path) -> Path:
    store = Store(str(path))
    store.write(
        {
            Key("services", f"name-{number}"): (at(1, Key("services", f"name-{number}")),)
            for number in range(500)
        }
    )
    store.close()
    return path


def refused(path: Path) -> str:
    before = path.read_bytes()
    with pytest.raises(StoreError) as caught:
        Store(str(path))
    assert path.read_bytes() == before, "a refused file must stay as it is"
    assert str(path) in str(caught.value)
    return str(caught.value)


def test_garbage_is_refused_with_words_that_say_what_to_do(path: Path) -> None:
    path.write_bytes(os.urandom(8192))
    message = refused(path)
    assert "damaged" in message
    assert "move it away" in message


def test_damaged_pages_are_refused(path: Path) -> None:
    content = bytearray(written(path).read_bytes())
    for offset in range(4096, len(content), 4096):
        content[offset : offset + 200] = b"\xff" * 200
    path.write_bytes(content)
    assert "damaged" in refused(path)


def test_damage_that_reading_would_not_meet_is_refused(path: Path) -> None:
    connection = sqlite3.connect(written(path))
    query = "SELECT rootpage FROM sqlite_master WHERE name = 'sqlite_autoindex_registrations_1'"
    (page,) = connection.execute(query).fetchone()
    connection.close()
    content = bytearray(path.read_bytes())
    content[(page - 1) * 4096 : page * 4096] = bytes(4096)
    path.write_bytes(content)
    assert "damaged" in refused(path)


def test_a_file_cut_short_is_refused(path: Path) -> None:
    content = written(path).read_bytes()
    path.write_bytes(content[: len(content) // 2])
    assert "damaged" in refused(path)


def test_a_file_of_another_program_is_refused(path: Path) -> None:
    other = sqlite3.connect(path)
    other.execute("CREATE TABLE registrations (x)")
    other.commit()
    other.close()
    assert "another program" in refused(path)


def test_a_file_of_a_newer_version_is_refused(path: Path) -> None:
    changed(written(path), "PRAGMA user_version = 2")
    assert "schema 2" in refused(path)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE registrations SET address = 'nowhere'",
        "UPDATE registrations SET name = '../x' WHERE name = 'name-7'",
        "UPDATE registrations SET kind = 'callers'",
        "UPDATE registrations SET ttl_s = 'soon'",
        "UPDATE lives SET number = 'nine'",
        "DELETE FROM lives",
        "DROP TABLE lives",
    ],
)
def test_what_another_hand_wrote_is_refused(path: Path, statement: str) -> None:
    changed(written(path), statement)
    with pytest.raises(StoreError, match="damaged"):
        Store(str(path))


def changed(path: Path, statement: str) -> None:
    connection = sqlite3.connect(path)
    connection.execute(statement)
    connection.commit()
    connection.close()


def test_a_place_where_no_file_can_be_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="can't be opened"):
        Store(str(tmp_path / "missing" / "center.db"))
    with pytest.raises(StoreError, match="can't be opened"):
        Store(str(tmp_path))


def test_a_torn_log_loses_its_end_only(path: Path, tmp_path: Path) -> None:
    store = Store(str(path))
    store.write({SONG: (at(1),)})
    torn = tmp_path / "torn.db"
    shutil.copy(path, torn)
    log = Path(f"{path}-wal").read_bytes()
    store.write({CHAT: (at(3, CHAT),)})
    longer = Path(f"{path}-wal").read_bytes()
    store.close()
    assert len(longer) > len(log) > 0
    Path(f"{torn}-wal").write_bytes(longer[: len(log) + 100])
    assert reopened(torn) == (at(1),)
