"""The files of a private key, also while it is being changed for another: read when a config loads, and again
while a proxy runs.

    web.key         the key in use
    web.key.next    the one that will take its place
    web.key.old     the one whose place it took
    web.pub         the public halves, for those who talk to `web`

A caller proves itself by the key in use alone. A receiver proves itself by whichever of its keys it is asked
for, so that it holds all three. Files that didn't change aren't opened again. What can't be used changes
nothing: the proxy goes on with what the file held before.
Knows nothing of what keys are used for, nor who changes the files.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from msgspec import Struct

from fastproxy.config.keys import KeyMaterialError, read_key_file
from fastproxy.config.secret import Secret

NEXT, OLD = ".next", ".old"
"""What stands behind the name of the file in use."""

_SETTLED_NS = 2_000_000_000
"""Age from which a file's times tell of every write; see `callers_dir`."""
_TRIES = 4

_State = tuple[int, int, int, int]


def next_of(file: Path) -> Path:
    """Where the key is that will take the place of the one in this file."""
    return file.with_name(file.name + NEXT)


def old_of(file: Path) -> Path:
    """Where the key is whose place the one in this file took."""
    return file.with_name(file.name + OLD)


def public_of(file: Path) -> Path:
    """Where the public halves are of the keys in this file and beside it."""
    return file.with_suffix(".pub") if file.suffix == ".key" else file.with_name(file.name + ".pub")


def read_one(file: Path) -> Secret:
    """Return the only private key of a file, 32 bytes.

    Raises:
        KeyMaterialError: it can't be read, others can read it, or it holds something else.
    """
    keys = read_key_file(file, secret=True)
    if len(keys) != 1:
        raise KeyMaterialError(f"{file} must hold exactly one key")
    return Secret(keys[0])


def read_all(file: Path, *, with_neighbours: bool) -> tuple[Secret, ...]:
    """Return the private keys of a file and, if wanted, of those beside it; the one in use first.

    Raises:
        KeyMaterialError: one of them can't be used, or there is none in use.
    """
    neighbours = [one for one in (next_of(file), old_of(file)) if with_neighbours and os.path.lexists(one)]
    return _each_once(read_one(one) for one in (file, *neighbours))


class FoundKeys(Struct, frozen=True):
    """What the files of a key held.

    secrets: 32 bytes each, the one in use first, each once. troubles: what is wrong and what to do, for each
    file that can't be used.
    """

    secrets: tuple[Secret, ...]
    troubles: tuple[tuple[str, str], ...]


class KeyReader:
    """Reads the files of one key, as often as wanted.

    Args:
        file: the one in use. with_neighbours: whether those beside it are read as well.
        known: what they held when the config was loaded, the one in use first.
    """

    __slots__ = ("_files", "_found", "_held", "_known")

    def __init__(self, file: Path, *, with_neighbours: bool, known: tuple[Secret, ...]) -> None:
        # The one that will be in use before the one that is: who sees neither place of a key that is being
        # moved has to look again, see `read`.
        self._files = (next_of(file), file, old_of(file)) if with_neighbours else (file,)
        self._known = known
        self._held: dict[Path, _Held] = {}
        self._found = FoundKeys(known, ())

    def read(self, now_unix_ns: int) -> FoundKeys:
        """Read the files.

        Args:
            now_unix_ns: the time, by the clock that files are dated with.

        Returns:
            The very object that it returned the last time, as long as that still holds.
        """
        for _ in range(_TRIES):
            states = [_state_of(file) for file in self._files]
            held = {
                file: self._look(file, state, now_unix_ns)
                for file, state in zip(self._files, states, strict=True)
            }
            if [_state_of(file) for file in self._files] == states:
                self._held = held
                break  # else one was moved while they were read, and could have been missed at both places
        found = FoundKeys(self._secrets(), tuple(one.trouble for one in self._held.values() if one.trouble))
        if found != self._found:
            self._found = found
        return self._found

    def _look(self, file: Path, state: _State | None, now_unix_ns: int) -> _Held:
        """Return what a file holds: what it held before, if nothing can have been written since."""
        before = self._held.get(file)
        if before is not None and state is not None and before.state == state:
            return before
        if state is None and file is not self._in_use:
            return _Held(None, None, None)
        settled = state if state is not None and now_unix_ns - state[1] >= _SETTLED_NS else None
        try:
            return _Held(settled, read_one(file), None)
        except KeyMaterialError as error:
            kept = None if before is None else before.secret
            return _Held(None, kept, (error.message, error.suggestion))

    @property
    def _in_use(self) -> Path:
        return self._files[len(self._files) // 2]

    def _secrets(self) -> tuple[Secret, ...]:
        """All that is held, the one in use first; that of the config, if the file in use was never there."""
        in_use = self._held.get(self._in_use)
        first = self._known if in_use is None or in_use.secret is None else (in_use.secret,)
        others = (one.secret for file, one in self._held.items() if file is not self._in_use)
        return _each_once((*first, *(secret for secret in others if secret is not None)))


class _Held(Struct, frozen=True):
    """What a file held. state: what changes with it; None while a write could pass unseen.

    secret: what it held last that can be used. trouble: what is wrong with it now, and what to do.
    """

    state: _State | None
    secret: Secret | None
    trouble: tuple[str, str] | None


def _state_of(file: Path) -> _State | None:
    """Return what changes with a file; None where there is none to be looked at."""
    try:
        status = file.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino


def _each_once(secrets: Iterable[Secret]) -> tuple[Secret, ...]:
    found: list[Secret] = []
    for secret in secrets:
        if secret not in found:
            found.append(secret)
    return tuple(found)
