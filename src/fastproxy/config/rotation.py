"""Changing the key in a file for another, in stages, while proxies read it.

    stage     what it does                                                    what is there then
    prepare   makes the next key                                              web.key, web.key.next
    use       keeps the key in use aside, then moves the next in its place    web.key, web.key.old
    retire    removes the one that was in use before                          web.key

Each ends by writing web.pub, with the public halves of all that is there. One file changes at a time, as a
whole, so that wherever a stage is cut off there is a key in use, nothing is lost that somebody may still
need, and doing the same stage again completes it (`tests/config/test_rotation.py` cuts each of them
everywhere).
Knows nothing of who accepts or uses a key: whoever calls this has to.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum
from math import inf
from pathlib import Path

from fastproxy.config.key_dates import shown_date
from fastproxy.config.key_files import next_of, old_of, public_of, read_one
from fastproxy.config.keys import public_from_private, read_public_key_file
from fastproxy.config.secret import Secret
from fastproxy.config.whole_file import move_whole, write_whole


class RotationError(Exception):
    """A stage can't be done. Args: message: why. advice: what to do."""

    def __init__(self, message: str, advice: str) -> None:
        super().__init__(message, advice)
        self.message = message
        self.advice = advice


class Standing(Enum):
    """Where a rotation stands, by what files there are."""

    SETTLED = "one key, in use"
    PREPARED = "the next key is made, and not in use"
    USED = "the next key is in use, and the old one is kept"


class Rotation:
    """The files of one private key, and what can be done with them.

    file: the key in use. public_file: the public halves.

    Args:
        file: as above.

    Raises:
        RotationError: it isn't where its neighbours would be.
        KeyMaterialError: it can't be used.
    """

    def __init__(self, file: Path) -> None:
        if file.is_symlink():
            raise RotationError(
                f"{file} is a link: keys beside it would not be found with it",
                "name the file itself in the config, or let whoever made the link rotate the key",
            )
        self.file = file
        self.public_file = public_of(file)
        read_one(file)

    def standing(self) -> Standing:
        """Return where it stands.

        Raises:
            KeyMaterialError: a key can't be used.
            RotationError: there is a next one and an old one, which no stage leaves.
        """
        has_next, has_old = next_of(self.file).exists(), old_of(self.file).exists()
        if not has_next:
            return Standing.USED if has_old else Standing.SETTLED
        if has_old and read_one(old_of(self.file)) != read_one(self.file):
            raise RotationError(
                f"{next_of(self.file)} and {old_of(self.file)} are both there",
                "remove the first one, and retire the other",
            )
        return Standing.PREPARED  # an old one that is in use: `use` was cut off before its last step

    def keys(self) -> dict[str, Secret]:
        """Return the private keys by what they are: "next", "in use", "old"; the one to prefer first.

        Raises:
            KeyMaterialError: one of them can't be used.
        """
        files = {"next": next_of(self.file), "in use": self.file, "old": old_of(self.file)}
        return {what: read_one(file) for what, file in files.items() if what == "in use" or file.exists()}

    def prepare(self, make: Callable[[], str], not_after: str = "") -> bool:
        """Make the next key, where there is none.

        Args:
            make: returns a private key, as files have it. not_after: date of its public half; "" for none.

        Returns:
            Whether there was none.

        Raises:
            RotationError, KeyMaterialError, OSError: it can't be done.
        """
        with self._alone():
            standing = self.standing()
            if standing is Standing.USED:
                raise RotationError(
                    f"{old_of(self.file)} is still there, of the last rotation", "retire it first"
                )
            if standing is Standing.SETTLED:
                self._write(next_of(self.file), make().encode() + b"\n", secret=True)
            self._publish({"next": not_after})
            return standing is Standing.SETTLED

    def use(self) -> bool:
        """Have the next key take the place of the one in use; returns whether it wasn't there yet.

        Raises:
            RotationError, KeyMaterialError, OSError: it can't be done.
        """
        with self._alone():
            standing = self.standing()
            if standing is Standing.SETTLED:
                raise RotationError(f"there is no {next_of(self.file)}", "prepare it first")
            if standing is Standing.PREPARED:
                read_one(next_of(self.file))
                status = self.file.stat()
                self._write(old_of(self.file), self.file.read_bytes(), secret=True)
                os.utime(old_of(self.file), ns=(status.st_atime_ns, status.st_mtime_ns))  # its age stays
                move_whole(next_of(self.file), self.file)
            self._publish({})
            return standing is Standing.PREPARED

    def retire(self) -> bool:
        """Remove the old key; returns whether it was there.

        Raises:
            RotationError, KeyMaterialError, OSError: it can't be done.
        """
        with self._alone():
            standing = self.standing()
            if standing is Standing.PREPARED:
                raise RotationError(f"{next_of(self.file)} is not in use", "use it first")
            old_of(self.file).unlink(missing_ok=True)
            self._publish({})
            return standing is Standing.USED

    def _publish(self, dates: dict[str, str]) -> None:
        """Write the public halves of all keys; the dates of those that had one stay."""
        known: dict[bytes, float] = {}
        if self.public_file.exists():
            known = read_public_key_file(self.public_file)
        lines: dict[bytes, str] = {}
        for what, secret in self.keys().items():
            key = public_from_private(secret)
            last_unix_s = known.get(key, inf)
            date = dates.get(what) or (shown_date(last_unix_s) if last_unix_s < inf else "")
            lines.setdefault(key, f"{key.hex()} not_after {date}\n" if date else f"{key.hex()}\n")
        content = "".join(lines.values()).encode()
        if not self.public_file.exists() or self.public_file.read_bytes() != content:
            self._write(self.public_file.resolve(), content, secret=False)

    def _write(self, file: Path, content: bytes, *, secret: bool) -> None:
        write_whole(file, content, mode=0o600 if secret else 0o644, owner=self.file.stat())

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep another rotation of the same key out."""
        descriptor = os.open(self.file.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield
        except BlockingIOError as exc:
            raise RotationError(f"somebody else changes keys in {self.file.parent}", "wait for them") from exc
        finally:
            os.close(descriptor)
