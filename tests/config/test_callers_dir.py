"""The folder of callers: read again while a proxy runs, whoever changes it and how fast."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from fastproxy.config.callers_dir import CallersReader
from fastproxy.config.keys import KeyMaterialError
from fastproxy.config.snapshot import CallersDir, InSnapshot
from tests.config.conftest import Folder
from tests.config.test_load import in_example

SECOND_NS = 1_000_000_000


def new_key() -> bytes:
    return X25519PrivateKey.generate().public_key().public_bytes_raw()


class Callers:
    """A folder of callers that is looked at again and again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.taken = new_key()
        self.reader = CallersReader(CallersDir(folder, {"app"}, {self.taken: "receiver shop-in"}))
        self.later_s = 0

    def write(self, name: str, *keys: bytes) -> None:
        (self.folder / f"{name}.pub").write_text("".join(f"{key.hex()}\n" for key in keys))

    def now_ns(self) -> int:
        """Later than everything that was written, by a second or by as much as is wanted."""
        newest = max((file.lstat().st_ctime_ns for file in self.folder.iterdir()), default=0)
        return newest + self.later_s * SECOND_NS

    def known(self) -> dict[str, tuple[bytes, ...]]:
        found = self.reader.read(self.now_ns())
        return {name: peer.public_keys for name, peer in found.callers.items()}

    def troubles(self) -> str:
        return "\n".join(message for message, _ in self.reader.read(self.now_ns()).troubles)


@pytest.fixture
def callers(tmp_path: Path) -> Callers:
    return Callers(tmp_path)


def test_callers_come_and_go_with_their_files(callers: Callers) -> None:
    first, second, third = new_key(), new_key(), new_key()
    assert callers.known() == {}
    callers.write("web", first)
    callers.write("bot", second, third)
    assert callers.known() == {"bot": (second, third), "web": (first,)}
    callers.write("bot", third)
    assert callers.known()["bot"] == (third,)
    (callers.folder / "web.pub").unlink()
    assert callers.known() == {"bot": (third,)}
    (callers.folder / "bot.pub").rename(callers.folder / "cat.pub")
    assert callers.known() == {"cat": (third,)}


def test_what_holds_still_is_the_same_object(callers: Callers) -> None:
    callers.write("web", new_key())
    before = callers.reader.read(callers.now_ns())
    for callers.later_s in (0, 10, 20):
        assert callers.reader.read(callers.now_ns()) is before
    (callers.folder / "web.pub").touch()
    assert callers.reader.read(callers.now_ns()) is before
    callers.write("bot", new_key())
    assert callers.reader.read(callers.now_ns()) is not before


def test_a_key_that_is_replaced_within_a_tick_of_the_clock_is_seen(callers: Callers) -> None:
    """Same name, same length, and for all that the file system tells, the same time."""
    old, new = new_key(), new_key()
    callers.write("web", old)
    file = callers.folder / "web.pub"
    status = file.stat()
    assert callers.known() == {"web": (old,)}
    with file.open("r+") as stream:
        stream.write(f"{new.hex()}\n")
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert callers.known() == {"web": (new,)}


def test_only_what_can_have_changed_is_opened_again(
    callers: Callers, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    real_open = os.open

    def counting_open(path: str, *rest: int) -> int:
        opened.append(Path(path).name)
        return real_open(path, *rest)

    monkeypatch.setattr(os, "open", counting_open)
    callers.write("web", new_key())
    # Just written: the next write could bear the very same time.
    for _ in range(3):
        callers.known()
    assert opened == ["web.pub"] * 3
    callers.later_s = 10
    for _ in range(3):
        callers.known()
    assert opened == ["web.pub"] * 4
    callers.write("web", new_key())
    callers.known()
    assert opened == ["web.pub"] * 5


def test_a_file_that_cannot_be_used_leaves_its_caller_unknown(callers: Callers) -> None:
    key, shared = new_key(), new_key()
    callers.write("web", key)
    assert callers.known() == {"web": (key,)}
    (callers.folder / "web.pub").write_text("not a key")
    callers.write("app", new_key())
    callers.write("two words", new_key())
    callers.write("zero", b"\0" * 32)
    callers.write("thief", callers.taken)
    callers.write("a", shared)
    callers.write("b", new_key(), shared)
    (callers.folder / "gone.pub").symlink_to("nowhere")
    (callers.folder / "README").write_text("not a caller")
    assert callers.known() == {"a": (shared,)}
    told = callers.troubles()
    for words in (
        "web.pub does not hold a key",
        "the caller app of",
        "does not bear the name of a caller",
        "zero.pub holds what is not a usable",
        "is also that of receiver shop-in",
        "is also that of caller a",
        "there is no key file",
    ):
        assert words in told
    assert len(told.splitlines()) == 7
    assert key.hex() not in told


def test_a_folder_that_is_gone_is_no_folder_without_callers(callers: Callers) -> None:
    callers.write("web", new_key())
    before = callers.reader.read(0)
    (callers.folder / "web.pub").rename(callers.folder.parent / "web.pub")
    callers.folder.rmdir()
    with pytest.raises(KeyMaterialError, match="can't be read"):
        callers.reader.read(0)
    callers.folder.mkdir()
    (callers.folder.parent / "web.pub").rename(callers.folder / "web.pub")
    assert callers.reader.read(0).callers == before.callers


def test_a_config_says_what_the_folder_must_not_say_again(folder: Folder) -> None:
    (folder.path / "more").mkdir()
    (folder.path / "more" / "bot.pub").write_text(folder.key("bot"))
    snapshot = folder.load(in_example(folder) + "callers_dir: more\n")
    assert isinstance(snapshot, InSnapshot)
    assert snapshot.callers_dir is not None
    reader = CallersReader(snapshot.callers_dir)
    assert reader.read(0).callers == {"bot": snapshot.callers["bot"]}
    for name in ("chat_service", "search-in"):
        (folder.path / "more" / "copy.pub").write_text(folder.key(name))
        found = reader.read(0)
        assert found.callers.keys() == {"bot"}
        assert "is also that of" in found.troubles[0][0]
