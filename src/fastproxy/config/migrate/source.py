"""A config file of the Go original as it is read: values by name, and what became of each.

The original takes names in any case, so this does. Every setting is noted as carried over or as dropped, with
the reason; `drop_rest` names what nobody asked for. Keys are never shown.
Knows nothing of what the settings mean.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from fastproxy.config.document import Data, Document
from fastproxy.config.problem import Path, dotted


@dataclass(frozen=True, slots=True)
class Change:
    """What became of one setting.

    setting: its old name. value: its old value; "" where that isn't shown. becomes: the new setting; "" when
    it was dropped. reason: why it was dropped, or what is different now.
    """

    file: str
    line: int
    setting: str
    value: str
    becomes: str
    reason: str


class Source:
    """One file. Where a value isn't what it must be, a stand-in is returned and the document told.

    changes: what became of the settings so far, in the order in which they were noted.
    """

    def __init__(self, document: Document) -> None:
        self.file = document.file
        self.changes: list[Change] = []
        self._document = document
        self._noted: set[Path] = set()
        self._sections: set[Path] = set()
        if not isinstance(document.data, dict):
            document.report((), "the file does not hold a mapping of settings")

    def report(self, path: Path, message: str, suggestion: str = "") -> None:
        """Add a problem with a setting."""
        self._document.report(path, message, suggestion)

    def line(self, path: Path) -> int:
        """Return the line of a setting."""
        return self._document.line(path)

    # --- where settings are -------------------------------------------------------------------------------

    def find(self, start: Path, *names: str) -> Path | None:
        """Return the path of a setting as this file spells it, when it is set; `start` is taken as it is."""
        for name in names:
            if self._data(start) is not None and not isinstance(self._data(start), dict):
                self._noted.add(start)
                self.report(start, "expected a mapping")
            spelled = [key for key in self._mapping(start) if key.lower() == name.lower()]
            if not spelled:
                return None
            if len(spelled) > 1:
                self.report((*start, spelled[1]), f"this is `{spelled[0]}` once more", "keep one of them")
            start = (*start, spelled[0])
        return None if self._data(start) is None else start

    def needed(self, *names: str) -> Path | None:
        """Return the path of a setting that must be there."""
        path = self.find((), *names)
        if path is None:
            self.report((), f"`{'.'.join(names)}` is missing")
        return path

    def members(self, path: Path | None) -> dict[str, Path]:
        """Return the paths of a section's members, by the names that the file's owner chose."""
        if path is None:
            return {}
        if not isinstance(self._data(path), dict):
            self._noted.add(path)
            self.report(path, "expected a mapping")
        return {name: (*path, name) for name in self._mapping(path)}

    # --- values -------------------------------------------------------------------------------------------

    def text(self, path: Path | None) -> str:
        """Return a text; "" when it isn't set."""
        if path is None:
            return ""
        data = self._data(path)
        # The original takes a row of digits as text too; what else looks like a number it would respell.
        if isinstance(data, str | int) and not isinstance(data, bool) and data != "":
            return str(data)
        self.report(path, "expected text", "put it in quotes")
        return ""

    def number(self, path: Path | None, *, least: int | None = None, most: int | None = None) -> int:
        """Return a whole number within bounds; 0 when it isn't set."""
        if path is None:
            return 0
        data = self._data(path)
        if isinstance(data, str) and data.isascii() and data.isdigit() and len(data) <= 18:
            data = int(data)
        if not isinstance(data, int) or isinstance(data, bool):
            self.report(path, "expected a whole number")
        elif (least is not None and data < least) or (most is not None and data > most):
            self.report(path, f"the number must be from {least} to {most}")
        else:
            return data
        return 0

    def flag(self, path: Path | None) -> bool:
        """Return true or false; false when it isn't set."""
        if path is None:
            return False
        data = self._data(path)
        if not isinstance(data, bool):
            self.report(path, "expected true or false")
        return data is True

    # --- what became of them ------------------------------------------------------------------------------

    def carry(self, path: Path | None, becomes: str, reason: str = "", *, is_secret: bool = False) -> None:
        """Note that a setting was carried over. reason: what is different now."""
        self._note(path, becomes, reason, is_secret)

    def drop(self, path: Path | None, reason: str, *, is_secret: bool = False) -> None:
        """Note that a setting, or a whole section, was dropped."""
        self._note(path, "", reason, is_secret)

    def drop_rest(self, path: Path = ()) -> None:
        """Name what nobody asked for: a whole section at once, where nothing of it is known."""
        for name in self._mapping(path):
            member = (*path, name)
            if member in self._noted:
                continue
            if member in self._sections:
                self.drop_rest(member)
            elif self._data(member) not in (None, {}):
                self.drop(member, "no setting of the original is known by this name", is_secret=True)

    def _note(self, path: Path | None, becomes: str, reason: str, is_secret: bool) -> None:
        if path is None:
            return
        self._noted.add(path)
        self._sections.update(path[:length] for length in range(len(path)))
        data = self._data(path)
        shows = not is_secret and isinstance(data, str | int)
        value = str(data).lower() if isinstance(data, bool) else str(data)
        self.changes.append(
            Change(self.file, self.line(path), dotted(path), value if shows else "", becomes, reason)
        )

    def _data(self, path: Path) -> Data:
        data = self._document.data
        for part in path:
            data = data.get(str(part)) if isinstance(data, dict) else None
        return data

    def _mapping(self, path: Path) -> Mapping[str, Data]:
        data = self._data(path)
        return data if isinstance(data, dict) else {}
