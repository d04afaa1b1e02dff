"""The folder of callers that `callers_dir` names: read when a config loads, and again while a proxy runs.

Each file NAME.pub holds the public keys of the caller NAME, some perhaps with a date. A file that can't be
used gives its caller no key: whoever had one there before is known no longer. Files that didn't change aren't
opened again, so that looking once more is cheap; it still asks for the state of each, so give a large folder
a thread.
Knows nothing of what is done about a key that is gone.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from math import inf
from os import DirEntry, scandir
from pathlib import Path

from msgspec import Struct

from fastproxy.config.keys import KeyMaterialError, is_usable_public_key, read_public_key_file
from fastproxy.config.schema_parts import NAME_PATTERN
from fastproxy.config.snapshot import NO_DATES, CallersDir, Peer

CALLERS_LIMIT = 100_000
"""Callers in a folder; protects against a wrong one."""

_SETTLED_NS = 2_000_000_000
"""Age from which a file's times tell of every write: two writes within one tick of the file system's clock
leave the same times, and two keys have the same length."""

_State = tuple[int, int, int, int]
_Trouble = tuple[str, str]
"""What is wrong, and what to do."""


class FolderCallers(Struct, frozen=True):
    """What a folder held.

    callers: by name, whatever the dates of their keys. troubles: what is wrong and what to do, for each file
    whose caller isn't among them.
    """

    callers: Mapping[str, Peer]
    troubles: tuple[_Trouble, ...]


class CallersReader:
    """Reads one folder, as often as wanted.

    Args:
        source: the folder.
    """

    __slots__ = ("_files", "_found", "_source")

    def __init__(self, source: CallersDir) -> None:
        self._source = source
        self._files: dict[str, _File] = {}
        self._found: FolderCallers | None = None

    def read(self, now_unix_ns: int) -> FolderCallers:
        """Read the folder.

        Args:
            now_unix_ns: the time, by the clock that files are dated with.

        Returns:
            The very object that it returned the last time, as long as that still holds.

        Raises:
            KeyMaterialError: the folder itself can't be read, or isn't one of callers.
        """
        before, self._files = self._files, {}
        for entry in _entries(self._source.folder):
            name = entry.name.removesuffix(".pub")
            self._files[name] = _look(entry, now_unix_ns, before.get(name))
        if self._found is None or not _hold_the_same(before, self._files):
            self._found = _judge(self._files, self._source)
        return self._found


class _File(Struct, frozen=True):
    """What a file held. state: what changes with it; None while a write could pass unseen.

    keys: each with its last second in Unix time, or infinity.
    """

    state: _State | None
    keys: Mapping[bytes, float]
    trouble: _Trouble | None


def _entries(folder: Path) -> list[DirEntry[str]]:
    try:
        with scandir(folder) as found:
            entries = sorted((one for one in found if one.name.endswith(".pub")), key=lambda one: one.name)
    except (OSError, ValueError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) else "its name is not valid"
        raise KeyMaterialError(f"the folder {folder} can't be read: {reason}") from exc
    if len(entries) > CALLERS_LIMIT:
        raise KeyMaterialError(f"the folder {folder} holds more than {CALLERS_LIMIT} callers")
    return entries


def _look(entry: DirEntry[str], now_unix_ns: int, before: _File | None) -> _File:
    """Return what a file holds: what it held before, if nothing can have been written since."""
    state: _State | None = None
    try:
        status = entry.stat()
    except OSError:
        pass  # a link to nowhere, or gone by now: reading it says so
    else:
        state = (status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino)
        if before is not None and before.state == state:
            return before
        # The time of the change, which no one sets, unlike that of the content.
        if now_unix_ns - status.st_ctime_ns < _SETTLED_NS:
            state = None
    try:
        return _File(state, read_public_key_file(entry.path), None)
    except KeyMaterialError as exc:
        return _File(None, {}, (exc.message, exc.suggestion))


def _hold_the_same(before: Mapping[str, _File], files: Mapping[str, _File]) -> bool:
    """Whether nothing but the state of files is different."""
    return before.keys() == files.keys() and all(
        file is before[name] or (file.keys, file.trouble) == (before[name].keys, before[name].trouble)
        for name, file in files.items()
    )


def _judge(files: Mapping[str, _File], source: CallersDir) -> FolderCallers:
    """Return the callers whose name and keys are theirs alone."""
    callers: dict[str, Peer] = {}
    troubles: list[_Trouble] = []
    key_uses = dict(source.key_uses)
    for name, file in files.items():
        if trouble := file.trouble or _trouble(name, file.keys, source, key_uses):
            troubles.append(trouble)
        else:
            dates = {key: last_unix_s for key, last_unix_s in file.keys.items() if last_unix_s < inf}
            callers[name] = Peer(name, tuple(file.keys), "", None, 0, dates or NO_DATES)
            key_uses.update(dict.fromkeys(file.keys, f"caller {name}"))
    return FolderCallers(callers, tuple(troubles))


def _trouble(
    name: str, keys: Iterable[bytes], source: CallersDir, key_uses: Mapping[bytes, str]
) -> _Trouble | None:
    if not re.search(NAME_PATTERN, name):
        return (
            f"{_file_of(name, source)!r} does not bear the name of a caller",
            "letters, digits, `.`, `_` and `-`",
        )
    if name in source.names:
        return f"the caller {name} of {_file_of(name, source)} is described in `callers` too", "keep one"
    for key in keys:
        if not is_usable_public_key(key):
            advice = "make one with `fastproxy keys new NAME`"
            return f"{_file_of(name, source)} holds what is not a usable X25519 public key", advice
        if key in key_uses:
            return (
                f"the key of caller {name} in {_file_of(name, source)} is also that of {key_uses[key]}",
                "one key belongs to one name: make another with `fastproxy keys new NAME`",
            )
    return None


def _file_of(name: str, source: CallersDir) -> str:
    return str(source.folder / f"{name}.pub")
