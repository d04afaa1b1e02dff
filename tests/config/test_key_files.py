"""Private keys are read again as their files change, and stay as they were when a file can't be used."""

from __future__ import annotations

from pathlib import Path

import pytest

from fastproxy.config import key_files
from fastproxy.config.key_files import FoundKeys, KeyReader, next_of, old_of, public_of
from fastproxy.config.secret import Secret

A, B, C = b"a" * 32, b"b" * 32, b"c" * 32
LATER_NS = 2**62
"""A time by which all times of files tell of every write."""


def write(file: Path, key: bytes, mode: int = 0o600) -> None:
    """Put a key there as a whole."""
    new = file.with_name("new")
    new.touch(mode=0o600)
    new.write_text(key.hex() + "\n")
    new.chmod(mode)
    new.rename(file)


def revealed(found: FoundKeys) -> list[bytes]:
    return [secret.reveal() for secret in found.secrets]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "web.key"
    write(file, A)
    return file


def reader_of(file: Path, *, with_neighbours: bool = True) -> KeyReader:
    return KeyReader(file, with_neighbours=with_neighbours, known=(Secret(C),))


def test_a_changed_file_is_taken(file: Path) -> None:
    reader = reader_of(file, with_neighbours=False)
    first = reader.read(LATER_NS)
    assert revealed(first) == [A]
    assert reader.read(LATER_NS) is first
    write(file, B)
    assert revealed(reader.read(LATER_NS)) == [B]


def test_a_file_that_did_not_change_is_not_opened_again(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reader = reader_of(file)
    reader.read(LATER_NS)
    monkeypatch.setattr(key_files, "read_one", None)
    assert revealed(reader.read(LATER_NS)) == [A]


def test_a_write_that_leaves_the_times_as_they_were_is_seen_while_they_are_young(file: Path) -> None:
    reader = reader_of(file)
    now_ns = file.stat().st_ctime_ns
    reader.read(now_ns)
    text = B.hex() + "\n"
    with file.open("r+") as stream:  # in place, and perhaps within the same tick
        stream.write(text)
    assert revealed(reader.read(now_ns)) == [B]


@pytest.mark.parametrize("how", ["gone", "open to others", "broken", "two keys", "a folder"])
def test_what_cannot_be_used_leaves_the_former_key_and_says_why(file: Path, how: str) -> None:
    reader = reader_of(file)
    reader.read(LATER_NS)
    match how:
        case "gone":
            file.unlink()
        case "open to others":
            write(file, B, 0o640)
        case "broken":
            file.write_text("no key\n")
        case "two keys":
            file.write_text(f"{A.hex()}\n{B.hex()}\n")
        case _:
            file.unlink()
            file.mkdir()
    found = reader.read(LATER_NS)
    assert revealed(found) == [A]
    ((message, _),) = found.troubles
    assert "web.key" in message
    assert reader.read(LATER_NS) is found
    if file.is_dir():
        file.rmdir()
    write(file, B)
    assert reader.read(LATER_NS) == FoundKeys((Secret(B),), ())


def test_a_file_that_was_never_there_leaves_what_the_config_had(tmp_path: Path) -> None:
    found = reader_of(tmp_path / "none.key").read(LATER_NS)
    assert revealed(found) == [C]
    assert found.troubles


def test_neighbours_come_and_go(file: Path) -> None:
    reader = reader_of(file)
    write(next_of(file), B)
    assert revealed(reader.read(LATER_NS)) == [A, B]
    assert revealed(reader_of(file, with_neighbours=False).read(LATER_NS)) == [A]
    write(old_of(file), A)
    next_of(file).rename(file)
    assert revealed(reader.read(LATER_NS)) == [B, A]
    old_of(file).unlink()
    assert revealed(reader.read(LATER_NS)) == [B]


def test_a_neighbour_that_cannot_be_used_is_kept_as_it_was(file: Path) -> None:
    reader = reader_of(file)
    write(next_of(file), B)
    reader.read(LATER_NS)
    write(next_of(file), C, 0o644)
    found = reader.read(LATER_NS)
    assert revealed(found) == [A, B]
    assert len(found.troubles) == 1


def test_a_key_that_is_moved_while_files_are_read_is_not_missed(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `use` moves it: read too late at the one place and too early at the other, it would be gone."""
    reader = reader_of(file)
    write(next_of(file), B)
    reader.read(LATER_NS)
    write(old_of(file), A)
    read_one = key_files.read_one
    moved: list[Path] = []

    def read_and_move(one: Path) -> Secret:
        if not moved:
            moved.append(one)
            next_of(file).rename(file)
        return read_one(one)

    write(next_of(file), B)  # with other times: it is opened again
    monkeypatch.setattr(key_files, "read_one", read_and_move)
    found = reader.read(LATER_NS)
    assert moved
    assert revealed(found) == [B, A]
    assert not found.troubles


@pytest.mark.parametrize(
    ("file", "public"), [("keys/web.key", "keys/web.pub"), ("keys/web", "keys/web.pub"), ("a.b", "a.b.pub")]
)
def test_where_public_halves_are(file: str, public: str) -> None:
    assert public_of(Path(file)) == Path(public)
